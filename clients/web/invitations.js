// The user's invitations, in the sidebar. No frame announces them, so they are read when the page connects or is looked at.

import { busy } from "./sheet.js";
import { el, reconcile } from "./dom.js";
import { $ } from "./page.js";
import { reason } from "./problem.js";
import { roleText } from "./roles.js";

/** Problems of an invitation that has ended. */
const ENDED = new Set(["channel_not_found", "member_not_found"]);

export class Invitations {
  #directory;
  #onChange;
  #onAccepted;
  #all = [];
  #isLoading = false;
  #isStale = false;

  /** `onChange` gets the number of invitations. `onAccepted` gets the accepted one. */
  constructor({ directory, onChange, onAccepted }) {
    this.#directory = directory;
    this.#onChange = onChange;
    this.#onAccepted = onAccepted;
  }

  /** Reads the invitations. One request is made at a time. */
  async load() {
    this.#isStale = true;
    if (this.#isLoading) return;
    this.#isLoading = true;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        this.#all = await this.#directory.invitations();
      }
      this.#show();
    } catch {
      // The next look at the page reads them.
    } finally {
      this.#isLoading = false;
    }
  }

  #show() {
    const section = $("invitations");
    const hadFocus = section.contains(document.activeElement);
    section.hidden = this.#all.length === 0;
    reconcile($("invitations-list"), this.#all.map((invitation) => this.#row(invitation)));
    $("invitations-status").textContent = this.#all.length === 0 ? "" : this.#all.length === 1 ? "1 invitation" : `${this.#all.length} invitations`;
    // The row with the focus is gone.
    if (hadFocus && !section.contains(document.activeElement)) (section.querySelector("button") ?? $("search-input")).focus();
    this.#onChange(this.#all.length);
  }

  #row(invitation) {
    const { channel_id: id, name, role, invited_by: by, invited_at: at } = invitation;
    return {
      key: id,
      version: [name, role, by, at].join("|"),
      render: () => {
        const problem = el("p", { class: "invitation-problem", role: "alert" });
        const answer = (accepts) => this.#answer(invitation, accepts, buttons, problem);
        const buttons = [
          el("button", { class: "primary small", type: "button", "aria-label": `Accept the invitation to ${name}`, onclick: () => answer(true), text: "Accept" }),
          el("button", { class: "secondary small", type: "button", "aria-label": `Decline the invitation to ${name}`, onclick: () => answer(false), text: "Decline" }),
        ];
        return el(
          "li",
          { class: "invitation" },
          el("b", { dir: "auto", text: name }),
          el("p", { text: role === "member" ? `from ${by}` : `from ${by}, as ${roleText(role)}` }),
          el("div", { class: "invitation-answers" }, ...buttons),
          problem,
        );
      },
    };
  }

  /** Accepts or declines an invitation. */
  async #answer(invitation, accepts, buttons, problem) {
    const { channel_id: id } = invitation;
    problem.textContent = "";
    await busy(buttons, async () => {
      try {
        await (accepts ? this.#directory.join(id) : this.#directory.leave(id));
        this.#all = this.#all.filter((other) => other.channel_id !== id);
        if (accepts) this.#onAccepted(invitation);
      } catch (error) {
        if (ENDED.has(error.code)) return this.load();
        problem.textContent = reason(error);
      }
    });
    this.#show();
  }
}
