// One channel of a client: frames and requests keep it complete. No DOM.

/** @import { Abortable, Draft, Message, OutboxEntry, ProblemError, Reply, RequestOptions } from "./types.js" */
/** @import { Core } from "./client.js" */
/** @import { Request } from "./rest.js" */

import { createCursor, isNumber } from "./changes.js";
import { createDrafts } from "./drafts.js";
import { createPeople } from "./people.js";
import { listAll } from "./rest.js";
import { createSender } from "./sender.js";
import { createLog } from "./store.js";
import { backoff } from "./time.js";

const HISTORY_PAGE = 50;
const CATCH_UP_PAGE = 100;
/** Shortest wait for the frame that a later one has overtaken; up to twice as much more is random. */
const GAP_MS = 250;

/** Types of events that change a message: first those of reactions. */
const CHANGES = ["reaction.added", "reaction.removed", "message.updated", "message.deleted"];

/** A channel in step with the server. Its lists are the same arrays until they change. @typedef {ReturnType<typeof createChannel>[0]} Channel */
/** @typedef {ReturnType<typeof createChannel>[1]} Live */

/**
 * Returns a channel as an application uses it, and the functions with which the client leads it.
 *
 * Keeps the messages and drafts of a channel in step with the server.
 *
 * After a gap in the `seq` of messages, and after a reconnect, it reads the history `after` the last settled `seq`. After a
 * gap in the numbers of changes (`rev`), it reads the changes `after` the last known number. It reads a reply of which it
 * has missed frames. Before `open`, it only takes frames.
 * @param {Core} core @param {string} id
 */
