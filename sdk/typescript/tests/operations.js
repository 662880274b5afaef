// Calls every method of every resource, and prints which operations of a document were asked for: `node tests/operations.js FILE`.
import { readFileSync } from "node:fs";
import { BuffMoneyClient } from "../dist/index.js";

const { paths } = JSON.parse(readFileSync(process.argv[2], "utf8"));
// A path's own words go before its parameters: usage-events/void is not an event named void.
const templates = Object.keys(paths)
  .map((path) => [path, new RegExp(`^${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`)])
  .sort(([left], [right]) => left.split("{").length - right.split("{").length);
const called = new Set();
const fetch = async (url, { method }) => {
  const { pathname } = new URL(url);
  const [template] = templates.find(([, pattern]) => pattern.test(pathname)) ?? [pathname];
  called.add(JSON.stringify([method, template]));
  return Response.json({ data: [], nextCursor: null, results: [], chargedByCurrency: {} });
};
const client = new BuffMoneyClient({ apiKey: "bm_test_1", baseUrl: "http://api.example", fetch });
const event = { customerExternalId: "a", idempotencyKey: "b", metric: "c", quantity: "1", occurredAt: "2026-03-31T08:00:00Z" };
for (const resource of Object.values(client)) {
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(resource))) {
    // Ids are strings. What takes no id gets one for its body or query, which does not matter here.
    if (name !== "constructor" && name !== "buffer") await resource[name](name === "ingest" ? [event] : "x");
  }
}
console.log(`[${[...called].join()}]`);
