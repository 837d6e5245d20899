// Tests of the drafts of replies: frames that are missed, late or doubled, replies that are read, takeovers.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createDrafts } from "../src/drafts.js";
import { Stack, contents, gap, opened, problem, seeded, settle } from "./stack.mjs";

const ROUNDS = 400;
const STEPS = 60;

const frame = (position, text, { id = "d1", status = "writing", ...rest } = {}) => ({ type: "message.delta", channel_id: "lobby", draft_id: id, reply_to: 1, status, position, text, ...rest });
const stored = (text, { id = "d1", status = "writing", ...rest } = {}) => ({ status, draft_id: id, position: [...text].length, text, ...rest });
const shown = (drafts) => drafts.entries.map(({ status, text }) => `${status}:${text}`);

/** Reads the reply without a frame meanwhile. */
const read = (drafts, reply) => drafts.read(1, drafts.ask(1), reply);

test("frames join by their position, in characters", () => {
  const drafts = createDrafts();
  drafts.take(frame(0, "", { status: "thinking" }));
  assert.deepEqual(shown(drafts), ["thinking:"]);
  drafts.take(frame(0, "Hé 👍"));
  drafts.take(frame(4, " there"));
  assert.equal(drafts.take(frame(4, " there")), false, "it comes twice");
  assert.equal(drafts.take(frame(0, "Hé")), false, "it is late");
  drafts.take(frame(0, "", { status: "thinking" }));
  drafts.take(frame(2, " 👍 there, you"));
  assert.deepEqual(shown(drafts), ["writing:Hé 👍 there, you"]);
  assert.deepEqual([drafts.entries[0].length, drafts.behind], [15, []]);
});

test("a frame after a missed one waits until the reply was read", () => {
  const drafts = createDrafts();
  drafts.take(frame(0, "Once"));
  drafts.take(frame(9, " a time"));
  drafts.take(frame(16, " there"));
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Once"], [1]]);
  assert.equal(read(drafts, stored("Once upon a")), true);
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Once upon a time there"], []]);
  drafts.take(frame(30, "!"));
  assert.equal(read(drafts, stored("Once upon")), false, "a frame shows that more is stored");
  drafts.take(frame(22, " was one"));
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Once upon a time there was one!"], []], "the missed frame was only late");
});

test("a reply that a history names begins with its text so far", () => {
  const drafts = createDrafts();
  for (const seq of [1, 1, "2", null]) drafts.expect(seq);
  assert.deepEqual([shown(drafts), drafts.behind], [["thinking:"], [1]]);
  // A frame comes while the reply is read.
  const asked = drafts.ask(1);
  drafts.take(frame(9, " a time"));
  assert.equal(drafts.read(1, asked, stored("Once upon")), true);
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Once upon a time"], []]);
  drafts.expect(1);
  assert.deepEqual(drafts.behind, []);
  const other = createDrafts();
  other.expect(1);
  other.take(frame(0, "Once upon a time"));
  assert.deepEqual(other.behind, [], "a new socket gets the whole text");
  assert.equal(other.read(1, null, stored("Once")), true);
  assert.deepEqual(shown(other), ["writing:Once upon a time"], "an answer that a frame has overtaken");
});

test("a draft that goes on under its id grows on, and another id replaces the text", () => {
  const drafts = createDrafts();
  drafts.take(frame(0, "Once upon"));
  drafts.take(frame(9, " a time"));
  drafts.take(frame(0, "", { id: "d2", status: "thinking" }));
  assert.deepEqual(shown(drafts), ["thinking:"]);
  drafts.take(frame(0, "Long ago", { id: "d2" }));
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Long ago"], []]);
  drafts.take(frame(16, " there"));
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Long ago"], [1]], "only the server knows which is current");
  assert.equal(read(drafts, stored("Long ago, there", { id: "d2" })), true);
  drafts.take(frame(16, " there"));
  assert.equal(read(drafts, stored("Once upon a time there")), true);
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Once upon a time there"], []]);
  drafts.take(frame(22, " was"));
  assert.deepEqual(shown(drafts), ["writing:Once upon a time there was"], "it is the current one");
});

test("an answer about a draft that was replaced meanwhile is not taken", () => {
  const drafts = createDrafts();
  drafts.take(frame(4, "upon"));
  const asked = drafts.ask(1);
  drafts.take(frame(0, "Long", { id: "d2" }));
  assert.equal(drafts.read(1, asked, stored("Once upon")), false);
  assert.equal(drafts.read(1, asked, stored("", { status: "failed" })), false);
  assert.deepEqual(shown(drafts), ["writing:Long"]);
});

