// The part of a channel that frames and requests keep complete. No DOM.

/** @import { Message, ProblemError, RequestOptions } from "./types.js" */
/** @import { Core } from "./client.js" */
/** @import { Request } from "./rest.js" */

import { createCursor, isNumber } from "./changes.js";
import { createDrafts } from "./drafts.js";
import { createPeople } from "./people.js";
import { createSender } from "./sender.js";
import { createLog } from "./store.js";
import { backoff } from "./time.js";

const HISTORY_PAGE = 50;
const CATCH_UP_PAGE = 100;
/** Shortest wait for the frame that a later one has overtaken; up to twice as much more is random. */
const GAP_MS = 250;

/** Types of events that change a message: first those of reactions. */
const CHANGES = ["reaction.added", "reaction.removed", "message.updated", "message.deleted"];

/** @typedef {ReturnType<typeof createLive>} Live */

/**
 * Keeps the messages and drafts of a channel in step with the server.
 *
 * After a gap in the `seq` of messages, and after a reconnect, it reads the history `after` the last settled `seq`. After a
 * gap in the numbers of changes (`rev`), it reads the changes `after` the last known number. It reads a reply of which it
 * has missed frames. Before `open`, it only takes frames.
 * @param {Core} core @param {string} id
 */
export function createLive(core, id) {
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
  /** @param {string} path @param {RequestOptions["query"]} [query] @param {AbortSignal} [signal] */
  const get = (path, query, signal) => request("GET", path, { query, signal });
  /** @param {AbortSignal} [signal] @param {number} [before] */
  const readHistory = (signal, before) => get("/messages", { before, limit: HISTORY_PAGE }, signal);

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
      changed(revised([await get(`/messages/${seq}`)]));
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
      const reply = await get(`/messages/${seq}/reply`);
      const isRead = drafts.read(seq, asked, reply);
      // The reply has ended as a message. Without its event, only the history brings it.
      if (reply.seq > (log.settled ?? 0)) catchUp();
      else if (reply.seq) drafts.drop(seq);
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
      const page = await get("/messages", { after: log.settled ?? 0, limit: CATCH_UP_PAGE });
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
      const page = await get("/changes", { after: asked.after, limit: CATCH_UP_PAGE });
      const isChanged = revised((page.changes ?? []).map((/** @type {any} */ change) => change?.message).filter(Boolean));
      cursor.read(asked, page);
      changed(isChanged);
    } catch (/** @type {any} */ error) {
      if (error.code !== "changes_expired") throw error;
      cursor.expire();
    }
  }

  return {
    id,
    log,
    cursor,
    drafts,
    people,
    sender,
    request,
    get,
    changed,
    isOpen,
    isCatchingUp: () => Boolean(recovery ?? gap),

    /** Returns what `make` returned since the last change. @template T @param {string} name @param {() => T} make @returns {T} */
    cached: (name, make) => (shown[name] ??= make()),

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

    /** Reads the newest history, unless it is held, and sends what an earlier page has left. @param {AbortSignal} [signal] */
    async open(signal) {
      if (isOpen()) return;
      await core.identify(signal);
      await sender.restore();
      const page = await readHistory(signal);
      if (!isOpen()) load(page);
      readMissing();
    },

    /** Reads the page of history before the oldest held message. @param {AbortSignal} [signal] */
    async loadEarlier(signal) {
      const { firstSeq, hasEarlier } = log;
      if (!hasEarlier) return;
      const page = await readHistory(signal, firstSeq ?? undefined);
      // Meanwhile the history was loaded again, or another request has brought this page.
      if (log.firstSeq !== firstSeq) return;
      log.addEarlier(page.messages ?? [], page.has_more);
      cursor.join(page.rev);
      readMissing();
      changed();
    },

    /** Takes a message of a response. @param {Message} message */
    answered(message) {
      changed(log.update([message]));
      return message;
    },

    /** Reads a message whose change no frame will tell. @param {number} seq */
    unheard(seq) {
      if (!isLive()) reread(seq);
    },

    /** Ends all recovery. */
    close() {
      isClosed = true;
      endWaits();
      people.close();
      sender.close();
    },
  };
}
