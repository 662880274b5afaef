// What a user does, on whatever runtime, from a project that has the packed SDK, against a real `buffmoney up`. Throws at a surprise.
import BuffMoneyClient, { BuffMoneyError, verifyWebhook, WebhookVerificationError } from "@buffmoney/sdk";

const check = (truth, what) => {
  if (!truth) throw new Error(`surprise: ${typeof what === "string" ? what : JSON.stringify(what)}`);
};

/** The merchant has a rate card: ¥1 for 1,000 tokens_input. */
export async function tour() {
  const client = new BuffMoneyClient();
  const event = (key, customerExternalId = "tour", quantity = "1000") => ({
    ...{ customerExternalId, idempotencyKey: key, metric: "tokens_input", quantity, occurredAt: new Date() },
  });

  const grant = { amount: "2000", currency: "CNY", kind: "paid" };
  const { grantId } = await client.grants.create("tour", grant, { idempotencyKey: "order 1/a" });
  check((await client.grants.create("tour", grant, { idempotencyKey: "order 1/a" })).grantId === grantId, "the same key is the same grant");

  const events = Array.from({ length: 1_001 }, (_, number) => event(`ingest/${number}`));
  const first = await client.usageEvents.ingest(events);
  check(first.accepted === 1_001 && first.charged === "1001" && first.balances.tour === "999" && first.requestIds.length === 3, first);
  const again = await client.usageEvents.ingest([...events, event("ingest/0", "tour", 7n), event("no", "tour", "-1")]);
  check(again.duplicates === 1_001 && again.rejected === 2 && again.charged === "0", again);
  check(again.results.at(-1).code === "invalid_quantity" && again.results.at(-1).param === "events[1002].quantity", again.results.at(-1));
  check((await client.usageEvents.get("ingest/7")).charge === "1", "an event by its key, slash and all");

  const hold = await client.holds.create("tour", { amount: "5" });
  const captured = await client.holds.capture(hold.holdId, { amount: "3.2" });
  check(captured.captured === "3.2" && captured.released === "1.8", captured);

  const rejected = [];
  const buffer = client.usageEvents.buffer({ maxEvents: 100, concurrency: 3, onRejected: (some) => rejected.push(...some) });
  for (let number = 0; number < 1_000; number++) await buffer.add(event(`buffer-${number}`, `guest-${number % 5}`));
  for (let number = 0; number < 900; number++) await buffer.add(event(`buffer-tour-${number}`));
  await buffer.close();
  check(rejected.length === 1_000 && rejected.every((each) => each.code === "insufficient_balance"), `${rejected.length} rejected`);
  check((await client.balances.get("tour")).available === "95.8", "1001, 3.2 and 900 of 2000 are gone");

  const sums = await client.usage.get({ customerExternalId: "tour" });
  check(sums.events === 1_901 && sums.charged === "1901", sums);
  let movements = "0";
  for await (const { balanceAfter } of client.balances.history("tour", { limit: 2 })) movements = balanceAfter;
  check(movements === "2000", `the oldest posting leaves ${movements}`);

  const failure = await client.holds.create("tour", { amount: "96" }).catch((error) => error);
  check(failure instanceof BuffMoneyError && failure.code === "insufficient_balance" && failure.status === 402, failure);
  check(!failure.retryable && failure.requestId.startsWith("req_"), failure);
  const enough = await client.customers.list({}, { signal: AbortSignal.abort(new Error("enough")) }).catch((error) => error);
  check(enough.message === "enough", enough);
  const elsewhere = new BuffMoneyClient({ baseUrl: "http://127.0.0.1:1", maxRetries: 1 });
  const nobody = await elsewhere.cashBook.get().catch((error) => error);
  check(nobody.code === "connection_failed" && nobody.retryable, nobody);

  const headers = {
    "webhook-id": "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    "webhook-timestamp": "1649367553",
    "webhook-signature": "v1,+G/Or2EQ/fZ2/xE0z8lIefb92yw92Ac61HvR8ydrk0o=",
  };
  const payload = '{"email":"test@example.com"}';
  const secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
  check((await verifyWebhook(payload, headers, secret, { now: new Date(1649367553_000) })).email === "test@example.com", "a webhook");
  check((await verifyWebhook(payload, headers, secret).catch((error) => error)) instanceof WebhookVerificationError, "an old webhook");
  return "all as expected";
}
