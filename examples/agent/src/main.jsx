import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./chat.jsx";
import { begin } from "./session.js";

const KEY = "user";

/** The name of the user, and then the chat. */
function Page() {
  const [user, setUser] = useState(() => localStorage.getItem(KEY));
  const [session, setSession] = useState(null);
  const [error, setError] = useState(null);

  useEffect(() => {
    if (!user) return undefined;
    let isCurrent = true;
    const beginning = begin(user);
    beginning.then(
      (begun) => isCurrent && setSession(begun),
      (reason) => isCurrent && setError(reason),
    );
    return () => {
      isCurrent = false;
      beginning.then(({ client }) => client.close(), () => {});
    };
  }, [user]);

  if (error) return <p role="alert">{error.message}</p>;
  if (session) return <Chat {...session} />;
  if (user) return <p>Connecting…</p>;
  const enter = (event) => {
    event.preventDefault();
    const name = new FormData(event.currentTarget).get("user");
    localStorage.setItem(KEY, name);
    setUser(name);
  };
  return (
    <form onSubmit={enter}>
      <input name="user" placeholder="Your name" aria-label="Your name" required pattern="[A-Za-z0-9_\-]{1,32}" autoFocus />
      <button>Enter</button>
    </form>
  );
}

createRoot(document.getElementById("root")).render(
  <StrictMode>
    <main>
      <Page />
    </main>
  </StrictMode>,
);
