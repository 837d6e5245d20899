"use client";
// Hooks for React. They read the client of `SwitchboardProvider`, and neither open nor close its connection.

/** @import { ReactElement, ReactNode } from "react" */
/** @import { SwitchboardClient } from "../src/client.js" */
/** @import { ChannelInfo, ConnectionState, DraftStatus } from "../src/types.js" */
/** @import { Parts, Source } from "./source.js" */
/**
 * @typedef {import("./types.js").ChannelsState} ChannelsState
 * @typedef {import("./types.js").MessagesState} MessagesState
 * @typedef {import("./types.js").ReplyState} ReplyState
 * @typedef {import("./types.js").SendState} SendState
 * @typedef {import("./types.js").TypingState} TypingState
 */

import { createContext, createElement, useContext, useSyncExternalStore } from "react";
import { channelsOf } from "../src/channels.js";
import { sourceOf } from "./source.js";

/** A client and a channel before anything is known. @type {any} */
const UNKNOWN = { messages: [], drafts: [], outbox: [], typing: [], present: [], entries: [], hasEarlier: false, isOpen: false, state: { name: "connecting" } };
/** States of the agent's messages that are not `done`. @type {Record<string, DraftStatus | undefined>} */
const ENDED = { cancelled: "cancelled", failed: "failed", over_budget: "failed" };

const Context = createContext(/** @type {SwitchboardClient | null} */ (null));

/** Gives the hooks below it a client. @param {{ client: SwitchboardClient, children?: ReactNode }} props @returns {ReactElement} */
export function SwitchboardProvider({ client, children }) {
  return createElement(Context.Provider, { value: client }, children);
}

/** Returns the client of the provider. */
export function useClient() {
  const client = useContext(Context);
  if (!client) throw new Error("SwitchboardProvider is missing.");
  return client;
}

/**
 * @template Fields
 * @param {string} key @param {(client: SwitchboardClient, source: Source<Fields>) => Parts<Fields>} parts
 * @returns {Fields}
 */
function useSource(key, parts) {
  const client = useClient();
  const { subscribe, snapshot, first } = sourceOf(client, key, (source) => parts(client, source));
  return useSyncExternalStore(subscribe, snapshot, first);
}

/** @param {SwitchboardClient} client @param {() => void} action */
const onLive = (client, action) => client.on("state", ({ name }) => name === "live" && action());

/**
 * Follows the events of a channel, also when its id gets another channel.
 * @param {SwitchboardClient} client @param {string} id @param {"change" | "typing" | "presence"} type
 * @param {Source<any>} source
 */
const onChannel = (client, id, type, { changed, load, recover }) => [
  client.on(type, ({ channelId }) => channelId === id && changed()),
  client.on("removed", ({ channelId }) => channelId === id && (changed(), load())),
  onLive(client, recover),
];

/** Returns the state of the connection. @returns {ConnectionState} */
export function useConnection() {
  return useSource("connection", (client, { changed }) => ({
    read: (isFirst) => ({ .../** @type {ConnectionState} */ ((isFirst ? UNKNOWN : client).state) }),
    listen: () => [client.on("state", changed)],
  }));
}

/** Returns the channels of the user. Reads the list with the first component, and after each connect. @returns {ChannelsState} */
export function useChannels() {
  return useSource("channels", (client, source) => {
    const list = () => channelsOf(client);
    let isLoaded = false;
    /** @type {ChannelInfo[]} */
    let channels;
    /** @type {Map<string, number>} */
    let unread;
    return {
      read(isFirst) {
        const { entries } = /** @type {{ entries: ChannelInfo[] }} */ (isFirst ? UNKNOWN : list());
        if (channels !== entries) unread = new Map((channels = entries).map(({ channel_id: id }) => [id, list().unread(id)]));
        const { error, load } = source;
        return { channels, unread, isLoading: !(isLoaded || error || channels.length), error, reload: load };
      },
      listen: () => [client.on("channels", source.changed), onLive(client, source.load)],
      async load(signal) {
        await list().load({ signal });
        isLoaded = true;
      },
    };
  });
}

