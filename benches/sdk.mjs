// What the TypeScript SDK costs, measured in one Node process: `node benches/sdk.mjs '{"rounds": 3, "seconds": 3, "apiKey": …, "baseUrl": …}'` prints JSON.
import { BuffMoneyClient } from "../sdk/typescript/dist/index.js";

const { rounds, seconds, apiKey, baseUrl, customers } = JSON.parse(process.argv[2]);
const EVENTS_PER_BATCH = 500;
const UNDER_WAY = 16;
const MODELS = ["gpt-4o", "deepseek-v3", "qwen-max", "claude-sonnet"];
const METRICS = ["tokens_input", "tokens_output"];
const start = new Date(Date.now() - 60_000).toISOString();
let made = 0;

/** Events as an AI product makes them: those of a request come in pairs, of one customer. */
function eventsOf(count) {
  return Array.from({ length: count }, (_, at) => {
    const number = made++;
    const customer = String((number >> 1) * 7919 % customers).padStart(7, "0");
    return {
      customerExternalId: `customer-${customer}`,
      idempotencyKey: `${start}-${number}`,
      metric: METRICS[at & 1],
      quantity: String(1 + (number * 31) % 2_000),
      occurredAt: start,
      dimensions: { model: MODELS[(number >> 1) & 3] },
    };
  });
}

/** Batches a second, a fixed number of them under way at once. */
async function rate(batches, send) {
  let next = 0;
  const started = performance.now();
  const lane = async () => {
    while (next < batches.length) await send(batches[next++]);
  };
  await Promise.all(Array.from({ length: UNDER_WAY }, lane));
  return batches.length / ((performance.now() - started) / 1_000);
}

const client = new BuffMoneyClient({ apiKey, baseUrl });
const headers = { Authorization: `Bearer ${apiKey}`, "Content-Type": "application/json" };
const bare = async (body) => {
  const response = await fetch(`${baseUrl}/v1/usage-events`, { method: "POST", headers, body });
  const answer = await response.text();
  if (!answer.includes(`"accepted":${EVENTS_PER_BATCH},`)) throw new Error(answer.slice(0, 300));
};
const ingest = async (events) => {
  const { accepted } = await client.usageEvents.ingest(events);
  if (accepted !== EVENTS_PER_BATCH) throw new Error(`${accepted} of ${EVENTS_PER_BATCH} were accepted`);
};
const ways = {
  bare: (count) => rate(Array.from({ length: count }, () => JSON.stringify({ events: eventsOf(EVENTS_PER_BATCH) })), bare),
  sdk: (count) => rate(Array.from({ length: count }, () => eventsOf(EVENTS_PER_BATCH)), ingest),
};
// Warm, and to know how many batches fill the time.
const count = Math.ceil(seconds * Math.max(await ways.bare(300), await ways.bare(300)));
await ways.sdk(300);
const rates = { bare: [], sdk: [] };
for (let round = 0; round < rounds * 2; round++) {
  // Each is first as often as the other.
  for (const way of round % 2 ? ["sdk", "bare"] : ["bare", "sdk"]) rates[way].push(await ways[way](count));
}

/** Microseconds for each event, with a server that answers at once: all of the buffer's own work, and that of `ingest` with ready batches. */
const answer = JSON.stringify({ accepted: EVENTS_PER_BATCH, duplicates: 0, rejected: 0, results: [], charged: "0", chargedByCurrency: {}, balances: {}, requestId: "r" });
const nowhere = new BuffMoneyClient({ apiKey, baseUrl, fetch: async () => new Response(answer) });
const costs = { buffer: [], ingest: [] };
for (let round = 0; round < 2 + rounds * 2; round++) {
  const events = eventsOf(200_000);
  const timed = async (work) => {
    const started = performance.now();
    await work();
    return ((performance.now() - started) * 1_000) / events.length;
  };
  const buffered = await timed(async () => {
    const buffer = nowhere.usageEvents.buffer();
    for (const event of events) await buffer.add(event);
    await buffer.close();
  });
  const ready = await timed(async () => {
    for (let from = 0; from < events.length; from += EVENTS_PER_BATCH) await nowhere.usageEvents.ingest(events.slice(from, from + EVENTS_PER_BATCH));
  });
  if (round >= 2) costs.buffer.push(buffered), costs.ingest.push(ready);
}
console.log(JSON.stringify({ rates, costs }));
