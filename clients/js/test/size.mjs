// Prints the sizes of the package, minified and compressed, and fails if one is larger than its limit.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** Limits in bytes: the client as an application uses it, and further parts. */
const PARTS = [
  { name: "client", code: 'export { SwitchboardClient } from "../src/index.js";', limit: 8_192 },
  { name: "client, all exports", code: 'export * from "../src/index.js";', limit: 9_216 },
  { name: "react", file: "react/index.js", limit: 2_048 },
  { name: "ai", file: "ai/index.js", limit: 2_048 },
];

const root = fileURLToPath(new URL("..", import.meta.url));
for (const { name, code, file, limit } of PARTS) {
  if (file && !existsSync(root + file)) continue;
  const input = file ? { entryPoints: [root + file] } : { stdin: { contents: code, resolveDir: `${root}test` } };
  const { outputFiles } = await build({ ...input, bundle: true, minify: true, format: "esm", target: "es2022", external: ["react", "ai", "@switchboard/client", "../src/*"].slice(0, file ? 4 : 2), write: false });
  const { length } = gzipSync(outputFiles[0].contents, { level: 9 });
  console.log(`${name}: ${length} bytes, at most ${limit}`);
  if (length > limit) process.exitCode = 1;
}
