// A consumer of the package in strict TypeScript. It is compiled, not run.

import { Channel, NetworkError, ProblemError, SwitchboardClient } from "@switchboard/client";
import type { ClientEvents, ConnectionState, Draft, Message, OutboxEntry } from "@switchboard/client";
import { SwitchboardChatTransport, currentParts, toUIMessages } from "@switchboard/client/ai";
import { threadsOf } from "@switchboard/client/threads";
import type { ReplyMetadata } from "@switchboard/client/ai";
import type { ChatTransport, UIMessage } from "ai";

export const client = new SwitchboardClient({
  rest: "https://api.example.com",
  websocket: "wss://socket.example.com",
  token: async () => ({ token: "a.b.c", expiresAt: new Date() }),
});
export const off: () => void = client.on("state", ({ name, reason }) => console.log(name satisfies ConnectionState["name"], reason?.length));
client.on("messages", ({ channelId, messages }: ClientEvents["messages"]) => console.log(channelId, messages.length));
// @ts-expect-error There is no such event.
client.on("nothing", () => {});
// @ts-expect-error An id is a string.
client.channel(7);
// @ts-expect-error A client needs a token.
export const incomplete = new SwitchboardClient({ rest: "https://api.example.com", websocket: "wss://socket.example.com" });

export async function use(signal: AbortSignal): Promise<void> {
  const channel: Channel = await client.open("lobby", { signal });
  const messages: readonly Message[] = channel.messages;
  const drafts: readonly Draft[] = channel.drafts;
  const unsent: readonly OutboxEntry[] = channel.outbox;
  console.log(messages.at(-1)?.content.length, drafts[0]?.text.length, unsent[0]?.state === "failed");
  // @ts-expect-error The text is a string.
  await channel.send(7);
  try {
    const sent: Message | undefined = await channel.send("Hello", { replyTo: 1, signal });
    const replies: Message[] = await threadsOf(channel).list(1, { signal });
    const count: number | undefined = threadsOf(channel).summary(messages[0] ?? replies[0]!)?.reply_count;
    console.log(replies.length, count?.toFixed());
    await channel.react(sent?.seq ?? 1, "👍");
  } catch (error) {
    if (error instanceof NetworkError || (error instanceof ProblemError && error.code === "rate_limited")) console.log(error.retryAfter);
  }
  client.close();
}

export const transport: ChatTransport<UIMessage> = new SwitchboardChatTransport({ client });
export const typed: ChatTransport<UIMessage<ReplyMetadata>> = new SwitchboardChatTransport({ client, channelId: "lobby" });
export const stored: UIMessage<ReplyMetadata>[] = toUIMessages(client.channel("lobby").messages);
export const status: string | undefined = stored[0]?.metadata?.status;
export const types: string[] = currentParts(stored[0] as UIMessage).map(({ type }) => type);
