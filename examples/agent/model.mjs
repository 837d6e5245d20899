// A language model behind the chat-completions protocol of OpenAI. It answers from knowledge.md, word by word.
//
//   PORT    port (default 4000); 0 takes any free port

import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const PATH = "/v1/chat/completions";
/** Time between two words, in milliseconds. */
const WORD_MS = 50;
/** Maximum size of a request, in characters. */
const REQUEST_CHARS = 1_000_000;

/** Returns the sections of a page of Markdown: heading and text. */
export function sectionsOf(page) {
  const parts = page.split(/^## /m).slice(1);
  return parts.map((part) => {
    const [heading, ...lines] = part.split("\n");
    return { heading: heading.trim(), text: lines.join(" ").trim() };
  });
}

/** Returns the beginnings of the long words of a text, so that "repaired" is found under "repairs". */
const wordsOf = (text) => new Set((text.toLowerCase().match(/\p{L}{4,}/gu) ?? []).map((word) => word.slice(0, 5)));

/** Returns the text of the section that has most words in common with a question. */
export function answerTo(question, sections) {
  const asked = wordsOf(question);
  const common = ({ heading, text }) => [...wordsOf(`${heading} ${text}`)].filter((word) => asked.has(word)).length;
  const [best] = sections.map((section) => ({ ...section, score: common(section) })).sort((a, b) => b.score - a.score);
  if (best?.score) return best.text;
  return `I do not know. Ask me about: ${sections.map(({ heading }) => heading.toLowerCase()).join(", ")}.`;
}

/** Returns the newest question of a request. The last line of a turn has it, as a JSON object with `from` and `text`. */
export function questionOf({ messages }) {
  const turn = messages.findLast(({ role }) => role === "user").content;
  return JSON.parse(turn.split("\n").at(-1)).text;
}

async function read(request) {
  let body = "";
  for await (const part of request.setEncoding("utf8")) {
    body += part;
    if (body.length > REQUEST_CHARS) throw new Error("The request is too long.");
  }
  return JSON.parse(body);
}

/** Streams a text as server-sent events. Ends early if the reply is stopped: then the caller closes the connection. */
async function write(response, model, text) {
  const fields = { id: `chatcmpl-${randomUUID()}`, object: "chat.completion.chunk", created: Math.floor(Date.now() / 1_000), model };
  const send = (delta, reason = null) => response.write(`data: ${JSON.stringify({ ...fields, choices: [{ index: 0, delta, finish_reason: reason }] })}\n\n`);
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const word of text.split(/(?<= )/)) {
    if (response.destroyed) return;
    send({ content: word });
    await setTimeout(WORD_MS);
  }
  send({}, "stop");
  response.end("data: [DONE]\n\n");
}

async function serve(request, response, sections) {
  if (request.method !== "POST" || request.url !== PATH) return response.writeHead(404).end();
  try {
    const body = await read(request);
    await write(response, body.model, answerTo(questionOf(body), sections));
  } catch (error) {
    console.error(error);
    // A response that has begun cannot get another status.
    if (response.headersSent) response.destroy();
    else response.writeHead(400, { "content-type": "application/json" }).end(JSON.stringify({ error: { message: error.message } }));
  }
}

// A test imports the functions above.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = new URL("knowledge.md", import.meta.url);
  const server = createServer(async (request, response) => serve(request, response, sectionsOf(await readFile(file, "utf8"))));
  server.listen(Number(process.env.PORT ?? 4000), "127.0.0.1", () => console.log(`The model is at http://127.0.0.1:${server.address().port}/v1`));
}
