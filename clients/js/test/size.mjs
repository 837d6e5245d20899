// Prints the sizes of the package and of other chat clients as a table, minified and compressed. Fails if a part is larger
// than its limit.
//
//     node test/size.mjs [--write FILE | --check FILE]
//
// `--write` writes the report. `--check` fails if the report has other sizes of the package than those that are measured.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const EXTERNAL = ["react", "ai", "@switchboard/client", "../src/*"];

/** Parts of the package, with their limits in bytes. A part with a `file` is measured without the client. */
const OWN = [
  { name: "`@switchboard/client`", code: 'export * from "./src/index.js";', limit: 8_000 },
  { name: "with `./channels`, `./threads`, `./stores` and `./errors`", code: ["index", "channels", "threads", "stores", "problems"].map((file) => `export * from "./src/${file}.js";`).join("\n") },
  { name: "`@switchboard/client/react`, without the client", file: "react/index.js", limit: 2_000 },
  { name: "`@switchboard/client/ai`, without the client", file: "ai/index.js", limit: 2_000 },
];

/** Other clients, as their documentation imports them. */
const OTHERS = [
  { packages: ["centrifuge"], code: 'export { Centrifuge } from "centrifuge";' },
  { packages: ["ably", "@ably/chat"], code: 'export { Realtime } from "ably"; export { ChatClient } from "@ably/chat";' },
  { packages: ["stream-chat"], code: 'export { StreamChat } from "stream-chat";' },
];

/** Returns the size of a bundle for browsers: minified, and compressed as well. */
async function measure({ code, file }) {
  const input = file ? { entryPoints: [ROOT + file], external: EXTERNAL } : { stdin: { contents: code, resolveDir: ROOT } };
  const { outputFiles } = await build({ ...input, bundle: true, minify: true, format: "esm", target: "es2022", platform: "browser", write: false, logLevel: "error" });
  const [{ contents }] = outputFiles;
  return { minified: contents.length, compressed: gzipSync(contents, { level: 9 }).length };
}

const versionOf = (name) => JSON.parse(readFileSync(`${ROOT}node_modules/${name}/package.json`, "utf8")).version;
const number = (value) => value.toLocaleString("en-US");
const row = (name, { minified, compressed }, limit) => `| ${name} | ${number(minified)} | ${number(compressed)} | ${limit ? number(limit) : ""} |`;

const { values: options } = parseArgs({ options: { write: { type: "string" }, check: { type: "string" } } });
const own = [];
for (const part of OWN) {
  if (part.file && !existsSync(ROOT + part.file)) continue;
  const size = await measure(part);
  own.push(row(part.name, size, part.limit));
  if (!(size.compressed > part.limit)) continue;
  console.error(`${part.name} has ${number(size.compressed)} bytes, at most ${number(part.limit)} are allowed`);
  process.exitCode = 1;
}
const others = [];
for (const other of OTHERS) {
  others.push(row(other.packages.map((name) => `\`${name}\` ${versionOf(name)}`).join(" and "), await measure(other)));
}
const table = ["| client | minified | minified, gzip | limit |", "| --- | ---: | ---: | ---: |", ...own, ...others].join("\n");
console.log(table);

if (options.write) {
  writeFileSync(
    options.write,
    `# Size of the JavaScript client

Bytes of a bundle for browsers, made by esbuild (\`--bundle --minify --format=esm --target=es2022\`), as it is and after
\`gzip -9\`. Each bundle has all exports of our parts, and of other packages the client that their documentation imports.
The packages differ in what they do: \`centrifuge\` carries data and knows no messages, and \`stream-chat\` also has moderation
and uploads. \`node test/size.mjs --write\` in \`clients/js\` makes this report, and the continuous integration checks it.

${table}
`,
  );
}
if (options.check) {
  const report = readFileSync(options.check, "utf8");
  for (const line of own.filter((one) => !report.includes(one))) {
    console.error(`${options.check} lacks: ${line}`);
    process.exitCode = 1;
  }
}
