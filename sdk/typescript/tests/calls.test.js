// Proves: what is repeated, when and with which key; what is not; how failures read; how many events become several requests.
import assert from "node:assert/strict";
import test from "node:test";
import { BuffMoneyClient, BuffMoneyError, ConnectionError } from "../dist/index.js";
import { event, problem, serve, taken } from "./server.js";

const grant = { amount: "1", currency: "CNY", kind: "paid" };
const using = (baseUrl, more = {}) => new BuffMoneyClient({ apiKey: "bm_test_1", baseUrl, ...more });

test("429, 503 and lost connections are repeated with the key of the call, another call has another", () =>
  serve(
    (_, number) =>
      [problem(429, "overloaded"), problem(503, "outcome_unknown"), "cut", problem(409, "idempotency_in_progress")][number - 1] ?? {
        status: 201,
        body: { grantId: "g" },
      },
    async ({ baseUrl, requests }) => {
      assert.deepEqual(await using(baseUrl).grants.create("a/b ü", grant), { grantId: "g" });
      await using(baseUrl).grants.create("acme", grant);
      await using(baseUrl).grants.create("acme", grant, { idempotencyKey: "order-1" });
      assert.equal(requests.length, 7);
      const keys = requests.map((each) => each.headers["idempotency-key"]);
      assert.deepEqual(new Set(keys.slice(0, 5)).size, 1);
      assert.match(keys[0], /^[0-9a-f-]{36}$/);
      assert.notEqual(keys[5], keys[0]);
      assert.equal(keys[6], "order-1");
      assert.equal(requests[0].url, "/v1/customers/a%2Fb%20%C3%BC/grants");
      assert.equal(requests[0].headers.authorization, "Bearer bm_test_1");
      assert.deepEqual(JSON.parse(requests[4].body), grant);
    },
  ));

test("nothing else is repeated", async () => {
  for (const [status, code] of [
    [400, "malformed_json"],
    [401, "invalid_api_key"],
    [402, "insufficient_balance"],
    [409, "hold_closed"],
    [500, "internal_error"],
  ]) {
    await serve(
      () => problem(status, code),
      async ({ baseUrl, requests }) => {
        const failure = await using(baseUrl)
          .holds.get("h")
          .catch((error) => error);
        assert.ok(failure instanceof BuffMoneyError);
        assert.deepEqual(
          [failure.code, failure.status, failure.param, failure.requestId, failure.retryable],
          [code, status, "amount", "req_1", status === 500],
        );
        assert.match(failure.message, /Said so\. \[.*req_1\]/);
        assert.equal(requests.length, 1);
      },
    );
  }
});

test("Retry-After is waited for, in seconds or as a date, and too long a wait is left to the caller", () =>
  serve(
    (_, number) => {
      const header = ["1", new Date(Date.now() + 2_000).toUTCString(), "3600"][number - 1];
      return problem(503, "core_unavailable", { "Retry-After": header });
    },
    async ({ baseUrl, requests }) => {
      const failure = await using(baseUrl)
        .cashBook.get()
        .catch((error) => error);
      assert.equal(failure.code, "core_unavailable");
      assert.equal(requests.length, 3);
      const [first, second, third] = requests.map(({ at }) => at);
      assert.ok(second - first >= 1_000 && second - first < 1_900, `${second - first} ms`);
      assert.ok(third - second >= 900, `${third - second} ms`);
    },
  ));

test("attempts are counted, and a page of a proxy is no riddle", () =>
  serve(
    (_, number) =>
      number <= 3 ? problem(503, "not_ready") : { status: 502, headers: { "Content-Type": "text/html" }, body: "<h1>Bad Gateway</h1>" },
    async ({ baseUrl, requests }) => {
      await assert.rejects(using(baseUrl, { maxRetries: 2 }).cashBook.get(), { code: "not_ready", status: 503 });
      assert.equal(requests.length, 3);
      await assert.rejects(using(baseUrl).cashBook.get(), { code: "http_error", status: 502, retryable: true });
      assert.equal(requests.length, 4);
    },
  ));

