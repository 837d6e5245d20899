// Checks the package as a project gets it: the archive, its types, React Native, and the start of the README.
//
// With `--local`, the start runs against a local run, in Node and in Chromium:
//
//   SWITCHBOARD_REST, SWITCHBOARD_WEBSOCKET   addresses of the local run
//   SWITCHBOARD_TOKEN                         a token of it
//   SWITCHBOARD_ORIGIN                        the page's origin, which the run allows
//   CHROMIUM_PATH                             the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundleForReactNative } from "./package/metro.mjs";
import { bundles, readStart, startInChromium, startInNode } from "./package/start.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Packages that a consumer of all entry points needs. They are those of this folder, so that no network is needed. */
const PEERS = ["ai", "react", "@types"];

const run = (command, args, cwd) => execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
const program = (name) => join(ROOT, "node_modules/.bin", name);

/** Packs the package, and installs the archive into an empty project. Returns both paths. */
async function install(folder) {
  // The folder's own settings turn scripts off, and the types are made by one.
  const packed = run("npm", ["pack", ROOT, "--ignore-scripts=false", "--silent", "--pack-destination", folder], folder).trim().split("\n").at(-1);
  const archive = join(folder, packed);
  const project = join(folder, "project");
  await mkdir(project);
  await writeFile(join(project, "package.json"), JSON.stringify({ name: "project", private: true, type: "module" }));
  run("npm", ["install", "--offline", "--no-audit", "--no-fund", archive], project);
  for (const name of PEERS) await symlink(join(ROOT, "node_modules", name), join(project, "node_modules", name)).catch(() => {});
  return { archive, project };
}

/** Returns the entry points of the installed package, as they are imported. */
async function entryPoints(project) {
  const { name, exports, dependencies = {} } = JSON.parse(await readFile(join(project, "node_modules/@switchboard/client/package.json"), "utf8"));
  assert.deepEqual(dependencies, {}, "the package has no dependencies");
  return Object.keys(exports).filter((path) => !path.endsWith(".json")).map((path) => name + path.slice(1));
}

/** Runs a check, and prints its name and what it returns. */
async function check(name, action) {
  try {
    console.log(`ok  ${name}${((result) => (result ? `: ${result}` : ""))(await action())}`);
  } catch (error) {
    console.error(`failed  ${name}\n${[error.stdout, error.stderr, error.stack].filter(Boolean).join("\n")}`);
    process.exitCode = 1;
  }
}

/** Compiles the consumer, and a file that imports each entry point, with the declarations of the package. */
async function compile(project, entries, moduleResolution) {
  const all = entries.map((entry, at) => `import * as entry${at} from "${entry}";\nexport const all${at}: object = entry${at};\n`).join("");
  await writeFile(join(project, "all.ts"), all);
  await cp(join(ROOT, "test/package/consumer.ts"), join(project, "consumer.ts"));
  const module = moduleResolution === "nodenext" ? "nodenext" : "esnext";
  const compilerOptions = { strict: true, noEmit: true, target: "es2022", lib: ["es2023", "dom", "dom.iterable"], types: [], module, moduleResolution };
  await writeFile(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["all.ts", "consumer.ts"] }));
  try {
    run(program("tsc"), ["--pretty", "false"], project);
  } catch ({ stdout }) {
    // Declarations of the peers need types of Node, and are not checked here.
    const own = stdout.split("\n").filter((line) => line && !/^(\.\.|\s)/.test(line));
    assert.deepEqual(own, []);
  }
}

const folder = await realpath(await mkdtemp(join(tmpdir(), "switchboard-package-")));
try {
  const { archive, project } = await install(folder);
  const entries = await entryPoints(project);
  const installed = join(project, "node_modules/@switchboard/client");
  console.log(`entry points: ${entries.join(", ")}`);
  await check("the archive has no tests and no other files", async () => {
    const names = (await readdir(installed)).sort();
    assert.deepEqual(names.filter((name) => !["ai", "react", "src", "types", "CHANGELOG.md", "README.md", "LICENSE", "package.json"].includes(name)), []);
  });
  await check("publint", () => void run(program("publint"), ["run", archive, "--strict"], project));
  await check("@arethetypeswrong/cli", () => void run(program("attw"), [archive, "--profile", "esm-only", "--no-emoji", "--no-color"], project));
  for (const resolution of ["bundler", "nodenext"]) await check(`tsc --strict, ${resolution}`, () => compile(project, entries, resolution));
  await check("all entry points in Node", () => {
    run(process.execPath, ["--input-type=module", "--eval", entries.map((entry) => `await import("${entry}");`).join("")], project);
  });
  await check("React Native", () => bundleForReactNative(project, entries));

  const start = await readStart(join(ROOT, "README.md"));
  let built;
  await check("bundles of the start by esbuild and Vite", async () => {
    built = await bundles(project, start);
    return built.map(({ name, size }) => `${name} ${size} bytes`).join(", ");
  });
  if (process.argv.includes("--local")) {
    await check("the start in Node", () => startInNode(project, start.path));
    for (const { name, path } of built ?? []) {
      await check(`the start by ${name} in Node`, () => startInNode(project, path));
      await check(`the start by ${name} in Chromium`, () => startInChromium(path));
    }
  } else console.log("skipped  the start against a local run: needs --local");
} finally {
  await rm(folder, { recursive: true });
}
