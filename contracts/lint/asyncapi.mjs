// Checks an AsyncAPI document with the official parser: the meta-schema, references, and that every example is valid.

import { Parser, fromFile } from "@asyncapi/parser";

const WARNING = 1;
const accepted = new Set(["asyncapi-latest-version"]);

const { document, diagnostics } = await fromFile(new Parser(), process.argv[2]).parse();
const found = diagnostics.filter(({ code, severity }) => severity <= WARNING && !accepted.has(code));
for (const { code, message, path, range } of found) {
  console.error(`${process.argv[2]}:${range.start.line + 1} ${code} ${path.join(".")}: ${message}`);
}
if (!document || found.length > 0) process.exit(1);
console.log(`${process.argv[2]}: ${document.allMessages().length} messages, ${document.allOperations().length} operations`);
