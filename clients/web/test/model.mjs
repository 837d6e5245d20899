// A language model for tests. It speaks the chat-completions protocol of OpenAI and sends the test's text.

import { once } from "node:events";
import { createServer } from "node:http";

/** Starts a model. `next()` returns the next requested reply. */
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

/** A reply in progress. */
class Reply {
  #response;

  constructor(question, response) {
    this.question = question;
    this.#response = response;
    /** Settles when the caller has closed the connection or has received the whole reply. */
    this.closed = once(response, "close");
  }

  say(text) {
    this.#send({ choices: [{ index: 0, delta: { content: text }, finish_reason: null }] });
  }

  /** Ends the reply, unless it has ended. */
  end() {
    if (this.#response.writableEnded || this.#response.destroyed) return;
    this.#send({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] });
    this.#response.end("data: [DONE]\n\n");
  }

  #send(event) {
    this.#response.write(`data: ${JSON.stringify(event)}\n\n`);
  }
}
