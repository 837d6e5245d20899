// Sends the messages of one channel, one after the other. Unsent ones survive a reload in a store. No DOM.

/** @import { Abortable, Message, OutboxEntry, ProblemError, SendOptions, Store } from "./types.js" */
/** @import { Core } from "./client.js" */
/** @import { Request } from "./rest.js" */

import { KEY_MS, SEND_ATTEMPTS } from "./limits.js";
import { backoff } from "./time.js";

/** Key in a message's `metadata` by which a client recognizes its own message on the socket. */
export const CLIENT_KEY = "client_key";

/**
 * @param {Core} core @param {string} id Of the channel. @param {Request} request Makes a request below the channel's path.
 * @param {(message: Message, rev: unknown) => void} taken Takes a stored message. @param {() => void} changed
 */
export function createSender({ after, now, random, uuid, isLive, identify, store }, id, request, taken, changed) {
  /** Messages without a confirmation that they are stored, in the order of their creation. @type {Map<string, OutboxEntry>} */
  const outbox = new Map();
  /** The last operation of the store, and the last send: each ends before the next one begins. @type {Promise<any>} */
  let stored = Promise.resolve();
  /** @type {Promise<any>} */
  let last = stored;
  let isClosed = false;
  /** Ends the wait for the next attempt. */
  let wake = () => {};

  /** Runs an operation of the store. Messages are sent without a store that works, too. @param {(store: Store, prefix: string) => Promise<any>} operation */
  const keep = (operation) =>
    (stored = stored.then(async () => store && operation(store, `switchboard/${await identify()}/${id}/`)).catch(() => {}));

  /** Adds or replaces an entry. @param {Omit<OutboxEntry, "state" | "error">} entry @param {OutboxEntry["state"]} state @param {ProblemError | null} [error] */
  function put(entry, state, error = null) {
    outbox.set(entry.key, { ...entry, state, error });
    keep((store, prefix) => store.set(prefix + entry.key, { ...entry, state, error: null }));
    changed();
  }

  /** Drops a confirmed entry. @param {any} key */
  function drop(key) {
    if (outbox.delete(key)) keep((store, prefix) => store.remove(prefix + key));
  }

  /** Sends an entry after the ones before it. @param {string} key @param {AbortSignal} [signal] @returns {Promise<Message | undefined>} */
  function deliver(key, signal) {
    const sent = last.then(() => post(key, signal));
    last = sent.catch(() => {});
    return sent;
  }

  /** Drops a message that is not sent. @param {string} key */
  function discard(key) {
    drop(key);
    changed();
  }

  /** @param {string} key @param {AbortSignal} [signal] @returns {Promise<Message | undefined>} */
  async function post(key, signal) {
    for (let attempt = 0, counted = 0; ; attempt += 1) {
      const entry = outbox.get(key);
      // The push has delivered it although the response was lost, it is discarded, or an earlier one failed.
      if (entry?.state !== "sending" || isClosed) return undefined;
      const body = { content: entry.content, content_type: entry.contentType, metadata: { ...entry.metadata, [CLIENT_KEY]: key }, reply_to: entry.replyTo, thread_seq: entry.threadSeq };
      try {
        // The response has the channel's change number beside the message.
        const { rev, ...message } = await request("POST", "/messages", { body, headers: { "idempotency-key": key }, signal });
        drop(key);
        taken(message, rev);
        return message;
      } catch (/** @type {any} */ error) {
        if (signal?.aborted) {
          discard(key);
          throw error;
        }
        if (isLive()) counted += 1;
        if (!error.isTransient || counted >= SEND_ATTEMPTS) {
          // After a failure that may pass, all later entries fail too: so they can be sent in their order.
          let isLater = false;
          for (const one of outbox.values()) {
            if (one !== entry && !isLater) continue;
            put(one, "failed", error);
            isLater = error.isTransient;
          }
          return undefined;
        }
        await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
          const cancel = after(backoff(attempt, random, error), resolve);
          wake = () => (cancel(), resolve());
        });
      }
    }
  }

  return {
    recover: () => wake(),

    get entries() {
      return [...outbox.values()];
    },

    /** Drops the entries of stored messages. @param {Message[]} messages */
    settle(messages) {
      for (const one of messages) drop(one.metadata?.[CLIENT_KEY]);
    },

    /** Takes and sends what an earlier page has left, after what was sent meanwhile. */
    async restore() {
      /** @type {OutboxEntry[]} */
      const found = (await keep((store, prefix) => store.all(prefix))) ?? [];
      for (const entry of found.sort((a, b) => a.createdAt - b.createdAt)) {
        if (outbox.has(entry.key)) continue;
        put(entry, now() - entry.createdAt > KEY_MS ? "failed" : entry.state);
        deliver(entry.key);
      }
    },

    actions: {
      discard,

      /**
       * Sends a message, which may quote the message `replyTo` and may belong to the thread of the message `threadSeq`. Its
       * outbox entry shows its state; a failed entry waits for `retry` or `discard`. Returns the stored message, or
       * `undefined` if it failed or if its event came first.
       * @param {string} content @param {SendOptions & Abortable} [options]
       */
      send(content, { signal, ...options } = {}) {
        const key = uuid();
        put({ ...options, key, content, createdAt: now() }, "sending");
        return deliver(key, signal);
      },

      /** Sends a failed message again, with the same key, so that it cannot be stored twice. @param {string} key */
      async retry(key) {
        const entry = outbox.get(key);
        if (entry?.state !== "failed") return undefined;
        put(entry, "sending");
        return deliver(key);
      },
    },

    close() {
      isClosed = true;
      wake();
    },
  };
}
