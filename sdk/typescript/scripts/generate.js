// Writes the types of the API, made from its OpenAPI document: `node scripts/generate.js openapi.json > src/generated.ts`.
import { readFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";
import ts from "typescript";

const document = JSON.parse(readFileSync(process.argv[2] ?? 0, "utf8"));

// Every code that an answer may carry. The failures themselves are the same everywhere, so the types of operations do without them.
const codes = new Set();
for (const operation of Object.values(document.paths).flatMap((item) => Object.values(item))) {
  for (const [status, response] of Object.entries(operation.responses)) {
    delete response.headers;
    if (status.startsWith("2")) continue;
    const [, { properties }] = response.content["application/problem+json"].schema.allOf;
    for (const code of properties.code.enum) codes.add(code);
    delete operation.responses[status];
  }
  // The one header, Idempotency-Key, is an option of each call.
  operation.parameters = (operation.parameters ?? []).filter((parameter) => parameter.in === "path" || parameter.in === "query");
}

// Types say it all but for the words: titles repeat their names, and examples are for the reference page.
const shorten = (node) => {
  if (typeof node !== "object" || node === null) return;
  if ("schema" in node) delete node.example;
  if (typeof node.title === "string") delete node.title;
  if (typeof node.description === "string") node.description = node.description.replaceAll(/\n +/g, "\n");
  Object.values(node).forEach(shorten);
};
shorten(document.components.schemas);
shorten(document.paths);

// Schemas become types of their own, whose names are what an editor then shows, in place of paths into `components`.
const declarations = await openapiTS(document, { defaultNonNullable: false });
const named = (name) => declarations.find((each) => each.name?.text === name);
const schemas = named("components").members.find((each) => each.name.text === "schemas").type.members;
const exported = [ts.factory.createToken(ts.SyntaxKind.ExportKeyword)];
const types = schemas.map(({ name, type }) =>
  ts.isTypeLiteralNode(type)
    ? ts.factory.createInterfaceDeclaration(exported, name, undefined, undefined, type.members)
    : ts.factory.createTypeAliasDeclaration(exported, name, undefined, type),
);
types.forEach((type, at) => ts.setSyntheticLeadingComments(type, ts.getSyntheticLeadingComments(schemas[at])));

const text = [...types, named("paths"), named("operations")]
  .map((each) => astToString(each))
  .join("\n")
  .replaceAll(/components\["schemas"\]\["(\w+)"\]/g, "$1")
  .replaceAll("@description ", "")
  .replaceAll(/\n? *(\/\*\* @enum \{\w+\} \*\/|\* @enum \{\w+\}(?=\n))/g, "")
  .replaceAll(/^ +/gm, (indent) => " ".repeat(Math.ceil(indent.length / 2)));

process.stdout.write(`// Made from the OpenAPI document by scripts/generate.js: do not edit, run \`make sdk\`.

/** Every \`code\` that the API answers with. Codes are stable and never reused. */
export type ApiErrorCode =
${[...codes]
  .sort()
  .map((code) => `  | "${code}"`)
  .join("\n")};

${text}`);
