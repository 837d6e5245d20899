// All sockets of a client: more channels than fit on one socket are split. No DOM.

/** @import { Connection, Surroundings } from "./socket.js" */

import { MAX_CHANNELS } from "./limits.js";
import { createConnection } from "./socket.js";

/**
 * @param {Surroundings} around @param {() => void} onChange @param {(connection: Connection) => void} onOpen
 * @param {(frame: any) => void} onFrame
 */
export function createConnections(around, onChange, onOpen, onFrame) {
  let isOnline = true;
  /** @type {Connection[]} */
  let list = [];

  const all = {
    get list() {
      return list;
    },

    /** State of the connection that is in the worst one. */
    get state() {
      return (list.find(({ state }) => state.name !== "live") ?? list[0])?.state;
    },

    get leftOut() {
      return list.reduce((sum, { leftOut }) => sum + leftOut, 0);
    },

    /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} channels */
    subscribe(channels) {
      const wanted = new Set(channels);
      // Each channel stays on its socket, so that few sockets are replaced.
      const shares = list.map((one) => one.channels.filter((id) => wanted.delete(id)));
      if (!shares[0]) shares.push([]);
      for (const id of wanted) {
        const share = shares.find(({ length }) => length < MAX_CHANNELS);
        if (share) share.push(id);
        else shares.push([id]);
      }
      const before = list;
      list = [];
      shares.forEach((share, at) => {
        const one = before[at] ?? createConnection(around, () => isOnline, onChange, onOpen, onFrame);
        // The first socket stays for all channels.
        if (!share[0] && (channels[0] || at > 0)) return one.close();
        list.push(one);
        one.subscribe(share);
      });
    },

    /** Leaves a channel out of later sockets: a handshake that names a channel of which the user is no member fails. @param {string} id */
    leave(id) {
      const isOther = (/** @type {string} */ name) => name !== id;
      const names = list.flatMap(({ channels }) => channels);
      if (names.every(isOther)) return;
      for (const one of list) one.channels = one.channels.filter(isOther);
      // Closes a socket without a name, which would receive all channels.
      all.subscribe(names.filter(isOther));
    },

    /** @param {boolean} value */
    setOnline(value) {
      if (isOnline === value) return;
      isOnline = value;
      for (const one of list) one.moved();
    },

    /** Ends all sockets for good. */
    close() {
      for (const one of list) one.close();
      list = [];
    },
  };
  return all;
}
