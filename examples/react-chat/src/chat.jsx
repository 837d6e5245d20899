import { useEffect, useState } from "react";
import { useChannels, useClient, useConnection } from "@switchboard/client/react";
import { Channel } from "./channel.jsx";
import { enter } from "./session.js";

const STATES = { connecting: "Connecting…", live: "Connected", waiting: "No connection", offline: "Offline", closed: "Disconnected" };

export function Chat({ onSignOut }) {
  const client = useClient();
  const { channels, unread, isLoading, error, reload } = useChannels();
  const [chosen, setChosen] = useState(null);
  const [failure, setFailure] = useState(null);
  const shown = chosen ?? channels[0]?.channel_id;

  const open = (name) =>
    enter(client, name).then(
      (id) => (setChosen(id), setFailure(null)),
      (reason) => setFailure(reason),
    );
  // A new user is in no channel.
  const isEmpty = !isLoading && !error && channels.length === 0;
  useEffect(() => {
    if (isEmpty) open("Lobby");
  }, [isEmpty]);

  return (
    <div className="chat">
      <nav aria-label="Channels">
        <h1>Switchboard</h1>
        <Connection />
        <ul aria-busy={isLoading}>
          {channels.map(({ channel_id: id, name }) => (
            <li key={id}>
              <button aria-current={id === shown ? "page" : undefined} onClick={() => setChosen(id)}>
                <span># {name}</span>
                {unread.get(id) > 0 && <b aria-label={`${unread.get(id)} unread`}>{unread.get(id)}</b>}
              </button>
            </li>
          ))}
        </ul>
        <form className="row" action={(form) => open(form.get("channel"))}>
          <input name="channel" required aria-label="Name of a channel to join or create" placeholder="Join or create…" />
          <button aria-label="Join or create">＋</button>
        </form>
        <Problem error={failure} />
        <Problem error={error} onRetry={reload} />
        <button onClick={onSignOut}>Sign out</button>
      </nav>
      {shown ? <Channel key={shown} id={shown} name={channels.find((one) => one.channel_id === shown)?.name ?? shown} /> : <main />}
    </div>
  );
}

function Connection() {
  const client = useClient();
  const { name, reason } = useConnection();
  return (
    <p className="connection" role="status" data-state={name}>
      {STATES[name]}
      {reason && `: ${reason}`} {name === "waiting" && <button onClick={() => client.retryNow()}>Connect now</button>}
    </p>
  );
}

export function Problem({ error, onRetry }) {
  if (!error) return null;
  return (
    <p className="problem" role="alert">
      {error.message} {onRetry && <button onClick={onRetry}>Try again</button>}
    </p>
  );
}
