// Users of one channel that type, or have a live connection. No DOM.

/** @import { Abortable, Message } from "./types.js" */
/** @import { Core } from "./client.js" */
/** @import { Request } from "./rest.js" */

import { TYPE_EVERY_MS, TYPING_MS } from "./limits.js";
import { listAll } from "./rest.js";

/**
 * @param {Core} core @param {string} id Of the channel. @param {Request} request Makes a request below the channel's path.
 * @param {(type: "typing" | "presence") => void} emit
 */
export function createPeople({ after, now, quietly }, id, request, emit) {
  /** The cancel of the end of each user that types. @type {Map<string, () => void>} */
  const typing = new Map();
  /** Time of the last request that said so of this user. @type {any} */
  let typedAt;
  /** Present users, as they were read. @type {string[] | undefined} */
  let read;
  /** Users that came (`true`) or went since the request. @type {Map<string, boolean>} */
  let moved = new Map();

  /** @param {string} user */
  function stop(user) {
    typing.get(user)?.();
    if (typing.delete(user)) emit("typing");
  }

  /** Reads the list of present users, and keeps it. @param {Abortable} [options] */
  async function loadPresence(options) {
    moved = new Map();
    const users = await listAll(request, "/presence", "users", options);
    read = users.map(({ user_id: user }) => user);
    emit("presence");
    return true;
  }

  return {
    actions: {
      loadPresence,

      /** Shows the user as typing to others. Call it with each key: one request every 3 seconds is made. @param {Abortable} [options] */
      async sendTyping(options) {
        if (Math.abs(now() - typedAt) < TYPE_EVERY_MS) return;
        typedAt = now();
        await request("POST", "/typing", options);
      },
    },

    get typing() {
      return [...typing.keys()].sort();
    },

    get present() {
      const users = new Set(read);
      for (const [user, isHere] of moved) users[isHere ? "add" : "delete"](user);
      return [...users].sort();
    },

    /** Reads again what frames may have missed. */
    recover() {
      if (read) quietly(`presence ${id}`, loadPresence);
    },

    /** @param {any} frame */
    take({ type, user_id: user }) {
      if (typeof user !== "string") return;
      if (type === "typing") {
        const earlier = typing.get(user);
        earlier?.();
        typing.set(user, after(TYPING_MS, () => stop(user)));
        if (!earlier) emit("typing");
      }
      const isHere = type === "presence.joined";
      if (isHere || type === "presence.left") {
        if (!isHere) stop(user);
        moved.set(user, isHere);
        emit("presence");
      }
    },

    /** A message of a user ends the typing. @param {Message[]} messages */
    arrived(messages) {
      for (const { sender_id: sender } of messages) stop(sender);
    },

    close() {
      for (const end of typing.values()) end();
    },
  };
}
