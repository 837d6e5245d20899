// A language model for tests: it speaks the chat-completions protocol of OpenAI, and writes what the test tells it to.

import { once } from "node:events";
import { createServer } from "node:http";

/** Starts one. `next()` gives the next reply that is asked for. */
export async function startModel() {
  const asked = [];
  const waiting = [];
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { messages } = JSON.parse(Buffer.concat(chunks));
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    const reply = new Reply(messages.at(-1).content, response);
    const next = waiting.shift();
    if (next) next(reply);
    else asked.push(reply);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    next: () => (asked.length ? Promise.resolve(asked.shift()) : new Promise((resolve) => waiting.push(resolve))),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** A reply that is being written. */
class Reply {
  #response;

  constructor(question, response) {
    this.question = question;
    this.#response = response;
    /** Settles when whoever asked has hung up, or has everything. */
    this.closed = once(response, "close");
  }

  say(text) {
    this.#send({ choices: [{ index: 0, delta: { content: text }, finish_reason: null }] });
  }

  end() {
    this.#send({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
    this.#response.end("data: [DONE]\n\n");
  }

  #send(event) {
    this.#response.write(`data: ${JSON.stringify(event)}\n\n`);
  }
}
