// The client of Switchboard.

/** @import * as types from "./types.js" */

export { Channel } from "./channel.js";
export { ChannelList } from "./channels.js";
export { SwitchboardClient } from "./client.js";
export { NetworkError, ProblemError, problemClass } from "./errors.js";
export { CLIENT_KEY } from "./outbox.js";
export * from "./problems.js";
export { asyncStorageStore, indexedDbStore, memoryStore } from "./stores.js";
