// The journey of a message: a dialog that draws its trace as a waterfall and updates it while spans arrive.

import { el, icon, reconcile } from "./dom.js";
import { duration, timeOfDay } from "./format.js";
import { axis, journey, place } from "./journey.js";

/** Interval between requests for late spans; functions export after their responses. */
const LOOK_AGAIN_MS = 600;
/** Number of colours of services in the style sheet. */
const COLOURS = 8;
/** Free fraction of a zoomed axis on each side of the span. */
const ZOOM_MARGIN = 0.08;

const $ = (id) => document.getElementById(id);

/** The dialog `#journey`. */
export class JourneyPanel {
  #traces;
  #message = null;
  #chosen = null;
  #trace = null;
  #drawn = null;
  #selected = null;
  #detailed = null;
  #window = null;
  #timer = null;

  /** `traces` is a `Traces`. */
  constructor(traces) {
    this.#traces = traces;
    const dialog = $("journey");
    dialog.addEventListener("close", () => this.#stop());
    // The content fills the dialog, so a click on the dialog itself is on the backdrop.
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
    $("journey-close").addEventListener("click", () => dialog.close());
    $("journey-all").addEventListener("click", () => this.#zoom(null));
    $("journey-spans").addEventListener("keydown", (event) => this.#key(event));
    $("journey-spans").addEventListener("focusin", ({ target }) => this.#select(target.closest("[role=treeitem]")?.dataset.key));
  }

  /** Opens the journey of a message; `about` describes it in one line. */
  open(channelId, { seq }, about) {
    this.#stop();
    this.#message = { channelId, seq };
    this.#chosen = this.#trace = this.#drawn = this.#selected = this.#detailed = this.#window = null;
    $("journey-title").textContent = `Journey of message ${seq}`;
    $("journey-about").textContent = about;
    for (const id of ["journey-traces", "journey-figures", "journey-marks", "journey-spans", "journey-lines", "journey-details", "journey-legend"]) {
      $(id).replaceChildren();
    }
    $("journey-content").hidden = true;
    $("journey-status").textContent = "Looking for its trace";
    $("journey").showModal();
    this.#look(this.#message);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#message = null;
  }

  async #look(message) {
    try {
      if (!document.hidden) await this.#update(message);
    } catch {
      if (message === this.#message && !this.#trace) $("journey-status").textContent = "The local run does not answer; this goes on as soon as it does.";
    }
    if (message === this.#message) this.#timer = setTimeout(() => this.#look(message), LOOK_AGAIN_MS);
  }

  async #update(message) {
    const found = await this.#traces.ofMessage(message.channelId, message.seq);
    const id = this.#chosen ?? found[0]?.trace_id;
    const trace = id ? await this.#traces.get(id) : null;
    if (message !== this.#message) return;
    this.#showTraces(found, id);
    if (trace === this.#trace) {
      if (!trace) $("journey-status").textContent = "Nothing of its trace is here yet. Functions export after each answer; what was sent before this run began, or was not sampled, has none.";
      return;
    }
    if (trace) this.#show(trace);
    // The server may have removed the trace; the drawn one stays on the screen.
    else if (id !== this.#trace.trace_id) $("journey-status").textContent = "Nothing of that trace is here: not sampled, not yet come in, or made room for.";
  }

  /** Shows another trace instead, and selects one of its spans. */
  #goTo(traceId, spanId = null) {
    if (traceId === this.#trace?.trace_id) return $("journey-spans").querySelector(`[data-key="${spanId}"]`)?.focus();
    this.#chosen = traceId;
    this.#selected = spanId;
    this.#detailed = this.#window = null;
    clearTimeout(this.#timer);
    // A new object stops a running update.
    this.#message = { ...this.#message };
    this.#look(this.#message);
  }

  /** Shows the choice of traces: an edited message has several, and a link may lead to one of another message. */
  #showTraces(found, current) {
    const isOwn = found.some(({ trace_id: id }) => id === current);
    const items = current && !isOwn ? [...found, { trace_id: current, name: "Linked", start_ns: null }] : found.length > 1 ? found : [];
    reconcile(
      $("journey-traces"),
      items.map(({ trace_id: id, name, start_ns: start }) => ({
        key: id,
        version: String(id === current),
        render: () =>
          el("button", {
            type: "button",
            "aria-pressed": String(id === current),
            text: start === null ? name : `${name.split(" ")[0]} ${timeOfDay(new Date(Number(BigInt(start) / 1_000_000n)))}`,
            onclick: () => this.#goTo(id),
          }),
      })),
    );
  }

  #show(trace) {
    this.#trace = trace;
    this.#drawn = journey(trace, this.#message.seq);
    const { rows, linked, services, figures, total } = this.#drawn;
    const errors = rows.filter(({ isError }) => isError).length;
    $("journey-status").textContent = [
      `${count(rows.length, "span")} of ${count(new Set(rows.map(({ service }) => service)).size, "function")} in ${duration(total)}`,
      errors > 0 ? `${errors} failed` : null,
    ]
      .filter(Boolean)
      .join(", ");
    $("journey-trace").textContent = trace.trace_id;
    $("journey-figures").replaceChildren(
      ...figures.map(({ key, label, ms }) => el("li", { "data-figure": key }, el("b", { text: duration(ms) }), el("span", {}, key === "lag" ? el("i", { class: "wait sample" }) : null, label))),
    );
    $("journey-legend").replaceChildren(
      ...services.map((name, index) => el("li", {}, swatch(index), el("span", { text: name || "unnamed" }))),
      ...(rows.some(({ wait }) => wait) ? [el("li", {}, el("i", { class: "wait sample" }), el("span", { text: "waiting in the stream" }))] : []),
    );
    const items = rows.map((row) => ({ key: row.span.span_id, version: "", render: () => spanRow(row) }));
    if (linked.length > 0) {
      items.push({ key: "linked", version: "", render: () => el("li", { class: "linked-title", role: "presentation", text: "Of other traces, linked to this one" }) });
      items.push(...linked.map((row) => ({ key: row.span.span_id, version: "", render: () => spanRow(row) })));
    }
    reconcile($("journey-spans"), items);
    for (const element of $("journey-spans").querySelectorAll("[role=treeitem]")) {
      element.onclick = () => element.focus();
      element.ondblclick = () => this.#zoom(this.#row(element.dataset.key));
    }
    $("journey-content").hidden = false;
    this.#place();
    const kept = this.#selected && this.#row(this.#selected) ? this.#selected : null;
    this.#select(kept ?? (rows.find(({ isError }) => isError) ?? rows[0]).span.span_id);
  }

  /** Positions all elements on the axis. */
  #place() {
    const { rows, linked, total } = this.#drawn;
    const { from, to } = this.#window ?? { from: 0, to: total };
    const marks = axis(from, to);
    const at = (mark) => {
      const element = el("i", {});
      element.style.left = `${mark.position}%`;
      return element;
    };
    $("journey-marks").replaceChildren(...marks.map((mark) => {
      const element = at(mark);
      element.textContent = mark.label;
      element.dataset.end = String(mark.position > 92);
      return element;
    }));
    $("journey-lines").replaceChildren(...marks.map(at));
    $("journey-all").hidden = this.#window === null;
    for (const row of [...rows, ...linked]) {
      const element = $("journey-spans").querySelector(`[data-key="${row.span.span_id}"]`);
      element.dataset.level = String(Math.min(row.level, 12));
      element.setAttribute("aria-level", String(row.level));
      element.setAttribute("aria-label", spoken(row, this.#drawn.services));
      element.toggleAttribute("data-error", row.isError);
      element.toggleAttribute("data-linked", row.isLinked);
      element.querySelector(".span-name").style.setProperty("--level", String(Math.min(row.level, 12) - 1));
      element.querySelector(".span-duration").textContent = duration(row.to - row.from);
      stand(element.querySelector(".wait"), row.wait && place({ from: Math.max(0, row.wait.from), to: row.wait.to }, from, to));
      const bar = element.querySelector(".bar");
      bar.dataset.colour = String(row.service % COLOURS);
      bar.toggleAttribute("data-call", row.isCall);
      stand(bar, place(row, from, to));
      const since = (time) => Number(BigInt(time) - this.#drawn.start) / 1e6;
      element.querySelector(".span-track").replaceChildren(
        element.querySelector(".wait"),
        bar,
        ...row.span.events.map((happened) => {
          const moment = since(happened.time_ns);
          const mark = el("i", { class: "event" });
          stand(mark, place({ from: moment, to: moment }, from, to));
          return mark;
        }),
      );
    }
  }

  #row(key) {
    return [...this.#drawn.rows, ...this.#drawn.linked].find(({ span }) => span.span_id === key);
  }

  #select(key) {
    if (!key) return;
    this.#selected = key;
    for (const element of $("journey-spans").querySelectorAll("[role=treeitem]")) {
      const isSelected = element.dataset.key === key;
      element.tabIndex = isSelected ? 0 : -1;
      element.setAttribute("aria-selected", String(isSelected));
    }
    const row = this.#row(key);
    const detailed = row && JSON.stringify(row);
    // The user may be reading the details, so unchanged ones stay.
    if (!row || detailed === this.#detailed) return;
    this.#detailed = detailed;
    $("journey-details").replaceChildren(...details(row, this.#drawn, () => this.#zoom(this.#row(key)), (trace, span) => this.#goTo(trace, span)));
  }

  /** Zooms the axis to this span with a margin. `null`, or a span that is already zoomed, shows the whole axis. */
  #zoom(row) {
    const isShown = row && this.#window && this.#window.span === row.span.span_id;
    if (!row || isShown) this.#window = null;
    else {
      const from = Math.max(0, row.wait?.from ?? row.from);
      const margin = Math.max((row.to - from) * ZOOM_MARGIN, 0.01);
      this.#window = { from: Math.max(0, from - margin), to: row.to + margin, span: row.span.span_id };
    }
    this.#place();
  }

  #key(event) {
    const items = [...$("journey-spans").querySelectorAll("[role=treeitem]")];
    const at = items.findIndex((item) => item.dataset.key === this.#selected);
    const row = this.#row(this.#selected);
    const ofKey = (key) => items.findIndex((item) => item.dataset.key === key);
    const next = {
      ArrowDown: () => at + 1,
      ArrowUp: () => at - 1,
      Home: () => 0,
      End: () => items.length - 1,
      ArrowLeft: () => ofKey(row?.parent),
      ArrowRight: () => items.findIndex((item) => this.#row(item.dataset.key)?.parent === this.#selected),
    }[event.key];
    if (next) {
      event.preventDefault();
      items[next()]?.focus();
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.#zoom(row);
    }
  }
}

const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;

const swatch = (index) => el("i", { class: "swatch", "data-colour": String(index % COLOURS) });

function stand(element, placed) {
  element.hidden = !placed;
  if (!placed) return;
  element.style.left = `${placed.left}%`;
  element.style.width = `${placed.width}%`;
}

function spanRow({ span, isOrphan }) {
  return el(
    "li",
    { class: "span-row", role: "treeitem", "data-orphan": isOrphan },
    el("span", { class: "span-name", title: span.name }, el("span", { text: span.name })),
    el("span", { class: "span-track" }, el("i", { class: "wait" }), el("i", { class: "bar" })),
    el("span", { class: "span-duration" }),
  );
}

/** Describes a row in words, for screen readers. */
function spoken(row, services) {
  return [
    row.span.name,
    services[row.service],
    row.wait ? `waited ${duration(row.wait.to - row.wait.from)} in the stream` : null,
    `begins at ${duration(row.from)}`,
    `takes ${duration(row.to - row.from)}`,
    row.isError ? "failed" : null,
    row.isLinked ? "linked" : null,
  ]
    .filter(Boolean)
    .join(", ");
}

function details(row, { traceId, services, start }, onZoom, onFollow) {
  const { span } = row;
  const facts = [
    [swatch(row.service), services[row.service] || "unnamed"],
    [null, `${span.kind} span, ${duration(row.to - row.from)} from ${duration(row.from)} on`],
    row.wait ? [el("i", { class: "wait sample" }), `${duration(row.wait.to - row.wait.from)} in the stream before it`] : null,
    row.isOrphan ? [null, "its parent is not here: the caller's, or still to come"] : null,
  ];
  return [
    el("h3", { text: span.name }),
    el("ul", { class: "facts" }, ...facts.filter(Boolean).map(([mark, text]) => el("li", {}, mark, el("span", { text })))),
    row.isError ? el("p", { class: "went-wrong", text: span.status_message || "It failed." }) : null,
    row.isLinked
      ? el("button", { class: "link-button", type: "button", onclick: () => onFollow(span.trace_id, span.span_id), text: "Open its trace" })
      : el("button", { class: "link-button", type: "button", onclick: onZoom, text: "Zoom to it" }),
    ...section("Attributes", Object.keys(span.attributes).length > 0 ? attributes(span.attributes) : null),
    ...section(
      "Events",
      span.events.length > 0
        ? el(
            "ol",
            { class: "events" },
            ...span.events.map((event) =>
              el(
                "li",
                {},
                el("b", { text: event.name }),
                el("span", { class: "at", text: `at ${duration(Math.max(0, Number(BigInt(event.time_ns) - start) / 1e6))}` }),
                attributes(event.attributes),
              ),
            ),
          )
        : null,
    ),
    ...section(
      "Links",
      span.links.length > 0
        ? el(
            "ol",
            { class: "links" },
            ...span.links.map((link) =>
              el(
                "li",
                {},
                el("button", { class: "link-button", type: "button", onclick: () => onFollow(link.trace_id, link.span_id), text: link.trace_id === traceId ? "Within this trace" : "In another trace" }),
                el("code", { text: `${link.trace_id} ${link.span_id}` }),
              ),
            ),
          )
        : null,
    ),
    el("details", {}, el("summary", { text: "What exported it" }), attributes(span.resource)),
  ].filter(Boolean);
}

const section = (title, content) => (content ? [el("h4", { text: title }), content] : []);

const attributes = (map) =>
  el(
    "dl",
    { class: "attributes" },
    ...Object.entries(map).map(([name, value]) =>
      el("div", {}, el("dt", { text: name }), el("dd", { text: typeof value === "object" ? JSON.stringify(value) : String(value) })),
    ),
  );

/** Returns the button of a message that opens its journey. */
export const journeyButton = (message, onOpen) =>
  el(
    "button",
    {
      class: "icon-button small reply",
      type: "button",
      "aria-label": `Show the journey of message ${message.seq}`,
      "aria-haspopup": "dialog",
      title: "Journey",
      onclick: () => onOpen(message),
    },
    icon("journey"),
  );
