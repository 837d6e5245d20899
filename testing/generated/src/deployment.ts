// The deployment that the conversations use: a local run.

import { readFileSync } from "node:fs";

function variable(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

/** Addresses of the local run. */
export const { rest, websocket } = JSON.parse(readFileSync(variable("READY_FILE"), "utf8")) as { rest: string; websocket: string };

const [first, second] = variable("TOKENS").split(",");
if (!first || !second) throw new Error("TOKENS has fewer than two tokens");

/** Tokens of two users. */
export const tokens: readonly [string, string] = [first, second];