test("failed and cancelled drafts go, and their late frames do not bring them back", () => {
  const drafts = createDrafts();
  drafts.take(frame(0, "Once"));
  assert.equal(drafts.take(frame(4, "", { status: "failed" })), true);
  assert.equal(drafts.take(frame(0, "Once")), false);
  drafts.take(frame(0, "Long ago", { id: "d2" }));
  assert.equal(drafts.take(frame(4, "", { status: "failed" })), false, "it is of the draft before");
  assert.deepEqual(shown(drafts), ["writing:Long ago"]);
  drafts.take(frame(8, "", { id: "d2", status: "cancelled", seq: 2 }));
  drafts.take(frame(4, "ago", { id: "d2" }));
  assert.deepEqual(shown(drafts), ["cancelled:Long ago"], "its message will come");
  drafts.settle([{ role: "agent", reply_to: 1, agent: { draft_id: "d2" } }]);
  assert.equal(drafts.take(frame(8, " late", { id: "d2" })), false);
  drafts.take(frame(0, "Never", { id: "d3" }));
  drafts.take(frame(5, "", { id: "d3", status: "cancelled" }));
  assert.deepEqual(shown(drafts), [], "no message will come");
  drafts.take(frame(0, "Why", { id: "d4" }));
  drafts.settle([{ role: "user", reply_to: 1 }]);
  assert.deepEqual(shown(drafts), ["writing:Why"]);
  drafts.settle([{ role: "system", reply_to: 1 }]);
  assert.equal(drafts.take(frame(3, " me", { id: "d4" })), false, "a notice ends it");
});

test("a read reply says that it has ended", () => {
  for (const status of ["failed", "cancelled"]) {
    const drafts = createDrafts();
    drafts.take(frame(0, "Once"));
    drafts.recover();
    assert.deepEqual(drafts.behind, [1]);
    assert.equal(read(drafts, stored("Once", { status })), true);
    assert.deepEqual(shown(drafts), [], status);
    assert.equal(drafts.take(frame(4, " late")), false);
  }
  const drafts = createDrafts();
  drafts.expect(1);
  assert.equal(read(drafts, { status: "done", position: 4, text: "Whole", seq: 2 }), true);
  assert.deepEqual(shown(drafts), ["done:Whole"], "until its message is read");
  drafts.drop(1);
  assert.equal(drafts.read(1, undefined, stored("Once")), true, "its message came first");
  assert.deepEqual(shown(drafts), []);
});

test("after a reconnect a frame that joins shows that none was missed", () => {
  const drafts = createDrafts();
  drafts.take(frame(0, "Once"));
  drafts.recover();
  drafts.take(frame(4, " upon"));
  assert.deepEqual([shown(drafts), drafts.behind], [["writing:Once upon"], []]);
});

test("frames that are none change nothing", () => {
  const drafts = createDrafts();
  for (const nonsense of [{}, { reply_to: "1" }, { text: 7 }, { draft_id: 1 }, { position: -1 }, { position: 0.5 }, { position: undefined }]) {
    assert.equal(drafts.take({ ...frame(0, "x"), ...nonsense, ...(Object.keys(nonsense).length === 0 ? { draft_id: undefined } : {}) }), false);
  }
  assert.deepEqual(drafts.entries, []);
});

/** A worker that writes a reply: it stores a piece, and then shows it. */
class Worker {
  #random;
  /** All texts of each draft that were ever stored, by id. */
  texts = new Map();
  id = "d1";
  frames = [];

  constructor(random) {
    this.#random = random;
    this.texts.set(this.id, "");
  }

  get text() {
    return this.texts.get(this.id);
  }

