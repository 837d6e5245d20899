// Requests to the local run that serves the page.

import { ProblemError } from "../js/src/index.js";

/** Returns the addresses of the two APIs. */
export async function loadConfig() {
  const response = await fetch("config.json");
  if (!response.ok) throw await ProblemError.from(response);
  return response.json();
}

/** Returns a token for a user. */
export async function issueToken(user) {
  const response = await fetch("token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  if (!response.ok) throw await ProblemError.from(response);
  const { token, expires_at: expiresAt } = await response.json();
  return { token, expiresAt };
}
