// The dialog that creates a channel. The server generates the id, so that a name may have any script.

import { Sheet, busy, choice, field } from "./sheet.js";
import { el } from "./dom.js";
import { FIELDS } from "./settings-values.js";

/** Modes of the agent, with their texts. */
export const MODES = [
  ["always", "answers every message"],
  ["mention", "answers when it is mentioned"],
  ["off", "is off"],
];

/** Visibilities, with their texts. */
export const VISIBILITIES = [
  ["public", "Public: everybody can find, read and join it"],
  ["private", "Private: only members know of it"],
];

export class CreateDialog {
  #directory;
  #onCreated;
  #sheet;
  #name = el("input", { id: "create-name", autocomplete: "off", required: true, dir: "auto" });
  #visibility = choice("create-visibility", VISIBILITIES);
  #mode = choice("create-mode", MODES);
  #submit = el("button", { class: "primary", type: "submit", text: "Create the channel" });

  /** `onCreated` gets the created channel. */
  constructor({ directory, onCreated }) {
    this.#directory = directory;
    this.#onCreated = onCreated;
    this.#sheet = new Sheet(
      { name: "create", closing: "Do not create a channel" },
      el(
        "form",
        { novalidate: true, onsubmit: (event) => this.#create(event) },
        field({ label: "Name", hint: "1 to 100 characters of any script.", input: this.#name, field: FIELDS.name }),
        field({ label: "Visibility", input: this.#visibility, field: FIELDS.visibility }),
        field({ label: "The agent", input: this.#mode, field: FIELDS.mode }),
        el("div", { class: "sheet-actions" }, this.#submit),
      ),
    );
    this.#sheet.title = "Create a channel";
  }

  /** Opens the dialog, with a name that was typed elsewhere. */
  open(name = "") {
    this.#name.value = name;
    this.#visibility.value = "public";
    this.#mode.value = "always";
    this.#sheet.open(this.#name);
  }

  async #create(event) {
    event.preventDefault();
    await busy([this.#submit], async () => {
      try {
        const created = await this.#directory.create({
          name: this.#name.value,
          visibility: this.#visibility.value,
          agent: { mode: this.#mode.value },
        });
        this.#sheet.close();
        this.#onCreated(created);
      } catch (error) {
        this.#sheet.fail(error);
      }
    });
  }
}
