// One reply as a stream of the AI SDK. No DOM.

/** @import { UIMessageChunk } from "ai" */
/** @import { SwitchboardClient } from "../src/client.js" */
/** @import { Channel } from "../src/channel.js" */
/** @import { Clock, Message } from "../src/types.js" */

import { after } from "../src/time.js";
import { isReplyTo, metadataOf, replyId } from "./messages.js";

/** Time without progress after which the reply is read: its last frame may be lost. */
const QUIET_MS = 10_000;
/** Number of reads in a row that find no reply, after which none is expected. */
const MISSES = 6;
/** Values of `agent.status`, and the reasons that the AI SDK has for them. */
const REASONS = /** @type {const} */ ({ complete: "stop", truncated: "length" });

/**
 * Follows the reply to the message `seq`: its draft as the channel has it, and then its message.
 *
 * `isCurrent` returns `false` if another stream follows in the place of this one. Then an abort does not stop the reply.
 */
export class ReplyStream {
  #channel;
  #seq;
  #clock;
  #isCurrent;
  /** @type {(() => void)[]} */
  #offs;
  /** @type {any} */
  #controller;
  /** Text of the open part; empty if none is open. */
  #text = "";
  /** Number of the open part. */
  #part = 0;
  #hasStarted = false;
  /** `false` once the reader has left. */
  #isOpen = true;
  #hasEnded = false;
  #misses = 0;
  /** Cancels the next read. */
  #cancel = () => {};
  stream;

  /** @param {{ client: SwitchboardClient, channel: Channel, seq: number, clock: Clock, signal?: AbortSignal, isCurrent?: () => boolean }} options */
  constructor({ client, channel, seq, clock, signal, isCurrent = () => true }) {
    this.#channel = channel;
    this.#seq = seq;
    this.#clock = clock;
    this.#isCurrent = isCurrent;
    const abort = () => void this.#abort();
    const mine = (/** @type {() => void} */ action) => (/** @type {{ channelId: string }} */ event) => void (event.channelId === channel.id && action());
    this.#offs = [
      client.on("change", mine(() => this.#update())),
      client.on("removed", mine(() => this.#fail("The channel was removed."))),
      () => signal?.removeEventListener("abort", abort),
      () => this.#cancel(),
    ];
    /** @type {ReadableStream<UIMessageChunk>} */
    this.stream = new ReadableStream({
      start: (controller) => void (this.#controller = controller),
      // A reader that leaves does not stop the reply.
      cancel: () => {
        this.#isOpen = false;
        this.#end();
      },
    });
    signal?.addEventListener("abort", abort);
    this.#wait();
    if (signal?.aborted) abort();
    else this.#update();
  }

  /** @param {UIMessageChunk} chunk */
  #put(chunk) {
    if (this.#isOpen) this.#controller.enqueue(chunk);
  }

  /** Takes the state of the channel. */
  #update() {
    if (this.#hasEnded) return;
    const message = this.#channel.messages.find(isReplyTo(this.#seq));
    if (message) return this.#complete(message);
    const draft = this.#draft;
    if (!draft?.id) return;
    this.#misses = 0;
    if (this.#isOpen) this.#show(draft.text);
    // The reply had not begun when it was stopped.
    else this.#stop();
  }

  get #draft() {
    return this.#channel.drafts.find(({ replyTo }) => replyTo === this.#seq);
  }

  /**
   * Shows a text. It continues the open part, or replaces it if it differs. A beginning of the shown text tells nothing new, unless
   * it is the whole reply.
   * @param {string} text
   */
  #show(text, isWhole = false) {
    if (text === this.#text || (!isWhole && this.#text.startsWith(text))) return;
    this.#start();
    if (!text.startsWith(this.#text)) this.#endPart(true);
    const id = `text-${this.#part}`;
    if (text && !this.#text) this.#put({ type: "text-start", id });
    if (text) this.#put({ type: "text-delta", id, delta: text.slice(this.#text.length) });
    this.#text = text;
    this.#wait();
  }

  #start() {
    if (!this.#hasStarted) this.#put({ type: "start", messageId: replyId(this.#seq), messageMetadata: { replyTo: this.#seq } });
    this.#hasStarted = true;
  }

  #endPart(isReplaced = false) {
    const providerMetadata = isReplaced ? { switchboard: { isReplaced } } : undefined;
    if (this.#text) this.#put({ type: "text-end", id: `text-${this.#part}`, providerMetadata });
    this.#part += 1;
    this.#text = "";
  }

  /** Ends with a stored message. @param {Message} message */
  #complete(message) {
    const { role, content, agent } = message;
    if (role !== "agent") return this.#fail(content);
    this.#show(content, true);
    this.#start();
    this.#endPart();
    const messageMetadata = metadataOf(message);
    const { status } = messageMetadata;
    if (status === "cancelled") {
      this.#put({ type: "message-metadata", messageMetadata });
      return this.#fail("The reply was stopped.");
    }
    this.#put({ type: "finish", messageMetadata, finishReason: REASONS[/** @type {keyof typeof REASONS} */ (status)] ?? "other" });
    this.#end();
  }

  /** Ends with an error. The text until then is not the reply. @param {string} errorText */
  #fail(errorText) {
    this.#endPart(true);
    this.#put({ type: "error", errorText });
    this.#end();
  }

  #end() {
    this.#hasEnded = true;
    for (const off of this.#offs) off();
    if (this.#isOpen) this.#controller.close();
  }

  /** Ends the stream, and stops the reply. */
  async #abort() {
    this.#put({ type: "abort" });
    this.#controller.close();
    this.#isOpen = false;
    // The attempt that takes the place of this one begins in the same turn.
    await null;
    if (this.#isCurrent()) this.#stop();
    else this.#end();
  }

  #stop() {
    // A reply that has not begun cannot be stopped yet.
    if (this.#draft?.id) this.#end();
    this.#channel.stopReply(this.#seq).catch(() => {});
  }

  /** Reads the reply after a time without progress. */
  #wait() {
    this.#cancel();
    if (!this.#hasEnded) this.#cancel = after(this.#clock, QUIET_MS, () => void this.#read());
  }

  async #read() {
    const channel = this.#channel;
    try {
      const { seq, status, text, draft_id: id } = await channel.reply(this.#seq);
      const message = seq ? await channel.message(seq) : undefined;
      if (this.#hasEnded) return;
      if (message) return this.#complete(message);
      if (status === "cancelled") return this.#fail("The reply was stopped.");
      if (status === "failed") this.#misses += 1;
      // The response may be older than the draft.
      else if (!this.#draft?.id || this.#draft.id === id) this.#show(text);
    } catch (/** @type {any} */ error) {
      if (this.#hasEnded) return;
      // The agent writes the replies of a channel one after the other.
      if (error.code === "reply_not_found") this.#misses += channel.drafts.length > 0 ? 0 : 1;
      else if (!error.isTransient) return this.#fail(error.message);
    }
    if (this.#misses >= MISSES) return this.#fail("The agent has not replied.");
    this.#wait();
  }
}
