// The client under the conformance kit, which is its platform: clock, network and random numbers are those of the kit.
//
// Reads one JSON object a line, and writes its own ones. docs/guides/conformance.md describes both.

import { createInterface } from "node:readline";
import { channelsOf } from "./src/channels.js";
import { SwitchboardClient } from "./src/index.js";
import { backoff } from "./src/time.js";

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

/** Returns a seeded source of numbers from 0 to 1. */
function seeded(seed) {
  let state = Number(seed) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The platform of one run. */
class Platform {
  #now = 0;
  #last = 0;
  /** What waits for an answer of the kit: by kind and number. */
  #waiting = new Map();
  #sockets = new Map();

  constructor(seed) {
    this.random = seeded(seed);
    this.seed = seed;
    const platform = this;
    this.WebSocket = class {
      readyState = 0;
      constructor(url, protocols = []) {
        this.id = platform.#open(this, url, protocols);
      }
      send(text) {
        write({ do: "send", socket: this.id, text });
      }
      close() {
        if (this.readyState < 2) write({ do: "close", socket: this.id });
        this.readyState = 3;
      }
    };
  }

  clock = {
    now: () => this.#now,
    setTimeout: (action, ms) => {
      const id = (this.#last += 1);
      this.#waiting.set(`fire ${id}`, action);
      write({ do: "timer", id, ms });
      return id;
    },
    clearTimeout: (id) => {
      if (this.#waiting.delete(`fire ${id}`)) write({ do: "cancel", id });
    },
  };

  uuid = () => `key-${this.seed}-${(this.#last += 1)}`;

  token = () => this.#ask("token", {}).then(({ value, error }) => {
    if (error !== undefined) throw new Error(error);
    return value;
  });

  fetch = async (url, { method, headers, body, signal }) => {
    const { pathname: path, search } = new URL(url);
    const query = Object.fromEntries(new URLSearchParams(search));
    const given = await Promise.race([
      this.#ask("fetch", { method, path, query, headers, body: body ?? null }),
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    ]);
    if (given.status === undefined) throw new TypeError("no response");
    return { status: given.status, ok: given.status < 300, statusText: "", headers: new Headers(given.headers), text: async () => given.body };
  };

  /** Takes a line of the kit. */
  take(line) {
    if (line.now !== undefined) this.#now = line.now;
    if (line.token !== undefined) this.#settle(`token ${line.token}`, line);
    if (line.answer !== undefined) this.#settle(`fetch ${line.answer}`, line);
    if (line.fail !== undefined) this.#settle(`fetch ${line.fail}`, {});
    if (line.fire !== undefined) this.#settle(`fire ${line.fire}`);
    const { id, text } = line.frame ? { id: line.frame.socket, text: line.frame.text } : { id: line.closed?.socket ?? line.opened };
    const socket = this.#sockets.get(id);
    if (!socket || socket.readyState === 3) return;
    if (line.opened !== undefined) {
      socket.readyState = 1;
      socket.onopen?.({});
    }
    if (line.frame) socket.onmessage?.({ data: typeof text === "string" ? text : JSON.stringify(text) });
    if (line.closed) {
      socket.readyState = 3;
      this.#sockets.delete(id);
      socket.onclose?.({ code: line.closed.code });
    }
  }

  #open(socket, url, protocols) {
    const id = (this.#last += 1);
    this.#sockets.set(id, socket);
    write({ do: "socket", id, url, protocols });
    return id;
  }

  #ask(kind, fields) {
    const id = (this.#last += 1);
    return new Promise((resolve) => {
      this.#waiting.set(`${kind} ${id}`, resolve);
      write({ do: kind, id, ...fields });
    });
  }

  #settle(name, value) {
    const resolve = this.#waiting.get(name);
    this.#waiting.delete(name);
    resolve?.(value);
  }
}

/** A client in one run, and the application around it. */
class Run {
  #platform;
  #client;
  /** Channels that must be shown again. */
  #changed = new Set();

  constructor({ seed, user_id: userId, rest, websocket, channels, open }, now) {
    const platform = (this.#platform = new Platform(seed));
    platform.take({ now });
    const { token, fetch, WebSocket, clock, random, uuid } = platform;
    this.#client = new SwitchboardClient({ rest, websocket, userId, token, fetch, WebSocket, clock, random, uuid });
    for (const type of ["change", "messages", "revised"]) this.#client.on(type, ({ channelId }) => this.#changed.add(channelId));
    channelsOf(this.#client);
    // Both ways to receive all channels are tested.
    this.#client.subscribe(seed % 2 === 0 ? [] : channels);
    for (const id of open) this.#open(id, 0);
  }

  /** Takes a line of the kit. */
  async take(line) {
    this.#platform.take(line);
    if (typeof line.online === "boolean") this.#client.setOnline(line.online);
    for (const [name, fields] of Object.entries(line.act ?? {})) this.#act(name, fields);
    await new Promise(setImmediate);
    for (const id of this.#changed) this.#show(id);
    this.#changed.clear();
  }

  close() {
    this.#client.close();
  }

  async #open(id, attempt) {
    const { clock, random } = this.#platform;
    try {
      await this.#client.open(id);
      this.#changed.add(id);
    } catch (error) {
      if (error.isTransient) clock.setTimeout(() => this.#open(id, attempt + 1), backoff(attempt, random, error));
    }
  }

  #act(name, { channel: id, content, seq, emoji, key }) {
    const channel = this.#client.channel(id);
    const acts = {
      send: () => channel.send(content),
      retry: () => channel.retry(key),
      discard: () => channel.discard(key),
      edit: () => channel.edit(seq, content),
      delete: () => channel.delete(seq),
      react: () => channel.react(seq, emoji),
      unreact: () => channel.unreact(seq, emoji),
      load_earlier: () => channel.loadEarlier(),
    };
    // A user sees a failure, and decides.
    acts[name]?.()?.catch?.(() => {});
  }

  #show(id) {
    const { isOpen, messages, drafts, outbox, rev } = this.#client.channel(id);
    if (!isOpen && outbox.length === 0) return;
    write({
      do: "show",
      channel: id,
      messages: messages.map(({ seq, version, content, reactions = [] }) => ({ seq, version, content, reactions: reactions.map(({ emoji, count }) => ({ emoji, count })) })),
      drafts: drafts.map(({ id: draft_id, replyTo: reply_to, text }) => ({ reply_to, draft_id, text })),
      outbox: outbox.map(({ key, content, state }) => ({ key, content, state })),
      rev,
      state: this.#client.state.name,
    });
  }
}

/** @type {Run | null} */
let run = null;
for await (const text of createInterface({ input: process.stdin })) {
  if (text.trim() === "") continue;
  const line = JSON.parse(text);
  if (line.start) run = new Run(line.start, line.start.now ?? line.now);
  if (line.end) run?.close();
  await run?.take(line);
  if (line.end) run = null;
  write({ do: "idle" });
}
