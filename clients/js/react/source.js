// State of a client that components share. No React, no DOM.

/** @import { Failure } from "./types.js" */
/**
 * Parts of a source.
 * @template Fields
 * @typedef {object} Parts
 * @property {(isFirst?: boolean) => Fields} read Returns the fields as they are now, or as they are before anything is known.
 * @property {() => (() => void)[]} listen Follows the changes. Returns its ends.
 * @property {(signal: AbortSignal) => Promise<unknown>} [load] Makes the request of the first component.
 */

/** Returns `true` for the same values, and for arrays of the same elements. @param {any} one @param {any} other */
const isSame = (one, other) =>
  one === other || (Array.isArray(one) && Array.isArray(other) && one.length === other.length && one.every((element, at) => element === other[at]));

/** @type {WeakMap<object, Map<string, Source<any>>>} */
const sources = new WeakMap();

/**
 * Returns the source with a key of a client: all components share it.
 * @template Fields
 * @param {object} client @param {string} key @param {(source: Source<Fields>) => Parts<Fields>} parts
 * @returns {Source<Fields>}
 */
export function sourceOf(client, key, parts) {
  const all = sources.get(client) ?? new Map();
  sources.set(client, all);
  return all.get(key) ?? new Source(parts, all, key);
}

/**
 * Fields of a client, in snapshots for `useSyncExternalStore`.
 *
 * A snapshot is the same object until a field changes, and so is each of its arrays. The first listener starts the
 * request, and the end of the last one aborts it.
 * @template Fields
 */
export class Source {
  #parts;
  #all;
  #key;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  /** Ends of the events; `null` without a listener. @type {(() => void)[] | null} */
  #ends = null;
  /** The last snapshot. @type {any} */
  #held;
  /** @type {Fields | undefined} */
  #first;
  #isCurrent = false;
  /** @type {Map<string, AbortController>} */
  #running = new Map();
  /** Error of the last request. @type {Failure | null} */
  error = null;

  /** @param {(source: Source<Fields>) => Parts<Fields>} parts @param {Map<string, Source<any>>} all @param {string} key */
  constructor(parts, all, key) {
    this.#all = all.set(key, this);
    this.#key = key;
    this.#parts = parts(this);
  }

  /** @param {() => void} listener */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    if (!this.#ends) {
      this.#ends = this.#parts.listen();
      this.load();
    }
    return () => {
      this.#listeners.delete(listener);
      // In the same commit, another component may follow, and in StrictMode the same one.
      queueMicrotask(this.#endUnused);
    };
  };

  #endUnused = () => {
    if (this.#listeners.size > 0 || !this.#ends) return;
    for (const end of this.#ends) end();
    for (const abort of this.#running.values()) abort.abort();
    this.#running.clear();
    this.#ends = null;
    this.#isCurrent = false;
    if (this.#all.get(this.#key) === this) this.#all.delete(this.#key);
  };

  /** @returns {Fields} */
  snapshot = () => {
    const held = this.#held;
    if (held && this.#isCurrent) return held;
    const next = /** @type {any} */ (this.#parts.read());
    let isChanged = !held;
    for (const name in { ...held, ...next }) {
      if (held && isSame(held[name], next[name])) next[name] = held[name];
      else isChanged = true;
    }
    // Without a listener, no event tells of a change.
    this.#isCurrent = this.#ends !== null;
    return (this.#held = isChanged ? next : held);
  };

  /** Returns the snapshot on a server, and of the first render in a browser after it. */
  first = () => (this.#first ??= this.#parts.read(true));

  changed = () => {
    this.#isCurrent = false;
    for (const listener of this.#listeners) listener();
  };

  load = () => this.run("load", this.#parts.load);

  /** Repeats the request if it failed for a reason that may have passed. */
  recover = () => {
    if (this.error && this.error.isTransient !== false) this.load();
  };

  /** @param {string} name */
  isRunning(name) {
    return this.#running.has(name);
  }

  /**
   * Runs a request in place of a running one with its name. Its failure becomes `error`.
   * @param {string} name @param {(signal: AbortSignal) => Promise<unknown>} [request]
   */
  async run(name, request) {
    if (!request || !this.#ends) return;
    this.#running.get(name)?.abort();
    const abort = new AbortController();
    this.#running.set(name, abort);
    this.error = null;
    this.changed();
    const error = await request(abort.signal).then(
      () => null,
      (failure) => failure,
    );
    // Neither an aborted request nor a replaced one has an outcome.
    if (this.#running.get(name) !== abort) return;
    this.#running.delete(name);
    this.error = error;
    this.changed();
  }
}
