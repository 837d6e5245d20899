// The client of one user, and the channel in which the user talks to the agent.

import { SwitchboardClient } from "@switchboard/client";
import { channelsOf } from "@switchboard/client/channels";

/** Returns a token of the local run. It issues tokens for any name; your server knows its users. */
async function issueToken(user) {
  const headers = { "content-type": "application/json" };
  const response = await fetch("/local/token", { method: "POST", headers, body: JSON.stringify({ user }) });
  if (!response.ok) throw new Error(`The local run issued no token: ${response.status}`);
  const { token, expires_at: expiresAt } = await response.json();
  return { token, expiresAt };
}

/** Opens the user's channel, and creates it on the first visit. */
export async function begin(user) {
  const client = new SwitchboardClient({
    rest: `${location.origin}/api`,
    websocket: `${location.origin.replace(/^http/, "ws")}/socket`,
    token: () => issueToken(user),
  });
  const id = `agent-of-${user}`;
  let channel;
  try {
    channel = await client.open(id);
  } catch (error) {
    if (error.code !== "channel_not_found") throw error;
    await channelsOf(client).create({ channel_id: id, name: `Agent of ${user}`, visibility: "private", agent: { mode: "always" } });
    channel = await client.open(id);
  }
  client.subscribe([id]);
  return { client, channel };
}
