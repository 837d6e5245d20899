import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { SwitchboardProvider } from "@switchboard/client/react";
import { Chat } from "./chat.jsx";
import { connect } from "./session.js";
import "./style.css";

function App() {
  const [client, setClient] = useState(null);

  useEffect(() => {
    if (!client) return;
    const events = new AbortController();
    const follow = (target, type, action) => target.addEventListener(type, action, { signal: events.signal });
    follow(window, "online", () => client.setOnline(true));
    follow(window, "offline", () => client.setOnline(false));
    // A machine that slept may have lost its connection without an event.
    follow(document, "visibilitychange", () => document.visibilityState === "visible" && client.check());
    return () => events.abort();
  }, [client]);

  if (!client) return <SignIn onName={(name) => setClient(connect(name))} />;
  const signOut = () => {
    client.close();
    setClient(null);
  };
  return (
    <SwitchboardProvider client={client}>
      <Chat onSignOut={signOut} />
    </SwitchboardProvider>
  );
}

function SignIn({ onName }) {
  return (
    <main className="sign-in">
      <form action={(form) => onName(form.get("name").trim())}>
        <h1>Switchboard</h1>
        <label htmlFor="name">Your name</label>
        <input id="name" name="name" required pattern="[A-Za-z0-9_.@\-]+" title="Letters, digits and _ . @ -" autoComplete="username" autoFocus />
        <button className="primary">Sign in</button>
      </form>
    </main>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
