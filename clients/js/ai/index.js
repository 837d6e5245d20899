// The adapter for the AI SDK (package `ai`): replies of Switchboard's agent in `useChat`. No DOM.

/** @import { ChatTransport, UIMessage, UIMessageChunk } from "ai" */
/** @import { Channel, Message, SwitchboardClient } from "../src/index.js" */
/** @import { Timers } from "./reply-stream.js" */
/** @typedef {import("./messages.js").ReplyMetadata} ReplyMetadata */
/** @typedef {ChatTransport<UIMessage>} Transport */

import { UI_ID, isReplyTo } from "./messages.js";
import { replyStream } from "./reply-stream.js";

/** @type {Timers} */
const system = {
  setTimeout: (action, delay) => setTimeout(action, delay),
  clearTimeout: (timer) => clearTimeout(timer),
};

export { currentParts, toUIMessages } from "./messages.js";

/**
 * Sends questions to a channel, and streams the agent's replies.
 *
 * The stream follows the draft of the reply, and ends with the stored reply. Lost frames cost time, but no text. A reply
 * that fails or is stopped by another user ends with an error. `stop` stops the reply for all readers.
 *
 * Another worker may begin a reply again. The AI SDK cannot take text back. Its part then ends with the mark
 * `providerMetadata.switchboard.isReplaced`, and the new text is another part. `currentParts` leaves the marked ones out.
 * @implements {Transport}
 */
export class SwitchboardChatTransport {
  #client;
  #channelId;
  #clock;
  /** The last attempt to resume, of each channel. @type {Map<string, object>} */
  #resumed = new Map();
  /** A resumed stream begins with the first word of the reply. */
  resumeStreamIsReplay = true;

  /**
   * `client` must be subscribed to the channel. `channelId` names it; otherwise the id of the chat does.
   * @param {{ client: SwitchboardClient, channelId?: string, clock?: Timers }} options
   */
  constructor({ client, channelId, clock = system }) {
    this.#client = client;
    this.#channelId = channelId;
    this.#clock = clock;
  }

  /**
   * Sends the last message of the user, and returns the reply to it.
   *
   * A message that could not be sent stays in `channel.outbox`, and `regenerate` sends it again. Of a stored question
   * without a reply, `regenerate` streams the reply; otherwise it sends the question again, as another message.
   * @param {Parameters<Transport["sendMessages"]>[0]} options
   * @returns {Promise<ReadableStream<UIMessageChunk>>}
   */
  async sendMessages({ trigger, chatId, messages, abortSignal: signal }) {
    const question = messages.findLast(({ role }) => role === "user");
    const text = question?.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
    if (!question || !text) throw new TypeError("Only a message with text can be sent.");
    const channel = await this.#open(chatId, signal);
    /** @param {{ metadata?: Record<string, any> }} message */
    const isQuestion = ({ metadata }) => metadata?.[UI_ID] === question.id;
    const stored = () => channel.messages.findLast((message) => this.#isOwn(message) && isQuestion(message));
    const failed = () => channel.outbox.findLast((entry) => entry.state === "failed" && isQuestion(entry));
    const held = trigger === "regenerate-message" && stored();
    const unsent = failed();
    /** @type {Message | undefined} */
    let sent;
    if (held && !channel.messages.some(isReplyTo(held.seq))) sent = held;
    else if (unsent) sent = await channel.retry(unsent.key);
    else sent = await channel.send(text, { metadata: { [UI_ID]: question.id }, signal });
    // If the event came before the response, the message is in the log only.
    sent ??= failed() ? undefined : stored();
    if (!sent) throw failed()?.error ?? new Error("The message was not sent.");
    return this.#follow(channel, sent.seq, signal);
  }

  /**
   * Streams the reply to the user's last question from its beginning, for example after a reload. Returns `null` if that
   * reply is complete, or has not begun.
   * @param {Parameters<Transport["reconnectToStream"]>[0]} options
   * @returns {Promise<ReadableStream<UIMessageChunk> | null>}
   */
  async reconnectToStream({ chatId, abortSignal: signal }) {
    const id = this.#channelId ?? chatId;
    const attempt = {};
    this.#resumed.set(id, attempt);
    const channel = await this.#open(chatId, signal);
    const question = channel.messages.findLast((message) => this.#isOwn(message));
    if (!question || channel.messages.some(isReplyTo(question.seq))) return null;
    if (!channel.drafts.some(({ replyTo }) => replyTo === question.seq)) {
      try {
        await channel.reply(question.seq, { signal });
      } catch (/** @type {any} */ error) {
        if (error.code !== "reply_not_found") throw error;
        return null;
      }
    }
    // A second attempt aborts the first one. That must not stop the reply.
    return this.#follow(channel, question.seq, signal, () => this.#resumed.get(id) === attempt);
  }

  /** @param {string} chatId @param {AbortSignal} [signal] */
  #open(chatId, signal) {
    return this.#client.open(this.#channelId ?? chatId, { signal });
  }

  /** @param {Message} message */
  #isOwn({ role, sender_id: sender }) {
    return role === "user" && sender === this.#client.userId;
  }

  /** @param {Channel} channel @param {number} seq @param {AbortSignal} [signal] @param {() => boolean} [isCurrent] */
  #follow(channel, seq, signal, isCurrent) {
    return replyStream({ client: this.#client, clock: this.#clock, channel, seq, signal, isCurrent });
  }
}
