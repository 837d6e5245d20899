// Types of the client. This file has no code.

/** A clock. Its functions are called without an object. @typedef {{ now: () => number, setTimeout: (action: () => void, delay: number) => unknown, clearTimeout: (timer: any) => void }} Clock */
/**
 * Returns a token, or a token with its end. The client reads the lifetime from the token itself if it is a JWT.
 * @typedef {() => Promise<string | { token: string, expiresAt?: string | number | Date }>} TokenProvider
 */
/**
 * Keeps messages that are not yet sent. Values are plain objects. `all` returns those whose keys begin with a text.
 * @typedef {{ set(key: string, value: any): Promise<unknown>, remove(key: string): Promise<unknown>, all(prefix: string): Promise<any[]> }} Store
 */
/** @typedef {{ field: string, code: string, message: string }} FieldError */
/** @typedef {{ status?: number, code?: string, title?: string, detail?: string, errors?: FieldError[], instance?: string, retryAfter?: number | null }} Problem */
/** @typedef {{ signal?: AbortSignal }} Abortable */
/** @typedef {{ query?: Record<string, string | number | boolean | null | undefined>, body?: unknown, headers?: Record<string, string>, signal?: AbortSignal }} RequestOptions */
/** @typedef {{ emoji: string, count: number, user_ids: string[], reacted: boolean }} Reaction */
/** @typedef {{ reply_count: number, last_reply_seq: number, last_reply_at: string }} Thread */
/**
 * A message as the API has it.
 * @typedef {object} Message
 * @property {string} channel_id
 * @property {number} seq Number in its channel.
 * @property {string} message_id
 * @property {number} version
 * @property {string} sender_id
 * @property {"user" | "agent" | "system"} role
 * @property {string} content Empty if the message is deleted.
 * @property {string} content_type
 * @property {string} created_at
 * @property {string} [edited_at]
 * @property {string} [deleted_at]
 * @property {number} [reply_to] The quoted message.
 * @property {number} [thread_seq] Root of the message's thread.
 * @property {Thread} [thread] Summary of the thread that it begins, as of the last read. `threadsOf(channel).summary(message)`
 * is current.
 * @property {Reaction[]} [reactions]
 * @property {Record<string, any>} [metadata]
 * @property {Record<string, any>} [agent]
 */
/** @typedef {"member" | "moderator" | "owner"} Role */
/** @typedef {{ role: Role, read_seq: number, unread_count: number, [field: string]: any }} Membership */
/**
 * A channel as the API has it.
 * @typedef {object} ChannelInfo
 * @property {string} channel_id
 * @property {string} name
 * @property {"public" | "private"} visibility
 * @property {number} version
 * @property {number} last_seq
 * @property {string} [last_message_at]
 * @property {Partial<Message>} [last_message]
 * @property {string} created_at
 * @property {string} created_by
 * @property {string} [archived_at]
 * @property {number | null} [retention_days]
 * @property {boolean} [read_receipts]
 * @property {Record<string, any>} [agent]
 * @property {Membership} membership
 */
/** @typedef {{ channel_id: string, user_id: string, role: Role, joined_at: string, read_seq?: number }} Member */
/** @typedef {{ channel_id: string, name: string, user_id: string, role: Role, invited_by: string, invited_at: string, expires_at: string }} Invitation */
/** @typedef {{ user_id: string, scopes: string[], expires_at: string, server_time: string, agent_name: string, invites: boolean, [field: string]: any }} Me */
/** @typedef {"thinking" | "writing" | "done" | "cancelled" | "failed"} DraftStatus */
/** @typedef {{ status: DraftStatus, draft_id?: string, position: number, text: string, seq?: number }} Reply */
/**
 * A reply that is being written. The `id` is `null` until its first piece has arrived.
 * @typedef {{ id: string | null, replyTo: number, status: DraftStatus, text: string, length: number }} Draft
 */
/** @typedef {{ replyTo?: number | null, threadSeq?: number | null, metadata?: Record<string, any>, contentType?: string }} SendOptions */
/**
 * A message that is not yet known to be stored. A failed one waits for `retry` or `discard`.
 * @typedef {SendOptions & { key: string, content: string, createdAt: number, state: "sending" | "failed", error: import("./errors.js").ProblemError | null }} OutboxEntry
 */
/**
 * The held messages of a channel, by their numbers.
 * @typedef {object} HeldMessages
 * @property {readonly Message[]} messages By ascending `seq`.
 * @property {(seq: number) => Message | undefined} get
 * @property {number | null} firstSeq
 * @property {number | null} lastSeq
 * @property {number | null} settled The `seq` up to which all messages are known; `null` before the history is loaded.
 */
