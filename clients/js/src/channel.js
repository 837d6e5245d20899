// One channel of a client: frames and requests keep it complete. No DOM.

/** @import { Abortable, Draft, Message, OutboxEntry } from "./types.js" */
/** @import { Core } from "./client.js" */
/** @import { Request } from "./rest.js" */

import { createActions } from "./actions.js";
import { createCursor } from "./changes.js";
import { createDrafts } from "./drafts.js";
import { GAP_MS, HISTORY_PAGE, PAGE } from "./limits.js";
import { createPeople } from "./people.js";
import { except } from "./rest.js";
import { createSender } from "./sender.js";
import { createLog, newest } from "./store.js";
import { backoff } from "./time.js";

/** Returns the messages of events, or of recorded changes. @param {any[]} changes @returns {Message[]} */
const messagesOf = (changes) => changes.map((change) => change?.message).filter(Boolean);

/** @typedef {import("./types.js").Channel} Channel */
/** @typedef {{ take(frame: any): void, recover(): void, close(): void }} Live */

/**
 * Returns a channel as an application uses it, in step with the server, and the functions with which the client leads it.
 *
 * After a gap in the `seq` of messages, and after a reconnect, it reads the history `after` the last settled `seq`. After a
 * gap in the numbers of changes (`rev`), it reads the changes `after` the last known number. It reads a reply of which it
 * has missed frames. Before `open`, it only takes frames.
 * @param {Core} core @param {string} id @returns {[Channel, Live]}
 */
