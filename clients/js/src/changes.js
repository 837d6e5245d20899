// The number of the last change that a client has of one channel. No network, no DOM, no clock.

/** Returns `true` for a number of a message, of a change, or of characters. @param {any} value @returns {value is number} */
export const isNumber = (value) => Number.isSafeInteger(value) && value >= 0;

/** Returns a number of a change, or `null` if the value is none. @param {unknown} value */
const numberOf = (value) => (isNumber(value) ? value : null);

/**
 * Follows the numbers of the changes of a channel (`rev`): 1, 2, 3 and so on, without a gap.
 *
 * All changes up to `known` are applied to the held messages. A larger number in an event, a page or an answer means that
 * changes are missing. Then the client reads the changes after `known`, page by page, until `isBehind` is `false`.
 */
export function createCursor() {
  /** @type {number | null} */
  let known = null;
  /** The largest number in an event, a page or an answer. */
  let told = 0;
  /** Numbers of applied events that came early, as `[from, rev]`. @type {[number, number][]} */
  let early = [];

  /** Takes a number up to which the channel has changes. @param {unknown} rev */
  const tell = (rev) => {
    told = Math.max(told, numberOf(rev) ?? 0);
  };

  /** Moves on over the events that came early. */
  function advance() {
    early.sort(([a], [b]) => a - b);
    while (known !== null && early[0]?.[0] <= known + 1) known = Math.max(known, /** @type {[number, number]} */ (early.shift())[1]);
  }

  return {
    tell,

    /** Number up to which all changes are applied; `null` until the first page of history has arrived. */
    get known() {
      return known;
    },

    /** `true` if changes must be read. */
    get isBehind() {
      return known !== null && told > known;
    },

    /**
     * Takes the number of a page of history with messages that were not held. Events between the number and `known` may
     * have changed these messages before they were held, so the changes after the number are missing.
     * @param {unknown} rev
     */
    join(rev) {
      tell(rev);
      const number = numberOf(rev);
      if (number === null) return;
      tell(known);
      // The page may lack the changes of events that came early.
      early = [];
      known = Math.min(known ?? number, number);
    },

    /** Takes the number of the page that replaces all held messages. @param {unknown} rev */
    restart(rev) {
      early = [];
      known = numberOf(rev);
      tell(rev);
    },

    /** Takes the numbers of an applied event. @param {any} event */
    follow({ rev, rev_from: from = rev }) {
      tell(rev);
      if (known === null || numberOf(rev) === null || numberOf(from) === null) return;
      early.push([from, rev]);
      advance();
    },

    /** Returns the state at the time of a request, for `read`. Its `after` is the number to ask with. */
    ask: () => ({ after: known, told }),

    /** Takes a page of changes that was requested with `asked`, after its messages were applied. @param {any} asked @param {any} page */
    read(asked, { has_more: hasMore, next, rev }) {
      const { after } = asked;
      const end = numberOf(hasMore ? next?.after : rev);
      const isLast = !hasMore || end === null || end <= after;
      const isTold = told > asked.told;
      tell(rev);
      // A page of history with an older number came meanwhile: the changes after that number are still missing.
      if (known === null || known < after) return;
      known = Math.max(known, end ?? 0);
      advance();
      // A number that the server does not have belongs to another channel that had the id.
      if (isLast && !isTold) told = /** @type {number} */ (known);
    },

    /** Forgets what it was told: the missing changes are no longer stored, so the history must be loaded again. */
    forget() {
      told = 0;
    },
  };
}
