// The form that writes messages: one for the channel, and one for a thread.

import { excerpt } from "./markdown.js";
import { isComposing } from "./message-actions.js";
import { $, touch } from "./page.js";
import { answer } from "./timeline.js";

/** Maximum content of a message in the API, in bytes of UTF-8. */
export const MAX_CONTENT_BYTES = 32_768;
const encoder = new TextEncoder();

/** Returns the size of a text in the API. */
export const sizeOf = (text) => encoder.encode(text).length;

/** Returns the words about a text that is too long. */
export const sizeText = (bytes) => `Too long: ${bytes.toLocaleString()} of ${MAX_CONTENT_BYTES.toLocaleString()} bytes`;

export class Composer {
  #prefix;
  #state;
  #onSend;
  #onText;
  #replyTo = null;

  /**
   * `prefix` begins the ids of the form's elements. `state` returns whether the channel accepts messages (`enabled`), and
   * the text of the empty field (`placeholder`). `onSend` gets the content of a message, and its `replyTo` and `threadSeq`.
   * `onText` gets the text after each change by the user. `onArrowUp` is called in an empty field, and returns `true` if it
   * has moved the focus.
   */
  constructor({ prefix = "composer", state, onSend, onText = () => {}, onArrowUp = () => false }) {
    this.#prefix = prefix;
    this.#state = state;
    this.#onSend = onSend;
    this.#onText = onText;
    const input = this.#input;
    input.addEventListener("input", () => {
      this.resize();
      this.#onText(this.text);
    });
    input.addEventListener("keydown", (event) => {
      // During the composition of a character, the input method handles the keys.
      if (isComposing(event)) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.#submit();
      } else if (event.key === "ArrowUp" && !this.text && !this.#replyTo && onArrowUp()) {
        event.preventDefault();
      }
    });
    this.#part().addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#part("reply-cancel").addEventListener("click", () => {
      this.setReply(null);
      this.focus();
    });
  }

  get text() {
    return this.#input.value;
  }

  set text(text) {
    this.#input.value = text;
  }

  get replyTo() {
    return this.#replyTo;
  }

  #part(name) {
    return $(name ? `${this.#prefix}-${name}` : this.#prefix);
  }

  get #input() {
    return this.#part("input");
  }

  /** The choice whether an answer belongs to the thread. The form of a thread has none. */
  get #choice() {
    return this.#part("thread");
  }

  #submit() {
    const content = this.text.trim();
    if (!this.#state().enabled || !content || sizeOf(content) > MAX_CONTENT_BYTES) return;
    const reply = this.#replyTo ? answer(this.#replyTo, this.#choice?.checked ?? true) : {};
    this.setReply(null);
    this.write("");
    this.#onSend(content, reply);
  }

  /** Sets the text as if the user had written it. */
  write(text) {
    this.text = text;
    this.resize();
    this.#onText(text);
  }

  /**
   * Sets the message that the next one answers; `null` for none. By default, an answer to a message of a thread belongs to
   * the thread.
   */
  setReply(message) {
    this.#replyTo = message;
    if (this.#choice) this.#choice.checked = Number.isSafeInteger(message?.thread_seq) || Boolean(message?.thread);
    this.#part("reply").hidden = !message;
    this.#part("reply-text").textContent = message ? `Reply to ${message.sender_id}: ${excerpt(message, 80)}` : "";
  }

  /** Fits the form to its text and to the state of the channel. */
  resize() {
    const { enabled, placeholder } = this.#state();
    const input = this.#input;
    input.disabled = !enabled;
    input.placeholder = placeholder;
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
    const bytes = sizeOf(input.value.trim());
    const over = bytes > MAX_CONTENT_BYTES;
    this.#part("size").textContent = over ? sizeText(bytes) : "";
    this.#part("send").disabled = input.disabled || bytes === 0 || over;
  }

  /** Follows the state of the channel. Leaves the text and its size alone. */
  refresh() {
    const { enabled, placeholder } = this.#state();
    const input = this.#input;
    if (input.disabled === enabled || input.placeholder !== placeholder) this.resize();
  }

  focus() {
    // On a phone the keyboard would cover the messages.
    if (!touch.matches) this.#input.focus();
  }
}
