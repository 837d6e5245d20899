// Runs the page's own client without a page: reads actions from standard input, and writes the results.
//
// In: {rest, do: [[method, ...arguments], ...], frames: [frame, ...]}. The frames arrive on a socket after all
// actions. Without `rest` every channel is empty.
// Out: {results, messages, hasGap, outbox, drafts, events, tokens}.

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

const client = new SwitchboardClient({
  userId: "alice",
  rest: input.rest ?? "http://nowhere",
  websocket: "ws://socket",
  issueToken: async () => {
    tokens += 1;
    return { token: `token-${tokens}`, expires_at: new Date(Date.now() + 3_600_000).toISOString() };
  },
  fetch: input.rest ? globalThis.fetch : async () => Response.json({ messages: [], has_more: false }),
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
  } catch (error) {
    const { status, detail, errors, retryAfter, isTransient } = error;
    results.push({ error: { status, detail, errors, retryAfter, isTransient } });
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
  while (client.isCatchingUp(CHANNEL));
}

const log = client.log(CHANNEL);
const output = {
  results,
  messages: log.messages,
  hasGap: log.hasGap,
  outbox: client.outbox(CHANNEL).entries.map(({ key, content, state, error }) => ({
    key,
    content,
    state,
    error: error && { status: error.status, retryAfter: error.retryAfter, fields: error.errors.map(({ field }) => field) },
  })),
  drafts: client.drafts(CHANNEL).entries,
  events,
  tokens,
};
process.stdout.write(JSON.stringify(output), () => process.exit(0));
