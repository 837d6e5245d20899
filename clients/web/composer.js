// The form that writes messages.

import { excerpt } from "./markdown.js";
import { $, touch } from "./page.js";
import { answer } from "./timeline.js";

/** Maximum content of a message in the API, in bytes of UTF-8. */
const MAX_CONTENT_BYTES = 32_768;
const encoder = new TextEncoder();

export class Composer {
  #state;
  #onSend;
  #replyTo = null;

  /**
   * `state` returns whether the channel accepts messages (`enabled`), and the text of the empty field (`placeholder`).
   * `onSend` gets the content of a message, and its `replyTo` and `threadSeq`.
   */
  constructor({ state, onSend }) {
    this.#state = state;
    this.#onSend = onSend;
    const input = $("composer-input");
    input.addEventListener("input", () => this.resize());
    input.addEventListener("keydown", (event) => {
      // During the composition of a character, the input method handles Enter.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    $("composer-reply-cancel").addEventListener("click", () => {
      this.setReply(null);
      this.focus();
    });
  }

  get text() {
    return $("composer-input").value;
  }

  set text(text) {
    $("composer-input").value = text;
  }

  get replyTo() {
    return this.#replyTo;
  }

  #submit() {
    const content = this.text.trim();
    if (!this.#state().enabled || !content || encoder.encode(content).length > MAX_CONTENT_BYTES) return;
    const reply = this.#replyTo ? answer(this.#replyTo, $("composer-thread").checked) : {};
    this.text = "";
    this.setReply(null);
    this.resize();
    this.#onSend(content, reply);
  }

  /**
   * Sets the message that the next one answers; `null` for none. By default, an answer to a message of a thread belongs to
   * the thread.
   */
  setReply(message) {
    this.#replyTo = message;
    $("composer-thread").checked = Number.isSafeInteger(message?.thread_seq) || Boolean(message?.thread);
    $("composer-reply").hidden = !message;
    $("composer-reply-text").textContent = message ? `Reply to ${message.sender_id}: ${excerpt(message, 80)}` : "";
  }

  /** Fits the form to its text and to the state of the channel. */
  resize() {
    const { enabled, placeholder } = this.#state();
    const input = $("composer-input");
    input.disabled = !enabled;
    input.placeholder = placeholder;
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
    const bytes = encoder.encode(input.value.trim()).length;
    const over = bytes > MAX_CONTENT_BYTES;
    $("composer-size").textContent = over
      ? `Too long: ${bytes.toLocaleString()} of ${MAX_CONTENT_BYTES.toLocaleString()} bytes`
      : "";
    $("composer-send").disabled = input.disabled || bytes === 0 || over;
  }

  /** Follows the state of the channel. Leaves the text and its size alone. */
  refresh() {
    const { enabled, placeholder } = this.#state();
    const input = $("composer-input");
    if (input.disabled === enabled || input.placeholder !== placeholder) this.resize();
  }

  focus() {
    // On a phone the keyboard would cover the messages.
    if (!touch.matches) $("composer-input").focus();
  }
}
