import { useState } from "react";
import { useChat } from "@ai-sdk/react";
import { SwitchboardChatTransport, currentParts, toUIMessages } from "@switchboard/client/ai";

/** The text of a message. A draft that began again has left a part that is not shown. */
const textOf = (message) =>
  currentParts(message)
    .map((part) => (part.type === "text" ? part.text : ""))
    .join("");

/** A chat with the agent. After a reload it goes on with the reply that is being written. */
export function Chat({ client, channel }) {
  const [options] = useState(() => ({
    id: channel.id,
    transport: new SwitchboardChatTransport({ client }),
    messages: toUIMessages(channel.messages),
    resume: true,
  }));
  const { messages, sendMessage, regenerate, stop, status, error } = useChat(options);
  const isReplying = status === "submitted" || status === "streaming";

  const send = (event) => {
    event.preventDefault();
    const form = event.currentTarget;
    const text = new FormData(form).get("text").trim();
    if (!text || isReplying) return;
    form.reset();
    sendMessage({ text });
  };

  return (
    <>
      <ol aria-live="polite">
        {messages.map((message) => (
          <li key={message.id} data-role={message.role}>
            {textOf(message)}
          </li>
        ))}
        {status === "submitted" && <li>…</li>}
      </ol>
      {error && (
        <p role="alert">
          {error.message} <button onClick={() => regenerate()}>Try again</button>
        </p>
      )}
      <form onSubmit={send}>
        <input name="text" aria-label="Message" placeholder="Ask the agent" autoComplete="off" autoFocus />
        {isReplying ? (
          <button type="button" onClick={stop}>
            Stop
          </button>
        ) : (
          <button>Send</button>
        )}
      </form>
    </>
  );
}
