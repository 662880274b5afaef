// Compiled, not run: what an editor knows, and what it refuses. Each line below a @ts-expect-error is a mistake that must be one.
import BuffMoneyClient, {
  BuffMoneyError,
  verifyWebhook,
  type Balance,
  type Customer,
  type ErrorCode,
  type UsageEventInput,
} from "@buffmoney/sdk";

const client = new BuffMoneyClient({ apiKey: "bm_test_1", timeoutMs: 5_000, fetch: globalThis.fetch });

export async function usage(): Promise<string | null> {
  const event: UsageEventInput = {
    customerExternalId: "acme",
    idempotencyKey: "1",
    metric: "tokens_input",
    quantity: "1",
    occurredAt: new Date(),
  };
  const { charged, results } = await client.usageEvents.ingest([event, { ...event, quantity: 1n, dimensions: { model: "gpt-4o" } }], {
    results: "all",
  });
  for (const { outcome } of results) {
    // @ts-expect-error it is none of the outcomes
    if (outcome === "lost") return null;
  }
  // @ts-expect-error the key is missing
  await client.usageEvents.ingest([{ customerExternalId: "acme", metric: "tokens_input", quantity: "1", occurredAt: "" }]);
  // @ts-expect-error a field that no event has
  await client.usageEvents.ingest([{ ...event, merchantId: "m" }]);
  const sums = await client.usage.get({ granularity: "day", "dimension.region": "cn" });
  // @ts-expect-error there is no such granularity
  await client.usage.get({ granularity: "minute" });
  return charged ?? sums.charged;
}

export async function wallets(): Promise<Balance> {
  const names: string[] = [];
  for await (const customer of client.customers.list({ limit: 10 })) names.push((customer satisfies Customer).externalId);
  const page = await client.customers.list();
  const cursor: string | null = page.nextCursor;
  await client.grants.create("acme", { amount: "1", currency: "CNY", kind: "paid" }, { idempotencyKey: cursor ?? "order-1" });
  // @ts-expect-error money is never a number
  await client.grants.create("acme", { amount: 1, currency: "CNY", kind: "paid" });
  // @ts-expect-error a kind of grant that there is not
  await client.grants.create("acme", { amount: "1", currency: "CNY", kind: "free" });
  await client.holds.release((await client.holds.create("acme", { amount: "5", ttlSeconds: 60 })).holdId);
  return client.balances.get("acme");
}

export async function background(): Promise<void> {
  const buffer = client.usageEvents.buffer({ onRejected: ([first]) => console.error(first?.code, first?.event.idempotencyKey) });
  await buffer.close({ signal: AbortSignal.timeout(5_000) });
}

export async function failures(): Promise<ErrorCode | (string & {}) | undefined> {
  try {
    return (await verifyWebhook<{ type: string }>("{}", new Headers(), ["whsec_a"])).type;
  } catch (error) {
    if (!(error instanceof BuffMoneyError)) throw error;
    const known: ErrorCode = "insufficient_balance";
    // @ts-expect-error misspelt
    const unknown: ErrorCode = "insufficent_balance";
    return error.code === known || error.retryable ? error.param : unknown;
  }
}
