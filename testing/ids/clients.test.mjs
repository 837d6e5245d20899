// Checks common HTTP clients with every character of an id in the path: the id that arrives must be the one that was
// sent.
//
// READY_FILE is the ready file of a local run, TOKENS are tokens of several users separated by commas, and PYTHON is a
// Python with `requests`. The users share the requests, so that none of them reaches a rate limit.
// testing/e2e/tests/end_to_end/ids.rs tests reqwest and WebSocket handshakes with the same list.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import axios from "axios";

const { good, bad } = JSON.parse(readFileSync(new URL("ids.json", import.meta.url), "utf8"));
const REST = JSON.parse(readFileSync(process.env.READY_FILE, "utf8")).rest.replace(/\/$/, "");
const TOKENS = process.env.TOKENS.split(",");
const HEADERS = { authorization: `Bearer ${TOKENS[0]}` };
const PYTHON = process.env.PYTHON ?? "python3";
/** Number of concurrent requests. */
const AT_ONCE = 8;

/** The id unchanged, as an encoder of URL components writes it, and with each byte encoded. */
const SPELLINGS = [
  (id) => id,
  encodeURIComponent,
  (id) => [...id].map((one) => `%${one.charCodeAt(0).toString(16).padStart(2, "0")}`).join(""),
];

async function each(items, work) {
  const results = new Array(items.length);
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      results[index] = await work(items[index]);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

/** Runs a program on `input`. */
const run = (program, args, input) =>
  new Promise((resolve, reject) => {
    const child = execFile(program, args, { maxBuffer: 64 << 20 }, (error, stdout, stderr) => (error ? reject(new Error(stderr || error)) : resolve(stdout)));
    child.stdin.end(input);
  });

const parsed = (lines) => lines.trim().split("\n").map((line) => JSON.parse(line));

/** Clients that send GET to all URLs, and return the status and body of each. */
const clients = {
  fetch: (urls) =>
    each(urls, async (url) => {
      const response = await fetch(url, { headers: HEADERS });
      return { status: response.status, body: await response.json() };
    }),

  axios: (urls) =>
    each(urls, async (url) => {
      const { status, data } = await axios.get(url, { headers: HEADERS, validateStatus: null });
      return { status, body: data };
    }),

  "axios with a base URL": (urls) => {
    const instance = axios.create({ baseURL: `${REST}/channels`, headers: HEADERS, validateStatus: null });
    return each(urls, async (url) => {
      const { status, data } = await instance.get(url.slice(`${REST}/channels`.length));
      return { status, body: data };
    });
  },

  curl: async (urls) => {
    const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;
    // Globbing is off: ids contain no `[` and `{`, and curl must not interpret any.
    const each = (url) =>
      [`url = ${quoted(url)}`, `header = ${quoted(`authorization: ${HEADERS.authorization}`)}`, "globoff", "silent", 'write-out = "\\n%{http_code}\\n"'].join("\n");
    const lines = (await run("curl", ["--config", "-"], urls.map(each).join("\nnext\n"))).trim().split("\n");
    return urls.map((_, index) => ({ status: Number(lines[2 * index + 1]), body: JSON.parse(lines[2 * index]) }));
  },

  requests: async (urls) => parsed(await run(PYTHON, [new URL("get.py", import.meta.url).pathname], JSON.stringify({ urls, headers: HEADERS }))),
};

let created = 0;
const create = async (id) => {
  const authorization = `Bearer ${TOKENS[created++ % TOKENS.length]}`;
  const body = JSON.stringify({ channel_id: id, name: "x", visibility: "public" });
  const response = await fetch(`${REST}/channels`, { method: "POST", headers: { authorization, "content-type": "application/json" }, body });
  return { id, status: response.status };
};

before(async () => {
  for (const { id, status } of await each(good, create)) assert.ok(status === 201 || status === 409, `${id}: ${status}`);
});

for (const [name, get] of Object.entries(clients)) {
  test(`${name}: every id arrives as the one that was meant, whichever way it is spelled`, async () => {
    const tries = good.flatMap((id) => SPELLINGS.map((spell) => ({ id, url: `${REST}/channels/${spell(id)}` })));
    const answers = await get(tries.map(({ url }) => url));
    assert.equal(answers.length, tries.length);
    for (const [index, { id, url }] of tries.entries()) {
      const { status, body } = answers[index];
      assert.deepEqual([status, body.channel_id], [200, id], url);
    }
  });

  test(`${name}: what is no id arrives as none`, async () => {
    const spellings = (text) => (text.includes(" ") ? [encodeURIComponent(text)] : [text, encodeURIComponent(text)]);
    const urls = bad.flatMap((text) => spellings(text).map((spelled) => ({ text, url: `${REST}/channels/${spelled}` })));
    const answers = await get(urls.map(({ url }) => url));
    for (const [index, { text, url }] of urls.entries()) assert.notEqual(answers[index].body.channel_id, text, url);
  });
}

test("no channel has an id that a path would lose", async () => {
  for (const { id, status } of await each(bad, create)) assert.equal(status, 400, JSON.stringify(id));
});
