// Messages of Switchboard as those of the AI SDK. No DOM, no network.

/** @import { UIMessage } from "ai" */
/** @import { Message } from "../src/index.js" */

/** Key in a message's `metadata` with its id in the AI SDK, so that it has the same id after a reload. */
export const UI_ID = "ui_message_id";

/**
 * Fields of a message of Switchboard in the `metadata` of a `UIMessage`.
 * @typedef {object} ReplyMetadata
 * @property {number} [seq]
 * @property {string} [senderId]
 * @property {string} [createdAt]
 * @property {number} [replyTo] The question.
 * @property {string} [status] Of a reply: `complete`, `truncated` or `cancelled`.
 */

/** Returns the id of the reply to a message, while it is a draft and afterwards. @param {number} seq */
export const replyId = (seq) => `reply-${seq}`;

/** Returns a test for the stored reply to a message, or the notice in its place. @param {number} seq @returns {(message: Message) => boolean} */
export const isReplyTo = (seq) => ({ role, reply_to: replyTo }) => role !== "user" && replyTo === seq;

/** @param {Message} message @returns {ReplyMetadata} */
export const metadataOf = ({ seq, sender_id: senderId, created_at: createdAt, reply_to: replyTo, agent }) => ({ seq, senderId, createdAt, replyTo, status: agent?.status });

/**
 * Returns stored messages for `messages` of `useChat`. Deleted ones are left out. A notice of Switchboard, such as the reason of
 * a missing reply, has the role `system`.
 * @param {readonly Message[]} messages
 * @returns {UIMessage<ReplyMetadata>[]}
 */
export function toUIMessages(messages) {
  const ids = new Set();
  return messages
    .filter(({ deleted_at: deletedAt }) => !deletedAt)
    .map((message) => {
      const { seq, role, content, reply_to: replyTo, metadata } = message;
      const wanted = role === "user" ? metadata?.[UI_ID] : replyTo && replyId(replyTo);
      // Any user can choose an id, so it may exist already.
      const id = typeof wanted === "string" && !ids.has(wanted) ? wanted : `message-${seq}`;
      ids.add(id);
      return { id, role: role === "agent" ? "assistant" : role, metadata: metadataOf(message), parts: [{ type: "text", text: content, state: "done" }] };
    });
}

/**
 * Returns the parts of a message without those that another draft has replaced.
 * @template {{ parts: UIMessage["parts"] }} Message
 * @param {Message} message
 * @returns {Message["parts"]}
 */
export const currentParts = ({ parts }) => parts.filter((part) => !(part.type === "text" && part.providerMetadata?.switchboard?.isReplaced));
