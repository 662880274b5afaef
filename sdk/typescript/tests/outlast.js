// Usage and credit through a network that loses much: every call must end well. Prints what was sent.
import BuffMoneyClient from "@buffmoney/sdk";

const EVENTS = 6_000;
const client = new BuffMoneyClient({ timeoutMs: 1_000, maxRetries: 12 });
const event = (key, customer) => ({
  ...{ customerExternalId: customer, idempotencyKey: key, metric: "tokens_input", quantity: "1000", occurredAt: new Date() },
});
const grant = { amount: "100000", currency: "CNY", kind: "paid" };
await Promise.all(Array.from({ length: 10 }, (_, number) => client.grants.create(`c${number}`, grant)));

// Few repetitions within a call, so that the buffer's own come to pass, too.
const impatient = new BuffMoneyClient({ timeoutMs: 1_000, maxRetries: 1 });
let outlasted = 0;
const buffer = impatient.usageEvents.buffer({ maxEvents: 100, maxPending: 2_000, concurrency: 8, onRetry: () => outlasted++ });
const buffered = (async () => {
  for (let number = 0; number < EVENTS; number++) await buffer.add(event(`buffer-${number}`, `c${number % 10}`));
  await buffer.close();
})();
const direct = Promise.all(
  Array.from({ length: 4 }, (_, batch) => {
    const events = Array.from({ length: 1_000 }, (_, number) => event(`direct-${batch}-${number}`, `c${number % 10}`));
    return client.usageEvents.ingest(events);
  }),
);
const results = await direct;
await buffered;
const taken = results.reduce((sum, { accepted, duplicates }) => sum + accepted + duplicates, 0);
const duplicates = results.reduce((sum, each) => sum + each.duplicates, 0);
console.log(JSON.stringify({ events: EVENTS + taken, duplicates, outlasted }));