export function createChannel(core, id) {
  const { after, random, isLive, quietly } = core;
  const base = `/channels/${encodeURIComponent(id)}`;
  const log = createLog(core);
  const cursor = createCursor();
  const drafts = createDrafts();
  /** Arrays that were given out since the last change. @type {Record<string, any>} */
  let shown = {};
  /** The largest `seq` of which a frame or a response told. */
  let heard = 0;
  let failures = 0;
  let isReading = false;
  /** Cancels the wait after a gap or after a failed recovery. @type {(() => void) | null | undefined} */
  let wait;
  /** `true` if messages after the last settled `seq` may be missing. */
  let isUnsure = false;
  let isClosed = false;

  /** Makes a request below the channel's path. @type {Request} */
  const request = (method, path, options) => core.request(method, base + path, options);
  /** Makes a request below the path of the messages. @type {Request} */
  const call = (method, path, options) => request(method, `/messages${path}`, options);
  /** @param {number} seq @param {Abortable} [options] */
  const read = (seq, options) => call("GET", `/${seq}`, options);
  /** @param {Abortable} [options] @param {number | null} [before] */
  const readHistory = (options, before) => call("GET", "", { query: { before, limit: HISTORY_PAGE }, ...options });

  /** @param {any} type @param {object} [detail] */
  function emit(type, detail) {
    shown = {};
    if (!isClosed) core.emit(type, { channelId: id, ...detail });
  }
  /** @param {unknown} [isChanged] */
  const changed = (isChanged = true) => isChanged && emit("change");

  const people = createPeople(core, id, request, emit);
  const sender = createSender(core, id, request, (message, rev) => {
    arrived([message]);
    cursor.tell(rev);
    readMissing();
  }, changed);

  const isOpen = () => log.settled !== null;
  const lacksMessages = () => isUnsure || heard > /** @type {number} */ (log.settled);
  const isMissing = () => isOpen() && !isClosed && (lacksMessages() || cursor.isBehind);

  /** @param {any[]} events */
  function takeEvents(events) {
    const of = (/** @type {RegExp} */ types) => events.filter((event) => types.test(event?.type));
    const later = of(/^message\.[ud]/);
    arrived(messagesOf(of(/^message\.c/)));
    revised(later);
    later.forEach(cursor.take);
    for (const event of of(/^reaction/)) {
      const outcome = log.react(event);
      changed(outcome);
      if (outcome !== null) cursor.take(event);
      else {
        // The changes that will be read include the missing version.
        cursor.tell(event.rev);
        if (!cursor.isBehind) reread(event.seq, event.version);
      }
    }
  }

  /** Takes new messages. @param {Message[]} messages */
  function arrived(messages) {
    if (!messages[0]) return;
    settle(messages);
    people.arrived(messages);
    heard = newest(messages, heard);
    // Before the channel is open, its history will contain the messages.
    added(isOpen() ? log.push(messages) : messages);
  }

  /** Tells of new messages. @param {Message[]} messages */
  function added(messages) {
    if (messages[0]) emit("messages", { messages });
    changed();
  }

  /** Ends the drafts and the sends that these messages complete. @param {Message[]} messages */
  function settle(messages) {
    sender.settle(messages);
    drafts.settle(messages);
  }

  /** Takes later states of messages. @param {any[]} changes */
  function revised(changes) {
    const messages = messagesOf(changes);
    if (!messages[0]) return;
    changed(log.update(messages));
    // Such a message has overtaken its first state.
    arrived(messages.filter(({ seq }) => log.lacks(seq)));
    emit("revised", { messages });
  }

  /** Reads a message again, until it has a version. @param {number} seq @param {any} [version] */
  function reread(seq, version) {
    quietly(`${base}/${seq}`, async () => {
      revised([{ message: await read(seq) }]);
      readMissing();
      return !(/** @type {any} */ (log.get(seq)?.version) < version);
    });
  }

  /** The answered messages whose replies must be read. The history of a channel that is not open will name them. */
  const behind = () => (isOpen() ? drafts.behind : []);

  /** Reads the replies of which frames are missing. */
  function readReplies() {
    for (const seq of behind())
      quietly(`${base}/${seq}/reply`, async () => {
        if (!drafts.behind.includes(seq)) return true;
        const asked = drafts.ask(seq);
        // A reply that is not stored has failed.
        const stored = (await call("GET", `/${seq}/reply`).catch(except("reply_not_found", "message_not_found"))) ?? { status: "failed" };
        const isRead = drafts.read(seq, asked, stored);
        // The reply has ended as a message. Without its event, only the history brings it.
        if (stored.seq > /** @type {number} */ (log.settled)) catchUp();
        else if (stored.seq) drafts.drop(seq);
        changed();
        return isRead;
      });
  }

  /** Takes the newest page of history in place of all held messages. @param {any} page */
  function load(page) {
    log.restart(page.messages, page.has_more);
    cursor.restart(page.rev);
    joined(page);
    emit("history", { messages: page.messages });
    changed();
  }

  /** Takes from a page of history all that is not in the log. @param {any} page */
  function joined(page) {
    settle(page.messages);
    for (const seq of page.replying_to ?? []) if (!log.messages.some((one) => one.role !== "user" && one.reply_to === seq)) drafts.expect(seq);
    readReplies();
  }

  /** Reads all messages after the last settled `seq`, and then the missing changes. */
  function catchUp() {
    isUnsure = true;
    readMissing();
  }

  function stop() {
    wait?.();
    wait = null;
  }

  /** Reads what is missing after a wait. @param {number} delay */
  function readIn(delay) {
    stop();
    wait = after(delay, () => {
      stop();
      readMissing();
      readReplies();
    });
  }

  /** Reads the missing messages and changes, if there are any. A running recovery also reads those that are added to it. */
  async function readMissing() {
    if (isReading || wait || !isMissing()) return;
    isReading = true;
    try {
      while (isMissing()) await (lacksMessages() ? readAfter() : readChanges());
      failures = 0;
    } catch (/** @type {any} */ error) {
      isUnsure = true;
      // Without a network, the next socket or frame starts the next recovery.
      if (!isClosed && (error.status || isLive())) readIn(backoff(failures, random, error));
      failures += 1;
      emit("problem", { error });
    }
    isReading = false;
    changed();
  }

  /** Reads one page of messages. */
  async function readAfter() {
    const seen = heard;
    isUnsure = false;
    const page = await call("GET", "", { query: { after: log.settled, limit: PAGE } });
    const messages = /** @type {Message[]} */ (page.messages);
    const hasMore = page.has_more && messages.length > 0;
    isUnsure ||= hasMore;
    const fresh = log.push(messages, newest(messages, hasMore ? 0 : seen));
    cursor[fresh[0] ? "join" : "tell"](page.rev);
    joined(page);
    added(fresh);
  }

  /** Reads one page of changes. */
  async function readChanges() {
    const take = cursor.ask();
    const page = await request("GET", "/changes", { query: { after: cursor.known, limit: PAGE } }).catch(except("changes_expired"));
    if (!page) {
      cursor.clear();
      return load(await readHistory());
    }
    revised(page.changes);
    take(page);
  }

  const channel = {
    id,
    log,
    request,

    /** Messages by ascending `seq`. @returns {Message[]} */
    get messages() {
      return (shown.messages ??= log.messages);
    },

    /** Replies that are being written. @returns {Draft[]} */
    get drafts() {
      return (shown.drafts ??= drafts.entries);
    },

    /** Messages of this client that are not yet known to be stored. @returns {OutboxEntry[]} */
    get outbox() {
      return (shown.outbox ??= sender.entries);
    },

    /** Ids of the other users that type. @returns {string[]} */
    get typing() {
      return (shown.typing ??= people.typing);
    },

    /** Ids of the users with a live connection; empty until `loadPresence`. @returns {string[]} */
    get present() {
      return (shown.present ??= people.present);
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
      return !!(isReading || wait);
    },

    /** Number of the last change up to which the log has all changes; `null` before `open`. */
    get rev() {
      return cursor.known;
    },

    ...sender.actions,
    ...people.actions,
    ...createActions(call, read, log, drafts, changed, (seq) => isLive() || reread(seq)),

    /** Reads the newest history, unless it is held, and sends what an earlier page has left. @param {Abortable} [options] */
    async open(options) {
      if (isOpen()) return;
      await core.identify();
      await sender.restore();
      const page = await readHistory(options);
      if (!isOpen()) load(page);
      readMissing();
    },

    /** Reads the page of history before the oldest held message. @param {Abortable} [options] */
    async loadEarlier(options) {
      const { firstSeq } = log;
      if (!log.hasEarlier) return;
      const page = await readHistory(options, firstSeq);
      // Meanwhile the history was loaded again, or another request has brought this page.
      if (log.firstSeq !== firstSeq) return;
      log.addEarlier(page.messages, page.has_more);
      cursor.join(page.rev);
      readMissing();
      changed();
    },
  };

  const lead = {
    /** Takes a frame of the channel. @param {any} frame */
    take(frame) {
      if (frame.type === "events" && Array.isArray(frame.events)) takeEvents(frame.events);
      // A frame of a draft is late if its message has arrived.
      if (frame.type === "message.delta") changed(!log.get(frame.seq) && drafts.take(frame));
      people.take(frame);
      // A frame that a later one has overtaken may come yet, so that a swap in a crowd causes no requests.
      if (!wait && (isMissing() || (behind()[0]))) readIn(GAP_MS * (1 + 2 * random()));
    },

    /** Reads what frames may have missed before a socket opened. */
    recover() {
      sender.recover();
      people.recover();
      if (!isOpen()) return drafts.clear();
      drafts.recover();
      stop();
      catchUp();
      readReplies();
    },

    /** Ends all recovery. */
    close() {
      isClosed = true;
      drafts.clear();
      stop();
      people.close();
      sender.close();
    },
  };

  return [channel, lead];
}
