// Generates clients from the contract with four generators, into `generated/`. Fails if a generator warns, or if it
// invents a name because a schema has none.

import { TypeScriptGenerator } from "@asyncapi/modelina";
import { Parser, fromFile } from "@asyncapi/parser";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = dirname(fileURLToPath(import.meta.url));
const [openapi, asyncapi] = ["openapi.yaml", "asyncapi.yaml"].map((name) => join(folder, "../../contracts", name));
const generated = join(folder, "generated");
const programs = join(folder, "node_modules/.bin");

/** Runs a program in this folder, and returns its output. */
function run(program, ...parameters) {
  const output = execFileSync(program, parameters, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  process.stdout.write(output);
  return output;
}

/** Throws if `text` matches one of the patterns. */
function refuse(generator, text, ...patterns) {
  for (const pattern of patterns) {
    const found = text.match(pattern);
    if (found) throw new Error(`${generator}: ${JSON.stringify(found[0])}: name the schema in the contract`);
  }
}

function openapiTypescript() {
  run(join(programs, "openapi-typescript"), openapi, "--output", "generated/rest.d.ts");
  const types = readFileSync(join(generated, "rest.d.ts"), "utf8");
  refuse("openapi-typescript", types, /^\s+Metadata\w*: Record<string, never>/m, /\bmetadata\??: Record<string, never>/);
}

function orval() {
  run(join(programs, "orval"), "--config", "orval.config.mjs");
  // orval numbers the types that collide or have no name.
  refuse("orval", readFileSync(join(generated, "orval.ts"), "utf8"), /export type \w*(AnyOf|OneOf|AllOf|Item)\w* =/, /Type2Type1/);
}

/** Modelina writes one file with all frames. */
async function modelina() {
  const { document, diagnostics } = await fromFile(new Parser(), asyncapi).parse();
  if (!document) throw new Error(`modelina: ${JSON.stringify(diagnostics)}`);
  const models = await new TypeScriptGenerator({ modelType: "interface", mapType: "record", rawPropertyNames: true }).generate(document);
  const frames = models.map(({ result }) => `export ${result}`).join("\n\n");
  refuse("modelina", frames, /AnonymousSchema_\d+/, /\bReserved[A-Z]\w*/, /Type\d+Type\d+/);
  // The union of all frames is the type that a client reads from its socket.
  if (!/^export type ServerFrame = /m.test(frames)) throw new Error("modelina: no type is the union of all frames");
  writeFileSync(join(generated, "frames.ts"), `${frames}\n`);
}

/** `PYTHON` is an interpreter with the packages of requirements.txt. */
function openapiPythonClient() {
  const python = process.env.PYTHON;
  if (!python) throw new Error("PYTHON is not set: the interpreter with the packages of requirements.txt");
  const options = ["--path", openapi, "--output-path", "generated/switchboard_client", "--meta", "none", "--config", "python.yaml"];
  run(python, "-m", "openapi_python_client", "generate", ...options, "--fail-on-warning");
}

rmSync(generated, { recursive: true, force: true });
mkdirSync(generated);
openapiTypescript();
orval();
await modelina();
openapiPythonClient();
