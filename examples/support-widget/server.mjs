// The server of a site: its page, the widget, and a session for each visitor that opens the widget.
//
//   PORT                                                        port (default 8080)
//   SWITCHBOARD_REST, SWITCHBOARD_WEBSOCKET, SWITCHBOARD_PAGE   addresses of the local run

import { createHash, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { SwitchboardClient } from "@switchboard/client";
import { ChannelIdTakenError } from "@switchboard/client/errors";

const {
  PORT = "8080",
  SWITCHBOARD_REST: rest = "http://127.0.0.1:3000",
  SWITCHBOARD_WEBSOCKET: websocket = "ws://127.0.0.1:3001",
  SWITCHBOARD_PAGE: page = "http://127.0.0.1:3002",
} = process.env;
/** User that owns all channels of visitors. */
const STAFF = "support";
const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/support/widget.js": ["dist/widget.js", "text/javascript; charset=utf-8"],
};
const COOKIE = /(?:^|; )visitor=([0-9a-f-]{36})(?:;|$)/;
const COOKIE_SECONDS = 365 * 24 * 60 * 60;

/** Returns a token of the local run. In a deployment, your issuer signs one that is limited to the visitor's channel. */
async function issueToken(user) {
  const response = await fetch(`${page}/token`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ user }) });
  if (!response.ok) throw new Error(`The local run issued no token: ${response.status}`);
  const { token, expires_at: expiresAt } = await response.json();
  return { token, expiresAt };
}

const staff = new SwitchboardClient({ rest, websocket, token: () => issueToken(STAFF) });

/** Creates the private channel of a visitor, unless there is one. Returns its id. */
async function openChannel(visitor, user) {
  const id = `support-${visitor}`;
  const channel = { channel_id: id, name: `Visitor ${visitor.slice(0, 6)}`, visibility: "private", agent: { mode: "mention" } };
  try {
    await staff.request("POST", "/channels", { body: channel });
  } catch (error) {
    if (!(error instanceof ChannelIdTakenError)) throw error;
  }
  // A member stays one.
  await staff.request("PUT", `/channels/${id}/members/${user}`);
  return id;
}

/** Returns the session of a visitor, with a token. Sets the cookie by which the visitor is known again. */
async function openSession(request, response) {
  const secret = COOKIE.exec(request.headers.cookie ?? "")?.[1] ?? randomUUID();
  // The cookie is the visitor's only proof, so its value appears in no id.
  const visitor = createHash("sha256").update(secret).digest("hex").slice(0, 32);
  const user = `visitor-${visitor}`;
  const session = { rest, websocket, user, channel: await openChannel(visitor, user), ...(await issueToken(user)) };
  // A site with TLS adds `Secure`.
  response.setHeader("set-cookie", `visitor=${secret}; Path=/support; Max-Age=${COOKIE_SECONDS}; HttpOnly; SameSite=Strict`);
  response.setHeader("cache-control", "no-store");
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(session));
}

async function serve(request, response) {
  const [file, type] = FILES[request.url] ?? [];
  if (request.method === "POST" && request.url === "/support/session") await openSession(request, response);
  else if (request.method === "GET" && file) response.writeHead(200, { "content-type": type }).end(await readFile(new URL(file, import.meta.url)));
  else response.writeHead(404).end();
}

const server = createServer((request, response) =>
  serve(request, response).catch((error) => {
    console.error(error);
    response.writeHead(502).end();
  }),
);
server.listen(Number(PORT), "127.0.0.1", () => console.log(`The site is at http://localhost:${server.address().port}`));
