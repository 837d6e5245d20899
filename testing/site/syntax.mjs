// Parses snippets in JavaScript and TypeScript. Reads `[{place, loader, code}]`, and writes the faults as an array of texts.

import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const { transform } = createRequire(new URL("../../clients/js/package.json", import.meta.url))("esbuild");

const faults = [];
for (const { place, loader, code } of JSON.parse(await text(process.stdin))) {
  try {
    await transform(code, { loader, format: "esm", target: "esnext", jsx: "automatic", logLevel: "silent" });
  } catch ({ errors, message }) {
    const [first] = errors ?? [];
    faults.push(`${place}: ${first ? `line ${first.location?.line}: ${first.text}` : message}`);
  }
}
process.stdout.write(JSON.stringify(faults));
