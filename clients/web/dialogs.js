// Small dialogs: a question, and the list of keys.

import { el, icon } from "./dom.js";

/** Shows a modal dialog until it is closed. Returns its `returnValue`: empty after Escape. The focus returns by itself. */
export function showDialog({ title, content, buttons = [], isWide = false }) {
  const titleId = "dialog-title";
  const dialog = el(
    "dialog",
    { class: "dialog", "aria-labelledby": titleId, "data-wide": isWide },
    el(
      "form",
      { method: "dialog" },
      el(
        "header",
        {},
        el("h2", { id: titleId, text: title }),
        buttons.length > 0 ? null : el("button", { class: "icon-button small", "aria-label": "Close" }, icon("close")),
      ),
      ...content,
      buttons.length > 0 ? el("footer", {}, ...buttons) : null,
    ),
  );
  // The form fills the dialog, so a press on the dialog itself is on the backdrop.
  dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue);
    });
  });
}

/** Asks whether to do something that cannot be undone. `quote` is shown below the question. Returns `true` if the user agrees. */
export async function ask({ title, detail, quote, action }) {
  const answer = await showDialog({
    title,
    content: [el("p", { text: detail }), quote ? el("blockquote", { dir: "auto", text: quote }) : null],
    buttons: [
      el("button", { class: "plain-button", value: "", autofocus: true, text: "Cancel" }),
      el("button", { class: "danger-button", value: "yes", text: action }),
    ],
  });
  return answer === "yes";
}
