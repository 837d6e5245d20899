// Runs the JavaScript client without an application: reads actions from standard input, and writes their results.
//
// In: {rest, do: [[target, method, ...arguments], ...], frames: [frame, ...]}. A target is `client`, `channel` (general),
// `threads` (of the same) or `channels` (the list). The frames arrive on a socket after all actions, and then the socket
// ends. Without `rest` the user has one channel, which is empty.
// Out: {results, channels, messages, rev, outbox, drafts, typing, present, events, connectionId, ended, tokens}.
// `rev` is the number of the last change, and `ended` the state after the end of the socket.

import { channelsOf } from "../../../clients/js/src/channels.js";
import { ProblemError, SwitchboardClient } from "../../../clients/js/src/index.js";
import { threadsOf } from "../../../clients/js/src/threads.js";

const CHANNEL = "general";
/** Time that passes after each action, in ms: longer than the wait after a gap, shorter than the end of typing. */
const PAUSE_MS = 1_000;
/** Maximum number of timers of one action. A client that repeats a request for ever exceeds it. */
const MAX_TIMERS = 1_000;

/** A clock that moves to the next timer when nothing else happens. */
class Time {
  #now = Date.parse("2026-05-01T12:00:00.000Z");
  #last = 0;
  #timers = new Map();

  now = () => this.#now;

  setTimeout = (action, delay) => {
    this.#last += 1;
    this.#timers.set(this.#last, { at: this.#now + Math.max(0, delay), action });
    return this.#last;
  };

  clearTimeout = (timer) => this.#timers.delete(timer);

  /** Fires the next timer up to a time. Returns `false` if there is none. */
  fire(until = Infinity) {
    const [timer, next] = [...this.#timers].reduce((one, other) => (one && one[1].at <= other[1].at ? one : other), null) ?? [];
    if (!next || next.at > until) return false;
    this.#timers.delete(timer);
    this.#now = Math.max(this.#now, next.at);
    next.action();
    return true;
  }
}

const input = JSON.parse(await new Response(process.stdin).text());
const time = new Time();
const sockets = [];
const events = [];
let tokens = 0;
let pending = 0;

class Socket {
  readyState = 0;
  constructor() {
    sockets.push(this);
    queueMicrotask(() => {
      this.readyState = 1;
      this.onopen?.({});
    });
  }
  send() {}
  close() {
    this.readyState = 3;
  }
}

/** Answers without a provider. */
function answer(url) {
  const channel = {
    channel_id: CHANNEL,
    name: "General",
    version: 1,
    last_seq: 0,
    membership: { role: "member", read_seq: 0, unread_count: 0 },
  };
  const { pathname } = new URL(url);
  if (pathname === "/channels") return Response.json({ channels: [channel], has_more: false });
  return Response.json(pathname === `/channels/${CHANNEL}` ? channel : { messages: [], has_more: false, rev: 0 });
}

/** Makes a request that is pending until its whole body has arrived. */
async function request(...args) {
  pending += 1;
  try {
    const response = input.rest ? await fetch(...args) : answer(...args);
    const { status, statusText, headers } = response;
    return new Response((await response.text()) || null, { status, statusText, headers });
  } finally {
    pending -= 1;
  }
}

const client = new SwitchboardClient({
  userId: "alice",
  rest: input.rest ?? "http://nowhere",
  websocket: "ws://socket",
  token: async () => `token-${(tokens += 1)}`,
  fetch: request,
  WebSocket: Socket,
  clock: time,
  random: () => 0.5,
  uuid: () => "5c1f7a9e-6d0b-4a6e-9a53-5d2b0a9e7f11",
});
for (const type of ["messages", "change", "problem"]) client.on(type, () => events.push(type));

const channel = () => client.channel(CHANNEL);
const targets = { client: () => client, channel, threads: () => threadsOf(channel()), channels: () => channelsOf(client) };

/** Waits until no request is pending. */
async function idle() {
  do await new Promise(setImmediate);
  while (pending > 0);
}

/** Passes time until `isOver`, or up to a time. Requests that an action began and did not wait for are part of it. */
async function pass(isOver, until) {
  for (let timers = 0; timers < MAX_TIMERS; timers += 1) {
    await idle();
    if (isOver()) return;
    if (time.fire(until)) continue;
    if (until !== undefined) return;
    break;
  }
  throw new Error("nothing ends this");
}

const pause = () => pass(() => false, time.now() + PAUSE_MS);

/** Describes the error of the client. Any other one is an error of the test. */
function problem(error) {
  if (!(error instanceof ProblemError)) throw error;
  const { name, status, code, errors, retryAfter, isTransient } = error;
  return { name, status, code, fields: errors.map(({ field }) => field), retryAfter, isTransient };
}

async function act([target, method, ...args]) {
  const result = (async () => targets[target]()[method](...args))().then(
    (value) => ({ value: value?.messages ?? value ?? null }),
    (error) => ({ error: problem(error) }),
  );
  let isOver = false;
  const end = () => (isOver = true);
  result.then(end, end);
  await pass(() => isOver);
  await pause();
  return result;
}

/** Passes frames to the client immediately, while it reads what it has missed: its requests must not depend on timing. */
async function push(frames) {
  const pushed = new Promise((resolve) => {
    client.on("state", ({ name }) => {
      if (name !== "live") return;
      // Only after the client regards the socket as open.
      queueMicrotask(() => {
        for (const frame of frames) sockets.at(-1).onmessage({ data: JSON.stringify(frame) });
        resolve();
      });
    });
  });
  client.subscribe([CHANNEL]);
  await pushed;
  await pause();
}

const results = [];
for (const step of input.do ?? []) results.push(await act(step));
if (input.frames) await push(input.frames);

const { messages, rev, outbox, drafts, typing, present } = client.channel(CHANNEL);
const channels = channelsOf(client);
const output = {
  results,
  channels: channels.entries.map(({ channel_id, name, membership: { role } }) => ({ channel_id, name, role, unread: channels.unread(channel_id) })),
  messages,
  rev,
  outbox: outbox.map(({ key, content, state, error }) => ({ key, content, state, error: error && problem(error) })),
  drafts,
  typing,
  present,
  events,
  connectionId: client.connectionId,
  tokens,
};
sockets.at(-1)?.onclose?.({});
process.stdout.write(JSON.stringify({ ...output, ended: client.state }), () => process.exit(0));
