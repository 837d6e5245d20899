// The dialog with the settings of a channel. The role of the user decides which of them can be changed.

import { MODES, VISIBILITIES } from "./create.js";
import { Sheet, busy, check, choice, field } from "./sheet.js";
import { el } from "./dom.js";
import { permissions, roleText } from "./roles.js";
import { FIELDS, confirms, patchOf, rebase, valuesOf } from "./settings-values.js";

export class SettingsDialog {
  #directory;
  #onEnd;
  #onArchived;
  #sheet;
  #channelId = null;
  /** Values of the channel as last known, which the form shows except where the user has changed it. */
  #base = null;
  #inputs = {
    name: el("input", { id: "settings-name", autocomplete: "off", dir: "auto" }),
    visibility: choice("settings-visibility", VISIBILITIES),
    mode: choice("settings-mode", MODES),
    instructions: el("textarea", { id: "settings-instructions", rows: "3", dir: "auto" }),
    model: el("input", { id: "settings-model", autocomplete: "off", autocapitalize: "none", spellcheck: "false" }),
    receipts: el("input", { id: "settings-receipts", type: "checkbox" }),
    retention: el("input", { id: "settings-retention", inputmode: "numeric", autocomplete: "off" }),
  };
  /** `true` after the first press of the button that leaves a private channel. */
  #isSure = false;
  #confirmation = el("input", { id: "settings-confirmation", autocomplete: "off", dir: "auto", oninput: () => this.#allow() });
  #note = el("p", { class: "sheet-note", id: "settings-note" });
  #confirmationLabel = el("label", { for: "settings-confirmation" });
  #leaveHint = el("p", { class: "sheet-hint" });
  #save = el("button", { class: "primary", type: "submit", text: "Save" });
  #archive = el("button", { class: "secondary", type: "button", onclick: () => this.#setArchived() });
  #leave = el("button", { class: "secondary", type: "button", onclick: () => this.#leaveChannel(), onblur: () => this.#askToLeave(false) });
  #delete = el("button", { class: "danger", type: "submit", text: "Delete the channel" });

  /**
   * `onEnd` gets the id of a channel and `left` or `deleted` before the user leaves or deletes it, and `null` if that was
   * refused. `onArchived` is called after the user has archived or restored a channel.
   */
  constructor({ directory, onEnd, onArchived }) {
    this.#directory = directory;
    this.#onEnd = onEnd;
    this.#onArchived = onArchived;
    const { name, visibility, mode, instructions, model, receipts, retention } = this.#inputs;
    this.#sheet = new Sheet(
      { name: "settings", closing: "Close the settings", onClose: () => (this.#channelId = null) },
      this.#note,
      el(
        "form",
        { novalidate: true, "aria-label": "Settings", onsubmit: (event) => this.#submit(event) },
        field({ label: "Name", input: name, field: FIELDS.name }),
        field({ label: "Visibility", input: visibility, field: FIELDS.visibility }),
        field({ label: "The agent", input: mode, field: FIELDS.mode }),
        field({ label: "Instructions for the agent", input: instructions, field: FIELDS.instructions }),
        field({ label: "Model of the agent", hint: "Empty for the model of this deployment.", input: model, field: FIELDS.model }),
        field({ label: "Days until a message expires", hint: "Empty if messages stay. Applies to later messages.", input: retention, field: FIELDS.retention }),
        check({ label: "Read receipts", hint: "Members see up to where the others have read.", input: receipts, field: FIELDS.receipts }),
        el("div", { class: "sheet-actions" }, this.#save),
      ),
      el(
        "section",
        { class: "sheet-danger", "aria-label": "Archive, leave or delete" },
        el("div", { class: "sheet-row" }, el("p", { class: "sheet-hint", text: "An archived channel is read-only, until an owner restores it." }), this.#archive),
        el("div", { class: "sheet-row" }, this.#leaveHint, this.#leave),
        el(
          "form",
          { class: "sheet-row", novalidate: true, "aria-label": "Delete the channel", onsubmit: (event) => this.#remove(event) },
          el("div", { class: "sheet-field" }, this.#confirmationLabel, this.#confirmation),
          this.#delete,
        ),
      ),
    );
  }

  /** Opens the settings of a channel of the user. */
  open(channelId) {
    const channel = this.#directory.get(channelId);
    if (!channel) return;
    this.#channelId = channelId;
    this.#base = valuesOf(channel);
    this.#write(this.#base);
    this.#confirmation.value = "";
    this.#askToLeave(false);
    this.refresh();
    const { name } = this.#inputs;
    this.#sheet.open(name.disabled ? this.#leave : name);
  }

  /** Shows later settings of the channel. Fields that the user has changed stay. */
  refresh() {
    if (!this.#channelId) return;
    const channel = this.#directory.get(this.#channelId);
    if (!channel) return this.#sheet.close();
    const next = valuesOf(channel);
    this.#write(rebase(this.#base, next, this.#read()));
    this.#base = next;
    this.#sheet.title = `Settings of ${channel.name}`;
    this.#confirmationLabel.textContent = `To delete the channel and its messages, type ${channel.name}`;
    this.#archive.textContent = channel.archived_at ? "Restore the channel" : "Archive the channel";
    this.#leaveHint.textContent = channel.visibility === "private" ? "Only a moderator or an owner can add you again." : "You can join again.";
    this.#allow();
  }

  /** Enables what the role of the user allows. */
  #allow() {
    const channel = this.#directory.get(this.#channelId);
    if (!channel) return;
    const may = permissions(channel);
    for (const input of Object.values(this.#inputs)) input.disabled = !may.edits;
    this.#save.disabled = !may.edits;
    this.#archive.disabled = !may.archives;
    this.#leave.disabled = !may.leaves;
    this.#confirmation.disabled = !may.deletes;
    this.#delete.disabled = !may.deletes || !confirms(this.#confirmation.value, channel.name);
    this.#note.textContent = note(may);
    this.#note.hidden = this.#note.textContent === "";
  }

  #read() {
    return Object.fromEntries(Object.entries(this.#inputs).map(([field, input]) => [field, input.type === "checkbox" ? input.checked : input.value]));
  }

  #write(values) {
    for (const [field, input] of Object.entries(this.#inputs)) {
      const key = input.type === "checkbox" ? "checked" : "value";
      // Assigning an equal text would move the caret.
      if (input[key] !== values[field]) input[key] = values[field];
    }
  }

  async #submit(event) {
    event.preventDefault();
    const channelId = this.#channelId;
    const values = this.#read();
    const patch = patchOf(this.#base, values);
    if (!patch) return this.#sheet.succeed("Nothing has changed.");
    await this.#ask([this.#save], channelId, async () => {
      await this.#directory.update(channelId, patch);
      if (this.#channelId !== channelId) return;
      // The server may have stored another form of a text.
      this.#base = valuesOf(this.#directory.get(channelId) ?? {});
      this.#write(rebase(values, this.#base, this.#read()));
      this.#sheet.succeed("Saved.");
    });
  }

  async #setArchived() {
    const channelId = this.#channelId;
    const archived = !this.#directory.get(channelId)?.archived_at;
    await this.#ask([this.#archive], channelId, async () => {
      await this.#directory.update(channelId, { archived });
      this.#onArchived();
      if (this.#channelId === channelId) this.#sheet.succeed(archived ? "The channel is archived." : "The channel is restored.");
    });
  }

  /** Leaves the channel. A private one needs a second press, because its users cannot join again. */
  #leaveChannel() {
    const isPrivate = this.#directory.get(this.#channelId)?.visibility === "private";
    if (isPrivate && !this.#isSure) return this.#askToLeave(true);
    this.#end("left", this.#leave);
  }

  #askToLeave(isSure) {
    this.#isSure = isSure;
    this.#leave.textContent = isSure ? "Leave for good?" : "Leave the channel";
  }

  #remove(event) {
    event.preventDefault();
    const channel = this.#directory.get(this.#channelId);
    if (channel && confirms(this.#confirmation.value, channel.name)) this.#end("deleted", this.#delete);
  }

  /** Leaves or deletes the channel. */
  async #end(kind, button) {
    const channelId = this.#channelId;
    await this.#ask([button], channelId, async () => {
      this.#onEnd(channelId, kind);
      try {
        await (kind === "deleted" ? this.#directory.remove(channelId) : this.#directory.leave(channelId));
      } catch (error) {
        this.#onEnd(channelId, null);
        throw error;
      }
      if (this.#channelId === channelId) this.#sheet.close();
    });
  }

  /** Makes a request, and shows the reason if it is refused. */
  async #ask(buttons, channelId, action) {
    await busy(buttons, async () => {
      try {
        await action();
      } catch (error) {
        if (this.#channelId === channelId) this.#sheet.fail(error);
      }
    });
    this.refresh();
  }
}

function note({ role, isArchived, archives }) {
  if (isArchived) return archives ? "This channel is archived. Restore it to change its settings." : "This channel is archived. Only owners restore it.";
  return role === "owner" ? "" : `You are ${roleText(role)}. Only owners change the settings.`;
}