/** @param {string} id @returns {(client: SwitchboardClient, source: Source<MessagesState>) => Parts<MessagesState>} */
const messagesOf = (id) => (client, source) => {
  const channel = () => client.channel(id);
  /** @type {Pick<MessagesState, "reload" | "loadEarlier" | "edit" | "remove" | "react" | "unreact" | "markRead">} */
  const actions = {
    reload: source.load,
    loadEarlier: async () => {
      if (!source.isRunning("earlier")) await source.run("earlier", (signal) => channel().loadEarlier({ signal }));
    },
    edit: (...args) => channel().edit(...args),
    remove: (...args) => channel().delete(...args),
    react: (...args) => channel().react(...args),
    unreact: (...args) => channel().unreact(...args),
    markRead: (seq = channel().messages.at(-1)?.seq ?? 0) => channelsOf(client).markRead(id, seq),
  };
  return {
    read(isFirst) {
      const { messages, drafts, outbox, hasEarlier, isOpen } = isFirst ? UNKNOWN : channel();
      const { error } = source;
      return { messages, drafts, outbox, hasEarlier, isLoading: !(isOpen || error), isLoadingEarlier: source.isRunning("earlier"), error, ...actions };
    },
    listen: () => onChannel(client, id, "change", source),
    load: (signal) => client.open(id, { signal }),
  };
};

/**
 * Opens a channel. Returns its messages, the replies that are being written, and the means to change messages, which
 * reject if they fail. A read that fails without a response is repeated with the next connection.
 * @param {string} channelId @returns {MessagesState}
 */
export function useMessages(channelId) {
  return useSource(`messages ${channelId}`, messagesOf(channelId));
}

/** Returns the means to send messages to a channel, and the state of those that are not stored. @param {string} channelId @returns {SendState} */
export function useSend(channelId) {
  return useSource(`send ${channelId}`, (client, source) => {
    const channel = () => client.channel(channelId);
    /** @type {Omit<SendState, "outbox">} */
    const actions = {
      send: (...args) => channel().send(...args),
      retry: (key) => channel().retry(key),
      discard: (key) => channel().discard(key),
    };
    return {
      read: (isFirst) => ({ outbox: (isFirst ? UNKNOWN : channel()).outbox, ...actions }),
      listen: () => onChannel(client, channelId, "change", source),
    };
  });
}

/** Returns the users that type in a channel. @param {string} channelId @returns {TypingState} */
export function useTyping(channelId) {
  return useSource(`typing ${channelId}`, (client, source) => {
    // A key that fails is followed by the next one.
    const sendTyping = () => void client.channel(channelId).sendTyping().catch(() => {});
    return {
      read: (isFirst) => ({ typing: (isFirst ? UNKNOWN : client.channel(channelId)).typing, sendTyping }),
      listen: () => onChannel(client, channelId, "typing", source),
    };
  });
}

/** Returns the ids of the users with a live connection to a channel. @param {string} channelId @returns {string[]} */
export function usePresence(channelId) {
  return useSource(`presence ${channelId}`, (client, source) => ({
    read: (isFirst) => ({ present: /** @type {string[]} */ ((isFirst ? UNKNOWN : client.channel(channelId)).present) }),
    listen: () => onChannel(client, channelId, "presence", source),
    load: (signal) => client.channel(channelId).loadPresence({ signal }),
  })).present;
}

/** Opens a channel. Returns the reply to one of its messages. @param {string} channelId @param {number} seq @returns {ReplyState} */
export function useReply(channelId, seq) {
  return useSource(`reply ${channelId} ${seq}`, (client, { changed }) => {
    const stop = () => client.channel(channelId).stopReply(seq);
    return {
      read(isFirst) {
        const { messages, drafts } = /** @type {MessagesState} */ (isFirst ? UNKNOWN : client.channel(channelId));
        const draft = drafts.find(({ replyTo }) => replyTo === seq);
        const message = draft ? undefined : messages.findLast(({ role, reply_to: replyTo }) => role !== "user" && replyTo === seq);
        const status = draft?.status ?? (message ? (ENDED[message.agent?.status] ?? "done") : null);
        return { status, text: draft?.text ?? message?.content ?? "", message, stop };
      },
      listen: () => [sourceOf(client, `messages ${channelId}`, (source) => messagesOf(channelId)(client, source)).subscribe(changed)],
    };
  });
}
