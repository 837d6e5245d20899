// The session of a visitor: a client, and the one channel that the visitor has.

import { SwitchboardClient } from "@switchboard/client";

/** Asks the site's server for a session with a token. */
async function ask(url) {
  const response = await fetch(url, { method: "POST" });
  if (!response.ok) throw new Error(`There is no session: ${response.status}`);
  return response.json();
}

/** Connects, and opens the channel of the visitor. */
export async function begin(url) {
  let session = await ask(url);
  const { rest, websocket, user, channel: id } = session;
  const token = async () => {
    const { token, expiresAt } = session ?? (await ask(url));
    // The first token came with the session.
    session = null;
    return { token, expiresAt };
  };
  const client = new SwitchboardClient({ rest, websocket, token, userId: user });
  client.subscribe([id]);
  return { client, channel: await client.open(id) };
}
