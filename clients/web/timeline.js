// Converts a log and an outbox to rows of the screen: days, groups, the unread mark. No DOM.

import { dayKey } from "./format.js";
import { revision } from "../js/src/store.js";

/** Maximum time between two messages of one sender in a group under one name. */
const GROUP_WITHIN_MS = 5 * 60_000;

/**
 * Returns the rows of a channel, top to bottom: `{type: "day"}`, `{type: "unread"}`, `{type: "message"}`,
 * `{type: "draft"}`, `{type: "pending"}`. `readSeq` is the newest read message at the time of entering the channel.
 */
export function timeline({ messages, drafts = [], pending, userId, readSeq = null }) {
  const rows = [];
  let previous = null;
  let marked = readSeq === null;
  for (const message of messages) {
    const at = new Date(message.created_at);
    if (!previous || dayKey(previous.at) !== dayKey(at)) {
      rows.push({ type: "day", key: `day-${dayKey(at)}-${message.seq}`, at });
      previous = null;
    }
    if (!marked && message.seq > readSeq && message.sender_id !== userId) {
      rows.push({ type: "unread", key: "unread" });
      marked = true;
      previous = null;
    }
    rows.push({ type: "message", key: `seq-${message.seq}${revision(message)}`, message, at, grouped: joins(previous, message, at) });
    previous = { sender: message.sender_id, role: message.role, at };
  }
  for (const draft of drafts) {
    rows.push({ type: "draft", key: `draft-${draft.id}`, draft });
    previous = null;
  }
  for (const entry of pending) {
    const at = new Date(entry.createdAt);
    const own = { sender_id: userId, role: "user", reply_to: entry.replyTo ?? undefined };
    rows.push({ type: "pending", key: `key-${entry.key}`, entry, at, grouped: joins(previous, own, at) });
    previous = { sender: userId, role: "user", at };
  }
  return rows;
}

// A reply starts a new group, because its quote needs a name above it.
const joins = (previous, message, at) =>
  previous !== null &&
  (message.reply_to ?? null) === null &&
  previous.sender === message.sender_id &&
  previous.role === message.role &&
  at - previous.at < GROUP_WITHIN_MS;
