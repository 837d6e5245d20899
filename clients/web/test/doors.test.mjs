// Pages of other origins in headless Chromium that request each port of a running stack. They must receive nothing.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { READY_FILE, CHROMIUM_PATH = "/usr/bin/chromium" } = process.env;
const NAMES = ["rest", "websocket", "dynamodb", "lambda", "sqs", "logs", "otlp", "page"];
const PATIENCE_MS = 15_000;
let stack;
let browser;
let server;
let files;
let token;

before(async () => {
  assert.ok(READY_FILE, "READY_FILE must name the file that `cargo local -- --ready-file FILE` has written");
  stack = JSON.parse(await readFile(READY_FILE, "utf8"));
  const issued = await fetch(`${stack.page}/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user: "alice" }),
  });
  ({ token } = await issued.json());
  server = createServer((request, response) => {
    // A normal page, and one in a frame with the origin `null`.
    const sandboxed = request.url === "/sandboxed" ? { "content-security-policy": "sandbox allow-scripts allow-forms" } : {};
    response.writeHead(200, { "content-type": "text/html", ...sandboxed });
    response.end("<!doctype html><title>another site</title><body></body>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  files = await mkdtemp(join(tmpdir(), "switchboard-"));
  await writeFile(join(files, "page.html"), "<!doctype html><title>a file</title><body></body>");
  browser = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    // Another site's name that resolves to this machine, as with DNS rebinding. The sandbox needs user namespaces,
    // which a container lacks; the pages here are the test's own.
    args: ["--host-resolver-rules=MAP evil.example 127.0.0.1", ...(process.getuid?.() === 0 ? ["--no-sandbox"] : [])],
  });
});

after(async () => {
  await browser?.close();
  server?.close();
  if (files) await rm(files, { recursive: true });
});

const port = (name) => new URL(stack[name]).port;
const http = (name) => `http://127.0.0.1:${port(name)}`;

/** Runs in the page: tries every kind of request. Returns the readable responses. */
async function attack({ urls, token, patience }) {
  const read = [];
  const note = (what, text) => read.push(`${what}: ${text}`);
  const within = (promise) => Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error("late")), patience))]);
  const signature = "AWS4-HMAC-SHA256 Credential=a/b/us-east-1/any/aws4_request, SignedHeaders=host, Signature=00";
  const tries = [
    ["/", {}],
    ["/health", {}],
    ["/channels/lobby/messages", { headers: { authorization: `Bearer ${token}` } }],
    ["/channels/lobby/messages", { method: "POST", headers: { authorization: `Bearer ${token}` }, body: '{"content":"forged"}' }],
    ["/", { method: "POST", headers: { authorization: signature, "content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.Scan" }, body: '{"TableName":"chat_events"}' }],
    ["/2015-03-31/functions/Maintenance/invocations", { method: "POST", body: "{}" }],
    ["/v1/traces", { method: "POST", headers: { "content-type": "application/json" }, body: '{"resourceSpans":[]}' }],
    ["/token", { method: "POST", headers: { "content-type": "application/json" }, body: '{"user":"alice"}' }],
    ["/config.json", {}],
  ];
  for (const url of urls) {
    for (const [path, options] of tries) {
      await within(fetch(url + path, options)).then(async (response) => note(`fetch ${url}${path}`, await response.text()), () => {});
      const { headers: _, ...simple } = options;
      await within(fetch(url + path, { ...simple, mode: "no-cors" })).then(async (response) => {
        const text = await response.text();
        if (text) note(`no-cors ${url}${path}`, text);
      }, () => {});
    }
    for (const query of ["", `?channels=lobby&token=${token}`]) {
      await within(
        new Promise((resolve) => {
          const socket = new WebSocket(`${url.replace("http", "ws")}/${query}`, query ? [] : ["bearer", token]);
          socket.onopen = () => resolve(note(`socket ${url}`, "open"));
          socket.onmessage = ({ data }) => note(`socket ${url}`, data);
          socket.onerror = resolve;
        }),
      );
    }
    for (const tag of ["img", "script"]) {
      const element = document.createElement(tag);
      await within(
        new Promise((resolve) => {
          element.onload = () => resolve(note(tag, url));
          element.onerror = resolve;
          element.src = tag === "script" ? `${url}/app.js` : `${url}/favicon.svg`;
          document.body.append(element);
        }),
      );
    }
    const frame = document.createElement("iframe");
    frame.name = "target";
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method: "post", enctype: "text/plain", action: `${url}/2015-03-31/functions/Maintenance/invocations`, target: "target" });
    document.body.append(form);
    await within(
      new Promise((resolve) => {
        frame.onload = resolve;
        form.submit();
      }),
    ).catch(() => {});
    frame.remove();
    form.remove();
  }
  return read;
}

const count = async () => {
  const response = await fetch(`${stack.rest}/channels/lobby/messages`, { headers: { authorization: `Bearer ${token}` } });
  return (await response.json()).messages.length;
};

for (const [what, address] of [
  ["another site", () => `http://evil.example:${server.address().port}/`],
  ["another port", () => `http://127.0.0.1:${server.address().port}/`],
  ["another port by name", () => `http://localhost:${server.address().port}/`],
  ["a sandboxed page", () => `http://127.0.0.1:${server.address().port}/sandboxed`],
  ["a file", () => `file://${join(files, "page.html")}`],
]) {
  test(`${what} reads nothing and does nothing`, async (t) => {
    const before = await count();
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const ports = new Set(NAMES.map(port));
    const asked = new Set();
    const answers = [];
    const isOurs = (url) => ports.has(new URL(url).port);
    page.on("request", (request) => isOurs(request.url()) && asked.add(new URL(request.url()).port));
    page.on("websocket", (socket) => asked.add(new URL(socket.url()).port));
    // A response that CORS blocks is not reported here.
    page.on("response", (response) => isOurs(response.url()) && answers.push(`${response.status()} ${response.url()}`));
    await page.goto(address());
    const read = await page.evaluate(attack, { urls: NAMES.map(http), token, patience: PATIENCE_MS });
    assert.deepEqual(read, []);
    assert.deepEqual(asked, ports, "each port was asked");
    assert.ok(answers.length > 0);
    assert.deepEqual(answers.filter((answer) => !answer.startsWith("403 ")), []);
    assert.equal(await count(), before);
  });
}

test("a name that leads to this machine opens no port", async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  for (const name of NAMES) {
    const url = `http://evil.example:${port(name)}`;
    const response = await page.goto(url);
    assert.equal(response.status(), 403, name);
    // The document has the origin of the requested URL.
    const read = await page.evaluate(attack, { urls: [url], token, patience: PATIENCE_MS });
    assert.ok(read.length > 0 && read.every((one) => one.includes('"status":403')), `${name}: ${read}`);
  }
});

test("a link leads to the page, and decides neither on the user nor on the channel", async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const follow = async (url) => {
    await page.goto(`http://evil.example:${server.address().port}/`);
    const [response] = await Promise.all([
      page.waitForResponse((response) => response.url() === url),
      page.waitForURL(url),
      page.evaluate((url) => location.assign(url), url),
    ]);
    return response.status();
  };
  assert.equal(await follow(`${stack.page}/`), 200);
  assert.equal(await follow(`${stack.page}/?user=mallory&channel=forged`), 403);
});
