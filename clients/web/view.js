// Elements of messages, channels and states. Builds elements and holds no state.

import { el, icon } from "./dom.js";
import { dayName, fullTime, timeOfDay } from "./format.js";
import { avatar } from "./identity.js";
import { excerpt, renderMarkdown } from "./markdown.js";
import { journeyButton } from "./waterfall.js";

/** Returns a row of the timeline, for `reconcile`. `context`: `userId`, `quote(seq)`, `onReply`, `onStop`, `onJourney`, `onJump`, `onRetry`, `onDiscard`. */
export function row(item, context) {
  switch (item.type) {
    case "day":
      return { key: item.key, version: dayName(item.at), render: () => divider("day", dayName(item.at)) };
    case "unread":
      return { key: item.key, version: "", render: () => divider("unread", "New") };
    case "message": {
      const quote = quoteOf(item.message.reply_to, context);
      return {
        key: item.key,
        version: `${item.grouped}|${quote?.version ?? ""}`,
        render: () => message(item, quote, context),
      };
    }
    case "draft": {
      const { replyTo, status, length } = item.draft;
      const quote = quoteOf(replyTo, context);
      const isMine = quote.original?.sender_id === context.userId;
      return {
        key: item.key,
        version: `${status}|${length}|${isMine}|${quote.version}`,
        render: () => draft(item.draft, quote, isMine, context),
      };
    }
    default: {
      const { state, error, replyTo } = item.entry;
      const quote = quoteOf(replyTo, context);
      return {
        key: item.key,
        version: `${item.grouped}|${state}|${error?.message ?? ""}|${quote?.version ?? ""}`,
        render: () => pending(item, quote, context),
      };
    }
  }
}

const divider = (kind, text) => el("div", { class: `divider ${kind}`, role: "separator" }, el("span", { text }));

function quoteOf(seq, context) {
  if (!Number.isSafeInteger(seq)) return null;
  const original = context.quote(seq);
  return { seq, original, version: original ? `${seq}:${original.message_id}` : `${seq}` };
}

function message({ message: stored, at, grouped }, quote, context) {
  const mine = stored.sender_id === context.userId && stored.role === "user";
  return el(
    "article",
    {
      class: "message",
      "data-seq": String(stored.seq),
      "data-role": stored.role,
      "data-mine": mine,
      "data-grouped": grouped,
      "aria-label": `${stored.sender_id}, ${timeOfDay(at)}`,
    },
    grouped ? null : heading(stored.sender_id, stored.role, mine, at),
    quote ? quoteButton(quote, context) : null,
    line(
      body(stored),
      // A user can write this metadata too.
      stored.role !== "user" && stored.metadata?.status === "cancelled" ? el("span", { class: "seq", text: "stopped" }) : null,
      el("span", { class: "seq", title: `${fullTime(at)} · number ${stored.seq} in this channel`, text: `#${stored.seq}` }),
      el(
        "button",
        {
          class: "icon-button small reply",
          type: "button",
          "aria-label": `Reply to message ${stored.seq} of ${stored.sender_id}`,
          title: "Reply",
          onclick: () => context.onReply(stored),
        },
        icon("reply"),
      ),
      journeyButton(stored, context.onJourney),
    ),
  );
}

function draft({ replyTo, status, text }, quote, isMine, context) {
  const isOpen = status === "thinking" || status === "writing";
  return el(
    "article",
    { class: "message", "data-role": "assistant", "data-draft": status, "aria-label": "The assistant is writing" },
    el(
      "header",
      { class: "message-heading" },
      avatar("assistant", "assistant"),
      el("strong", { class: "sender", text: "assistant" }),
      el("span", { class: "tag", text: "AI" }),
      el("span", { class: "seq", text: status }),
    ),
    quoteButton(quote, context),
    line(
      text ? el("div", { class: "body rich" }, renderMarkdown(text)) : el("div", { class: "body plain", text: "…" }),
      isOpen && isMine
        ? el("button", { class: "link-button stop", type: "button", onclick: () => context.onStop(replyTo), text: "Stop" })
        : null,
    ),
  );
}

const line = (content, ...side) => el("div", { class: "line" }, content, el("div", { class: "message-side" }, ...side.filter(Boolean)));

function heading(sender, role, mine, at) {
  return el(
    "header",
    { class: "message-heading" },
    avatar(sender, role),
    el("strong", { class: "sender", text: mine ? "You" : sender }),
    role === "assistant" ? el("span", { class: "tag", text: "AI" }) : null,
    role === "system" ? el("span", { class: "tag", text: "System" }) : null,
    el("time", { datetime: Number.isNaN(at.getTime()) ? null : at.toISOString(), title: fullTime(at), text: timeOfDay(at) }),
  );
}

