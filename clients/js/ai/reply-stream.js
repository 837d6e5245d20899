// One reply as a stream of the AI SDK. No DOM.

/** @import { UIMessageChunk } from "ai" */
/** @import { Channel, Message, SwitchboardClient } from "../src/index.js" */

import { isReplyTo, metadataOf, replyId } from "./messages.js";

/** @typedef {{ setTimeout(action: () => void, delay: number): unknown, clearTimeout(timer: any): void }} Timers */

/** Time without progress after which the reply is read: its last frame may be lost. */
const QUIET_MS = 10_000;
/** Number of reads in a row that find no reply, after which none is expected. */
const MISSES = 6;
const STOPPED = "The reply was stopped.";

/**
 * Returns the reply to the message `seq` as a stream: its draft as the channel has it, and then its message.
 *
 * `isCurrent` returns `false` if another stream follows in the place of this one. Then an abort does not stop the reply.
 * @param {{ client: SwitchboardClient, channel: Channel, seq: number, clock: Timers, signal?: AbortSignal, isCurrent?: () => boolean }} options
 * @returns {ReadableStream<UIMessageChunk>}
 */
export function replyStream({ client, channel, seq, clock, signal, isCurrent = () => true }) {
  /** @type {any} */
  let controller;
  /** Text of the open part; empty if none is open. */
  let shown = "";
  /** Number of the open part. */
  let part = 0;
  let hasStarted = false;
  /** `false` once the reader has left. */
  let isRead = true;
  let hasEnded = false;
  let misses = 0;
  /** @type {unknown} */
  let timer;

  /** @param {UIMessageChunk} chunk */
  const put = (chunk) => {
    if (isRead) controller.enqueue(chunk);
  };

  const draft = () => channel.drafts.find(({ replyTo }) => replyTo === seq);

  const start = () => {
    if (!hasStarted) put({ type: "start", messageId: replyId(seq), messageMetadata: { replyTo: seq } });
    hasStarted = true;
  };

  const endPart = (isReplaced = false) => {
    if (shown) put({ type: "text-end", id: `${part}`, providerMetadata: isReplaced ? { switchboard: { isReplaced } } : undefined });
    part += 1;
    shown = "";
  };

  /**
   * Shows a text. It continues the open part, or replaces it if it differs. A beginning of the shown text is not shown, unless it is
   * the whole reply.
   * @param {string} text
   */
  const show = (text, isWhole = false) => {
    if (text === shown || (!isWhole && shown.startsWith(text))) return;
    start();
    if (!text.startsWith(shown)) endPart(true);
    const id = `${part}`;
    if (text && !shown) put({ type: "text-start", id });
    if (text) put({ type: "text-delta", id, delta: text.slice(shown.length) });
    shown = text;
    wait();
  };

  const end = () => {
    hasEnded = true;
    for (const off of offs) off();
    clock.clearTimeout(timer);
    if (isRead) controller.close();
  };

  /** Ends with an error. The text until then is not the reply. @param {string} errorText */
  const fail = (errorText) => {
    endPart(true);
    put({ type: "error", errorText });
    end();
  };

  /** Ends with a stored message. @param {Message} message */
  const complete = (message) => {
    if (message.role !== "agent") return fail(message.content);
    show(message.content, true);
    start();
    endPart();
    const messageMetadata = metadataOf(message);
    const { status } = messageMetadata;
    if (status === "cancelled") {
      put({ type: "message-metadata", messageMetadata });
      return fail(STOPPED);
    }
    put({ type: "finish", messageMetadata, finishReason: status === "truncated" ? "length" : "stop" });
    end();
  };

  /** Takes the state of the channel. */
  const update = () => {
    if (hasEnded) return;
    const message = channel.messages.find(isReplyTo(seq));
    if (message) return complete(message);
    const held = draft();
    if (!held?.id) return;
    misses = 0;
    if (isRead) show(held.text);
    // The reply had not begun when it was stopped.
    else stop();
  };

  const stop = () => {
    // A reply that has not begun cannot be stopped yet.
    if (draft()?.id) end();
    channel.stopReply(seq).catch(() => {});
  };

  /** Ends the stream, and stops the reply. */
  const abort = async () => {
    put({ type: "abort" });
    controller.close();
    isRead = false;
    // The stream that takes the place of this one begins in the same turn.
    await null;
    if (isCurrent()) stop();
    else end();
  };

  /** Reads the reply after a time without progress. */
  const wait = () => {
    clock.clearTimeout(timer);
    if (!hasEnded) timer = clock.setTimeout(read, QUIET_MS);
  };

  const read = async () => {
    try {
      const reply = await channel.reply(seq);
      const message = reply.seq && (await channel.message(reply.seq));
      if (hasEnded) return;
      if (message) return complete(message);
      if (reply.status === "cancelled") return fail(STOPPED);
      // A stored reply may have expired meanwhile.
      if (reply.seq || reply.status === "failed") misses += 1;
      // The response may be older than the draft.
      else if ((draft()?.id ?? reply.draft_id) === reply.draft_id) show(reply.text);
    } catch (/** @type {any} */ error) {
      if (hasEnded) return;
      // The agent writes the replies of a channel one after the other.
      if (error.code === "reply_not_found") misses += channel.drafts.length > 0 ? 0 : 1;
      else if (!error.isTransient) return fail(error.message);
    }
    if (misses >= MISSES) return fail("The agent has not replied.");
    wait();
  };

  /** @param {() => void} action */
  const mine = (action) => (/** @type {{ channelId: string }} */ { channelId }) => {
    if (channelId === channel.id) action();
  };
  const offs = [client.on("change", mine(update)), client.on("removed", mine(() => fail("The channel was removed."))), () => signal?.removeEventListener("abort", abort)];
  signal?.addEventListener("abort", abort);
  const stream = new ReadableStream({
    start: (given) => void (controller = given),
    // A reader that leaves does not stop the reply.
    cancel: () => {
      isRead = false;
      end();
    },
  });
  wait();
  if (signal?.aborted) abort();
  else update();
  return stream;
}
