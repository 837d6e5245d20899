// Shows texts that arrive in large pieces as if they grew evenly. No network, no DOM, no clock.

/** @import { Draft } from "./types.js" */

/** Time in which the first piece of a text appears: the interval until the second one. */
const FIRST_MS = 250;
/** Limits of the time in which a later piece appears: the usual interval of pieces is one second. */
const SHORTEST_MS = 100;
const LONGEST_MS = 1_000;

/** The growth of one text. Lengths are in characters, times in ms. The text that it begins with is shown at once. */
export class Growth {
  #from;
  #to;
  #since;
  #duration = 0;

  /** @param {number} length @param {number} now */
  constructor(length, now) {
    this.#from = this.#to = length;
    this.#since = now;
  }

  /** Takes the length that the text has now. A piece appears in the time that has passed since the one before. @param {number} length @param {number} now */
  grow(length, now) {
    if (length === this.#to) return;
    const passed = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, now - this.#since));
    this.#from = Math.min(length, this.at(now));
    this.#duration = this.#to === 0 ? FIRST_MS : passed;
    this.#to = length;
    this.#since = now;
  }

  /** Returns the shown length. @param {number} now */
  at(now) {
    const part = this.#duration === 0 ? 1 : Math.min(1, Math.max(0, now - this.#since) / this.#duration);
    return Math.floor(this.#from + (this.#to - this.#from) * part);
  }

  /** @param {number} now */
  isGrowing(now) {
    return this.at(now) < this.#to;
  }
}

/** The growth of all drafts of a channel. With `isCalm`, each text is shown at once (`prefers-reduced-motion`). */
export class DraftGrowth {
  #isCalm;
  /** `{id, growth}` of each draft, by the answered message. @type {Map<number, { id: string | null, growth: Growth }>} */
  #byQuestion = new Map();

  /** @param {{ isCalm?: () => boolean }} [options] */
  constructor({ isCalm = () => false } = {}) {
    this.#isCalm = isCalm;
  }

  /** Returns the drafts with the part of their `text` that is shown. Forgets all others. @param {Draft[]} drafts @param {number} now */
  shown(drafts, now) {
    const before = this.#byQuestion;
    this.#byQuestion = new Map();
    return drafts.map((draft) => {
      const { id, replyTo, text, length } = draft;
      const held = before.get(replyTo);
      const growth = held && held.id === id && !this.#isCalm() ? held.growth : new Growth(length, now);
      growth.grow(length, now);
      this.#byQuestion.set(replyTo, { id, growth });
      const shown = growth.at(now);
      return shown < length ? { ...draft, text: [...text].slice(0, shown).join("") } : draft;
    });
  }

  /** Returns `true` if a text is not yet shown whole. @param {number} now */
  isGrowing(now) {
    return [...this.#byQuestion.values()].some(({ growth }) => growth.isGrowing(now));
  }
}
