// Tests of the conversion from a trace's spans to rows, bars, ticks and figures.

import assert from "node:assert/strict";
import { test } from "node:test";
import { duration } from "../format.js";
import { axis, journey, place, short } from "../journey.js";
import { Traces } from "../traces.js";

const EPOCH = 1_790_000_000_000_000_000n;
const at = (ms) => String(EPOCH + BigInt(Math.round(ms * 1e6)));

/** Returns a span as in `GET /traces/{trace_id}`. */
const span = (id, parent, from, to, rest = {}) => ({
  trace_id: "t", span_id: id, parent_span_id: parent, name: id, kind: "internal", service: "s", scope: "", start_ns: at(from), end_ns: at(to),
  status: "unset", status_message: "", attributes: {}, events: [], links: [], resource: {}, ...rest,
});
const trace = (spans, linked = []) => ({ trace_id: "t", version: 1, spans, linked });
const outline = ({ rows }) => rows.map(({ span: { span_id: id }, level }) => `${"-".repeat(level)}${id}`);

test("children stand behind their parent in the order in which they began, whatever came in first", () => {
  const drawn = journey(trace([span("late", "root", 8, 9), span("leaf", "early", 3, 4), span("early", "root", 2, 5), span("root", null, 0, 10)]));
  assert.deepEqual(outline(drawn), ["-root", "--early", "---leaf", "--late"]);
  assert.equal(drawn.total, 10);
  assert.deepEqual(drawn.rows.map(({ from, to }) => [from, to]), [[0, 10], [2, 5], [3, 4], [8, 9]]);
});

test("times keep their nanoseconds, though no number in JavaScript holds them", () => {
  const drawn = journey(trace([span("a", null, 0, 1), { ...span("b", "a", 0, 0), start_ns: String(EPOCH + 1500n), end_ns: String(EPOCH + 2000n) }]));
  assert.equal(drawn.rows[1].from, 0.0015);
  assert.equal(drawn.rows[1].to, 0.002);
});

test("a span whose parent is not here is an orphan, and becomes a child when the parent comes in", () => {
  const child = span("child", "root", 2, 3);
  const alone = journey(trace([child]));
  assert.deepEqual(alone.rows.map(({ level, isOrphan }) => [level, isOrphan]), [[1, true]]);
  const whole = journey(trace([child, span("root", null, 0, 5)]));
  assert.deepEqual(outline(whole), ["-root", "--child"]);
  assert.deepEqual(whole.rows.map(({ isOrphan }) => isOrphan), [false, false]);
});

test("spans that are their own ancestors are shown once each, and nothing hangs", () => {
  const drawn = journey(trace([span("a", "b", 0, 1), span("b", "a", 0, 1), span("self", "self", 2, 3), span("root", null, 0, 4)]));
  assert.deepEqual(drawn.rows.map(({ span: { span_id: id } }) => id).sort(), ["a", "b", "root", "self"]);
});

test("a clock that went back makes no bar of negative length", () => {
  const [row] = journey(trace([span("a", null, 5, 4)])).rows;
  assert.deepEqual([row.from, row.to], [0, 0]);
});

test("a worker's wait in the stream ends where its work begins", () => {
  const lag = { attributes: { "switchboard.stream.lag_ms": 26 } };
  const drawn = journey(trace([span("root", null, 0, 14), span("process", "root", 38, 50, lag), span("none", "root", 20, 30)]));
  assert.deepEqual(drawn.rows.map(({ wait }) => wait), [null, null, { from: 12, to: 38 }]);
});

test("what one wants to know first is told of the message that was asked for", () => {
  const about = (seq, rest = {}) => ({ attributes: { "switchboard.seq": seq, ...rest } });
  const spans = [
    span("post", null, 0, 14, { kind: "server", ...about(7, { "http.response.status_code": 201 }) }),
    span("w", "post", 40, 60, about(7, { "switchboard.stream.lag_ms": 26 })),
    span("deliver-q", "w", 44, 59, { name: "deliver" }),
    span("agent", "post", 41, 190, about(7, { "switchboard.stream.lag_ms": 27 })),
    span("v", "agent", 210, 230, about(8, { "switchboard.stream.lag_ms": 20 })),
    span("deliver-r", "v", 215, 229, { name: "deliver" }),
  ];
  const told = (seq) => Object.fromEntries(journey(trace(spans), seq).figures.map(({ key, ms }) => [key, ms]));
  assert.deepEqual(told(7), { answered: 14, lag: 27, pushed: 59, reply: 229 });
  assert.deepEqual(told(8), { answered: 14, lag: 20, pushed: 229 });
  assert.match(journey(trace(spans), 7).figures[0].label, /201/);
  // An incomplete journey has only some of the figures.
  assert.deepEqual(journey(trace(spans.slice(0, 1)), 7).figures.map(({ key }) => key), ["answered"]);
});

