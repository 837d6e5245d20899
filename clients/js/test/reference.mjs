// Writes docs/reference/client-js.md from the types of all entry points. With `--check`, compares it instead.

import { readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { Application, ReflectionKind } from "typedoc";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PAGE = join(ROOT, "../../docs/reference/client-js.md");

const HEAD = `# JavaScript client

\`npm --prefix clients/js run reference\` writes this page from the types of
[\`@switchboard/client\`](../../clients/js/README.md). The entry points have these names.
`;

/** Returns the entry points of the package: the name that is imported, and the file. */
async function entryPoints() {
  const { name, exports } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
  return Object.entries(exports)
    .filter(([, { default: file }]) => file)
    .map(([path, { default: file }]) => ({ name: name + path.slice(1), file: join(ROOT, file) }));
}

/** Returns the modules of the entry points, as TypeDoc reads them. Their names are the files without endings. */
async function read(files) {
  const app = await Application.bootstrap({
    entryPoints: files,
    tsconfig: join(ROOT, "tsconfig.json"),
    logLevel: "Error",
    disableGit: true,
    disableSources: true,
    excludeExternals: true,
    excludeInternal: true,
    excludePrivate: true,
    excludeProtected: true,
    sort: ["kind", "alphabetical"],
  });
  const project = await app.convert();
  if (!project) throw new Error("the types have errors");
  return new Map(project.children.map((module) => [module.name, module]));
}

/** Number of members from which an object has a name in the reference. */
const LARGE = 12;
/** The type that is the object which a function returns. TypeDoc shows its members where it is used, and not its name. */
let returned;

/** Returns `true` if a type is taken from a function. @param {any} type */
const isReturned = (type) => type?.type === "indexedAccess" || (type?.type === "reference" && type.name === "ReturnType");

const names = (members) => members.map(({ name }) => name).join();
const isOneOf = (reflection, ...kinds) => kinds.some((kind) => reflection.kindOf(kind));
const fields = (children, separator) => children.map((one) => `${one.name}${one.flags.isOptional ? "?" : ""}: ${typeText(one.type ?? one)}`).join(separator);

/** Returns a type as TypeScript writes it. */
function typeText(type) {
  const inner = (one) => (["union", "intersection", "reflection"].includes(one.type) && (one.declaration ? one.declaration.signatures : true) ? `(${typeText(one)})` : typeText(one));
  const { declaration } = type;
  switch (type.type) {
    case "array":
      return `${inner(type.elementType)}[]`;
    case "union":
      return type.types.map((one) => (one.declaration?.signatures ? inner(one) : typeText(one))).join(" | ");
    case "intersection":
      return type.types.map(inner).join(" & ");
    case "typeOperator":
      return `${type.operator} ${inner(type.target)}`;
    case "reference":
      return type.name + (type.typeArguments?.length ? `<${type.typeArguments.map(typeText).join(", ")}>` : "");
    case "reflection":
      if (declaration.signatures) return signatureText("", declaration.signatures[0], " => ");
      if (returned && declaration.children?.length >= LARGE) {
        returned.members ??= declaration.children;
        const isSame = names(returned.members) === names(declaration.children);
        return isSame ? returned.name : "object";
      }
      if (declaration.children) return `{ ${fields(declaration.children, "; ")} }`;
      return declaration.indexSignatures ? `{ ${declaration.indexSignatures.map((one) => `[${fields(one.parameters, ", ")}]: ${typeText(one.type)}`).join("; ")} }` : "object";
    default:
      // A method in an object.
      return type.signatures ? signatureText("", type.signatures[0], " => ") : type.toString();
  }
}

/** Returns a signature as TypeScript writes it. */
function signatureText(name, { parameters = [], type, typeParameters = [] }, before = ": ") {
  const names = parameters.map((one, at) => {
    const isOptional = one.flags.isOptional || one.defaultValue !== undefined;
    return `${one.flags.isRest ? "..." : ""}${one.name.startsWith("__") ? `given${at || ""}` : one.name}${isOptional ? "?" : ""}: ${typeText(one.type)}`;
  });
  const variables = typeParameters.map((one) => one.name).join(", ");
  return `${name}${variables && `<${variables}>`}(${names.join(", ")})${type ? before + typeText(type) : ""}`;
}

/** Returns the description of something, in one line. */
function about(reflection) {
  const { comment } = reflection.signatures?.[0] ?? reflection.getSignature ?? reflection;
  const text = (comment?.summary ?? []).map(({ text }) => text).join("");
  return text.replace(/\n\n/g, "<br>").replace(/\s+/g, " ").trim();
}

const paragraphs = (reflection) => about(reflection).replaceAll("<br>", "\n\n");
const cell = (text) => text.replaceAll("|", "\\|");
const code = (text) => `\`${cell(text)}\``;
const table = (head, rows) => (rows.length > 0 ? `\n| ${head} | |\n| --- | --- |\n${rows.map(([name, text]) => `| ${name} | ${cell(text)} |\n`).join("")}` : "");

/** Returns the row of a member of a class, or of a field. */
function row(member) {
  if (isOneOf(member, ReflectionKind.Constructor)) {
    const [signature] = member.signatures;
    return [code(`new ${signatureText(member.parent.name, { parameters: signature.parameters })}`), about(member)];
  }
  const prefix = member.flags.isStatic ? "static " : "";
  if (member.signatures) return [code(prefix + signatureText(member.name, member.signatures[0])), about(member)];
  return [code(`${member.name}${member.flags.isOptional ? "?" : ""}: ${typeText(member.getSignature?.type ?? member.type)}`), about(member)];
}

/** Returns the section of a class or of a type. */
function section(reflection) {
  const children = (reflection === returned && returned.members) || reflection.children || (reflection.type?.declaration?.children ?? []);
  const text = [paragraphs(reflection)];
  if (children.length === 0 && reflection.type) text.push(`\`\`\`ts\ntype ${reflection.name} = ${typeText(reflection.type)};\n\`\`\``);
  if (reflection.extendedTypes) text.unshift(`Extends \`${reflection.extendedTypes.map(typeText).join(", ")}\`.`);
  return `\n### ${reflection.name}\n${text.filter(Boolean).map((one) => `\n${one}\n`).join("")}${table(isOneOf(reflection, ReflectionKind.Class) ? "member" : "field", children.map(row))}`;
}

/** Returns the part of an entry point. Names that another entry point has described are left out. */
function part(name, module, known) {
  const own = (module.children ?? []).filter((one) => !isOneOf(one, ReflectionKind.Reference) && !known.has(one.name));
  for (const one of own) known.add(one.name);
  const isClass = (one) => isOneOf(one, ReflectionKind.Class);
  const isType = (one) => isOneOf(one, ReflectionKind.TypeAlias, ReflectionKind.Interface);
  const others = own.filter((one) => !isClass(one) && !isType(one));
  return `\n## ${name}\n${table("name", others.map(row))}${own.filter(isClass).map(section).join("")}${own.filter(isType).map(section).join("")}`;
}

const known = new Set();
let page = HEAD;
const entries = await entryPoints();
const modules = await read(entries.map(({ file }) => file));
const types = [...modules.values()].flatMap((module) => module.children ?? []).filter((one) => isReturned(one.type));
if (types.length > 1) throw new Error(`only one type can be taken from a function: ${types.map(({ name }) => name).join(", ")}`);
[returned] = types;
for (const { name, file } of entries) {
  const module = modules.get(relative(ROOT, file).replace(/(\/index)?\.js$/, ""));
  if (!module) throw new Error(`${name}: there is no ${file}`);
  page += part(name, module, known);
}
if (!process.argv.includes("--check")) await writeFile(PAGE, page);
else if ((await readFile(PAGE, "utf8")) !== page) {
  console.error("docs/reference/client-js.md differs from the types: run npm --prefix clients/js run reference");
  process.exitCode = 1;
}
