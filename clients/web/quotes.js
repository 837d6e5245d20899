// Messages that are quoted or shown, and that the held history lacks. No DOM.

export class Quotes {
  #channel = null;
  /** By `seq`; `null` while a message is read, and if it does not exist. */
  #known = new Map();
  #onChange;

  /** `onChange` is called when a message has come. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Forgets all messages, and continues with another channel. */
  open(channel) {
    this.#channel = channel;
    this.#known.clear();
  }

  /** Returns a message; `null` until it is read, and if there is none. */
  get(seq) {
    const held = this.#channel?.log.get(seq) ?? this.#known.get(seq);
    if (held === undefined && this.#channel) this.#read(seq);
    return held ?? null;
  }

  /** Takes later states of messages. Returns `true` if one of them is quoted. */
  take(messages) {
    const quoted = messages.filter(({ seq }) => this.#known.has(seq));
    for (const message of quoted) this.#keep(message);
    return quoted.length > 0;
  }

  #keep(message) {
    const held = this.#known.get(message.seq);
    if (!held || held.version < message.version) this.#known.set(message.seq, message);
  }

  async #read(seq) {
    const channel = this.#channel;
    this.#known.set(seq, null);
    // Without the message, its number is shown.
    const message = await channel.message(seq).catch(() => null);
    if (!message || channel !== this.#channel) return;
    this.#keep(message);
    this.#onChange();
  }
}
