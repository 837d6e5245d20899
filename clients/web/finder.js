// The search for channels by name: own ones at once, public ones from the server. No DOM, no clock.

/** Time without typing after which the server is asked. */
export const SEARCH_DELAY_MS = 200;

/** Returns a name in the form in which names are compared. The server compares by `NFKC_Casefold`, which is close to this. */
export const folded = (text) => text.normalize("NFKC").toLowerCase().normalize("NFKC").trim();

/**
 * Finds channels while a name is typed. A later text replaces the request of an earlier one, so an old response is never
 * shown.
 */
export class Finder {
  #own;
  #search;
  #onChange;
  #after;
  #text = "";
  #found = [];
  #hasMore = false;
  #isSearching = false;
  #error = null;
  #cancel = () => {};

  /**
   * `own` returns the user's channels. `search(text, { signal })` returns `{ channels, hasMore }` from the server.
   * `onChange` is called with each result. `after(delay, action)` runs an action later, and returns its cancel.
   */
  constructor({ own, search, onChange, after }) {
    this.#own = own;
    this.#search = search;
    this.#onChange = onChange;
    this.#after = after;
  }

  /** Text, rows and state of the search. Each row is `{ channel, isOwn }`. */
  get result() {
    return { text: this.#text, rows: this.#text ? this.#rows() : [], hasMore: this.#hasMore, isSearching: this.#isSearching, error: this.#error };
  }

  /** Takes the text of the field. */
  type(typed) {
    const text = typed.trim();
    if (text === this.#text) return;
    this.#cancel();
    this.#text = text;
    this.#isSearching = text !== "";
    this.#error = null;
    // The earlier response stays as far as it fits, so that rows do not flicker.
    this.#found = this.#found.filter(({ name }) => text && folded(name).startsWith(folded(text)));
    this.#hasMore = false;
    if (text) {
      const abort = new AbortController();
      const stop = this.#after(SEARCH_DELAY_MS, () => this.#ask(text, abort.signal));
      this.#cancel = () => {
        stop();
        abort.abort();
      };
    } else this.#cancel = () => {};
    this.#onChange();
  }

  async #ask(text, signal) {
    let outcome;
    try {
      const { channels, hasMore } = await this.#search(text, { signal });
      outcome = () => {
        this.#found = channels;
        this.#hasMore = hasMore;
      };
    } catch (error) {
      outcome = () => (this.#error = error);
    }
    // Another text has been typed.
    if (signal.aborted) return;
    outcome();
    this.#isSearching = false;
    this.#onChange();
  }

  #rows() {
    const text = folded(this.#text);
    const own = this.#own();
    const ids = new Set(own.map(({ channel_id: id }) => id));
    const named = own.filter(({ name }) => folded(name).includes(text));
    const begins = ({ name }) => folded(name).startsWith(text);
    // An archived channel cannot be joined; its members can read it.
    const found = this.#found.filter(({ channel_id: id, archived_at: archived, membership }) => !ids.has(id) && (membership || !archived));
    return [
      ...named.filter(begins),
      ...named.filter((channel) => !begins(channel)),
      ...found.filter(({ membership }) => membership),
      ...found.filter(({ membership }) => !membership),
    ].map((channel) => ({ channel, isOwn: Boolean(channel.membership) }));
  }
}

/** Returns the line about a result for screen readers; empty while the server is asked. */
export function resultText({ text, rows, hasMore, isSearching, error }) {
  if (!text || isSearching) return "";
  if (error) return `The public channels could not be searched. ${error.message}`;
  if (rows.length === 0) return `No channel begins with “${text}”`;
  const count = rows.length === 1 ? "1 channel" : `${rows.length} channels`;
  return hasMore ? `${count}, and more: type more of the name` : count;
}
