// The growth of drafts on the screen, between two frames of the agent.

import { DraftGrowth } from "../js/src/growth.js";
import { calm } from "./page.js";

/** Interval at which growing texts are shown. */
const TICK_MS = 50;

export class DraftMotion {
  #growth = new DraftGrowth({ isCalm: () => calm.matches });
  #onTick;
  #timer = null;

  /** `onTick` shows the drafts again. */
  constructor(onTick) {
    this.#onTick = onTick;
  }

  /** Returns the drafts with the part of their `text` that is shown. Calls `onTick` while a text is not shown whole. */
  shown(drafts) {
    const now = performance.now();
    const shown = this.#growth.shown(drafts, now);
    if (this.#timer === null && this.#growth.isGrowing(now)) {
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#onTick();
      }, TICK_MS);
    }
    return shown;
  }
}
