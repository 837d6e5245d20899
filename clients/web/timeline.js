// Converts a log and an outbox to rows of the screen: days, groups, the unread mark. No DOM.

import { dayKey } from "./format.js";

/** Maximum time between two messages of one sender in a group under one name. */
const GROUP_WITHIN_MS = 5 * 60_000;

/**
 * Returns the rows of a channel, top to bottom: `{type: "day"}`, `{type: "unread"}`, `{type: "message"}`,
 * `{type: "draft"}`, `{type: "pending"}`. `readSeq` is the newest read message at the time of entering the channel.
 * `threadSeq` is the root of the thread if only its messages are shown. Then none of them quotes it as its root.
 */
export function timeline({ messages, drafts = [], pending, userId, readSeq = null, threadSeq = null }) {
  const rows = [];
  let previous = null;
  let marked = readSeq === null;
  for (const message of messages) {
    const at = new Date(message.created_at);
    if (!previous || dayKey(previous.at) !== dayKey(at)) {
      rows.push({ type: "day", key: `day-${dayKey(at)}-${message.seq}`, at });
      previous = null;
    }
    if (!marked && message.seq > readSeq && message.sender_id !== userId && !message.deleted_at) {
      rows.push({ type: "unread", key: "unread" });
      marked = true;
      previous = null;
    }
    const grouped = joins(previous, message, at);
    rows.push({ type: "message", key: `seq-${message.seq}`, message, at, grouped, quoted: quoted(message, grouped, threadSeq) });
    previous = { sender: message.sender_id, role: message.role, thread: message.thread_seq, at };
  }
  for (const draft of drafts) {
    rows.push({ type: "draft", key: `draft-${draft.replyTo}`, draft });
    previous = null;
  }
  for (const entry of pending) {
    const at = new Date(entry.createdAt);
    const own = { sender_id: userId, role: "user", reply_to: entry.replyTo ?? undefined, thread_seq: entry.threadSeq ?? undefined };
    const grouped = joins(previous, own, at);
    rows.push({ type: "pending", key: `key-${entry.key}`, entry, at, grouped, quoted: quoted(own, grouped, threadSeq) });
    previous = { sender: userId, role: "user", thread: own.thread_seq, at };
  }
  return rows;
}

/**
 * Returns the fields of a message that answers `message`: it quotes it, or it belongs to its thread. In a thread, an
 * answer to the root quotes nothing.
 */
export function answer(message, inThread) {
  if (!inThread) return { replyTo: message.seq };
  const threadSeq = message.thread_seq ?? message.seq;
  return threadSeq === message.seq ? { threadSeq } : { replyTo: message.seq, threadSeq };
}

// In a group, the first message shows the root of the thread.
const quoted = ({ reply_to: replyTo, thread_seq: root }, grouped, shown) => replyTo ?? (grouped || root === shown ? undefined : root);

// A reply starts a new group, because its quote needs a name above it.
const joins = (previous, message, at) =>
  previous !== null &&
  (message.reply_to ?? null) === null &&
  previous.sender === message.sender_id &&
  previous.role === message.role &&
  (previous.thread ?? null) === (message.thread_seq ?? null) &&
  at - previous.at < GROUP_WITHIN_MS;
