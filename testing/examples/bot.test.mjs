// Tests of examples/bot: the program with a token of the command line, and a local run.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { request } from "../../clients/web/test/api.mjs";
import { built, localRun, program, until, variables } from "./stand.mjs";

const { addresses, readyFile } = await localRun(after);
const TOKEN_COMMAND = `'${built("local")}' token --ready-file '${readyFile}' --user convert`;

/** Starts the bot, and waits until it is in its channel. */
async function start(channel) {
  const bot = program(after, built("example-bot"), [channel], { env: { ...variables(addresses), TOKEN_COMMAND } });
  await bot.prints(/^convert answers in /m);
  return bot;
}

async function create(channel_id, visibility) {
  await request(addresses, "alice", "POST", "/channels", { channel_id, name: channel_id, visibility, agent: { mode: "off" } });
  return channel_id;
}

const say = (channel, content) => request(addresses, "alice", "POST", `/channels/${channel}/messages`, { content });

/** Returns the answers of the bot: the number of the question, and the text. */
async function answers(channel) {
  const { messages } = await request(addresses, "alice", "GET", `/channels/${channel}/messages?after=0&limit=100`);
  return messages.filter(({ sender_id: sender }) => sender === "convert").map(({ reply_to: question, content }) => [question, content]);
}

/** Waits until the bot has read a message, and returns its answers. */
async function answersUpTo(channel, seq) {
  await until(async () => {
    const { membership } = await request(addresses, "convert", "GET", `/channels/${channel}`);
    return membership.read_seq >= seq;
  });
  return answers(channel);
}

test("the bot answers questions to it, and no other message", async () => {
  const channel = await create("bot-skill", "public");
  await say(channel, "@convert 1 mi");
  const bot = await start(channel);
  await say(channel, "Good morning");
  const { seq: question } = await say(channel, "@convert 5 mi");
  const { seq: last } = await say(channel, "@convert five miles");
  const [first, second, ...more] = await answersUpTo(channel, last);
  // The first message is older than the bot's membership.
  assert.deepEqual(first, [question, "5 mi is 8.05 km."]);
  assert.match(second.join(), new RegExp(`^${last},I convert km`));
  assert.deepEqual(more, []);
  await bot.stop();
});

test("each question is answered once, in order, also if the bot is killed", async () => {
  const channel = await create("bot-restart", "public");
  const questions = [];
  const ask = async () => questions.push((await say(channel, `@convert ${questions.length + 1} km`)).seq);
  for (let round = 0; round < 3; round += 1) {
    // At the first start, the bot must be a member before it is asked.
    if (round > 0) for (let count = 0; count < 2; count += 1) await ask();
    const bot = await start(channel);
    for (let count = 0; count < 3; count += 1) await ask();
    await until(async () => (await answers(channel)).length > 2 * round);
    await bot.stop("SIGKILL");
  }
  const bot = await start(channel);
  const all = await answersUpTo(channel, questions.at(-1));
  assert.deepEqual(all.map(([question]) => question), questions);
  assert.equal(all[1][1], "2 km is 1.24 mi.");
  await bot.stop();
});

test("a bot that was added to a private channel answers there", async () => {
  const channel = await create("bot-private", "private");
  await request(addresses, "alice", "PUT", `/channels/${channel}/members/convert`);
  const bot = await start(channel);
  const { seq } = await say(channel, "@convert 212 F");
  assert.deepEqual(await answersUpTo(channel, seq), [[seq, "212 F is 100.00 C."]]);
  await bot.stop();
});