test("an answer that was cut off is asked for again", () =>
  serve(
    (_, number) => (number === 1 ? { headers: { Connection: "close" }, body: '{"data": [' } : { body: { data: [] } }),
    async ({ baseUrl, requests }) => {
      assert.deepEqual(await using(baseUrl).products.list(), { data: [] });
      assert.equal(requests.length, 2);
    },
  ));

test("a time-out counts as a lost connection, and the caller's signal ends everything at once", () =>
  serve(
    () => "hang",
    async ({ baseUrl, requests }) => {
      const failure = await using(baseUrl, { timeoutMs: 50, maxRetries: 1 })
        .cashBook.get()
        .catch((error) => error);
      assert.ok(failure instanceof ConnectionError);
      assert.deepEqual([failure.code, failure.retryable, failure.status], ["timeout", true, undefined]);
      assert.equal(requests.length, 2);
      const started = Date.now();
      const reason = new Error("enough");
      const controller = new AbortController();
      setTimeout(() => controller.abort(reason), 50);
      await assert.rejects(using(baseUrl).cashBook.get({ signal: controller.signal }), reason);
      await assert.rejects(using(baseUrl).cashBook.get({ signal: AbortSignal.abort(reason) }), reason);
      assert.ok(Date.now() - started < 1_000);
      assert.equal(requests.length, 3);
    },
  ));

test("waiting for the next attempt ends with the signal, too", () =>
  serve(
    () => problem(503, "not_ready", { "Retry-After": "30" }),
    async ({ baseUrl }) => {
      await assert.rejects(using(baseUrl).cashBook.get({ signal: AbortSignal.timeout(100) }), { name: "TimeoutError" });
    },
  ));

test("more than 500 events go in several requests, in order, with one result", () =>
  serve(
    ({ body }) =>
      taken(body, ({ idempotencyKey }) =>
        idempotencyKey === "700" ? { outcome: "conflict", param: "events[200].idempotencyKey" } : undefined,
      ),
    async ({ baseUrl, requests }) => {
      const result = await using(baseUrl).usageEvents.ingest(Array.from({ length: 1_001 }, (_, number) => event(String(number))));
      const sent = requests.map(({ body }) => JSON.parse(body).events.map((each) => each.idempotencyKey));
      assert.deepEqual(
        sent.map((keys) => keys.length),
        [500, 500, 1],
      );
      assert.deepEqual(
        sent.flat(),
        Array.from({ length: 1_001 }, (_, number) => String(number)),
      );
      assert.deepEqual([result.accepted, result.rejected, result.charged, result.requestIds.length], [1_000, 1, "250", 3]);
      assert.deepEqual(result.results, [{ index: 700, idempotencyKey: "700", outcome: "conflict", param: "events[700].idempotencyKey" }]);
      assert.ok(requests.every(({ headers }) => headers["idempotency-key"] === undefined));
    },
  ));

test("sums are exact, and null over several currencies", () =>
  serve(
    (_, number) => {
      const chargedByCurrency = [{ CNY: "0.1" }, { CNY: "0.200000001" }, { USD: "-3" }][number % 3];
      return {
        body: {
          accepted: 500,
          duplicates: 0,
          rejected: 0,
          results: [],
          charged: Object.values(chargedByCurrency)[0],
          chargedByCurrency,
          balances: {},
          requestId: "r",
        },
      };
    },
    async ({ baseUrl }) => {
      const events = (count) => Array.from({ length: count }, (_, number) => event(String(number)));
      const two = await using(baseUrl).usageEvents.ingest(events(501));
      assert.deepEqual([two.charged, two.chargedByCurrency], [null, { CNY: "0.200000001", USD: "-3" }]);
      const one = await using(baseUrl).usageEvents.ingest(events(501));
      assert.deepEqual([one.charged, one.chargedByCurrency], ["0.300000001", { CNY: "0.300000001" }]);
    },
  ));

test("a batch that is too large goes in halves, and a failure tells what was recorded before it", () =>
  serve(
    ({ body }) =>
      body.length > 30_000 ? problem(413, "body_too_large") : body.includes('"300"') ? problem(401, "invalid_api_key") : taken(body),
    async ({ baseUrl, requests }) => {
      const failure = await using(baseUrl)
        .usageEvents.ingest(Array.from({ length: 400 }, (_, number) => event(String(number))))
        .catch((error) => error);
      assert.equal(failure.code, "invalid_api_key");
      assert.equal(failure.partialResult.accepted, 200);
      assert.deepEqual(
        requests.map(({ body }) => JSON.parse(body).events.length),
        [400, 200, 200],
      );
    },
  ));

