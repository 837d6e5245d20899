// The traces that the local run has received. No DOM.

/** Client for traces on the page's own server. */
export class Traces {
  #fetch;
  #held = new Map();

  constructor({ fetch = globalThis.fetch } = {}) {
    this.#fetch = (...args) => fetch(...args);
  }

  /** Returns the traces with spans of this message, `{trace_id, name, start_ns, spans}`, oldest first. */
  async ofMessage(channelId, seq) {
    const response = await this.#fetch(`traces?${new URLSearchParams({ channel_id: channelId, seq })}`);
    if (!response.ok) throw new Error(`The traces of message ${seq} cannot be had: ${response.status}.`);
    const { traces } = await response.json();
    return traces;
  }

  /** Returns a trace, or `null` if it was not received. An unchanged trace is returned as the same object. */
  async get(traceId) {
    const held = this.#held.get(traceId);
    const response = await this.#fetch(`traces/${traceId}`, held ? { headers: { "if-none-match": held.tag } } : {});
    if (response.status === 304) return held.trace;
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`Trace ${traceId} cannot be had: ${response.status}.`);
    const trace = await response.json();
    // Only one trace is shown at a time.
    this.#held.clear();
    this.#held.set(traceId, { trace, tag: response.headers.get("etag") });
    return trace;
  }
}
