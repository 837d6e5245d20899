import { memo, useEffect, useState } from "react";
import { useClient, useMessages, usePresence, useReply, useSend, useTyping } from "@switchboard/client/react";
import { Problem } from "./chat.jsx";

const OFFERED = ["👍", "❤️", "🎉"];
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export function Channel({ id, name }) {
  const { userId } = useClient();
  const { messages, drafts, hasEarlier, isLoading, isLoadingEarlier, error, reload, loadEarlier, markRead, react, unreact } = useMessages(id);
  const { outbox, send, retry, discard } = useSend(id);
  const { typing, sendTyping } = useTyping(id);
  const present = usePresence(id);
  const [failure, setFailure] = useState(null);

  useEffect(() => {
    const read = () => document.visibilityState === "visible" && markRead();
    read();
    document.addEventListener("visibilitychange", read);
    return () => document.removeEventListener("visibilitychange", read);
  }, [messages, markRead]);

  return (
    <main aria-label={name}>
      <header>
        <h2># {name}</h2>
        <p>Here: {present.join(", ")}</p>
      </header>
      <div className="scroll" tabIndex={0} role="region" aria-label="Messages">
        <div>
          {hasEarlier && (
            <button disabled={isLoadingEarlier} onClick={loadEarlier}>
              Earlier messages
            </button>
          )}
          {isLoading && <p>Loading…</p>}
          <Problem error={error} onRetry={reload} />
          <ol role="log" aria-busy={isLoading}>
            {messages.map((message) => (
              <Message key={message.seq} {...{ message, isOwn: message.role === "user" && message.sender_id === userId, react, unreact, onError: setFailure }} />
            ))}
            {drafts.map(({ replyTo }) => (
              <Reply key={`reply ${replyTo}`} channelId={id} seq={replyTo} onError={setFailure} />
            ))}
            {outbox.map(({ key, content, state, error: reason }) => (
              <li key={key} className="message own" data-state={state}>
                <p className="text">{content}</p>
                {state === "sending" ? (
                  <small>Sending…</small>
                ) : (
                  <small role="alert">
                    Not sent{reason ? `: ${reason.message}` : ""} <button onClick={() => retry(key)}>Retry</button> <button onClick={() => discard(key)}>Discard</button>
                  </small>
                )}
              </li>
            ))}
          </ol>
        </div>
      </div>
      <p className="typing" aria-live="polite">
        {typing.length > 0 && `${typing.join(", ")} ${typing.length > 1 ? "are" : "is"} typing…`}
      </p>
      <Problem error={failure} />
      <Composer name={name} onSend={send} onKey={sendTyping} />
    </main>
  );
}

const Message = memo(function Message({ message, isOwn, react, unreact, onError }) {
  const { seq, sender_id: sender, content, created_at: created, deleted_at: deleted, reactions = [] } = message;
  const unused = OFFERED.filter((emoji) => !reactions.some((one) => one.emoji === emoji));
  const all = [...reactions, ...unused.map((emoji) => ({ emoji, count: 0, user_ids: [], reacted: false }))];
  return (
    <li className={isOwn ? "message own" : "message"}>
      <small>
        <b>{sender}</b> <time dateTime={created}>{time.format(new Date(created))}</time>
      </small>
      <p className="text">{deleted ? <i>Deleted</i> : content}</p>
      {!deleted && (
        <div className="reactions" role="group" aria-label={`Reactions to message ${seq}`}>
          {all.map(({ emoji, count, user_ids: users, reacted }) => (
            <button key={emoji} aria-pressed={reacted} data-count={count} title={users.join(", ")} onClick={() => (reacted ? unreact : react)(seq, emoji).catch(onError)}>
              {emoji} {count > 0 && count}
            </button>
          ))}
        </div>
      )}
    </li>
  );
});

function Reply({ channelId, seq, onError }) {
  const { status, text, stop } = useReply(channelId, seq);
  return (
    <li className="message" data-state={status} aria-busy="true">
      <small>
        <b>agent</b> {status === "thinking" ? "thinks…" : "writes…"} <button onClick={() => stop().catch(onError)}>Stop</button>
      </small>
      <p className="text">{text}</p>
    </li>
  );
}

function Composer({ name, onSend, onKey }) {
  const [text, setText] = useState("");
  const submit = (event) => {
    event.preventDefault();
    if (text.trim() === "") return;
    onSend(text);
    setText("");
  };
  const onKeyDown = (event) => {
    // The Enter that ends a composition does not send; Safari reports it with 229.
    const isComposing = event.nativeEvent.isComposing || event.keyCode === 229;
    if (event.key === "Enter" && !event.shiftKey && !isComposing) submit(event);
  };
  const onChange = ({ target }) => {
    setText(target.value);
    onKey();
  };
  return (
    <form className="row composer" onSubmit={submit}>
      <textarea rows={2} aria-label={`Message to ${name}`} placeholder={`Message to ${name}`} {...{ value: text, onChange, onKeyDown }} autoFocus />
      <button className="primary">Send</button>
    </form>
  );
}