  write() {
    const { id, text } = this;
    const piece = ["a", "é ", "👍", "word "].slice(0, 1 + this.#random(4)).join("");
    this.texts.set(id, text + piece);
    // A worker may die between the two.
    if (this.#random(6) > 0) this.frames.push(frame([...text].length, piece, { id }));
  }

  /** Another worker takes over: it goes on, or begins again. A socket that it does not know gets the whole text. */
  takeOver() {
    if (this.#random(2) === 0) {
      this.id = `d${this.texts.size + 1}`;
      this.texts.set(this.id, "");
      this.frames.push(frame(0, "", { id: this.id, status: "thinking" }));
    } else if (this.text !== "") this.frames.push(frame(0, this.text, { id: this.id }));
  }

  get stored() {
    return stored(this.text, { id: this.id, status: this.text === "" ? "thinking" : "writing" });
  }
}

test("whatever is lost, late or doubled, a draft shows stored words only, and ends as the stored text", () => {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const random = seeded(seed * 104729);
    const drafts = createDrafts();
    const worker = new Worker(random);
    let request = null;
    const ask = () => {
      if (request === null && drafts.behind.length > 0) request = { asked: drafts.ask(1), reply: null };
    };
    const answer = () => {
      if (request === null) return;
      if (request.reply === null) request.reply = worker.stored;
      else {
        drafts.read(1, request.asked, request.reply);
        request = null;
      }
    };
    const check = () => {
      for (const { id, text, length } of drafts.entries) {
        assert.equal([...text].length, length, `seed ${seed}`);
        assert.ok(id === null ? text === "" : worker.texts.get(id).startsWith(text), `seed ${seed}: ${text}`);
      }
    };
    if (random(2) === 0) drafts.expect(1);
    for (let step = 0; step < STEPS; step += 1) {
      const kind = random(10);
      if (kind < 4) worker.write();
      else if (kind === 4) worker.takeOver();
      else if (kind === 5 && random(3) === 0) drafts.recover();
      else if (kind < 8) {
        const [next] = worker.frames.splice(random(Math.min(3, worker.frames.length)), 1);
        if (next && random(5) > 0) for (let times = random(4) === 0 ? 2 : 1; times > 0; times -= 1) drafts.take(next);
      } else answer();
      ask();
      check();
    }
    // One more frame comes, and its gaps are read.
    worker.frames = [];
    worker.texts.set(worker.id, `${worker.text}end`);
    drafts.take(frame([...worker.text].length - 3, "end", { id: worker.id }));
    for (let turn = 0; turn < 10; turn += 1) {
      ask();
      answer();
      check();
    }
    assert.deepEqual([shown(drafts), drafts.behind], [[`writing:${worker.text}`], []], `seed ${seed}`);
  }
});

const replies = (stack, from = 0) => stack.asked(from).filter((one) => one.endsWith("/reply"));
const drafts = (client) => shown({ entries: client.channel("lobby").drafts });

test("a page that is opened in the middle of a reply reads its text, once, and joins the frames", async () => {
  const stack = new Stack();
  stack.store("question");
  stack.replyingTo = [1];
  stack.replies.set(1, stored("Once upon"));
  const client = await opened(stack);
  assert.deepEqual(drafts(client), ["writing:Once upon"]);
  const before = stack.requests.length;
  stack.receive(frame(9, " a time"));
  await settle();
  assert.deepEqual([drafts(client), replies(stack, before)], [["writing:Once upon a time"], []]);
  stack.replies.delete(1);
  const message = stack.store("Once upon a time.", { role: "agent", reply_to: 1, agent: { draft_id: "d1", status: "complete" } });
  stack.push(message);
  stack.receive(frame(16, ".", { status: "done", seq: 2 }));
  assert.deepEqual([drafts(client), contents(client)], [[], ["question", "Once upon a time."]]);
});

test("after a reconnect the text stays, and is read again", async () => {
  const stack = new Stack();
  stack.store("question");
  const client = await opened(stack);
  stack.receive(frame(0, "Once"));
  stack.live.drop();
  stack.replies.set(1, stored("Once upon"));
  stack.replyingTo = [1];
  assert.deepEqual(drafts(client), ["writing:Once"]);
  await stack.clock.advance(60_000);
  assert.deepEqual([client.state.name, drafts(client)], ["live", ["writing:Once upon"]]);
});

test("a reply that has ended meanwhile brings its message, though the event was lost", async () => {
  const stack = new Stack();
  stack.store("question");
  const client = await opened(stack);
  stack.receive(frame(0, "Once"));
  stack.store("Once upon a time.", { role: "agent", reply_to: 1, agent: { draft_id: "d1", status: "complete" } });
  stack.replies.set(1, stored("Once upon a time.", { status: "done", seq: 2 }));
  stack.receive(frame(9, " a time"));
  await gap(stack);
  assert.deepEqual([drafts(client), contents(client)], [[], ["question", "Once upon a time."]]);
});

test("a reply that cannot be read is asked for again by the next frame", async () => {
  const stack = new Stack();
  stack.store("question");
  const client = await opened(stack);
  stack.intercept = (url) => (url.pathname.endsWith("/reply") ? problem(503, "store_unavailable") : undefined);
  stack.receive(frame(4, " upon"));
  await stack.clock.advance(60_000);
  assert.deepEqual([drafts(client), replies(stack).length], [["writing:"], 3]);
  stack.intercept = null;
  stack.replies.set(1, stored("Once upon a"));
  stack.receive(frame(9, " a"));
  await gap(stack);
  assert.deepEqual(drafts(client), ["writing:Once upon a"]);
});

test("in a channel that is not open no reply is read", async () => {
  const stack = new Stack();
  stack.store("question");
  const client = stack.client();
  client.subscribe(["lobby"]);
  await settle();
  stack.receive(frame(4, " upon"));
  await settle();
  assert.deepEqual(replies(stack), []);
  stack.replyingTo = [1];
  stack.replies.set(1, stored("Once upon"));
  await client.open("lobby");
  await settle();
  assert.deepEqual(drafts(client), ["writing:Once upon"]);
});
