// Proves: a buffer batches by count and time, keeps order for each customer, makes its producer wait, and never loses an event silently.
import assert from "node:assert/strict";
import test from "node:test";
import { BuffMoneyClient, UnrecordedEventsError } from "../dist/index.js";
import { event, problem, serve, taken } from "./server.js";

const bufferOf = (baseUrl, options, more = {}) =>
  new BuffMoneyClient({ apiKey: "bm_test_1", baseUrl, maxRetries: 0, ...more }).usageEvents.buffer(options);
const keysOf = ({ body }) => JSON.parse(body).events.map((each) => each.idempotencyKey);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("few events wait for each other and make one batch, however many customers and lanes", () =>
  serve(
    ({ body }) => taken(body),
    async ({ baseUrl, requests }) => {
      const buffer = bufferOf(baseUrl, { maxDelayMs: 100, concurrency: 8 });
      for (let number = 0; number < 20; number++) await buffer.add(event(String(number), `c${number}`));
      assert.deepEqual([requests.length, buffer.pending], [0, 20]);
      await pause(300);
      assert.deepEqual([requests.length, buffer.pending], [1, 0]);
      assert.equal(keysOf(requests[0]).length, 20);
      await buffer.close();
      assert.equal(requests.length, 1);
    },
  ));

test("a full batch goes at once, batches of several customers side by side, those of one customer one after the other, in order", () => {
  const underWay = [];
  let most = 0;
  let together = 0;
  return serve(
    async ({ body }) => {
      const customers = new Set(JSON.parse(body).events.map((each) => each.customerExternalId));
      together += underWay.filter((other) => [...other].some((customer) => customers.has(customer))).length;
      underWay.push(customers);
      most = Math.max(most, underWay.length);
      await pause(5);
      underWay.splice(underWay.indexOf(customers), 1);
      return taken(body);
    },
    async ({ baseUrl, requests }) => {
      const buffer = bufferOf(baseUrl, { maxEvents: 10, maxDelayMs: 60_000, concurrency: 4 });
      for (let number = 0; number < 1_000; number++) await buffer.add(event(String(number), `c${(number * 7) % 13}`));
      await buffer.flush();
      const sent = requests.flatMap(({ body }) => JSON.parse(body).events);
      assert.equal(sent.length, 1_000);
      for (let customer = 0; customer < 13; customer++) {
        const mine = sent.filter((each) => each.customerExternalId === `c${customer}`).map((each) => Number(each.idempotencyKey));
        assert.deepEqual(
          mine,
          [...mine].sort((left, right) => left - right),
        );
      }
      assert.ok(most > 1, "batches went side by side");
      assert.equal(together, 0, "no two of one customer");
      await buffer.close();
    },
  );
});

test("failures are outlasted, with the same events in the same order", () => {
  const answers = ["cut", problem(500, "internal_error"), problem(429, "overloaded")];
  return serve(
    ({ body }) => answers.shift() ?? taken(body),
    async ({ baseUrl, requests }) => {
      const told = [];
      const buffer = bufferOf(baseUrl, { maxDelayMs: 1, onRetry: ({ code }) => told.push(code) }, { maxRetries: 1 });
      const first = event("1");
      await buffer.add(first);
      first.quantity = "99";
      await buffer.add(event("2"));
      await buffer.close();
      assert.deepEqual(
        requests.map((each) => each.body),
        Array(4).fill(requests[0].body),
      );
      assert.equal(JSON.parse(requests[0].body).events[0].quantity, "1");
      assert.deepEqual(told, ["internal_error"]);
    },
  );
});

test("a full buffer makes its producer wait", () => {
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  return serve(
    async ({ body }) => (await gate, taken(body)),
    async ({ baseUrl, requests }) => {
      const buffer = bufferOf(baseUrl, { maxEvents: 5, maxPending: 10, maxDelayMs: 1 });
      let added = 0;
      const producing = (async () => {
        for (; added < 30; added++) await buffer.add(event(String(added)));
      })();
      await pause(100);
      assert.deepEqual([added, buffer.pending], [10, 11]);
      const flushed = buffer.flush();
      open();
      await Promise.all([producing, flushed]);
      await buffer.close();
      assert.deepEqual(
        requests.flatMap(keysOf),
        Array.from({ length: 30 }, (_, number) => String(number)),
      );
    },
  );
});

