// Plays one day of a group chat with the client in chat.mjs, which was written from the documents of the contract alone.
//
// stack.mjs starts the local run; BIN_DIR names the folder of its programs.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Chat } from "./chat.mjs";
import { start } from "./stack.mjs";

const { rest, websocket, tokens: TOKENS, stop } = await start(["alice", "bob", "carol"]);
const RUN = Math.random().toString(36).slice(2, 8);
const PATIENCE_MS = 5 * 60_000;
/** Time after which a frame that is sent once counts as lost: a frame of a draft, or a last frame of a socket. */
const LOST_MS = 20_000;
const ROUNDS = 10;
/** Maximum number of questions to the agent: frames of a draft may be lost. */
const QUESTIONS = 20;

const devices = [];
const device = (token) => {
  const chat = new Chat({ rest, websocket, token });
  chat.log = [];
  chat.on("change", (change) => chat.log.push(change));
  devices.push(chat);
  return chat;
};

const [alice, bob, carol] = TOKENS.map(device);
/** The group, and a channel with the agent. */
let id, asked;
/** Numbers of the first messages, by the number in their text. */
const line = [];

class Late extends Error {}

/** Waits until `find` returns something, and looks after each change of the client. */
function until(chat, find, patience = PATIENCE_MS) {
  return new Promise((resolve, reject) => {
    const look = () => {
      try {
        const found = find();
        if (found) end(resolve, found);
      } catch (error) {
        end(reject, error);
      }
    };
    const end = (settle, value) => {
      clearTimeout(timer);
      chat.off("change", look);
      settle(value);
    };
    const timer = setTimeout(() => end(reject, new Late(`${chat.me} never saw: ${find}`)), patience);
    chat.on("change", look);
    look();
  });
}

/** Waits like `until`, but returns `false` if the frame that would show it is lost. */
async function unlessLost(chat, find) {
  try {
    return await until(chat, find, LOST_MS);
  } catch (error) {
    if (error instanceof Late) return false;
    throw error;
  }
}

/** Repeats `round` until it returns `true`. A round that returns `false` has lost a frame. */
async function rounds(round) {
  for (let number = 1; !(await round(number)); number++) assert.ok(number < ROUNDS, "a frame was lost in each round");
}

const frames = (chat, from = 0) => chat.log.slice(from).flatMap(({ frame }) => frame ?? []);
const frame = (chat, fields, from) =>
  until(chat, () => frames(chat, from).find((one) => Object.entries(fields).every(([name, value]) => one[name] === value)));
const room = (chat, channel = id) => chat.rooms.get(channel);
const state = (chat, seq) => room(chat).messages.get(seq);
/** Waits until the client has opened a socket after the position `from` of its log, and has read what it missed. */
const current = (chat, from) => until(chat, () => chat.log.slice(from).some(({ kind }) => kind === "current"));
const arrived = (chat, channel = id) =>
  chat.log.filter(({ kind, channel_id }) => kind === "message" && channel_id === channel).map(({ message }) => message.seq);
const upTo = (last) => Array.from({ length: last }, (_, index) => index + 1);
const refused = (status, code) => (problem) => problem.status === status && problem.code === code;

/** Adds a user, or invites the user, who accepts. */
async function bring(user, channel, name) {
  const answer = await alice.addMember(channel, user.me);
  if (answer.invited_by) {
    assert.equal(answer.invited_by, alice.me);
    await assert.rejects(user.request("GET", ["channels", channel]), refused(404, "channel_not_found"));
    const invitation = (await user.invitations()).find(({ channel_id }) => channel_id === channel);
    assert.deepEqual([invitation.name, invitation.user_id, invitation.role], [name, user.me, "member"]);
    await user.addMember(channel, user.me);
    assert.ok(!(await user.invitations()).some(({ channel_id }) => channel_id === channel));
  }
  await until(user, () => room(user, channel));
  await frame(alice, { type: "member.joined", channel_id: channel });
  assert.equal(room(user, channel).channel.membership.added_by, answer.invited_by ? undefined : alice.me);
}

after(async () => {
  devices.forEach((chat) => chat.close());
  await stop();
});

test("users open their sockets and come together", async () => {
  await Promise.all([alice, bob, carol].map((chat) => chat.open()));
  assert.equal(new Set([alice.me, bob.me, carol.me]).size, 3);
  const name = `Group ${RUN}`;
  const created = await alice.create({ name, visibility: "private", agent: { mode: "off" }, read_receipts: true });
  id = created.channel_id;
  assert.equal(created.membership.role, "owner");
  for (const user of [bob, carol]) await bring(user, id, name);
});