test("quantities are never floats, times may be dates, and what would spoil a batch is not sent", () =>
  serve(
    ({ body }) => taken(body),
    async ({ baseUrl, requests }) => {
      const { usageEvents } = using(baseUrl);
      const at = new Date("2026-03-31T08:00:00.5Z");
      await usageEvents.ingest([
        event("1", "a", 10n ** 17n),
        event("2", "a", 7),
        { ...event("3"), occurredAt: at },
        event("4 \\ud800 €", "a", "0.1"),
      ]);
      const [first, second, third, fourth] = JSON.parse(requests[0].body).events;
      assert.deepEqual([first.quantity, second.quantity, third.occurredAt], ["100000000000000000", "7", "2026-03-31T08:00:00.500Z"]);
      assert.deepEqual([fourth.quantity, fourth.idempotencyKey], ["0.1", "4 \\ud800 €"]);
      for (const wrong of [0.1, 2 ** 53, Number.NaN, undefined, null, {}]) {
        await assert.rejects(usageEvents.ingest([event("5"), { ...event("6"), quantity: wrong }]), TypeError);
      }
      await assert.rejects(usageEvents.ingest([event("7\ud83d")]), TypeError);
      await assert.rejects(usageEvents.ingest([{ ...event("8"), dimensions: { model: "\\\udc00" } }]), TypeError);
      assert.deepEqual((await usageEvents.ingest([])).accepted, 0);
      assert.equal(requests.length, 1);
    },
  ));

test("no other request carries a number that JSON cannot say exactly", () =>
  serve(
    () => ({ body: {} }),
    async ({ baseUrl, requests }) => {
      const { holds } = using(baseUrl);
      for (const wrong of [0.1, 2 ** 53, Number.POSITIVE_INFINITY]) {
        await assert.rejects(holds.create("acme", { amount: wrong }), TypeError);
        await assert.rejects(holds.capture("h", { events: [event("1", "acme", wrong)] }), TypeError);
      }
      await holds.create("acme", { amount: "0.1", ttlSeconds: 60 });
      assert.deepEqual(JSON.parse(requests[0].body), { amount: "0.1", ttlSeconds: 60 });
      assert.equal(requests.length, 1);
    },
  ));

test("lists are pages to await and items to iterate over", () =>
  serve(
    ({ url }) => ({ body: url.includes("cursor=b") ? { data: [3], nextCursor: null } : { data: [1, 2], nextCursor: "b c" } }),
    async ({ baseUrl, requests }) => {
      const list = using(baseUrl).customers.list({ limit: 2 });
      assert.equal(requests.length, 0);
      assert.deepEqual(await list, { data: [1, 2], nextCursor: "b c" });
      const all = [];
      for await (const item of list) all.push(item);
      assert.deepEqual(all, [1, 2, 3]);
      assert.deepEqual(
        requests.map(({ url }) => url),
        ["/v1/customers?limit=2", "/v1/customers?limit=2&cursor=b+c"],
      );
    },
  ));

test("what cannot work is refused before anything is sent", async () => {
  for (const apiKey of ["", "two words", "bm\n"]) assert.throws(() => new BuffMoneyClient({ apiKey }), TypeError);
  for (const baseUrl of ["", "localhost:8000", "file:///etc"]) assert.throws(() => using(baseUrl), TypeError);
  for (const id of ["", ".", "..", undefined]) await assert.rejects(using("http://127.0.0.1:1").customers.get(id), TypeError);
  assert.throws(() => using("http://127.0.0.1:1").usageEvents.buffer({ maxEvents: 501 }), RangeError);
});

test("another fetch can be given", async () => {
  const asked = [];
  const fetch = async (url, init) => (asked.push([url, init.method]), Response.json({ data: [] }));
  await using("https://api.example/base/", { fetch }).metrics.list();
  assert.deepEqual(asked, [["https://api.example/base/v1/metrics", "GET"]]);
});
