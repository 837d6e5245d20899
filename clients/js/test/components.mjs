// Components for tests of the hooks. Import it before React: it has the document.

import "./dom.mjs";
import assert from "node:assert/strict";
import { afterEach } from "node:test";
import { StrictMode, act, createElement } from "react";
import { createRoot } from "react-dom/client";
import { channelsOf } from "../src/channels.js";
import { SwitchboardProvider } from "../react/index.js";
import { settle } from "./stack.mjs";

/** Roots that the end of a test unmounts. */
export const roots = [];
const reported = [];
const consoleError = console.error;
console.error = (...args) => reported.push(args.join(" "));

afterEach(async () => {
  await act(async () => roots.splice(0).forEach((root) => root.unmount()));
  const errors = reported.splice(0);
  if (errors.length > 0) consoleError(...errors);
  assert.deepEqual(errors, [], "React reports nothing");
});

/** Runs an action, and all that follows from it. */
export const run = (action = () => {}) =>
  act(async () => {
    await action();
    await settle();
  });

/** Returns a client that counts its listeners, except for those of its channels. */
export function counted(stack) {
  const client = stack.client();
  channelsOf(client);
  client.listeners = 0;
  const on = client.on.bind(client);
  client.on = (...args) => {
    client.listeners += 1;
    const off = on(...args);
    return () => {
      client.listeners -= 1;
      off();
    };
  };
  return client;
}

/** Renders a component below the provider of a client. `is` changes its props, and `end` unmounts it. */
export async function mount(client, Component, props = {}, { isStrict = false } = {}) {
  const root = createRoot(document.createElement("div"));
  roots.push(root);
  const tree = (more) => {
    const content = createElement(SwitchboardProvider, { client }, more && createElement(Component, more));
    return isStrict ? createElement(StrictMode, null, content) : content;
  };
  await run(() => root.render(tree(props)));
  return { is: (more) => run(() => root.render(tree(more))), end: () => run(() => root.render(tree(null))) };
}

/** Returns a component that keeps what a hook returns at each render, as `probe.all` and `probe.now`. */
export function probeOf(hook) {
  const probe = (props) => {
    probe.all.push((probe.now = hook(props)));
    return null;
  };
  probe.all = [];
  return probe;
}

/** Returns a client with an open socket. */
export const live = async (stack) => {
  const client = counted(stack);
  client.subscribe();
  await settle();
  return client;
};

export const texts = ({ messages }) => messages.map(({ content }) => content);
/** Returns the number of pages of history that were read. */
export const historyReads = (stack) => stack.asked().filter((one) => /^GET \/channels\/\w+\/messages\?/.test(one)).length;

/** Returns a promise, and the function that resolves it. */
export const deferred = () => {
  let resolve;
  return [new Promise((done) => (resolve = done)), resolve];
};
