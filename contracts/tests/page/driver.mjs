// Runs the page's own client without a page: reads actions from standard input, and writes the results.
//
// In: {rest, do: [[method, ...arguments], ...], frames: [frame, ...]}. The frames arrive on a socket after all
// actions, and then the socket ends. Without `rest` the user has one channel, which is empty.
// Out: {results, channels, messages, hasGap, rev, outbox, drafts, events, connectionId, ended, tokens}. `rev` is the number
// of the last change, and `ended` the state after the end of the socket.

import { SwitchboardClient } from "../../../clients/js/src/client.js";

const CHANNEL = "general";

/** Maximum delay of timers that fire immediately; longer ones (pings, renewals) never fire. */
const SHORT_MS = 5_000;

const input = JSON.parse(await new Response(process.stdin).text());
const sockets = [];
let tokens = 0;

class Socket {
  readyState = 0;
  constructor() {
    sockets.push(this);
    setImmediate(() => {
      this.readyState = 1;
      this.onopen?.({});
    });
  }
  send() {}
  close() {}
}

const channel = {
  channel_id: CHANNEL,
  name: "General",
  version: 1,
  last_seq: 0,
  membership: { role: "member", read_seq: 0, unread_count: 0 },
};

/** Answers without a provider. */
async function answer(url) {
  const { pathname } = new URL(url);
  if (pathname === "/channels") return Response.json({ channels: [channel], has_more: false });
  return Response.json(pathname === `/channels/${CHANNEL}` ? channel : { messages: [], has_more: false, rev: 0 });
}

let pending = 0;

const counted = (fetch) => async (...args) => {
  pending += 1;
  try {
    return await fetch(...args);
  } finally {
    pending -= 1;
  }
};

const client = new SwitchboardClient({
  userId: "alice",
  rest: input.rest ?? "http://nowhere",
  websocket: "ws://socket",
  issueToken: async () => {
    tokens += 1;
    return { token: `token-${tokens}`, expires_at: new Date(Date.now() + 3_600_000).toISOString() };
  },
  fetch: counted(input.rest ? globalThis.fetch : answer),
  WebSocket: Socket,
  clock: {
    now: () => Date.now(),
    setTimeout: (action, delay) => (delay <= SHORT_MS ? setTimeout(action, 0) : undefined),
    clearTimeout: (timer) => clearTimeout(timer),
  },
  uuid: () => "5c1f7a9e-6d0b-4a6e-9a53-5d2b0a9e7f11",
});

const events = [];
for (const type of ["messages", "change", "problem"]) {
  client.addEventListener(type, ({ detail }) => events.push(type === "problem" ? { type, status: detail.error.status } : { type }));
}

const results = [];
for (const [method, ...args] of input.do ?? []) {
  try {
    const result = await client[method](...args);
    results.push({ value: result?.messages ?? result ?? null });
    // Requests that the action began and did not wait for are part of it.
    do await new Promise(setImmediate);
    while (pending > 0);
  } catch (error) {
    const { status, code, detail, errors, retryAfter, isTransient } = error;
    results.push({ error: { status, code, detail, errors, retryAfter, isTransient } });
  }
}

if (input.frames) {
  // Immediately, while the client reads missed messages: its requests must not depend on timing.
  const pushed = new Promise((resolve) => {
    client.addEventListener("state", () => {
      if (client.state.name !== "live") return;
      // Only after the client regards the socket as open.
      queueMicrotask(() => {
        for (const frame of input.frames) sockets.at(-1).onmessage({ data: JSON.stringify(frame) });
        resolve();
      });
    });
  });
  client.subscribe([CHANNEL]);
  await pushed;
  // Waits until the requests that the frames caused are answered.
  do await new Promise(setImmediate);
  while (pending > 0 || client.isCatchingUp(CHANNEL));
}
const { connectionId } = client;
const channels = client.channels.entries.map(({ channel_id, name, membership }) => ({ channel_id, name, role: membership.role, unread: membership.unread_count }));
sockets.at(-1)?.onclose?.({});

const log = client.log(CHANNEL);
const output = {
  results,
  channels,
  messages: log.messages,
  hasGap: log.hasGap,
  rev: client.rev(CHANNEL),
  outbox: client.outbox(CHANNEL).entries.map(({ key, content, state, error }) => ({
    key,
    content,
    state,
    error: error && { status: error.status, retryAfter: error.retryAfter, fields: error.errors.map(({ field }) => field) },
  })),
  drafts: client.drafts(CHANNEL).entries,
  events,
  connectionId,
  ended: client.state,
  tokens,
};
process.stdout.write(JSON.stringify(output), () => process.exit(0));