test("spans of other traces come apart, on the same axis", () => {
  const drawn = journey(trace([span("root", null, 0, 10)], [span("invocation", null, 4, 25, { service: "worker" })]));
  assert.equal(drawn.rows.length, 1);
  assert.deepEqual(drawn.linked.map(({ from, to, isLinked, isOrphan }) => ({ from, to, isLinked, isOrphan })), [{ from: 4, to: 25, isLinked: true, isOrphan: false }]);
  assert.equal(drawn.total, 25);
  assert.deepEqual(drawn.services, ["s", "worker"]);
  assert.equal(journey(trace([])), null);
});

test("services lose what they all begin with, and never everything", () => {
  assert.deepEqual(short(["switchboard-chat-agent-worker", "switchboard-chat-delivery-worker"]), ["agent-worker", "delivery-worker"]);
  assert.deepEqual(short(["switchboard-send", "switchboard-send-message"]), ["send", "send-message"]);
  assert.deepEqual(short(["alone-in-the-world"]), ["alone-in-the-world"]);
  assert.deepEqual(short(["one", "two"]), ["one", "two"]);
  assert.deepEqual(short(["", "a-b"]), ["", "a-b"]);
});

test("an axis has a few marks at round times, none of them beyond its ends", () => {
  for (const [from, to] of [[0, 231.6], [0, 0.004], [12.3, 14.1], [0, 61_000], [0, 0], [0, 1000], [999, 1001]]) {
    const marks = axis(from, to);
    assert.ok(marks.length >= 1 && marks.length <= 7, `${from} to ${to}: ${marks.length}`);
    for (const { at: time, position } of marks) {
      assert.ok(time >= from - 1e-9 && time <= Math.max(to, from) + 1e-3, `${time} of ${from} to ${to}`);
      assert.ok(position >= -1e-6 && position <= 100 + 1e-6, `${position}`);
    }
    assert.equal(new Set(marks.map(({ label }) => label)).size, marks.length, `${from} to ${to}: ${marks.map(({ label }) => label)}`);
  }
  assert.deepEqual(axis(0, 231.6).map(({ label }) => label), ["0 ms", "50 ms", "100 ms", "150 ms", "200 ms"]);
  assert.deepEqual(axis(0, 5000).map(({ label }) => label), ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]);
});

test("what is in sight stands in its place, cut where the axis ends", () => {
  assert.deepEqual(place({ from: 10, to: 30 }, 0, 100), { left: 10, width: 20 });
  assert.deepEqual(place({ from: 10, to: 30 }, 20, 40), { left: 0, width: 50 });
  assert.deepEqual(place({ from: 30, to: 90 }, 20, 40), { left: 50, width: 50 });
  assert.equal(place({ from: 0, to: 10 }, 20, 40), null);
  assert.equal(place({ from: 50, to: 60 }, 20, 40), null);
  assert.deepEqual(place({ from: 0, to: 0 }, 0, 0), { left: 0, width: 0 });
});

test("durations are short and never round to nothing of what they are", () => {
  const cases = [[0, "0 ms"], [0.42, "0.42 ms"], [9.44, "9.44 ms"], [84.3, "84.3 ms"], [412.4, "412 ms"], [999.4, "999 ms"], [999.9, "1 s"], [1240, "1.24 s"], [59_990, "60 s"], [60_000, "1 min 0 s"], [125_400, "2 min 5 s"]];
  for (const [ms, text] of cases) assert.equal(duration(ms), text, String(ms));
});

test("a trace is read again only when it has changed", async () => {
  const asked = [];
  const answers = [
    new Response(JSON.stringify(trace([])), { headers: { etag: '"1"' } }),
    new Response(null, { status: 304 }),
    new Response(JSON.stringify(trace([span("a", null, 0, 1)])), { headers: { etag: '"2"' } }),
    new Response("{}", { status: 404 }),
  ];
  const traces = new Traces({
    fetch: async (url, options = {}) => {
      asked.push([url, options.headers?.["if-none-match"]]);
      return answers.shift();
    },
  });
  const first = await traces.get("t");
  assert.equal(await traces.get("t"), first);
  assert.equal((await traces.get("t")).spans.length, 1);
  assert.equal(await traces.get("gone"), null);
  assert.deepEqual(asked, [["traces/t", undefined], ["traces/t", '"1"'], ["traces/t", '"1"'], ["traces/gone", undefined]]);
});

test("a message leads to its traces, and a server that fails is no empty list", async () => {
  const of = (response) => new Traces({ fetch: async (url) => (assert.equal(url, "traces?channel_id=a%26b&seq=7"), response) }).ofMessage("a&b", 7);
  assert.deepEqual(await of(new Response(JSON.stringify({ traces: [{ trace_id: "t" }] }))), [{ trace_id: "t" }]);
  await assert.rejects(of(new Response("{}", { status: 500 })), /500/);
});
