// The dialog with the members of a channel: their roles and presence, and the form that adds users.

import { Sheet, busy, choice, field } from "./sheet.js";
import { el, reconcile } from "./dom.js";
import { avatar } from "./identity.js";
import { ROLES, byRole, permissions, roleText } from "./roles.js";

const CHOICES = ROLES.map((role) => [role, role]);

export class MembersDialog {
  #client;
  #directory;
  #sheet;
  #channelId = null;
  #members = [];
  /** `true` if added users get an invitation. */
  #invites = false;
  #isLoading = false;
  #isStale = false;
  #list = el("ul", { id: "members-list", class: "members", tabindex: "-1", "aria-label": "Members" });
  #user = el("input", { id: "members-user", autocomplete: "off", autocapitalize: "none", spellcheck: "false" });
  #role = choice("members-role", CHOICES);
  #roleField;
  #add = el("button", { class: "primary", type: "submit" });
  #note = el("p", { class: "sheet-note" });
  #form;

  constructor({ client, directory }) {
    this.#client = client;
    this.#directory = directory;
    this.#roleField = field({ label: "Role", input: this.#role, field: "role" });
    this.#form = el(
      "form",
      { class: "members-form", novalidate: true, "aria-label": "Add a user", onsubmit: (event) => this.#submit(event) },
      field({ label: "Id of a user", input: this.#user, field: "user_id" }),
      this.#roleField,
      this.#add,
    );
    this.#sheet = new Sheet(
      { name: "members", closing: "Close the list of members", onClose: () => (this.#channelId = null) },
      this.#note,
      this.#form,
      this.#list,
    );
    client.on("members", ({ channelId }) => channelId === this.#channelId && this.#load());
    client.on("presence", ({ channelId }) => channelId === this.#channelId && this.#show());
  }

  /** Opens the list of members of a channel. */
  open(channelId) {
    this.#channelId = channelId;
    this.#members = [];
    this.#user.value = "";
    this.#role.value = "member";
    this.refresh();
    this.#sheet.open(this.#form.hidden ? this.#list : this.#user);
    this.#load();
    this.#client.me().then(
      ({ invites }) => {
        this.#invites = invites === true;
        this.refresh();
      },
      // The label of a button is no reason for a message.
      () => {},
    );
  }

  /** Shows later permissions of the user. */
  refresh() {
    if (!this.#channelId) return;
    const channel = this.#directory.get(this.#channelId);
    if (!channel) return this.#sheet.close();
    const may = permissions(channel);
    this.#sheet.title = `Members of ${channel.name}`;
    this.#form.hidden = !may.adds;
    this.#roleField.hidden = !may.assigns;
    this.#add.textContent = this.#invites ? "Invite" : "Add";
    this.#note.textContent = may.adds ? "" : may.isArchived ? "This channel is archived, so no user can join it." : `You are ${roleText(may.role)}. Moderators and owners add users.`;
    this.#note.hidden = may.adds;
    this.#show();
  }

  /** Reads the members, and reads them again after a change that came meanwhile. */
  async #load() {
    this.#isStale = true;
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      while (this.#isStale && this.#channelId) {
        this.#isStale = false;
        const channelId = this.#channelId;
        const members = await this.#directory.members(channelId);
        if (this.#channelId !== channelId) continue;
        this.#members = byRole(members);
        this.refresh();
      }
    } catch (error) {
      if (this.#channelId) this.#sheet.fail(error);
    } finally {
      this.#isLoading = false;
    }
  }

  #show() {
    if (!this.#channelId) return;
    const may = permissions(this.#directory.get(this.#channelId));
    const here = new Set(this.#client.channel(this.#channelId).present);
    const hadFocus = this.#list.contains(document.activeElement);
    reconcile(this.#list, this.#members.map((member) => this.#row(member, may, here.has(member.user_id))));
    // The row with the focus is gone.
    if (hadFocus && !this.#list.contains(document.activeElement)) this.#list.focus();
  }

  #row(member, may, isHere) {
    const { user_id: id, role } = member;
    const isMe = id === this.#client.userId;
    const isRemovable = may.removes(member, this.#client.userId);
    return {
      key: id,
      version: `${may.assigns}|${isRemovable}`,
      render: () =>
        el(
          "li",
          { class: "member" },
          el("span", { class: "member-picture" }, avatar(id), el("i", { class: "here", "aria-hidden": "true" })),
          el("span", { class: "member-name" }, el("b", { text: id }), isMe ? " (you)" : null, el("span", { class: "member-state" })),
          may.assigns
            ? el("select", { class: "member-role", "aria-label": `Role of ${id}`, onchange: ({ currentTarget }) => this.#assign(id, currentTarget) },
                ...CHOICES.map(([value, label]) => el("option", { value, text: label })))
            : el("span", { class: "tag member-role" }),
          isRemovable
            ? el("button", { class: "link-button member-remove", type: "button", "aria-label": `Remove ${id}`, onclick: ({ currentTarget }) => this.#remove(id, currentTarget), text: "Remove" })
            : null,
        ),
      update: (element) => {
        element.dataset.here = String(isHere);
        element.querySelector(".member-state").textContent = isHere ? "here" : "away";
        const shown = element.querySelector(".member-role");
        if (shown.tagName === "SELECT") shown.value = role;
        else shown.textContent = role;
      },
    };
  }

  async #submit(event) {
    event.preventDefault();
    const user = this.#user.value.trim();
    // A dot segment would vanish from the path of the request.
    if (!user || /^\.{1,2}$/.test(user)) {
      return this.#sheet.fail({ errors: [{ field: "user_id", message: user ? "This is no id of a user" : "Enter the id of a user" }] });
    }
    const role = this.#role.value;
    const isMember = this.#members.some(({ user_id: id }) => id === user);
    await this.#ask([this.#add], async (channelId) => {
      const added = await this.#directory.addMember(channelId, user, role === "member" ? {} : { role });
      if (this.#channelId !== channelId) return;
      this.#user.value = "";
      if (added.invited_at) this.#sheet.succeed(`${user} is invited as ${roleText(added.role)}, and becomes a member by accepting.`);
      else this.#sheet.succeed(isMember ? `${user} was already in this channel, and is ${roleText(added.role)}.` : `${user} is in this channel as ${roleText(added.role)}.`);
      this.#user.focus();
    });
  }

  #assign(user, select) {
    return this.#ask([], async (channelId) => {
      const role = select.value;
      await this.#directory.addMember(channelId, user, { role });
      if (this.#channelId === channelId) this.#sheet.succeed(`${user} is ${roleText(role)}.`);
    });
  }

  #remove(user, button) {
    return this.#ask([button], async (channelId) => {
      await this.#directory.removeMember(channelId, user);
      this.#members = this.#members.filter(({ user_id: id }) => id !== user);
      if (this.#channelId === channelId) this.#sheet.succeed(`${user} is removed.`);
    });
  }

  /** Makes a request and reads the members again, also after a refusal: a list then shows the role that stayed. */
  async #ask(buttons, action) {
    const channelId = this.#channelId;
    await busy(buttons, async () => {
      try {
        await action(channelId);
      } catch (error) {
        if (this.#channelId === channelId) this.#sheet.fail(error);
      }
    });
    if (this.#channelId !== channelId) return;
    this.#show();
    this.#load();
  }
}
