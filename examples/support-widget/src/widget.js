// A button, and a panel with the conversation. Nothing is requested before a visitor opens the panel.

import { begin } from "./session.js";
import style from "./style.css";

const { src, dataset } = document.currentScript;
const title = dataset.title ?? "Support";

/** Creates an element with properties and children. */
const create = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

const log = create("ol", { role: "log" });
const status = create("p", { role: "status" });
const input = create("input", { name: "text", ariaLabel: "Message", placeholder: "Write a message", autocomplete: "off", required: true });
const form = create("form", {}, input, create("button", { textContent: "Send" }));
const panel = create("section", { hidden: true, ariaLabel: title }, create("h2", { textContent: title }), log, status, form);
const toggle = create("button", { className: "toggle", textContent: title, ariaExpanded: "false" });

/** The client and the channel, once the visitor has opened the panel. */
let session;
/** The beginning of the session. It is repeated if it fails. */
let beginning = null;

/** Shows lines: a class and a text each. Elements stay, so that a screen reader announces only what is new. */
function show(lines) {
  lines.forEach(([className, text], at) => {
    const item = log.children[at] ?? log.appendChild(document.createElement("li"));
    item.className = className;
    if (item.textContent !== text) item.textContent = text;
  });
  while (log.children.length > lines.length) log.lastChild.remove();
  log.scrollTop = log.scrollHeight;
}

function render({ client, channel }) {
  const sideOf = ({ sender_id: sender }) => (sender === client.userId ? "own" : "other");
  show([
    ...channel.messages.map((message) => [sideOf(message), message.deleted_at ? "Deleted" : message.content]),
    ...channel.drafts.map(({ text }) => ["other", text || "…"]),
    ...channel.outbox.map(({ content, state }) => [`own ${state}`, content]),
  ]);
  const failed = channel.outbox.filter(({ state }) => state === "failed");
  const retry = () => failed.forEach(({ key }) => channel.retry(key));
  if (failed.length > 0) status.replaceChildren("Not sent. ", create("button", { textContent: "Send again", onclick: retry }));
  else status.replaceChildren(client.state.name === "live" ? "" : "Connecting…");
}

/** Begins the session, and follows it. */
async function start() {
  status.textContent = "Connecting…";
  try {
    session = await begin(new URL("session", src));
  } catch (error) {
    status.textContent = error.message;
    beginning = null;
    return;
  }
  const { client } = session;
  for (const type of ["change", "state"]) client.on(type, () => render(session));
  client.on("messages", ({ messages }) => {
    if (panel.hidden && messages.some(({ sender_id: sender }) => sender !== client.userId)) toggle.classList.add("unread");
  });
  // A machine that slept may have lost its connection without an event.
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && client.check());
  render(session);
}

toggle.addEventListener("click", () => {
  panel.hidden = !panel.hidden;
  toggle.ariaExpanded = String(!panel.hidden);
  toggle.classList.remove("unread");
  if (panel.hidden) return;
  input.focus();
  beginning ??= start();
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const text = input.value.trim();
  if (!session || text === "") return;
  session.channel.send(text);
  form.reset();
});

// The styles of the page and of the widget stay apart.
const host = create("div", {});
host.attachShadow({ mode: "open" }).append(create("style", { textContent: style }), panel, toggle);
document.body.append(host);
