// Elements of messages, channels and states. Builds elements and holds no state.

import { el, icon } from "./dom.js";
import { dayName, fullTime, repliesText, shortTime, timeOfDay } from "./format.js";
import { avatar } from "./identity.js";
import { excerpt, renderMarkdown } from "./markdown.js";
import { isOwn } from "./message-actions.js";
import { menuButton } from "./message-menu.js";
import { extras, reactButton } from "./reactions.js";
import { ROLES, roleText } from "./roles.js";
import { journeyButton } from "./waterfall.js";

/** Words for the states of a reply that ended early. */
const ENDINGS = { cancelled: "stopped", truncated: "cut short" };

/**
 * Returns a row of the timeline, for `reconcile`. `context`: `place`, `attribute` for the numbers of messages, `userId`,
 * `quote(seq)`, `edit(element, message)`, `onReply`, `onReact`, `onPick`, `onMenu`, `onThread`, `onStop`, `onJourney`,
 * `onJump`, `onRetry`, `onDiscard`.
 */
export function row(item, context) {
  switch (item.type) {
    case "day":
      return { key: item.key, version: dayName(item.at), render: () => divider("day", dayName(item.at)) };
    case "unread":
      return { key: item.key, version: "", render: () => divider("unread", "New") };
    case "replies":
      return { key: item.key, version: String(item.count), render: () => divider("replies", repliesText(item.count)) };
    case "message": {
      const quote = quoteOf(item.quoted, context);
      const { edited_at: edited, deleted_at: deleted, agent } = item.message;
      return {
        key: item.key,
        version: `${item.grouped}|${edited ?? ""}|${deleted ?? ""}|${agent?.status ?? ""}|${quote?.version ?? ""}`,
        render: () => message(item, quote, context),
        // A reaction, a reply in its thread or an editor is no new message.
        update: (element) => {
          extras(element, item.message, context);
          context.edit(element, item.message);
        },
      };
    }
    case "draft": {
      const { id, replyTo, status } = item.draft;
      const quote = quoteOf(replyTo, context);
      const isMine = quote.original?.sender_id === context.userId;
      return {
        key: item.key,
        version: `${id}|${status}|${isMine}|${quote.version}`,
        render: () => draft(item.draft, quote, isMine, context),
        update: (element) => writeDraft(element, item.draft),
      };
    }
    default: {
      const { state, error } = item.entry;
      const quote = quoteOf(item.quoted, context);
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
  return { seq, original, version: original ? `${seq}:${original.edited_at ?? ""}:${original.deleted_at ?? ""}` : `${seq}` };
}

function message({ message: stored, at, grouped }, quote, context) {
  const mine = isOwn(stored, context.userId);
  return el(
    "article",
    {
      class: "message",
      tabindex: "-1",
      [context.attribute]: String(stored.seq),
      "data-role": stored.role,
      "data-mine": mine,
      "data-grouped": grouped,
      "aria-label": `${stored.sender_id}, ${timeOfDay(at)}`,
    },
    grouped ? null : heading(stored.sender_id, stored.role, mine, at),
    quote ? quoteButton(quote, stored, context) : null,
    line(
      body(stored),
      ENDINGS[stored.agent?.status] ? el("span", { class: "seq", text: ENDINGS[stored.agent.status] }) : null,
      stored.edited_at && !stored.deleted_at ? edited(new Date(stored.edited_at)) : null,
      el("span", { class: "seq", title: `${fullTime(at)} · number ${stored.seq} in this channel`, text: `#${stored.seq}` }),
      el(
        "button",
        {
          class: "icon-button small reply answer",
          type: "button",
          "aria-label": `Reply to message ${stored.seq} of ${stored.sender_id}`,
          title: "Reply",
          onclick: () => context.onReply(stored),
        },
        icon("reply"),
      ),
      stored.deleted_at ? null : reactButton(stored, context),
      journeyButton(stored, context.onJourney),
      menuButton(stored, context),
    ),
  );
}

function draft({ replyTo, status }, quote, isMine, context) {
  const isOpen = status === "thinking" || status === "writing";
  const content = line(
    typing(),
    isOpen && isMine
      ? el("button", { class: "link-button stop", type: "button", onclick: () => context.onStop(replyTo), text: "Stop" })
      : null,
  );
  // Screen readers announce the message that ends the draft, and not each piece.
  content.setAttribute("aria-live", "off");
  return el(
    "article",
    { class: "message", tabindex: "-1", "data-role": "agent", "data-draft": status, "aria-label": "The agent is writing" },
    el(
      "header",
      { class: "message-heading" },
      avatar("agent", "agent"),
      el("strong", { class: "sender", text: "agent" }),
      el("span", { class: "tag", text: "AI" }),
      el("span", { class: "seq", text: status }),
    ),
    quoteButton(quote, {}, context),
    content,
  );
}

/** Shows the text of a draft in its element. */
export function writeDraft(element, { text }) {
  if (!text || element.dataset.length === String(text.length)) return;
  element.dataset.length = String(text.length);
  element.querySelector(".body").replaceWith(el("div", { class: "body rich" }, renderMarkdown(text)));
}

const typing = () => el("div", { class: "body typing", "aria-hidden": "true" }, el("i"), el("i"), el("i"));

function line(content, ...side) {
  const shown = side.filter(Boolean);
  // Only the buttons of one message are in the order of Tab.
  for (const one of shown) if (one.matches(".icon-button")) one.setAttribute("tabindex", "-1");
  return el("div", { class: "line" }, content, el("div", { class: "message-side" }, ...shown));
}

const edited = (at) =>
  el("span", { class: "seq edited", title: fullTime(at) }, "edited", el("time", { datetime: Number.isNaN(at.getTime()) ? null : at.toISOString(), text: ` ${shortTime(at)}` }));

function heading(sender, role, mine, at) {
  return el(
    "header",
    { class: "message-heading" },
    avatar(sender, role),
    el("strong", { class: "sender", text: mine ? "You" : sender }),
    role === "agent" ? el("span", { class: "tag", text: "AI" }) : null,
    role === "system" ? el("span", { class: "tag", text: "System" }) : null,
    el("time", { datetime: Number.isNaN(at.getTime()) ? null : at.toISOString(), title: fullTime(at), text: timeOfDay(at) }),
  );
}

function body(stored) {
  if (stored.deleted_at) return el("div", { class: "body plain deleted", text: "This message was deleted." });
  const content = String(stored.content ?? "");
  const rich = stored.role === "agent" || stored.content_type === "text/markdown";
  return rich
    ? el("div", { class: "body rich" }, renderMarkdown(content))
    : el("div", { class: "body plain", dir: "auto", text: content });
}

function quoteButton({ seq, original }, { thread_seq: threadSeq }, context) {
  const isRoot = threadSeq === seq;
  const text = original?.deleted_at ? "deleted message" : original ? excerpt(original) : "";
  const label = original ? [el("b", { text: original.sender_id }), ` ${text}`] : [isRoot ? `#${seq}` : `Reply to #${seq}`];
  return el(
    "button",
    {
      class: "quote",
      type: "button",
      "aria-label": isRoot ? `Show message ${seq}, in whose thread this is` : `Show message ${seq}, which this answers`,
      onclick: () => context.onJump(seq),
    },
    el("span", { class: "quote-text" }, ...(Number.isSafeInteger(threadSeq) ? [el("span", { class: "tag", text: "Thread" }), " "] : []), ...label),
  );
}

function pending({ entry, at, grouped }, quote, context) {
  const failed = entry.state === "failed";
  return el(
    "article",
    {
      class: "message",
      tabindex: "-1",
      "data-role": "user",
      "data-mine": true,
      "data-grouped": grouped,
      "data-pending": entry.state,
      "aria-label": failed ? "Your message, not sent" : "Your message, being sent",
    },
    grouped ? null : heading(context.userId, "user", true, at),
    quote ? quoteButton(quote, { thread_seq: entry.threadSeq }, context) : null,
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

/** Returns a channel in the sidebar: its name, its newest message, and the number of unread ones. */
export function channelRow({ channel, active, unread, userId, onOpen }) {
  const at = new Date(channel.last_message_at ?? Number.NaN);
  const time = shortTime(at);
  const { seq, content, deleted_at: deleted } = channel.last_message ?? {};
  return {
    key: channel.channel_id,
    version: [channel.name, channel.visibility, channel.archived_at, active, unread, time, seq, content, deleted].join("|"),
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
          el(
            "span",
            { class: "channel-label" },
            el("span", { dir: "auto", text: channel.name || channel.channel_id }),
            channel.visibility === "private" ? icon("lock") : null,
            mark(channel),
          ),
          time ? el("time", { class: "channel-time", datetime: at.toISOString(), text: time }) : null,
          channel.last_message ? el("span", { class: "channel-preview", text: previewText(channel.last_message, userId) }) : null,
          unread > 0 ? el("span", { class: "count" }, el("span", { text: unread > 99 ? "99+" : String(unread) }), el("span", { class: "visually-hidden", text: " unread" })) : null,
        ),
      ),
  };
}

/** Returns the words for the lock of a private channel, and the mark of an archived one. */
function mark({ visibility, archived_at: archived }) {
  if (archived) return el("span", { class: "tag", text: visibility === "private" ? "archived, private" : "archived" });
  return visibility === "private" ? el("span", { class: "visually-hidden", text: ", private" }) : null;
}

function previewText(last, userId) {
  if (last.deleted_at) return "Message deleted";
  return `${last.sender_id === userId ? "You" : last.sender_id}: ${excerpt(last, 80)}`;
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

/** Returns the line below a channel's name: its visibility, its agent, the user's role, and its id if the name differs. */
export function channelDetail(channel) {
  const parts = [channel.visibility === "private" ? "Private" : "Public"];
  if (channel.archived_at) parts.push("archived");
  if (channel.agent?.mode === "always") parts.push("the agent answers");
  if (channel.agent?.mode === "mention") parts.push("the agent answers when mentioned");
  if (ROLES.indexOf(channel.membership?.role) > 0) parts.push(`you are ${roleText(channel.membership.role)}`);
  if (channel.name && channel.name !== channel.channel_id) parts.push(channel.channel_id);
  return parts.join(" · ");
}

/** Words for the reasons for which the server ends a connection. */
const REASONS = {
  token_expired: ": the token has ended",
  removed: ": you were removed from a channel",
  too_many_frames: ": too many frames were sent",
};

/** Returns the text of a connection state. */
export function connectionText(state, now) {
  switch (state.name) {
    case "live":
      return "Live";
    case "waiting": {
      const seconds = Math.max(0, Math.ceil((state.retryAt - now) / 1000));
      return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting";
    }
    case "offline":
      return "Offline";
    case "closed":
      return `Closed${REASONS[state.reason] ?? ""}`;
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
