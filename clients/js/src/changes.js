// The number of the last change that a client has of one channel. No network, no DOM, no clock.

/** Returns `true` for a number of a message, of a change, or of characters. @param {any} value @returns {value is number} */
export const isNumber = (value) => Number.isSafeInteger(value) && value >= 0;

/**
 * Follows the numbers of the changes of a channel (`rev`): 1, 2, 3 and so on, without a gap.
 *
 * All changes up to `known` are applied to the held messages. A larger number in an event, a page or an answer means that
 * changes are missing. Then the client reads the changes after `known`, page by page, until `isBehind` is `false`.
 */
export function createCursor() {
  /** `undefined` until the first page of history has arrived: no number is larger or smaller. @type {any} */
  let known;
  /** The largest number in an event, a page or an answer. */
  let told = 0;
  /** Numbers of applied changes after a gap, as `[from, rev]`. @type {number[][]} */
  let early = [];

  /** Takes a number up to which the channel has changes. @param {any} rev */
  function tell(rev) {
    if (isNumber(rev)) told = Math.max(told, rev);
  }

  /** Moves on over applied changes, and over those that came early. @param {number} from @param {number} rev */
  function apply(from, rev) {
    early.push([from, rev]);
    early.sort(([a], [b]) => a - b);
    while (early[0]?.[0] <= known + 1) known = Math.max(known, /** @type {number[]} */ (early.shift())[1]);
  }

  /**
   * Takes the number of a page of history with messages that were not held. Events between the number and `known` may
   * have changed these messages before they were held, so the changes after the number are missing.
   * @param {any} rev
   */
  function join(rev) {
    if (!isNumber(rev)) return;
    tell(rev);
    tell(known);
    // The page may lack the changes of events that came early.
    early = [];
    known = known < rev ? known : rev;
  }

  return {
    tell,
    join,

    /** Number up to which all changes are applied; `null` until the first page of history has arrived. @returns {number | null} */
    get known() {
      return known ?? null;
    },

    /** `true` if changes must be read. */
    get isBehind() {
      return told > known;
    },

    /** Forgets the largest number, which the server may no longer have. */
    clear: () => (told = 0),
    /** Takes the number of the page that replaces all held messages. @param {any} rev */
    restart(rev) {
      known = undefined;
      join(rev);
    },

    /** Takes the numbers of an applied event. @param {any} event */
    take({ rev, rev_from: from = rev }) {
      tell(rev);
      if (known >= 0 && isNumber(rev) && isNumber(from)) apply(from, rev);
    },

    /** Returns the function that takes the page of changes which is requested now, after its messages were applied. */
    ask() {
      const after = known;
      const before = told;
      return (/** @type {any} */ { has_more: hasMore, next, rev }) => {
        const end = (hasMore ? next?.after : rev) ?? 0;
        const isTold = told > before;
        tell(rev);
        // A page of history with an older number came meanwhile: the changes after that number are still missing.
        if (known < after) return;
        apply(0, end);
        // A number that the server does not have belongs to another channel that had the id.
        if (!isTold && (!hasMore || end <= after)) told = known;
      };
    },
  };
}
