// Converts the spans of a trace to rows, bars, ticks and figures. No DOM, no clock.

/** Attribute with the time between the commit of a message and its pick-up by a worker, in ms. */
const LAG = "switchboard.stream.lag_ms";
const SEQ = "switchboard.seq";
/** Approximate number of marks on the axis. */
const MARKS = 5;
/** Names of spans that push a frame to sockets. */
const PUSH = /^(deliver|push)\b/;

/**
 * Returns the drawing of a trace (`GET /traces/{trace_id}`), for the message `seq`.
 *
 * Times are ms since the first span began. `rows` come in the order of a tree: `{span, level, parent, from, to, wait,
 * service, isCall, isError, isOrphan, isLinked}`; `wait` is `{from, to}` of the time in the stream, before a
 * worker picked up the record. `isOrphan` marks a span whose parent is not in the trace.
 */
export function journey(trace, seq = null) {
  const spans = [...trace.spans].sort(byTime);
  if (spans.length === 0) return null;
  const origin = spans.reduce((least, span) => min(least, BigInt(span.start_ns)), BigInt(spans[0].start_ns));
  const since = (time) => Number(BigInt(time) - origin) / 1e6;
  const services = [...new Set([...spans, ...trace.linked].map(({ service }) => service))];

  const draw = (span, level, parent) => {
    const from = since(span.start_ns);
    const lag = number(span.attributes[LAG]);
    return {
      span,
      level,
      parent,
      from,
      // A span that ends before it begins had its clock set back.
      to: Math.max(from, since(span.end_ns)),
      wait: Number.isFinite(lag) && lag > 0 ? { from: from - lag, to: from } : null,
      service: services.indexOf(span.service),
      isCall: span.kind === "client" || span.kind === "producer",
      isError: span.status === "error",
      isOrphan: span.parent_span_id !== null && parent === null,
      isLinked: false,
    };
  };
  const rows = tree(spans, draw);
  const linked = [...trace.linked].sort(byTime).map((span) => ({ ...draw(span, 1, null), isOrphan: false, isLinked: true }));
  const end = Math.max(...[...rows, ...linked].map(({ to }) => to));
  return { traceId: trace.trace_id, rows, linked, services: short(services), start: origin, total: end, figures: figures(rows, seq) };
}

/** Returns the rows of the spans: each after its parent, siblings in order of time. */
function tree(spans, draw) {
  const children = new Map();
  const ids = new Set(spans.map(({ span_id: id }) => id));
  for (const span of spans) {
    const parent = ids.has(span.parent_span_id) ? span.parent_span_id : null;
    children.set(parent, [...(children.get(parent) ?? []), span]);
  }
  const rows = [];
  const seen = new Set();
  const walk = (span, level, parent) => {
    if (seen.has(span.span_id)) return;
    seen.add(span.span_id);
    rows.push(draw(span, level, parent));
    for (const child of children.get(span.span_id) ?? []) walk(child, level + 1, span.span_id);
  };
  for (const root of children.get(null) ?? []) walk(root, 1, null);
  // Spans that are their own ancestors are children of no root, and are shown last.
  for (const span of spans) walk(span, 1, null);
  return rows;
}

/**
 * Returns the main figures as `{key, label, ms}` in order of time: the response to the request, the stream lag of the
 * message, the push to the sockets, and the push of the messages that followed from it.
 */
function figures(rows, seq) {
  const found = [];
  const byId = new Map(rows.map((row) => [row.span.span_id, row]));
  // Returns the message of a span: its own, or that of the nearest ancestor that names one.
  const about = (row) => number(row?.span.attributes[SEQ]) ?? (row?.parent ? about(byId.get(row.parent)) : undefined);
  const first = rows[0];
  if (first.span.kind === "server") {
    const status = first.span.attributes["http.response.status_code"];
    found.push({ key: "answered", label: status === undefined ? "until the answer" : `until the answer ${status}`, ms: first.to - first.from });
  }
  const pushes = rows.filter(({ span }) => PUSH.test(span.name));
  const mine = (row) => seq === null || about(row) === seq;
  const waits = rows.filter((row) => row.wait && mine(row)).map(({ wait }) => wait.to - wait.from);
  if (waits.length > 0) found.push({ key: "lag", label: "waiting in the stream", ms: Math.max(...waits) });
  const own = pushes.filter(mine);
  if (own.length > 0) found.push({ key: "pushed", label: "until it was on the sockets", ms: Math.max(...own.map(({ to }) => to)) });
  const later = pushes.filter((row) => !mine(row) && about(row) > seq);
  if (later.length > 0) found.push({ key: "reply", label: "until the reply was, too", ms: Math.max(...later.map(({ to }) => to)) });
  return found;
}

/** Removes the common prefix of names up to a dash: the stack's name is redundant within one stack. */
export function short(names) {
  const parts = names.map((name) => name.split("-"));
  let shared = 0;
  while (names.length > 1 && parts.every((part) => part.length > shared + 1 && part[shared] === parts[0][shared])) shared += 1;
  return parts.map((part) => part.slice(shared).join("-"));
}

/**
 * Returns marks for an axis from `from` to `to` ms, at round times: `{at, position, label}`, with `position` in
 * percent. All labels have the same unit.
 */
export function axis(from, to) {
  const length = Math.max(to - from, 1e-3);
  const rough = length / MARKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const [unit, size] = to >= 1000 ? ["s", 1000] : ["ms", 1];
  // The smallest number of digits that distinguishes two marks.
  const digits = Math.min(20, Math.max(0, -Math.floor(Math.log10(step / size) + 1e-9)));
  const marks = [];
  for (let index = Math.ceil(from / step - 1e-9); index * step <= to + step * 1e-9; index += 1) {
    const at = index * step;
    marks.push({ at, position: ((at - from) / length) * 100, label: `${(at / size).toFixed(digits)} ${unit}` });
  }
  return marks;
}

/** Returns the position of a time range on an axis: `{left, width}` in percent, or `null` if it is outside. */
export function place(stretch, from, to) {
  const length = Math.max(to - from, 1e-3);
  if (stretch.to < from || stretch.from > to) return null;
  const start = Math.max(stretch.from, from);
  return { left: ((start - from) / length) * 100, width: ((Math.min(stretch.to, to) - start) / length) * 100 };
}

const byTime = (one, other) => {
  const [a, b] = [BigInt(one.start_ns), BigInt(other.start_ns)];
  if (a !== b) return a < b ? -1 : 1;
  // Of two spans that begin together, the longer one comes first, because only it can be the parent.
  const [c, d] = [BigInt(one.end_ns), BigInt(other.end_ns)];
  return c === d ? 0 : c > d ? -1 : 1;
};

/** Returns the number of an attribute; some exporters write large ones as text. */
const number = (value) => (value === undefined || value === null || Number.isNaN(Number(value)) ? undefined : Number(value));

const min = (one, other) => (one < other ? one : other);