test("flush waits for what was there before it, not for what goes on coming", () =>
  serve(
    async ({ body }) => (await pause(5), taken(body)),
    async ({ baseUrl }) => {
      const buffer = bufferOf(baseUrl, { maxEvents: 5, maxPending: 10, concurrency: 1 });
      let going = true;
      const producing = (async () => {
        for (let number = 0; going; number++) await buffer.add(event(String(number)));
      })();
      await buffer.flush();
      await buffer.flush();
      going = false;
      await producing;
      await buffer.close();
    },
  ));

test("refused events go to onRejected, or are thrown once at flush", () =>
  serve(
    ({ body }) =>
      taken(body, ({ idempotencyKey }) =>
        idempotencyKey === "bad" ? { outcome: "rejected", code: "no_price", param: "events[1].metric" } : undefined,
      ),
    async ({ baseUrl }) => {
      const expected = [{ event: event("bad"), idempotencyKey: "bad", outcome: "rejected", code: "no_price", param: "metric" }];
      const told = [];
      const telling = bufferOf(baseUrl, { onRejected: (rejected) => told.push(...rejected) });
      const throwing = bufferOf(baseUrl, {});
      for (const buffer of [telling, throwing]) for (const key of ["1", "bad", "2"]) await buffer.add(event(key));
      await telling.close();
      assert.deepEqual(told, expected);
      const failure = await throwing.flush().catch((error) => error);
      assert.ok(failure instanceof UnrecordedEventsError);
      assert.deepEqual([failure.rejected, failure.unsent], [expected, []]);
      await throwing.close();
    },
  ));

test("refused events that nobody takes fill the buffer, and then it says so", () =>
  serve(
    ({ body }) => taken(body, () => ({ outcome: "rejected", code: "no_price" })),
    async ({ baseUrl }) => {
      const buffer = bufferOf(baseUrl, { maxEvents: 2, maxPending: 4 });
      const failure = await (async () => {
        for (let number = 0; number < 100; number++) await buffer.add(event(String(number)));
      })().catch((error) => error);
      assert.ok(failure instanceof UnrecordedEventsError);
      assert.equal(failure.rejected.length, 4);
      assert.match(failure.message, /give it onRejected/);
      await assert.rejects(buffer.close(), UnrecordedEventsError);
    },
  ));

test("what no repetition helps against stops the buffer, which gives back what is left", () =>
  serve(
    () => problem(401, "invalid_api_key"),
    async ({ baseUrl, requests }) => {
      const buffer = bufferOf(baseUrl, { maxEvents: 2, maxPending: 3, concurrency: 1 });
      const adding = ["1", "2", "3", "4"].map((key) => buffer.add(event(key)));
      const outcomes = await Promise.allSettled(adding);
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ["fulfilled", "fulfilled", "fulfilled", "rejected"],
      );
      for (const call of [() => buffer.flush(), () => buffer.add(event("5")), () => buffer.close()]) {
        const failure = await call().catch((error) => error);
        assert.ok(failure instanceof UnrecordedEventsError);
        assert.equal(failure.cause.code, "invalid_api_key");
        assert.deepEqual(
          failure.unsent.map((each) => each.idempotencyKey),
          ["1", "2", "3"],
        );
      }
      assert.equal(requests.length, 1);
    },
  ));

test("closing can be given up, and then tells what was left", () =>
  serve(
    () => problem(503, "core_unavailable", { "Retry-After": "1" }),
    async ({ baseUrl }) => {
      const buffer = bufferOf(baseUrl, {}, { maxRetries: 5 });
      await buffer.add(event("1"));
      const failure = await buffer.close({ signal: AbortSignal.timeout(100) }).catch((error) => error);
      assert.deepEqual(
        failure.unsent.map((each) => each.idempotencyKey),
        ["1"],
      );
      assert.equal(failure.cause.name, "TimeoutError");
      await assert.rejects(buffer.add(event("2")), TypeError);
    },
  ));

test("an event that cannot be sent is refused by add and spoils nothing", () =>
  serve(
    ({ body }) => taken(body),
    async ({ baseUrl, requests }) => {
      const buffer = bufferOf(baseUrl, {});
      await buffer.add(event("1"));
      await assert.rejects(buffer.add(event("2", "a", 0.5)), TypeError);
      await assert.rejects(buffer.add(event("3\ud800")), TypeError);
      await buffer.close();
      assert.deepEqual(keysOf(requests[0]), ["1"]);
    },
  ));