test("messages arrive live, in their order", async () => {
  for (const number of upTo(12)) line[number] = (await [alice, bob, carol][number % 3].send(id, `line ${number}`)).seq;
  assert.deepEqual(line.slice(1), upTo(12));
  for (const chat of [alice, bob, carol]) {
    await until(chat, () => room(chat).complete === line[12]);
    assert.deepEqual(arrived(chat), upTo(12));
    assert.deepEqual([state(chat, line[7]).content, state(chat, line[7]).sender_id], ["line 7", bob.me]);
  }
});

test("one request lists the channels with previews and badges", async () => {
  for (const [chat, unread] of [[alice, 0], [bob, 2], [carol, 1]]) {
    const { channels } = await chat.channels({ limit: 100 });
    const { last_message, last_seq, membership } = channels.find(({ channel_id }) => channel_id === id);
    assert.deepEqual([last_message.content, last_message.sender_id, last_seq], ["line 12", alice.me, line[12]]);
    assert.equal(membership.unread_count, unread);
    const live = room(chat).channel;
    assert.deepEqual([live.last_message.content, live.last_seq, live.membership.unread_count], ["line 12", line[12], unread]);
  }
});

test("the history is read back, forth and around a message", async () => {
  const read = async (query) => {
    const seqs = [];
    for (let position = query; position; ) {
      const page = await bob.history(id, { limit: 5, ...position });
      assert.ok(page.messages.length <= 5);
      seqs.push(...page.messages.map(({ seq }) => seq));
      position = page.has_more && page.next;
    }
    return seqs;
  };
  assert.deepEqual(await read({}), upTo(12).reverse());
  assert.deepEqual(await read({ before: 8 }), upTo(7).reverse());
  assert.deepEqual(await read({ after: 3 }), upTo(12).slice(3));
  const around = await bob.history(id, { around: 6, limit: 4 });
  const seqs = around.messages.map(({ seq }) => seq);
  assert.ok(seqs.includes(6));
  assert.deepEqual([...(await read(around.previous)).reverse(), ...seqs, ...(await read(around.next))], upTo(12));
});

test("edits have versions, and a stale one is refused", async () => {
  const first = state(alice, line[3]);
  const second = await alice.edit(id, line[3], "line three");
  assert.deepEqual([first.version, second.version, second.content], [1, 2, "line three"]);
  await until(bob, () => state(bob, line[3]).version === 2);
  assert.deepEqual([state(bob, line[3]).content, state(bob, line[3]).edited_at], ["line three", second.edited_at]);
  await assert.rejects(alice.edit(id, line[3], "line 3!", first), refused(412, "version_mismatch"));
  // A reaction is another version, but no other text.
  await bob.react(id, line[3], "👍");
  const third = await alice.edit(id, line[3], "line III", second);
  assert.deepEqual([third.version, third.content, third.reactions[0].count], [4, "line III", 1]);

  await carol.erase(id, line[5]);
  const erased = await until(bob, () => state(bob, line[5]).deleted_at && state(bob, line[5]));
  assert.deepEqual([erased.content, erased.version], ["", 2]);
});

test("reactions count users, and mark the own ones", async () => {
  const seq = line[4];
  await bob.react(id, seq, "👍");
  await carol.react(id, seq, "👍");
  await carol.react(id, seq, "\u2764");
  const heart = "\u2764\ufe0f";
  const expected = (me) => [
    { emoji: heart, count: 1, user_ids: [carol.me], reacted: me === carol.me },
    { emoji: "👍", count: 2, user_ids: [bob.me, carol.me].sort(), reacted: me !== alice.me },
  ];
  for (const chat of [alice, bob, carol]) {
    await until(chat, () => state(chat, seq).version === 4);
    assert.deepEqual(state(chat, seq).reactions, expected(chat.me));
    assert.deepEqual((await chat.message(id, seq)).reactions, expected(chat.me));
  }
  const all = [{ emoji: heart, user_id: carol.me }, ...[bob.me, carol.me].sort().map((user_id) => ({ emoji: "👍", user_id }))];
  assert.deepEqual(await alice.reactors(id, seq), all);
  assert.deepEqual(await alice.reactors(id, seq, "👍"), all.slice(1));

  await carol.unreact(id, seq, "👍");
  await carol.unreact(id, seq, "👍");
  await until(alice, () => state(alice, seq).reactions[1].count === 1);
  assert.deepEqual((await carol.message(id, seq)).reactions[1], { emoji: "👍", count: 1, user_ids: [bob.me], reacted: false });
});

