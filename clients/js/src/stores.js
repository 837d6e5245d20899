// Stores of unsent messages.

/** @import { Store } from "./types.js" */

/** Returns a store in memory. A reload loses it. @returns {Store} */
export function memoryStore() {
  /** @type {Map<string, any>} */
  const values = new Map();
  return {
    get: async (key) => values.get(key),
    set: async (key, value) => values.set(key, value),
    remove: async (key) => values.delete(key),
    keys: async () => [...values.keys()],
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
    get: (key) => run("readonly", (values) => values.get(key)),
    set: (key, value) => run("readwrite", (values) => values.put(value, key)),
    remove: (key) => run("readwrite", (values) => values.delete(key)),
    keys: () => run("readonly", (values) => values.getAllKeys()),
  };
}

/**
 * Returns a store in the `AsyncStorage` of React Native.
 * @param {{ getItem(key: string): Promise<string | null>, setItem(key: string, value: string): Promise<unknown>, removeItem(key: string): Promise<unknown>, getAllKeys(): Promise<readonly string[]> }} storage
 * @returns {Store}
 */
export function asyncStorageStore(storage) {
  return {
    get: async (key) => JSON.parse((await storage.getItem(key)) ?? "null"),
    set: (key, value) => storage.setItem(key, JSON.stringify(value)),
    remove: (key) => storage.removeItem(key),
    keys: () => storage.getAllKeys(),
  };
}
