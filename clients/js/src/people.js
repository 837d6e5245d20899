// Users of one channel that type, or have a live connection. No DOM.

/** @import { Abortable, Message } from "./types.js" */
/** @import { Core } from "./client.js" */

import { path } from "./rest.js";

/** Time in which a user is shown as typing after a frame. */
const TYPING_MS = 5_000;
/** Shortest time between two requests that say that the user types. */
const TYPE_EVERY_MS = 3_000;

export class People {
  #core;
  #id;
  #emit;
  /** The cancel of the end of each user that types. @type {Map<string, () => void>} */
  #typing = new Map();
  #typedAt = -TYPE_EVERY_MS;
  /** Present users, as they were read; `null` before. @type {string[] | null} */
  #present = null;
  /** Users that came (`true`) or went since the request. @type {Map<string, boolean>} */
  #moved = new Map();

  /** @param {Core} core @param {string} id Of the channel. @param {(type: "typing" | "presence") => void} emit */
  constructor(core, id, emit) {
    this.#core = core;
    this.#id = id;
    this.#emit = emit;
  }

  get typing() {
    return [...this.#typing.keys()].sort();
  }

  get present() {
    const users = new Set(this.#present);
    for (const [user, isHere] of this.#moved) users[isHere ? "add" : "delete"](user);
    return [...users].sort();
  }

  /** @param {Abortable} [options] @returns {Promise<void>} */
  async load(options) {
    this.#moved = new Map();
    const users = await this.#core.rest.list(path`/channels/${this.#id}/presence`, "users", options);
    this.#present = users.map(({ user_id: user }) => user);
    this.#emit("presence");
  }

  /** Reads again what frames may have missed. */
  recover() {
    if (this.#present) this.#core.quiet.run(`presence ${this.#id}`, () => this.load().then(() => true));
  }

  /** @param {any} frame */
  take({ type, user_id: user }) {
    if (typeof user !== "string") return;
    if (type === "typing") {
      const earlier = this.#typing.get(user);
      earlier?.();
      this.#typing.set(user, this.#core.after(TYPING_MS, () => this.#stop(user)));
      if (!earlier) this.#emit("typing");
    }
    if (type === "presence.joined" || type === "presence.left") {
      if (type === "presence.left") this.#stop(user);
      this.#moved.set(user, type === "presence.joined");
      this.#emit("presence");
    }
  }

  /** A message of a user ends the typing. @param {Message[]} messages */
  arrived(messages) {
    for (const { sender_id: sender } of messages) this.#stop(sender);
  }

  /** @param {Abortable} [options] @returns {Promise<void>} */
  async sendTyping(options) {
    const now = this.#core.clock.now();
    if (Math.abs(now - this.#typedAt) < TYPE_EVERY_MS) return;
    this.#typedAt = now;
    await this.#core.rest.call("POST", path`/channels/${this.#id}/typing`, options);
  }

  close() {
    for (const cancel of this.#typing.values()) cancel();
  }

  /** @param {string} user */
  #stop(user) {
    this.#typing.get(user)?.();
    if (this.#typing.delete(user)) this.#emit("typing");
  }
}