test("threads count their replies, and the history can do without them", async () => {
  const root = await alice.send(id, "root");
  const replies = [];
  for (const chat of [bob, carol, bob]) replies.push(await chat.send(id, "reply", { thread_seq: root.seq }));
  const thread = { reply_count: 3, last_reply_seq: replies[2].seq, last_reply_at: replies[2].created_at };
  for (const chat of [alice, carol]) {
    await until(chat, () => state(chat, root.seq)?.thread?.reply_count === 3);
    assert.deepEqual(state(chat, root.seq).thread, thread);
  }
  assert.deepEqual((await bob.message(id, root.seq)).thread, thread);
  const { messages } = await bob.history(id, { replies: false, limit: 100 });
  assert.deepEqual([messages[0].seq, messages.some(({ thread_seq }) => thread_seq)], [root.seq, false]);
  const { threads } = await bob.threads(id);
  assert.deepEqual(threads.map(({ seq }) => seq), [root.seq]);
  const answers = await bob.replies(id, root.seq);
  assert.deepEqual(answers.messages.map(({ seq }) => seq), replies.map(({ seq }) => seq).reverse());
  const nested = (problem) => problem.status === 400 && problem.errors[0].code === "not_a_root";
  await assert.rejects(bob.send(id, "reply", { thread_seq: replies[0].seq }), nested);
});

test("others see that a user is typing", async () => {
  await bob.typing(id);
  for (const chat of [alice, carol]) await frame(chat, { type: "typing", channel_id: id, user_id: bob.me });
});

test("presence follows the sockets", async () => {
  await alice.presence(id);
  for (const chat of [bob, carol]) await until(alice, () => room(alice).present.has(chat.me));
  carol.close();
  await until(alice, () => !room(alice).present.has(carol.me));
  await carol.open();
  await until(alice, () => room(alice).present.has(carol.me));
  assert.ok((await alice.presence(id)).some(({ user_id, since }) => user_id === carol.me && Date.parse(since)));
});

test("members have roles, and owners assign them", async () => {
  const roles = async (chat) => Object.fromEntries((await chat.members(id)).map(({ user_id, role }) => [user_id, role]));
  assert.deepEqual(await roles(carol), { [alice.me]: "owner", [bob.me]: "member", [carol.me]: "member" });
  await assert.rejects(bob.erase(id, line[11]), refused(403, "not_permitted"));
  assert.equal((await alice.addMember(id, bob.me, "moderator")).role, "moderator");
  await until(carol, () => room(carol).members.get(bob.me).role === "moderator");
  await until(bob, () => room(bob).channel.membership.role === "moderator");
  assert.deepEqual(await roles(alice), { [alice.me]: "owner", [bob.me]: "moderator", [carol.me]: "member" });
  await bob.erase(id, line[11]);
  await until(carol, () => state(carol, line[11]).deleted_at);
});

test("the read mark moves on all devices of a user", async () => {
  const phone = device(TOKENS[0]);
  await phone.open();
  await alice.send(id, "my last words");
  const { seq } = await bob.send(id, "read me");
  for (const chat of [alice, phone]) {
    await until(chat, () => room(chat).complete >= seq);
    assert.equal(room(chat).channel.membership.unread_count, 1);
  }
  await alice.markRead(id, seq);
  const badge = () => room(phone).channel.membership;
  await until(phone, () => badge().read_seq === seq && badge().unread_count === 0);
  assert.equal((await alice.markRead(id, 1)).read_seq, seq);
  // The channel has read receipts.
  await frame(bob, { type: "read.updated", user_id: alice.me, read_seq: seq });
  assert.equal((await bob.members(id)).find(({ user_id }) => user_id === alice.me).read_seq, seq);
  phone.close();
});

test("nothing is lost or doubled when a socket ends", async () => {
  bob.close();
  for (const text of ["one", "two", "three"]) await alice.send(id, text);
  await alice.edit(id, line[9], "line nine");
  await carol.react(id, line[10], "🎉");
  await bob.open();
  assert.deepEqual([state(bob, line[9]).content, state(bob, line[10]).reactions[0].emoji], ["line nine", "🎉"]);

  let last;
  for (let number = 0; number < 6; number++) {
    if (number % 2 === 0) bob.cut();
    ({ seq: last } = await alice.send(id, `cut ${number}`));
  }
  await until(bob, () => room(bob).complete === last);
  for (const chat of [alice, bob]) assert.deepEqual(arrived(chat), upTo(last));
});

const drafts = (chat, question) =>
  chat.log.flatMap(({ kind, channel_id, draft }) => (kind === "draft" && channel_id === asked && draft.reply_to === question.seq ? draft : []));
const reply = (chat, question) =>
  [...room(chat, asked).messages.values()].find(({ role, reply_to }) => role !== "user" && reply_to === question.seq);

/** Asks questions until `check` accepts the reply to one. */
async function ask(check) {
  for (let number = 0; number < QUESTIONS; number++) {
    const question = await alice.send(asked, `Tell me about ${number}.`);
    if (await check(question)) return;
  }
  assert.fail("a frame of each draft was lost");
}

