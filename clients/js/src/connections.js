// Several sockets of a client as one connection: more channels than fit on one socket are divided. No DOM.

/** @import { SwitchboardClient } from "./client.js" */
/** @import { Connection } from "./socket.js" */

import { MAX_CHANNELS } from "./limits.js";

/**
 * Returns a connection of as many sockets as the channels need. The client's socket becomes the first of them.
 * @param {SwitchboardClient} client
 * @returns {Connection}
 */
export function createConnections(client) {
  const { connect, connection: first } = client.core;
  let list = [first];

  return {
    get channels() {
      return list.flatMap((one) => one.channels);
    },

    /** Id of the first socket. */
    get id() {
      return list[0]?.id ?? null;
    },

    get leftOut() {
      return list.reduce((sum, one) => sum + one.leftOut, 0);
    },

    /** State of the worst socket. */
    get state() {
      return (list.find((one) => one.state.name !== "live") ?? list[0] ?? client).state;
    },

    /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} channels */
    subscribe(channels) {
      const wanted = new Set(channels);
      // Each channel stays on its socket, so that few sockets are replaced.
      const shares = list.map((one) => one.channels.filter((id) => wanted.delete(id)));
      if (!shares[0]) shares.push([]);
      for (const id of wanted) {
        const share = shares.find((one) => one.length < MAX_CHANNELS);
        if (share) share.push(id);
        else shares.push([id]);
      }
      const before = list;
      list = [];
      shares.forEach((share, at) => {
        const one = before[at] ?? connect();
        // The first socket stays for all channels.
        if (!share[0] && (channels[0] || at > 0)) return one.close();
        list.push(one);
        one.subscribe(share);
      });
    },

    leave(id) {
      for (const one of list) one.leave(id);
      // Closes a socket without a name, which would receive all channels.
      if (list[1] && list.some(({ channels }) => !channels[0])) this.subscribe(this.channels);
    },

    moved() {
      for (const one of list) one.moved();
    },

    retryNow() {
      for (const one of list) one.retryNow();
    },

    check() {
      for (const one of list) one.check();
    },

    close() {
      for (const one of list) one.close();
      list = [];
    },
  };
}
