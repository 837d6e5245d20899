// Tests of the life of the hooks: mounts, changes of channel, aborts, StrictMode, servers.

import { counted, deferred, historyReads, live, mount, probeOf, roots, run, texts } from "./components.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";
import { Activity, createElement, memo, useState } from "react";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { SwitchboardProvider, useChannels, useClient, useConnection, useMessages, usePresence, useReply, useSend, useTyping } from "../react/index.js";
import { sourceOf } from "../react/source.js";
import { Stack, problem, settle } from "./stack.mjs";

test("another channel replaces the first, whose aborted request is no error", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const [lag, go] = deferred();
  const den = { ...stack.messages[0], channel_id: "den", content: "den" };
  let aborted = 0;
  stack.intercept = ({ pathname }, { signal }) => {
    if (pathname === "/channels/den/messages") return lag.then(() => Response.json({ messages: [den], has_more: false, rev: 0 }));
    const ends = (_, reject) => signal.addEventListener("abort", () => (aborted += 1) && reject(signal.reason));
    return pathname === "/channels/lobby/messages" && aborted === 0 ? new Promise(ends) : undefined;
  };
  const probe = probeOf(({ id }) => useMessages(id));
  const { is } = await mount(client, probe, { id: "lobby" });
  await is({ id: "den" });
  assert.deepEqual([aborted, probe.now.isLoading, probe.now.error], [1, true, null]);
  await run(go);
  assert.deepEqual([texts(probe.now), probe.now.isLoading], [["den"], false]);
  await is({ id: "lobby" });
  assert.deepEqual([texts(probe.now), probe.now.error], [["one"], null]);
  assert.ok(probe.all.every(({ error }) => error === null));
  const [requests, renders] = [stack.requests.length, probe.all.length];
  await is({ id: "den" });
  assert.deepEqual(texts(probe.all[renders]), ["den"], "the first render has the held messages");
  assert.equal(stack.requests.length, requests);
});

test("a component that goes while its channel loads leaves nothing behind", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const [lag, go] = deferred();
  stack.lag = () => lag;
  const probe = probeOf(() => [useMessages("lobby"), useChannels(), usePresence("lobby"), useTyping("lobby"), useSend("lobby"), useConnection(), useReply("lobby", 1)]);
  const { end, is } = await mount(client, probe, {}, { isStrict: true });
  assert.ok(client.listeners > 0);
  await end();
  assert.equal(client.listeners, 0);
  assert.ok(stack.requests.filter(({ path }) => path.startsWith("/channels")).every(({ init }) => init.signal.aborted));
  const renders = probe.all.length;
  await run(go);
  assert.equal(probe.all.length, renders);
  await is({});
  assert.deepEqual([probe.now[0].error, texts(probe.now[0])], [null, ["one"]], "a later mount begins again");
  await end();
  assert.equal(client.listeners, 0);
});

test("StrictMode makes neither a second request nor a second socket, and shows no error", async () => {
  const stack = new Stack();
  stack.store("one");
  stack.intercept = ({ pathname }) => (pathname.endsWith("/presence") ? Response.json({ users: [{ user_id: "bob" }], has_more: false }) : undefined);
  const client = await live(stack);
  const probe = probeOf(() => [useMessages("lobby"), useChannels(), usePresence("lobby")]);
  await mount(client, probe, {}, { isStrict: true });
  const asked = stack.asked().map((one) => one.split("?")[0]);
  assert.deepEqual(asked.sort(), ["GET /channels", "GET /channels/lobby/messages", "GET /channels/lobby/presence"]);
  assert.equal(stack.sockets.length, 1);
  assert.ok(probe.all.every(([{ error }, list]) => error === null && list.error === null));
  assert.deepEqual([texts(probe.now[0]), probe.now[2]], [["one"], ["bob"]]);
});

test("a read that failed without a response is repeated with the next connection", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  stack.intercept = () => {
    throw new TypeError("network");
  };
  const probe = probeOf(() => useMessages("lobby"));
  await mount(client, probe);
  assert.deepEqual([probe.now.error?.name, probe.now.isLoading], ["NetworkError", false]);
  stack.intercept = null;
  await run(() => stack.live.drop());
  await run(() => stack.clock.advance(2_000));
  assert.deepEqual([probe.now.error, texts(probe.now)], [null, ["one"]]);
});

test("a refused read is not repeated", async () => {
  const stack = new Stack();
  const client = await live(stack);
  let reads = 0;
  stack.intercept = ({ pathname }) => (pathname.endsWith("/messages") && (reads += 1) ? problem(404, "channel_not_found") : undefined);
  const probe = probeOf(() => useMessages("lobby"));
  await mount(client, probe);
  await run(() => stack.live.drop());
  await run(() => stack.clock.advance(2_000));
  assert.deepEqual([probe.now.error?.code, client.state.name, reads], ["channel_not_found", "live", 1]);
  await run(() => void probe.now.reload());
  assert.equal(reads, 2);
});

test("no two components of a render show different states", async () => {
  const stack = new Stack();
  const client = await live(stack);
  const pairs = [];
  const One = ({ into, at }) => {
    into[at] = useMessages("lobby");
    return null;
  };
  let show;
  const Parent = () => {
    const [isBoth, set] = useState(false);
    show = () => set(true);
    const into = [];
    pairs.push(into);
    useMessages("lobby");
    // A component that is mounted later reads before it listens.
    return [createElement(One, { key: 0, into, at: 0 }), isBoth && createElement(One, { key: 1, into, at: 1 })];
  };
  await mount(client, Parent);
  await run(show);
  for (let number = 0; number < 20; number += 1) await run(() => stack.push(stack.store(`m${number}`)));
  const both = pairs.filter(([, second]) => second);
  assert.ok(both.length >= 20);
  assert.ok(both.every(([first, second]) => first === second));
});

