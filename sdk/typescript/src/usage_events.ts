import { UsageBuffer, type BufferOptions } from "./buffer.js";
import { encodeEvent, sendEvents, type IngestOptions, type IngestResult, type UsageEventInput } from "./events.js";
import type { AmendBody, AmendedEvent, ExplainedCharge, RecordedEvent, VoidBody, VoidedEvent, VoidSet, VoidSetBody } from "./generated.js";
import { Resource } from "./operations.js";
import type { RequestOptions } from "./transport.js";

/** Usage, and what became of it. */
export class UsageEvents extends Resource {
  /**
   * Records usage: when it resolves, what was accepted is durable, charged and in the ledger. More than 500 events become several
   * requests, one after the other. An event that is not accepted has its outcome in `results` and does not touch its neighbours.
   *
   * After a failure call it again with the same events: what was recorded before is a duplicate and is not charged again.
   *
   * @example
   * await client.usageEvents.ingest([
   *   { customerExternalId: "acme", idempotencyKey: "call-4711", metric: "tokens_input", quantity: "1200", occurredAt: new Date() },
   * ]);
   */
  async ingest(events: Iterable<UsageEventInput>, options: IngestOptions = {}): Promise<IngestResult> {
    return sendEvents(this.transport, Array.from(events, encodeEvent), options);
  }

  /**
   * A buffer that sends events in batches, in the background, and keeps them until they are recorded.
   *
   * @example
   * const buffer = client.usageEvents.buffer({ onRejected: (rejected) => log.error("usage refused", rejected) });
   * await buffer.add(event); // waits only while the buffer is full
   * await buffer.close();    // when your program ends: sends what is left
   */
  buffer(options: BufferOptions = {}): UsageBuffer {
    return new UsageBuffer(this.transport, options);
  }

  /** An event as it was recorded. */
  get(idempotencyKey: string, options?: RequestOptions): Promise<RecordedEvent> {
    return this.call("get", "/v1/usage-events/{idempotencyKey}", { path: { idempotencyKey } }, options);
  }

  /** Why an event was charged what it was: the line, the calculation, the postings. */
  explain(idempotencyKey: string, options?: RequestOptions): Promise<ExplainedCharge> {
    return this.call("get", "/v1/usage-events/{idempotencyKey}/charge", { path: { idempotencyKey } }, options);
  }

  /** Takes an event back, and gives its charge back to who paid it. */
  void(idempotencyKey: string, body: VoidBody = {}, options?: RequestOptions): Promise<VoidedEvent> {
    return this.call("post", "/v1/usage-events/{idempotencyKey}/void", { path: { idempotencyKey }, body }, options);
  }

  /** Takes an event back and records another in its place: both or neither. */
  amend(idempotencyKey: string, body: AmendBody, options?: RequestOptions): Promise<AmendedEvent> {
    return this.call("post", "/v1/usage-events/{idempotencyKey}/amend", { path: { idempotencyKey }, body }, options);
  }

  /**
   * Takes back all that a filter finds: a preview first, then the void of exactly that set, repeated until `done`.
   *
   * @example
   * const filter = { customerExternalId: "acme", metric: "tokens_input" };
   * const { setId } = await client.usageEvents.voidSet({ filter, preview: true });
   * while (!(await client.usageEvents.voidSet({ filter, preview: false, setId })).done);
   */
  voidSet(body: VoidSetBody, options?: RequestOptions): Promise<VoidSet> {
    return this.call("post", "/v1/usage-events/void", { body }, options);
  }
}
