// Messages that are not yet known to be stored by the server. They survive a reload in a store. No DOM.

/** @import { Message, OutboxEntry, Store } from "./types.js" */

/** Key in a message's `metadata` by which a client recognizes its own message on the socket. */
export const CLIENT_KEY = "client_key";

/** Messages of one channel of this client without a confirmation that they are stored, in the order of their creation. */
export class Outbox {
  /** @type {Map<string, OutboxEntry>} */
  #entries = new Map();
  #store;
  #prefix;
  /** The last operation of the store: they run one after the other. @type {Promise<unknown>} */
  #stored = Promise.resolve();

  /** @param {Store} [store] @param {() => Promise<string>} [prefix] Returns the beginning of the entries' keys in the store. */
  constructor(store, prefix = async () => "") {
    this.#store = store;
    this.#prefix = prefix;
  }

  get entries() {
    return [...this.#entries.values()];
  }

  /** @param {string} key */
  get(key) {
    return this.#entries.get(key);
  }

  /** Adds or replaces an entry. @param {OutboxEntry} entry */
  put(entry) {
    this.#entries.set(entry.key, entry);
    const { error, ...kept } = entry;
    this.#keep((store, prefix) => store.set(prefix + entry.key, kept));
  }

  /** @param {string} key */
  sending(key) {
    this.#change(key, { state: "sending", error: null });
  }

  /** @param {string} key @param {any} error */
  failed(key, error) {
    this.#change(key, { state: "failed", error });
  }

  /** Drops confirmed entries, by key or by the key in a stored message. @param {(string | Message)[]} keysOrMessages */
  settle(...keysOrMessages) {
    for (const item of keysOrMessages) {
      const key = typeof item === "string" ? item : item?.metadata?.[CLIENT_KEY];
      if (this.#entries.delete(key)) this.#keep((store, prefix) => store.remove(prefix + key));
    }
  }

  /** Takes the entries that an earlier page has left. Returns their keys, in their order. */
  async load() {
    /** @type {OutboxEntry[]} */
    const found = [];
    await this.#keep(async (store, prefix) => {
      for (const name of await store.keys()) if (name.startsWith(prefix)) found.push(await store.get(name));
    });
    const later = this.entries;
    const lost = found.filter((entry) => entry && !this.#entries.has(entry.key)).sort((a, b) => a.createdAt - b.createdAt);
    this.#entries.clear();
    for (const entry of [...lost, ...later]) this.#entries.set(entry.key, entry);
    return lost;
  }

  /** @param {string} key @param {Partial<OutboxEntry>} change */
  #change(key, change) {
    const entry = this.#entries.get(key);
    if (entry) this.put({ ...entry, ...change });
  }

  /** Runs an operation of the store. Messages are sent without a store that works, too. @param {(store: Store, prefix: string) => Promise<unknown>} operation */
  #keep(operation) {
    const store = this.#store;
    if (store) this.#stored = this.#stored.then(async () => operation(store, await this.#prefix())).catch(() => {});
    return this.#stored;
  }
}