test("an event between the render and the listener is not lost", async () => {
  const stack = new Stack();
  const client = await live(stack);
  const probe = probeOf(() => {
    const { typing } = useTyping("lobby");
    if (probe.all.length === 0) stack.receive({ type: "typing", user_id: "bob" });
    return typing;
  });
  await mount(client, probe);
  assert.deepEqual([probe.all[0], probe.now], [[], ["bob"]]);
});

test("a server renders the state before anything is known, and a browser begins with it", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = counted(stack);
  const View = () => {
    const { messages, isLoading } = useMessages("lobby");
    const { channels } = useChannels();
    const { status } = useReply("lobby", 1);
    const people = [...usePresence("lobby"), ...useTyping("lobby").typing, ...useSend("lobby").outbox];
    return createElement("p", null, JSON.stringify([useConnection().name, isLoading, messages.length, channels.length, status, people.length]));
  };
  const tree = createElement(SwitchboardProvider, { client }, createElement(View));
  const html = renderToString(tree);
  assert.equal(html, '<p>[&quot;connecting&quot;,true,0,0,null,0]</p>');
  assert.deepEqual([stack.requests, client.listeners], [[], 0], "a server makes no request");
  client.subscribe();
  await client.open("lobby");
  await settle();
  const container = document.createElement("div");
  container.innerHTML = html;
  await run(() => roots.push(hydrateRoot(container, tree)));
  assert.equal(container.textContent, '["live",false,1,1,null,0]');
});

test("another client has other state", async () => {
  const [one, other] = [new Stack(), new Stack()];
  one.store("one");
  other.store("other");
  const probe = probeOf(() => useMessages("lobby"));
  const clients = [await live(one), await live(other)];
  const Switch = () => {
    const [at, set] = useState(0);
    Switch.next = () => set(1);
    return createElement(SwitchboardProvider, { client: clients[at] }, createElement(probe));
  };
  await mount(clients[0], Switch);
  assert.deepEqual(texts(probe.now), ["one"]);
  await run(() => Switch.next());
  assert.deepEqual(texts(probe.now), ["other"]);
  assert.equal(clients[0].listeners, 0);
});

test("a hook without a provider names it", () => {
  assert.throws(() => renderToString(createElement(() => useClient() && null)), /SwitchboardProvider/);
});
test("a component that takes the place of another in one commit goes on with its request", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const [lag, go] = deferred();
  stack.lag = () => lag;
  const probe = probeOf(() => useMessages("lobby"));
  const { is } = await mount(client, ({ place }) => createElement(probe, { key: place }), { place: 1 });
  await is({ place: 2 });
  await run(go);
  assert.deepEqual([texts(probe.now), historyReads(stack)], [["one"], 1]);
});

test("a connect while the list is read begins the read again, without an error", async () => {
  const stack = new Stack();
  const client = counted(stack);
  let aborted = 0;
  stack.intercept = ({ pathname }, { signal }) => {
    const ends = (_, reject) => signal.addEventListener("abort", () => (aborted += 1) && reject(signal.reason));
    return pathname === "/channels" && aborted === 0 ? new Promise(ends) : undefined;
  };
  const probe = probeOf(useChannels);
  await mount(client, probe);
  await run(() => client.subscribe());
  assert.deepEqual([aborted, probe.now.channels.length], [1, 1]);
  assert.ok(probe.all.every(({ error }) => error === null));
});

test("a hidden part neither listens nor shows an old state when it is seen again", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const [hidden, other] = [probeOf(() => useMessages("lobby")), probeOf(() => useMessages("lobby"))];
  const Hidden = memo(hidden);
  const View = ({ mode, isOther }) => [createElement(Activity, { key: 1, mode }, createElement(Hidden)), isOther && createElement(other, { key: 2 })];
  const { is, end } = await mount(client, View, { mode: "visible" });
  await is({ mode: "hidden" });
  assert.equal(client.listeners, 0);
  await run(() => stack.push(stack.store("two")));
  await is({ mode: "visible" });
  assert.deepEqual(texts(hidden.now), ["one", "two"]);
  await is({ mode: "visible", isOther: true });
  await run(() => stack.push(stack.store("three")));
  assert.deepEqual(texts(hidden.now), ["one", "two", "three"]);
  assert.equal(hidden.now, other.now, "both share it again");
  await end();
  assert.equal(client.listeners, 0);
});

/** Returns the source of a reply, made by the test unless there is one. */
const replySource = (client, read = () => ({})) => sourceOf(client, "reply lobby 1", () => ({ read, listen: () => [() => {}] }));

test("the state of a hook is forgotten with its last component", async () => {
  const stack = new Stack();
  const client = await live(stack);
  const { end } = await mount(client, () => useReply("lobby", 1) && null);
  assert.equal(replySource(client).snapshot().status, null);
  await end();
  assert.deepEqual(replySource(client).snapshot(), {});
});

test("a forgotten state that is listened to again has no old fields, and does not displace the new one", async () => {
  const client = {};
  let value = 1;
  const read = () => ({ value });
  const old = replySource(client, read);
  const end = old.subscribe(() => {});
  assert.equal(old.snapshot().value, 1);
  end();
  await settle();
  value = 2;
  assert.equal(old.snapshot().value, 2);
  const current = replySource(client, read);
  assert.notEqual(current, old);
  current.subscribe(() => {});
  old.subscribe(() => {})();
  await settle();
  assert.equal(replySource(client, read), current);
});
