// Texts that the user has begun, by the place where they will be sent. No DOM.

export class Texts {
  #storage;
  #user;

  /** `storage` is that of the tab, so that two tabs of a user do not share a text. It may be missing. */
  constructor(storage, user) {
    this.#storage = storage;
    this.#user = user;
  }

  /** Returns the text for a channel, or for a thread in it. */
  get(channelId, threadSeq = 0) {
    try {
      return this.#storage?.getItem(this.#key(channelId, threadSeq)) ?? "";
    } catch {
      return "";
    }
  }

  set(text, channelId, threadSeq = 0) {
    try {
      if (text) this.#storage?.setItem(this.#key(channelId, threadSeq), text);
      else this.#storage?.removeItem(this.#key(channelId, threadSeq));
    } catch {
      // The text then lasts as long as the field shows it.
    }
  }

  // Ids have no slash.
  #key = (channelId, threadSeq) => `switchboard.text/${this.#user}/${channelId}/${threadSeq}`;
}

/** Returns the storage of the tab, or `null` if the browser denies it. */
export function tabStorage() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}
