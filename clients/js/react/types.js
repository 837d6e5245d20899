// Types of the hooks. This file has no code.

/** @import { Abortable, ChannelInfo, Draft, DraftStatus, Message, OutboxEntry, SendOptions } from "../src/types.js" */
/** An error of a request. Only problems have `isTransient`. @typedef {Error & { isTransient?: boolean, code?: string, status?: number }} Failure */
/**
 * @typedef {object} ChannelsState
 * @property {ChannelInfo[]} channels Newest activity first.
 * @property {ReadonlyMap<string, number>} unread Number of unread messages, by the id of the channel.
 * @property {boolean} isLoading `true` until the list or an error has come.
 * @property {Failure | null} error
 * @property {() => Promise<void>} reload
 */
/**
 * @typedef {object} MessagesState
 * @property {Message[]} messages By ascending `seq`.
 * @property {Draft[]} drafts Replies that are being written.
 * @property {OutboxEntry[]} outbox Messages that are not yet known to be stored.
 * @property {boolean} hasEarlier `true` if there is history before the messages.
 * @property {boolean} isLoading `true` until the history or an error has come.
 * @property {boolean} isLoadingEarlier
 * @property {Failure | null} error
 * @property {() => Promise<void>} reload Opens the channel again after an error.
 * @property {() => Promise<void>} loadEarlier Reads the page before the messages, once at a time.
 * @property {(seq: number, content: string, options?: Abortable) => Promise<Message>} edit
 * @property {(seq: number, options?: Abortable) => Promise<void>} remove Deletes a message.
 * @property {(seq: number, emoji: string, options?: Abortable) => Promise<void>} react
 * @property {(seq: number, emoji: string, options?: Abortable) => Promise<void>} unreact
 * @property {(seq?: number) => void} markRead Moves the read mark, by default to the newest message.
 */
/**
 * @typedef {object} SendState
 * @property {OutboxEntry[]} outbox Messages that are not yet known to be stored.
 * @property {(content: string, options?: SendOptions & Abortable) => Promise<Message | undefined>} send
 * @property {(key: string) => Promise<Message | undefined>} retry Sends a failed message again.
 * @property {(key: string) => void} discard Drops a message that is not sent.
 */
/**
 * @typedef {object} TypingState
 * @property {string[]} typing Ids of the other users that type.
 * @property {() => void} sendTyping Shows the user as typing. Call it with each key.
 */
/**
 * @typedef {object} ReplyState
 * @property {DraftStatus | null} status `null` if there is no reply.
 * @property {string} text The text so far. Of a failed reply, it is the reason.
 * @property {Message | undefined} message The message that ended the reply.
 * @property {() => Promise<void>} stop Stops the reply. The text until then is kept.
 */

export {};
