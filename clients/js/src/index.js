// The client of Switchboard.

export { SwitchboardClient } from "./client.js";
export { NetworkError, ProblemError, problemClass } from "./errors.js";
export { CLIENT_KEY } from "./sender.js";
/**
 * @typedef {import("./channel.js").Channel} Channel
 * @typedef {import("./types.js").ChannelInfo} ChannelInfo
 * @typedef {import("./types.js").ClientEvents} ClientEvents
 * @typedef {import("./types.js").ClientOptions} ClientOptions
 * @typedef {import("./types.js").ConnectionState} ConnectionState
 * @typedef {import("./types.js").Draft} Draft
 * @typedef {import("./types.js").Invitation} Invitation
 * @typedef {import("./types.js").Me} Me
 * @typedef {import("./types.js").Member} Member
 * @typedef {import("./types.js").Message} Message
 * @typedef {import("./types.js").OutboxEntry} OutboxEntry
 * @typedef {import("./types.js").Reaction} Reaction
 * @typedef {import("./types.js").Reply} Reply
 * @typedef {import("./types.js").Role} Role
 * @typedef {import("./types.js").SendOptions} SendOptions
 * @typedef {import("./types.js").Store} Store
 * @typedef {import("./types.js").TokenProvider} TokenProvider
 */

export {};