/**
 * A channel in step with the server. Its lists are the same arrays until they change.
 * @typedef {object} Channel
 * @property {string} id
 * @property {Readonly<HeldMessages>} log
 * @property {(method: string, path: string, options?: RequestOptions) => Promise<any>} request Makes a request of the API
 * below the channel's path. Returns the body of its response.
 * @property {readonly Message[]} messages By ascending `seq`.
 * @property {readonly Draft[]} drafts Replies that are being written.
 * @property {readonly OutboxEntry[]} outbox Messages of this client that are not yet known to be stored.
 * @property {readonly string[]} typing Ids of the other users that type.
 * @property {readonly string[]} present Ids of the users with a live connection; empty until `loadPresence`.
 * @property {boolean} hasEarlier `true` if the server has messages before the first held one.
 * @property {boolean} isOpen `true` once the history is loaded.
 * @property {boolean} isCatchingUp `true` while missing messages or changes are being read.
 * @property {number | null} rev Number of the last change up to which all changes are held; `null` before `open`.
 * @property {(options?: Abortable) => Promise<void>} open Reads the newest history, unless it is held, and sends what an
 * earlier page has left.
 * @property {(options?: Abortable) => Promise<void>} loadEarlier Reads the page of history before the oldest held message.
 * @property {(seq: number, options?: Abortable) => Promise<Message | undefined>} message Returns one message from the log or
 * from the server, or `undefined` if it does not exist.
 * @property {(content: string, options?: SendOptions & Abortable) => Promise<Message | undefined>} send Sends a message,
 * which may quote the message `replyTo` and may belong to the thread of the message `threadSeq`. Its outbox entry shows its
 * state; a failed entry waits for `retry` or `discard`. Returns the stored message, or `undefined` if it failed or if its
 * event came first.
 * @property {(key: string) => Promise<Message | undefined>} retry Sends a failed message again, with the same key, so that
 * it cannot be stored twice.
 * @property {(key: string) => void} discard Drops a message that is not sent.
 * @property {(seq: number, content: string, options?: Abortable) => Promise<Message>} edit Changes the text of a message as
 * the user sees it. Fails with `version_mismatch` if another text came meanwhile.
 * @property {(seq: number, options?: Abortable) => Promise<void>} delete Deletes a message; its number stays.
 * @property {(seq: number, emoji: string, options?: Abortable) => Promise<void>} react Adds the user's reaction. Its event
 * updates the message.
 * @property {(seq: number, emoji: string, options?: Abortable) => Promise<void>} unreact Removes the user's reaction.
 * @property {(options?: Abortable) => Promise<void>} sendTyping Shows the user as typing to others. Call it with each key:
 * one request every 3 seconds is made.
 * @property {(options?: Abortable) => Promise<unknown>} loadPresence Reads the list of present users, and keeps it.
 * @property {(seq: number, options?: Abortable) => Promise<Reply>} reply Returns the reply to a message as far as it is stored.
 * @property {(seq: number, options?: Abortable) => Promise<void>} stopReply Stops the reply to a message; the generated part
 * is kept.
 */
/**
 * State of the connection. `closed` has a `reason` if the server asked not to connect again.
 * @typedef {{ name: "connecting" | "live" | "waiting" | "offline" | "closed", retryAt?: number, reason?: string }} ConnectionState
 */
/**
 * Events of a client, with their details.
 * @typedef {object} ClientEvents
 * @property {ConnectionState} state The connection changed.
 * @property {{ count: number }} leftOut The connection leaves out so many channels of the user.
 * @property {any} frame A frame of the server, also of a type that this version does not know.
 * @property {{}} channels The list of channels changed.
 * @property {{ channelId: string, isDeleted: boolean }} removed A channel was deleted, or the user was removed from it.
 * @property {{ channelId: string, seq: number }} read The user has read a channel on another device.
 * @property {{ channelId: string }} members Members of a channel changed, or their read marks.
 * @property {{ channelId: string, messages: Message[] }} messages New messages of an opened channel, or pushed ones of another.
 * @property {{ channelId: string, messages: Message[] }} history The newest page of history of a channel was read.
 * @property {{ channelId: string, messages: Message[] }} revised Later states of messages, held or not.
 * @property {{ channelId: string }} change Messages, drafts or unsent messages of a channel changed.
 * @property {{ channelId: string }} typing Other users began or stopped typing.
 * @property {{ channelId: string }} presence Other users came or went.
 * @property {{ channelId: string, error: ProblemError }} problem A recovery failed, and will be repeated.
 */
/** @typedef {import("./errors.js").ProblemError} ProblemError */
/**
 * @typedef {object} ClientOptions
 * @property {string} rest Address of the REST API.
 * @property {string} websocket Address of the socket.
 * @property {TokenProvider} token
 * @property {string} [userId] Id of the user. Without it, the client asks the server.
 * @property {Store} [store] Keeps unsent messages. Without it, a reload loses them.
 * @property {typeof fetch} [fetch]
 * @property {any} [WebSocket]
 * @property {Clock} [clock]
 * @property {() => number} [random]
 * @property {() => string} [uuid]
 */

export {};
