// Typed events. React Native has no `EventTarget`.

/** @template {object} Events */
export class Emitter {
  /** @type {{ [Type in keyof Events]?: Set<(detail: any) => void> }} */
  #listeners = {};

  /**
   * Calls `listener` with the detail of each event of a type. Returns a function that ends this.
   * @template {keyof Events} Type
   * @param {Type} type @param {(detail: Events[Type]) => void} listener
   */
  on(type, listener) {
    const all = (this.#listeners[type] ??= new Set());
    all.add(listener);
    return () => void all.delete(listener);
  }

  /**
   * @template {keyof Events} Type
   * @param {Type} type @param {Events[Type]} detail
   */
  emit(type, detail) {
    for (const listener of [...(this.#listeners[type] ?? [])]) {
      try {
        listener(detail);
      } catch (error) {
        // An error of a listener must not stop the client.
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}