test("a reply of the agent is assembled while it is written", async () => {
  const name = `Agent ${RUN}`;
  asked = (await alice.create({ name, visibility: "private", agent: { mode: "always" } })).channel_id;
  await bring(bob, asked, name);
  await ask(async (question) => {
    const message = await until(bob, () => reply(bob, question));
    assert.equal(message.role, "agent");
    const draft = drafts(bob, question).find(({ draft_id }) => draft_id === message.agent.draft_id);
    // The frames are sent once: of a draft with a lost one, only the message has the whole text.
    if (!draft || !(await unlessLost(bob, () => draft.status === "done")) || !draft.whole) return false;
    assert.deepEqual([draft.text, draft.seq], [message.content, message.seq]);
    assert.ok(["complete", "truncated"].includes(message.agent.status));
    assert.ok(!bob.drafts.has(draft.draft_id));
    return true;
  });
});

test("a reply of the agent is stopped", async () => {
  await ask(async (question) => {
    await until(alice, () => reply(alice, question) || drafts(alice, question).some(({ length }) => length > 0));
    try {
      await alice.stopReply(asked, question.seq);
    } catch (problem) {
      assert.equal(problem.code, "reply_not_found");
    }
    const message = await until(bob, () => reply(bob, question));
    if (message.agent.status !== "cancelled") return false;
    const draft = drafts(bob, question).find(({ draft_id }) => draft_id === message.agent.draft_id);
    if (!draft || !(await unlessLost(bob, () => draft.status === "cancelled"))) return false;
    assert.deepEqual([draft.seq, draft.whole && message.content.startsWith(draft.text)], [message.seq, draft.whole]);
    return true;
  });
});

test("the token of an open socket is renewed", async () => {
  const { connection_id, expires_at } = alice.hello;
  assert.deepEqual(await alice.renew(TOKENS[0]), { connection_id, expires_at });
  alice.ping();
  await frame(alice, { type: "pong", connection_id });
  await assert.rejects(bob.request("POST", ["connections", connection_id, "token"]), refused(404, "connection_not_found"));
});

test("others see that a channel is renamed and archived", async () => {
  const { version } = room(alice).channel;
  await alice.update(id, { name: `Renamed ${RUN}` });
  await until(bob, () => room(bob).channel.name === `Renamed ${RUN}`);
  assert.ok(room(bob).channel.version > version);
  await assert.rejects(alice.update(id, { name: "Stale" }, version), refused(412, "version_mismatch"));

  await alice.update(id, { archived: true });
  await until(bob, () => room(bob).channel.archived_at);
  await assert.rejects(bob.send(id, "too late"), refused(409, "channel_archived"));
  const listed = async (query) => (await bob.channels({ limit: 100, ...query })).channels.some(({ channel_id }) => channel_id === id);
  assert.deepEqual([await listed({}), await listed({ archived: true })], [false, true]);
  await alice.update(id, { archived: false });
  await until(bob, () => !room(bob).channel.archived_at);
});

test("a removed member loses the channel, and keeps the others", async () => {
  await rounds(async (number) => {
    if (number > 1) await bring(carol, id, `Renamed ${RUN}`);
    const from = carol.log.length;
    await alice.removeMember(id, carol.me);
    await current(carol, from);
    assert.ok(!room(carol));
    const closing = frames(carol, from).find(({ type }) => type === "closing");
    if (!closing) return false;
    assert.deepEqual([closing.reason, closing.reconnect], ["removed", true]);
    return true;
  });
  await frame(bob, { type: "member.removed", channel_id: id, user_id: carol.me });
  await assert.rejects(carol.request("GET", ["channels", id]), refused(404, "channel_not_found"));
});

test("a deleted channel disappears", async () => {
  const name = `Doomed ${RUN}`;
  const more = async () => {
    const { channel_id } = await alice.create({ name, visibility: "private", agent: { mode: "off" } });
    await bring(bob, channel_id, name);
    return channel_id;
  };
  const channels = [id, asked];
  await rounds(async () => {
    const channel = channels.shift() ?? (await more());
    const from = [alice, bob].map((chat) => chat.log.length);
    await alice.deleteChannel(channel);
    await Promise.all([alice, bob].map((chat, index) => current(chat, from[index])));
    assert.ok(!room(bob, channel));
    await assert.rejects(bob.request("GET", ["channels", channel]), refused(404, "channel_not_found"));
    const isHeard = frames(bob).some(({ type, channel_id }) => type === "channel.deleted" && channel_id === channel);
    return channels.length === 0 && isHeard;
  });
});

test("no client met a surprise", () => {
  for (const chat of devices) assert.deepEqual(chat.log.flatMap(({ kind, error }) => (kind === "error" ? error : [])), []);
  assert.ok(!frames(bob).some(({ type, user_id }) => type === "typing" && user_id === bob.me));
});
