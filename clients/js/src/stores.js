// Stores of unsent messages.

/** @import { Store } from "./types.js" */

/** Returns a store in memory. A reload loses it. @returns {Store} */
export function memoryStore() {
  /** @type {Map<string, any>} */
  const values = new Map();
  return {
    set: async (key, value) => values.set(key, value),
    remove: async (key) => values.delete(key),
    all: async (prefix) => [...values].filter(([key]) => key.startsWith(prefix)).map(([, value]) => value),
  };
}

/** Returns a store in a database of the browser. @param {string} [name] Name of the database. @returns {Store} */
export function indexedDbStore(name = "switchboard") {
  /** @type {Promise<IDBDatabase> | null} */
  let opened = null;
  const settled = (/** @type {IDBRequest} */ request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  const open = () => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("values");
    return settled(request);
  };
  const run = async (/** @type {IDBTransactionMode} */ mode, /** @type {(values: IDBObjectStore) => IDBRequest} */ operation) => {
    const database = await (opened ??= open());
    return settled(operation(database.transaction("values", mode).objectStore("values")));
  };
  return {
    set: (key, value) => run("readwrite", (values) => values.put(value, key)),
    remove: (key) => run("readwrite", (values) => values.delete(key)),
    all: (prefix) => run("readonly", (values) => values.getAll(IDBKeyRange.bound(prefix, `${prefix}\uffff`))),
  };
}

/**
 * Returns a store in the `AsyncStorage` of React Native.
 * @param {{ getItem(key: string): Promise<string | null>, setItem(key: string, value: string): Promise<unknown>, removeItem(key: string): Promise<unknown>, getAllKeys(): Promise<readonly string[]> }} storage
 * @returns {Store}
 */
export function asyncStorageStore(storage) {
  return {
    set: (key, value) => storage.setItem(key, JSON.stringify(value)),
    remove: (key) => storage.removeItem(key),
    all: async (prefix) => {
      const keys = (await storage.getAllKeys()).filter((key) => key.startsWith(prefix));
      return (await Promise.all(keys.map((key) => storage.getItem(key)))).flatMap((value) => (value ? [JSON.parse(value)] : []));
    },
  };
}