export function createChannel(core, id) {
  const { after, isLive, quietly, random } = core;
  const base = `/channels/${encodeURIComponent(id)}`;
  const log = createLog(core);
  const cursor = createCursor();
  const drafts = createDrafts();
  /** Arrays that were given out since the last change. @type {Record<string, any>} */
  let shown = {};
  /** The largest `seq` of which a frame or a response told. */
  let heard = 0;
  let failures = 0;
  /** @type {Promise<void> | null} */
  let recovery = null;
  /** Cancels the next attempt after a failed recovery, and the wait after a gap. @type {(() => void) | null} */
  let retry = null;
  /** @type {(() => void) | null} */
  let gap = null;
  /** `true` if messages after the last settled `seq` may be missing. */
  let isUnsure = false;
  let isClosed = false;

  /** Makes a request below the channel's path. @type {Request} */
  const request = (method, path, options) => core.request(method, base + path, options);
  /** @param {string | number} path @param {RequestOptions} [options] */
  const get = (path, options) => request("GET", `/messages${path}`, options);
  /** @param {Abortable} [options] @param {number | null} [before] */
  const readHistory = (options, before) => get("", { query: { before, limit: HISTORY_PAGE }, ...options });

  /** @param {any} type @param {object} [detail] */
  function emit(type, detail) {
    shown = {};
    if (!isClosed) core.emit(type, { channelId: id, ...detail });
  }
  /** @param {unknown} [isChanged] */
  const changed = (isChanged = true) => {
    if (isChanged) emit("change");
  };

  const people = createPeople(core, id, request, emit);
  const sender = createSender(
    core,
    id,
    request,
    (message, rev) => {
      arrived([message]);
      cursor.tell(rev);
      readMissing();
    },
    changed,
  );

  const isOpen = () => log.settled !== null;
  const lacksMessages = () => isUnsure || heard > (log.settled ?? 0);
  const isMissing = () => isOpen() && (lacksMessages() || cursor.isBehind || cursor.isExpired);

  /** @param {any[]} events */
  function takeEvents(events) {
    const known = events.filter((event) => event?.type);
    const of = (/** @type {string[]} */ ...types) => known.filter(({ type, message }) => types.includes(type) && message).map(({ message }) => message);
    arrived(of("message.created"));
    let isChanged = revised(of("message.updated", "message.deleted"));
    for (const event of known) {
      const kind = CHANGES.indexOf(event.type);
      if (kind < 0) continue;
      // A message that is not held yet may come in its state before the reaction.
      const outcome = kind > 1 ? "" : log.lacks(event.seq) ? "stale" : log.react(event);
      isChanged ||= outcome === "changed";
      if (outcome !== "stale") cursor.follow(event);
      else {
        // The changes that will be read include the missing version.
        cursor.tell(event.rev);
        if (!cursor.isBehind) reread(event.seq, event.version);
      }
    }
    changed(isChanged);
  }

  /** Takes new messages. @param {Message[]} messages */
  function arrived(messages) {
    if (messages.length === 0) return;
    settle(messages);
    people.arrived(messages);
    for (const { seq } of messages) if (isNumber(seq)) heard = Math.max(heard, seq);
    // Before the channel is open, its history will contain the messages.
    added(isOpen() ? log.push(messages) : messages);
  }

  /** Tells of new messages. @param {Message[]} messages */
  function added(messages) {
    if (messages.length > 0) emit("messages", { messages });
    changed();
  }

  /** Ends the drafts and the sends that these messages complete. @param {Message[]} messages */
  function settle(messages) {
    sender.settle(messages);
    drafts.settle(messages);
  }

  /** Takes later states of messages. Returns `true` if a held message changed. @param {Message[]} messages */
  function revised(messages) {
    if (messages.length === 0) return false;
    const isChanged = log.update(messages);
    // Such a message has overtaken its first state.
    arrived(messages.filter(({ seq }) => log.lacks(seq)));
    emit("revised", { messages });
    return isChanged;
  }

  /** Reads a message again, until it has a version. @param {number} seq @param {number} [version] */
  function reread(seq, version = 0) {
    quietly(`message ${id} ${seq}`, async () => {
      changed(revised([await get(`/${seq}`)]));
      readMissing();
      return (log.get(seq)?.version ?? version) >= version;
    });
  }

  /** Takes the newest page of history in place of all held messages. @param {any} page */
  function load(page) {
    const { messages = [] } = page;
    log.restart(messages, page.has_more);
    cursor.restart(page.rev);
    joined(page);
    emit("history", { messages });
    changed();
  }

  /** Takes from a page of history all that is not in the log. @param {any} page */
  function joined({ messages = [], replying_to: questions }) {
    settle(messages);
    if (!Array.isArray(questions)) return;
    const answered = new Set(log.messages.map(({ role, reply_to: replyTo }) => role !== "user" && replyTo));
    drafts.expect(questions.filter((seq) => !answered.has(seq)));
    readReplies();
  }

  /** Reads the replies of which frames are missing. The history of a channel that is not open will name its replies. */
  function readReplies() {
    if (isOpen()) for (const seq of drafts.behind) quietly(`reply ${id} ${seq}`, () => readReply(seq));
  }

  /** @param {number} seq */
  async function readReply(seq) {
    if (!drafts.isBehind(seq) || isClosed) return true;
    const asked = drafts.ask(seq);
    try {
      const stored = await get(`/${seq}/reply`);
      const isRead = drafts.read(seq, asked, stored);
      // The reply has ended as a message. Without its event, only the history brings it.
      if (stored.seq > (log.settled ?? 0)) catchUp();
      else if (stored.seq) drafts.drop(seq);
      changed();
      return isRead;
    } catch (/** @type {any} */ error) {
      if (error.code !== "reply_not_found" && error.code !== "message_not_found") throw error;
      // A draft that began after the request stays.
      changed(drafts.ask(seq) === asked && drafts.drop(seq));
      return true;
    }
  }

  /** Reads all messages after the last settled `seq`, and then the missing changes. */
  function catchUp() {
    isUnsure = true;
    readMissing();
  }

  /** Waits for the frame that a later one may have overtaken, so that a swap in a crowd causes no requests. */
  function waitForGap() {
    if (gap || isClosed || !(isMissing() || (isOpen() && drafts.behind.length > 0))) return;
    gap = after(GAP_MS * (1 + 2 * random()), () => {
      gap = null;
      readMissing();
      readReplies();
    });
  }

  /** Reads the missing messages and changes, if there are any. A running recovery also reads those that are added to it. */
  function readMissing() {
    if (recovery || retry || isClosed || !isMissing()) return;
    recovery = readAll()
      .then(() => void (failures = 0), failed)
      .then(() => {
        recovery = null;
        // Without a network, the next socket or frame starts the next recovery.
        if (failures === 0) readMissing();
        changed();
      });
  }

  /** @param {ProblemError} error */
  function failed(error) {
    const delay = backoff(failures, random, error);
    failures += 1;
    isUnsure = true;
    if (!isClosed && (error.status || isLive())) {
      retry = after(delay, () => {
        retry = null;
        readMissing();
      });
    }
    emit("problem", { error });
  }

  function endWaits() {
    retry?.();
    gap?.();
    retry = gap = null;
  }

  async function readAll() {
    while (isMissing() && !isClosed) {
      if (cursor.isExpired) load(await readHistory());
      else await (lacksMessages() ? readAfter() : readChanges());
    }
  }

  async function readAfter() {
    isUnsure = false;
    for (let more = true; more; ) {
      const seen = Math.max(heard, log.lastSeq ?? 0);
      const page = await get("", { query: { after: log.settled ?? 0, limit: CATCH_UP_PAGE } });
      const { messages = [] } = page;
      more = page.has_more && messages.length > 0;
      const fresh = log.addLater(messages, more, seen);
      cursor[fresh.length > 0 ? "join" : "tell"](page.rev);
      joined(page);
      added(fresh);
    }
  }

  /** Reads one page of changes. */
  async function readChanges() {
    const asked = cursor.ask();
    try {
      const page = await request("GET", "/changes", { query: { after: asked.after, limit: CATCH_UP_PAGE } });
      const isChanged = revised((page.changes ?? []).map((/** @type {any} */ change) => change?.message).filter(Boolean));
      cursor.read(asked, page);
      changed(isChanged);
    } catch (/** @type {any} */ error) {
      if (error.code !== "changes_expired") throw error;
      cursor.expire();
    }
  }

  /** Returns what `make` returned since the last change. @template T @param {string} name @param {() => T} make @returns {T} */
  const cached = (name, make) => (shown[name] ??= make());

  /** Returns the reply to a message as far as it is stored. @param {number} seq @param {Abortable} [options] @returns {Promise<Reply>} */
  const reply = (seq, options) => get(`/${seq}/reply`, options);

  /** Takes a message of a response. @param {Message} message */
  function answered(message) {
    changed(log.update([message]));
    return message;
  }

  /** Makes a request whose response has no message. @param {string} method @param {string} path @param {number} seq @param {Abortable} [options] */
  async function change(method, path, seq, options) {
    await request(method, `/messages/${seq}${path}`, options);
    // No frame will tell of it.
    if (!isLive()) reread(seq);
  }

  const channel = {
    id,
    log,
    reply,

    /** Messages by ascending `seq`. */
    get messages() {
      return cached("messages", () => log.messages);
    },

    /** Replies that are being written. */
    get drafts() {
      return cached("drafts", () => drafts.entries);
    },

    /** Messages of this client that are not yet known to be stored. */
    get outbox() {
      return cached("outbox", () => sender.entries);
    },

    /** Ids of the other users that type. */
    get typing() {
      return cached("typing", () => people.typing);
    },

    /** Ids of the users with a live connection; empty until `loadPresence`. */
    get present() {
      return cached("present", () => people.present);
    },

    get hasEarlier() {
      return log.hasEarlier;
    },

    /** `true` once the history is loaded. */
    get isOpen() {
      return isOpen();
    },

    /** `true` while missing messages or changes are being read. */
    get isCatchingUp() {
      return Boolean(recovery ?? gap);
    },

    /** Number of the last change up to which the log has all changes; `null` before `open`. */
    get rev() {
      return cursor.known;
    },

    send: sender.send,
    retry: sender.retry,
    discard: sender.discard,
    sendTyping: people.sendTyping,
    loadPresence: people.load,

    /** Reads the newest history, unless it is held, and sends what an earlier page has left. @param {Abortable} [options] */
    async open(options) {
      if (isOpen()) return;
      await core.identify(options);
      await sender.restore();
      const page = await readHistory(options);
      if (!isOpen()) load(page);
      readMissing();
    },

    /** Reads the page of history before the oldest held message. @param {Abortable} [options] */
    async loadEarlier(options) {
      const { firstSeq, hasEarlier } = log;
      if (!hasEarlier) return;
      const page = await readHistory(options, firstSeq);
      // Meanwhile the history was loaded again, or another request has brought this page.
      if (log.firstSeq !== firstSeq) return;
      log.addEarlier(page.messages ?? [], page.has_more);
      cursor.join(page.rev);
      readMissing();
      changed();
    },

    /** Returns all messages of the thread of a message, without the root. @param {number} seq @param {Abortable} [options] @returns {Promise<Message[]>} */
    async thread(seq, options) {
      const messages = await listAll(request, `/messages/${seq}/replies`, "messages", { query: { after: seq }, ...options });
      return messages.map((message) => log.get(message.seq) ?? message);
    },

    /** Returns one message from the log or from the server, or `undefined` if it does not exist. @param {number} seq @param {Abortable} [options] @returns {Promise<Message | undefined>} */
    async message(seq, options) {
      try {
        return log.get(seq) ?? (await get(`/${seq}`, options));
      } catch (/** @type {any} */ error) {
        if (error.code !== "message_not_found") throw error;
      }
    },

    /**
     * Changes the text of a message as the user sees it. Fails with `version_mismatch` if another text came meanwhile.
     * @param {number} seq @param {string} content @param {Abortable} [options] @returns {Promise<Message>}
     */
    async edit(seq, content, options) {
      for (let held = log.get(seq) ?? (await get(`/${seq}`, options)); ; ) {
        const headers = { "content-type": "application/merge-patch+json", "if-match": `"${held.version}"` };
        try {
          return answered(await request("PATCH", `/messages/${seq}`, { body: { content }, headers, ...options }));
        } catch (/** @type {any} */ error) {
          if (error.code !== "version_mismatch") throw error;
          const current = answered(await get(`/${seq}`, options));
          // A reaction changes the version too.
          if (current.content !== held.content || current.version === held.version) throw error;
          held = current;
        }
      }
    },

    /** Deletes a message; its number stays. @param {number} seq @param {Abortable} [options] */
    delete: (seq, options) => change("DELETE", "", seq, options),

    /** Adds the user's reaction. Its event updates the message. @param {number} seq @param {string} emoji @param {Abortable} [options] */
    react: (seq, emoji, options) => change("PUT", `/reactions/${encodeURIComponent(emoji)}`, seq, options),

    /** Removes the user's reaction. @param {number} seq @param {string} emoji @param {Abortable} [options] */
    unreact: (seq, emoji, options) => change("DELETE", `/reactions/${encodeURIComponent(emoji)}`, seq, options),

    /** Stops the reply to a message; the generated part is kept. @param {number} seq @param {Abortable} [options] */
    async stopReply(seq, options) {
      try {
        await request("POST", `/messages/${seq}/reply/cancel`, options);
      } catch (/** @type {any} */ error) {
        if (error.code !== "reply_not_found") throw error;
        // It has ended, and its last frame was lost or is on the way.
        changed(drafts.drop(seq));
      }
    },
  };

  const lead = {
    /** Takes a frame of the channel. @param {any} frame */
    take(frame) {
      const { type, status, seq, events } = frame;
      if (type === "events" && Array.isArray(events)) takeEvents(events);
      // A frame of a draft is late if its message has arrived.
      if (type === "message.delta") changed(!(status === "done" && log.get(seq)) && drafts.accept(frame));
      people.take(frame);
      waitForGap();
    },

    /** Reads what frames may have missed before a socket opened. */
    recover() {
      sender.wake();
      people.recover();
      if (!isOpen()) return drafts.clear();
      drafts.doubt();
      endWaits();
      catchUp();
      readReplies();
    },

    /** Ends all recovery. */
    close() {
      isClosed = true;
      endWaits();
      people.close();
      sender.close();
    },
  };

  return /** @type {const} */ ([channel, lead]);
}
