// All sockets of a client: more channels than fit on one socket are split. No DOM.

/** @import { SwitchboardClient } from "./client.js" */
/** @import { Connection, Surroundings } from "./socket.js" */

import { MAX_CHANNELS } from "./limits.js";
import { createConnection } from "./socket.js";

/**
 * Creates the sockets of a client, which keep its `state` and its `leftOut`.
 * @param {SwitchboardClient} client @param {Surroundings} around
 * @param {(elsewhere: string[]) => void} onOpen Takes the names of the channels of all other sockets.
 * @param {(frame: any) => void} onFrame
 */
export function createConnections(client, around, onOpen, onFrame) {
  let isOnline = true;
  /** @type {Connection[]} */
  let list = [];

  const namesOf = (/** @type {Connection[]} */ some) => some.flatMap((one) => one.channels);

  /** Tells of another state, which is that of the worst socket, and of another number of channels that are left out. */
  function report() {
    const { state } = list.find((one) => one.state.name !== "live") ?? list[0] ?? client;
    const count = list.reduce((sum, one) => sum + one.leftOut, 0);
    client.connectionId = list[0]?.id ?? null;
    if (state !== client.state) client.emit("state", (client.state = state));
    if (count !== client.leftOut) client.emit("leftOut", { count: (client.leftOut = count) });
  }

  /** @param {Connection} opened */
  const tell = (opened) => onOpen(namesOf(list.filter((one) => one !== opened)));

  /** @param {any} frame */
  function take(frame) {
    report();
    onFrame(frame);
  }

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} channels */
  function subscribe(channels) {
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
      const one = before[at] ?? createConnection(around, () => isOnline, report, tell, take);
      // The first socket stays for all channels.
      if (!share[0] && (channels[0] || at > 0)) return one.close();
      list.push(one);
      one.subscribe(share);
    });
  }

  return {
    subscribe,

    /** Leaves a channel out of later sockets: a handshake that names a channel of which the user is no member fails. @param {string} id */
    leave(id) {
      const isOther = (/** @type {string} */ name) => name !== id;
      const names = namesOf(list);
      if (names.every(isOther)) return;
      for (const one of list) one.channels = one.channels.filter(isOther);
      // Closes a socket without a name, which would receive all channels.
      subscribe(names.filter(isOther));
    },

    /** Says whether the machine has a network. @param {boolean} value */
    setOnline(value) {
      if (isOnline === value) return;
      isOnline = value;
      for (const one of list) one.moved();
    },

    /** Connects immediately instead of after the wait. */
    retryNow() {
      for (const one of list) one.retryNow();
    },

    /** Checks a connection that may have failed without an event, for example while the machine was suspended. */
    check() {
      for (const one of list) one.check();
    },

    /** Ends all sockets for good. */
    close() {
      for (const one of list) one.close();
      list = [];
    },
  };
}