function body(stored) {
  if (stored.deleted_at) return el("div", { class: "body plain deleted", text: "This message was deleted." });
  const content = String(stored.content ?? "");
  const rich = stored.role === "assistant" || stored.content_type === "text/markdown";
  return rich
    ? el("div", { class: "body rich" }, renderMarkdown(content))
    : el("div", { class: "body plain", dir: "auto", text: content });
}

function quoteButton({ seq, original }, context) {
  const label = original
    ? [el("b", { text: original.sender_id }), ` ${excerpt(original)}`]
    : [`Reply to #${seq}`];
  return el(
    "button",
    { class: "quote", type: "button", "aria-label": `Show message ${seq}, which this answers`, onclick: () => context.onJump(seq) },
    el("span", { class: "quote-text" }, ...label),
  );
}

function pending({ entry, at, grouped }, quote, context) {
  const failed = entry.state === "failed";
  return el(
    "article",
    {
      class: "message",
      "data-role": "user",
      "data-mine": true,
      "data-grouped": grouped,
      "data-pending": entry.state,
      "aria-label": failed ? "Your message, not sent" : "Your message, being sent",
    },
    grouped ? null : heading(context.userId, "user", true, at),
    quote ? quoteButton(quote, context) : null,
    line(el("div", { class: "body plain", dir: "auto", text: entry.content }), failed ? null : el("span", { class: "seq", text: "sending" })),
    failed
      ? el(
          "div",
          { class: "failure" },
          el("span", { text: `Not sent. ${describe(entry.error)}` }),
          el("button", { class: "link-button retry", type: "button", onclick: () => context.onRetry(entry.key), text: "Try again" }),
          el("button", { class: "link-button", type: "button", onclick: () => context.onDiscard(entry), text: "Take back" }),
        )
      : null,
  );
}

/** Returns a channel in the sidebar. */
export function channelRow({ channel, active, unread, onOpen }) {
  return {
    key: channel.channel_id,
    version: `${channel.name}|${active}|${unread}`,
    render: () =>
      el(
        "li",
        {},
        el(
          "button",
          {
            class: "channel-link",
            type: "button",
            "aria-current": active ? "page" : null,
            "data-unread": unread > 0,
            onclick: () => onOpen(channel.channel_id),
          },
          el("span", { class: "jack", "aria-hidden": "true" }),
          el("span", { class: "channel-label", text: channel.name || channel.channel_id }),
          unread > 0 ? el("span", { class: "count" }, el("span", { text: unread > 99 ? "99+" : String(unread) }), el("span", { class: "visually-hidden", text: " unread" })) : null,
        ),
      ),
  };
}

/** Returns the text at the beginning of a channel. */
export function beginning(name, isEmpty) {
  return [
    el("h2", { text: isEmpty ? `This is the beginning of ${name}` : `The beginning of ${name}` }),
    isEmpty
      ? el("p", {}, "Say something: the agent answers. ", el("code", { text: "/help" }), " shows what it can do. Open this page in a second tab under another name to see both sides.")
      : null,
  ].filter(Boolean);
}

/** Returns the line below a channel's name: its visibility, its agent, and its id if the name differs. */
export function channelDetail(channel) {
  const parts = [channel.visibility === "private" ? "Private" : "Public"];
  if (channel.agent?.mode === "always") parts.push("the agent answers");
  if (channel.agent?.mode === "mention") parts.push("the agent answers when mentioned");
  if (channel.name && channel.name !== channel.channel_id) parts.push(channel.channel_id);
  return parts.join(" · ");
}

/** Returns the text of a connection state. */
export function connectionText(state, now) {
  switch (state.name) {
    case "live":
      return "Live";
    case "reconnecting": {
      const seconds = Math.max(0, Math.ceil((state.retryAt - now) / 1000));
      return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting";
    }
    case "offline":
      return "Offline";
    case "closed":
      return "Closed";
    default:
      return "Connecting";
  }
}

/** Returns the text of a problem, with its fields. */
export function describe(error) {
  const fields = (error?.errors ?? []).map(({ field, message }) => (field ? `${field}: ${message}` : message));
  return fields.length > 0 ? fields.join(". ") : error?.detail || error?.message || "Something went wrong.";
}

export function toast(error, onClose) {
  return el(
    "div",
    { class: "toast" },
    el("div", { class: "toast-text" }, el("strong", { text: error.title || "That did not work" }), el("p", { text: describe(error) })),
    el("button", { class: "icon-button small", type: "button", "aria-label": "Dismiss", onclick: onClose }, icon("close")),
  );
}
