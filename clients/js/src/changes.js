// The number of the last change that a client has of one channel. No network, no DOM, no clock.

/** Returns a number of a change, or `null` if the value is none. @param {unknown} value @returns {number | null} */
const numberOf = (value) => (typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : null);

/**
 * Follows the numbers of the changes of a channel (`rev`): 1, 2, 3 and so on, without a gap.
 *
 * All changes up to `known` are applied to the held messages. A larger number in an event, a page or an answer means that
 * changes are missing. Then the client reads the changes after `known`, page by page, until `isBehind` is `false`.
 */
export class ChangeCursor {
  /** @type {number | null} */
  #known = null;
  /** The largest number in an event, a page or an answer. */
  #told = 0;
  #isExpired = false;
  /** Numbers of applied events that came early, as `[from, rev]`. @type {[number, number][]} */
  #early = [];

  /** Number up to which all changes are applied; `null` until the first page of history has arrived. */
  get known() {
    return this.#known;
  }

  /** `true` if changes must be read. */
  get isBehind() {
    return this.#known !== null && this.#told > this.#known;
  }

  /** `true` if the missing changes are no longer stored: the history must be loaded again. */
  get isExpired() {
    return this.#isExpired;
  }

  /** Takes a number up to which the channel has changes. @param {unknown} rev */
  tell(rev) {
    this.#told = Math.max(this.#told, numberOf(rev) ?? 0);
  }

  /**
   * Takes the number of a page of history with messages that were not held. Events between the number and `known` may
   * have changed these messages before they were held, so the changes after the number are missing.
   * @param {unknown} rev
   */
  join(rev) {
    this.tell(rev);
    const number = numberOf(rev);
    if (number === null || this.#isExpired) return;
    this.tell(this.#known);
    // The page may lack the changes of events that came early.
    this.#early = [];
    this.#known = Math.min(this.#known ?? number, number);
  }

  /** Takes the number of the page that replaces all held messages. @param {unknown} rev */
  restart(rev) {
    this.#isExpired = false;
    this.#early = [];
    this.#known = numberOf(rev);
    this.tell(rev);
  }

  /** Takes the numbers of an applied event. @param {any} event */
  follow({ rev, rev_from: from = rev }) {
    this.tell(rev);
    if (this.#known === null || numberOf(rev) === null || numberOf(from) === null) return;
    this.#early.push([from, rev]);
    this.#advance();
  }

  /** Returns the state at the time of a request, for `read`. Its `after` is the number to ask with. */
  ask() {
    return { after: this.#known, told: this.#told };
  }

  /** Takes a page of changes that was requested with `asked`, after its messages were applied. @param {any} asked @param {any} page */
  read({ after, told }, { has_more: hasMore, next, rev }) {
    const end = numberOf(hasMore === true ? next?.after : rev);
    const isLast = hasMore !== true || end === null || end <= after;
    const isTold = this.#told > told;
    this.tell(rev);
    // A page of history with an older number came meanwhile: the changes after that number are still missing.
    if (this.#known === null || this.#known < after) return;
    this.#known = Math.max(this.#known, end ?? 0);
    this.#advance();
    // A number that the server does not have belongs to another channel that had the id.
    if (isLast && !isTold) this.#told = this.#known;
  }

  /** Moves on over the events that came early. */
  #advance() {
    this.#early.sort(([a], [b]) => a - b);
    while (this.#known !== null && this.#early.length > 0 && this.#early[0][0] <= this.#known + 1) {
      this.#known = Math.max(this.#known, this.#early[0][1]);
      this.#early.shift();
    }
  }

  /** Forgets all numbers: the missing changes are no longer stored. */
  expire() {
    this.#isExpired = true;
    this.#known = null;
    this.#told = 0;
  }
}
