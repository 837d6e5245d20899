import { SwitchboardClient } from "@switchboard/client";
import { channelsOf } from "@switchboard/client/channels";
import { ChannelIdTakenError, ChannelNotFoundError } from "@switchboard/client/errors";
import { indexedDbStore } from "@switchboard/client/stores";

/** Returns a client of the local run, with a token for any name. An application asks its own server for the token. */
export function connect(user) {
  const token = async () => {
    const response = await fetch("/local/token", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ user }),
    });
    if (!response.ok) throw new Error(`There is no token (${response.status}). Is the local run started?`);
    const { token, expires_at: expiresAt } = await response.json();
    return { token, expiresAt };
  };
  const { origin } = location;
  const client = new SwitchboardClient({ rest: `${origin}/api`, websocket: `${origin.replace("http", "ws")}/socket`, token, store: indexedDbStore() });
  client.subscribe();
  return client;
}

/** Joins the channel with a name, and creates it if there is none. Returns its id. */
export async function enter(client, name) {
  const id = name.trim().toLowerCase().replace(/[^a-z0-9]+/g, "-") || "lobby";
  const channels = channelsOf(client);
  try {
    await channels.join(id);
  } catch (error) {
    if (!(error instanceof ChannelNotFoundError)) throw error;
    try {
      await channels.create({ channel_id: id, name: name.trim(), visibility: "public", agent: { mode: "always" } });
    } catch (failure) {
      // Another user created it meanwhile.
      if (!(failure instanceof ChannelIdTakenError)) throw failure;
      await channels.join(id);
    }
  }
  return id;
}
