// The change of a message's text in its place.

import { MAX_CONTENT_BYTES, sizeOf, sizeText } from "./composer.js";
import { el } from "./dom.js";
import { isComposing } from "./message-actions.js";
import { describe } from "./view.js";

/** The editor of the page. It edits at most one message. */
export class Editor {
  #channel = null;
  #message = null;
  #place = "";
  /** The text on which the change is based: the user has seen it. */
  #base = "";
  #isSaving = false;
  /** `true` if the message was deleted meanwhile. */
  #isGone = false;
  #parts = null;
  #returnFocus = () => {};
  #onSaved;
  #onChange;

  /** `onSaved` gets the message after the change. `onChange` shows the messages again. */
  constructor({ onSaved, onChange }) {
    this.#onSaved = onSaved;
    this.#onChange = onChange;
  }

  /** Edits a message in the list with the name `place`. `returnFocus` moves the focus at the end. */
  open(channel, message, place, returnFocus) {
    this.close(false);
    this.#channel = channel;
    this.#message = message;
    this.#place = place;
    this.#base = message.content;
    this.#isGone = false;
    this.#returnFocus = returnFocus;
    this.#parts = this.#build(message);
    this.#onChange();
    const { input } = this.#parts;
    this.#resize();
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
    input.closest(".message")?.scrollIntoView({ block: "nearest" });
  }

  close(returnsFocus = true) {
    if (!this.#message) return;
    this.#message = null;
    this.#isSaving = false;
    const { form } = this.#parts;
    form.closest(".message")?.removeAttribute("data-editing");
    form.remove();
    this.#onChange();
    if (returnsFocus) this.#returnFocus();
  }

  /** Ends the edit in a list that is closed. */
  closeIn(place) {
    if (this.#place === place) this.close(false);
  }

  /** Shows the editor in the element of a message if it is edited. Shows a text of somebody else that has come meanwhile. */
  attach(element, message, place) {
    const isHere = this.#message?.seq === message.seq && this.#place === place;
    element.toggleAttribute("data-editing", isHere);
    if (!isHere) return;
    const { form } = this.#parts;
    if (!element.contains(form)) {
      element.querySelector(".line").after(form);
      this.#resize();
    }
    this.#follow(message);
  }

  #build({ seq, content }) {
    const input = el("textarea", { rows: "1", enterkeyhint: "done", "aria-label": `Edit message ${seq}`, "aria-describedby": "editor-status" });
    input.value = content;
    const theirs = el("div", { class: "editor-theirs", role: "alert", hidden: true });
    const status = el("span", { id: "editor-status", class: "editor-status", role: "status" });
    const save = el("button", { class: "link-button", type: "submit", text: "Save" });
    const form = el(
      "form",
      { class: "editor", "aria-label": `Edit message ${seq}` },
      input,
      theirs,
      el(
        "div",
        { class: "editor-row" },
        el("span", { class: "keys" }, el("kbd", { text: "Enter" }), " saves, ", el("kbd", { text: "Escape" }), " cancels"),
        status,
        el("button", { class: "link-button", type: "button", onclick: () => this.close(), text: "Cancel" }),
        save,
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    form.addEventListener("keydown", (event) => {
      if (isComposing(event)) return;
      if (event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        this.close();
      } else if (event.key === "Enter" && event.target === input && !event.shiftKey) {
        event.preventDefault();
        this.#save();
      }
    });
    input.addEventListener("input", () => {
      status.textContent = "";
      this.#resize();
    });
    return { form, input, theirs, status, save };
  }

  #resize() {
    const { form, input, status, save } = this.#parts;
    // Outside of the page, an element has no height.
    if (form.isConnected) {
      input.style.height = "auto";
      input.style.height = `${Math.min(input.scrollHeight, 320)}px`;
    }
    const bytes = sizeOf(input.value.trim());
    if (bytes > MAX_CONTENT_BYTES) status.textContent = sizeText(bytes);
    save.disabled = this.#isSaving || this.#isGone || bytes === 0 || bytes > MAX_CONTENT_BYTES;
  }

  /** Shows the text of a message if it is not the one on which the change is based. A save tells of it by itself. */
  #follow({ content, deleted_at: deleted }) {
    const { theirs, save, status } = this.#parts;
    if (deleted) {
      this.#isGone = save.disabled = true;
      status.textContent = "This message was deleted.";
      return;
    }
    if (this.#isSaving || content === this.#base) return;
    this.#base = content;
    theirs.hidden = false;
    theirs.replaceChildren(
      el("p", { text: "Another text was saved meanwhile. Save replaces it, Cancel keeps it:" }),
      el("blockquote", { dir: "auto", text: content }),
    );
  }

  async #save() {
    const message = this.#message;
    const channel = this.#channel;
    const { input, status, save } = this.#parts;
    if (save.disabled) return;
    const text = input.value.trim();
    if (text === this.#base) return this.close();
    this.#isSaving = save.disabled = input.readOnly = true;
    status.textContent = "Saving";
    let isSaved = false;
    try {
      const seen = await this.#unseen(channel, message.seq);
      if (!seen) {
        this.#onSaved(await channel.edit(message.seq, text));
        isSaved = true;
      } else if (this.#message === message) {
        this.#stop("");
        this.#follow(seen);
      }
    } catch (error) {
      if (this.#message !== message) return;
      this.#stop(error.code === "version_mismatch" ? "" : `Not saved. ${describe(error)}`);
      const current = channel.log.get(message.seq) ?? (await channel.message(message.seq).catch(() => null));
      if (current && this.#message === message) this.#follow(current);
      if (error.code === "version_mismatch" && this.#parts.theirs.hidden) status.textContent = `Not saved. ${describe(error)}`;
    }
    if (isSaved && this.#message === message) this.close();
  }

  /** Returns the message if its text is another than the user has seen. A message that is held follows its events. */
  async #unseen(channel, seq) {
    if (channel.log.get(seq)) return null;
    const read = await channel.message(seq);
    return read && read.content !== this.#base ? read : null;
  }

  #stop(text) {
    const { input, status } = this.#parts;
    this.#isSaving = false;
    input.readOnly = false;
    status.textContent = text;
    this.#resize();
  }
}
