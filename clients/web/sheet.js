// Dialogs with forms: their frame, their fields, and the reasons of refusals beside the fields.

import { el, icon } from "./dom.js";
import { reasons } from "./problem.js";

/** A dialog that is opened with a title. The browser keeps the focus in it, and gives it back when it closes. */
export class Sheet {
  #title;
  #status;
  #problem;

  /** `name` is the id of the dialog, and `closing` the label of its button that closes it. */
  constructor({ name, closing, onClose }, ...content) {
    this.#title = el("h2", { id: `${name}-title` });
    this.#problem = el("p", { class: "sheet-problem", role: "alert" });
    this.#status = el("p", { class: "sheet-status", role: "status" });
    this.element = el(
      "dialog",
      { id: name, class: "sheet", "aria-labelledby": `${name}-title` },
      el(
        "div",
        { class: "sheet-frame" },
        el(
          "header",
          { class: "sheet-header" },
          this.#title,
          el("button", { class: "icon-button", type: "button", "aria-label": closing, onclick: () => this.close() }, icon("close")),
        ),
        el("div", { class: "sheet-body" }, ...content),
        el("footer", { class: "sheet-footer" }, this.#problem, this.#status),
      ),
    );
    // The frame fills the dialog, so a press on the dialog itself is on the backdrop.
    this.element.addEventListener("pointerdown", ({ target }) => target === this.element && this.close());
    // The event comes later than the call, and the dialog may be open again.
    this.element.addEventListener("close", () => this.isOpen || onClose?.());
    document.body.append(this.element);
  }

  get isOpen() {
    return this.element.open;
  }

  set title(text) {
    this.#title.textContent = text;
  }

  /** Opens the dialog with the focus on `first`. */
  open(first) {
    this.clear();
    if (!this.isOpen) this.element.showModal();
    first?.focus();
  }

  close() {
    this.element.close();
  }

  /** Removes the status and all reasons. */
  clear() {
    this.#status.textContent = this.#problem.textContent = "";
    for (const input of this.element.querySelectorAll("[data-field]")) complain(input, "");
  }

  /** Shows that a request has succeeded. */
  succeed(text) {
    this.clear();
    this.#status.textContent = text;
  }

  /** Shows the reason of a refusal, beside its fields if it names some. */
  fail(error) {
    this.clear();
    const inputs = [...this.element.querySelectorAll("[data-field]")];
    const { fields, rest } = reasons(error, inputs.map((input) => input.dataset.field));
    for (const input of inputs) complain(input, fields.get(input.dataset.field) ?? "");
    this.#problem.textContent = rest;
    inputs.find((input) => fields.has(input.dataset.field))?.focus();
  }
}

/** Shows a text below a field; an empty one removes it. */
function complain(input, text) {
  if (text) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
  const line = document.getElementById(`${input.id}-problem`);
  if (line) line.textContent = text;
}

/**
 * Returns a labelled field. `input` has an id. `field` is its name in the problems of the API.
 */
export function field({ label, hint, input, field: name }) {
  input.dataset.field = name;
  input.setAttribute("aria-describedby", [hint && `${input.id}-hint`, `${input.id}-problem`].filter(Boolean).join(" "));
  return el(
    "div",
    { class: "sheet-field" },
    el("label", { for: input.id, text: label }),
    input,
    hint ? el("p", { id: `${input.id}-hint`, class: "sheet-hint", text: hint }) : null,
    el("p", { id: `${input.id}-problem`, class: "sheet-field-problem" }),
  );
}

/** Returns a choice of one of some options, `[value, label]` each. */
export function choice(id, options) {
  return el("select", { id }, ...options.map(([value, label]) => el("option", { value, text: label })));
}

/** Returns a checkbox with its label. */
export function check({ label, hint, input, field: name }) {
  input.dataset.field = name;
  input.setAttribute("aria-describedby", `${input.id}-hint ${input.id}-problem`);
  return el(
    "div",
    { class: "sheet-check" },
    input,
    el("label", { for: input.id, text: label }),
    el("p", { id: `${input.id}-hint`, class: "sheet-hint", text: hint }),
    el("p", { id: `${input.id}-problem`, class: "sheet-field-problem" }),
  );
}

/** Runs `action` while the buttons are disabled, so that no request is made twice. The focus stays. */
export async function busy(buttons, action) {
  const { activeElement } = document;
  const enabled = buttons.filter((button) => !button.disabled);
  for (const button of enabled) button.disabled = true;
  try {
    return await action();
  } finally {
    for (const button of enabled) button.disabled = false;
    // A disabled button loses the focus.
    if (enabled.includes(activeElement) && (document.activeElement === document.body || document.activeElement?.tagName === "DIALOG")) activeElement.focus();
  }
}
