// All sockets of a client: more channels than fit on one socket are split. No DOM.

/** @import { ConnectionState } from "./types.js" */
/** @import { Surroundings } from "./socket.js" */

import { LiveConnection } from "./socket.js";

/** Maximum number of channels of one socket. */
const MAX_CHANNELS = 100;

/** The connections of a client. */
export class Connections {
  #around;
  #isOnline = true;
  /** @type {LiveConnection[]} */
  all = [];

  /** @param {Surroundings} around */
  constructor(around) {
    this.#around = around;
  }

  /** State of the connection that is in the worst one. @returns {ConnectionState} */
  get state() {
    return this.all.find(({ state }) => state.name !== "live")?.state ?? this.all[0]?.state ?? { name: "closed" };
  }

  get leftOut() {
    return this.all.reduce((sum, { leftOut }) => sum + leftOut, 0);
  }

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} channels */
  subscribe(channels) {
    const wanted = new Set(channels);
    // Each channel stays on its socket, so that few sockets are replaced.
    const shares = this.all.map((one) => one.channels.filter((id) => wanted.delete(id)));
    if (shares.length === 0) shares.push([]);
    for (const id of wanted) {
      const share = shares.find(({ length }) => length < MAX_CHANNELS);
      if (share) share.push(id);
      else shares.push([id]);
    }
    const before = this.all;
    this.all = [];
    shares.forEach((share, at) => {
      const one = before[at] ?? new LiveConnection(this.#around);
      // The first socket stays for all channels.
      if (share.length === 0 && (channels.length > 0 || at > 0)) return one.close();
      this.all.push(one);
      one.setOnline(this.#isOnline);
      one.subscribe(share);
    });
  }

  /** Leaves a channel out of later sockets: a handshake that names a channel of which the user is no member fails. @param {string} id */
  leave(id) {
    for (const one of this.all) {
      if (!one.channels.includes(id)) continue;
      one.channels = one.channels.filter((other) => other !== id);
      // Without a name, the socket would receive all channels.
      if (one.channels.length > 0 || this.all.length === 1) continue;
      this.all = this.all.filter((other) => other !== one);
      one.close();
    }
  }

  /** @param {boolean} isOnline */
  setOnline(isOnline) {
    this.#isOnline = isOnline;
    for (const one of this.all) one.setOnline(isOnline);
  }
}
