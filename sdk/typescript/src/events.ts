import { BuffMoneyError } from "./errors.js";
import type { UsageAnswer, UsageEvent } from "./generated.js";
import type { RequestOptions, Transport } from "./transport.js";

/** @internal The most events that one request may carry. */
export const MAX_EVENTS = 500;

/** One use of one metric by one customer. */
export interface UsageEventInput extends Omit<UsageEvent, "quantity" | "occurredAt"> {
  /** Above zero, at most 9 decimals: a decimal string, a bigint or an integer. Fractions are strings, since `0.1 + 0.2` is not `0.3`. */
  quantity: string | bigint | number;
  /** RFC 3339 with a zone, or a Date; at most 5 minutes ahead and 35 days back. */
  occurredAt: string | Date;
}

/** What became of events that were sent together. `index` in `results` counts through all of them, however many requests they took. */
export interface IngestResult extends Omit<UsageAnswer, "requestId"> {
  /** Of each request, in order. */
  requestIds: string[];
}

export interface IngestOptions extends Omit<RequestOptions, "idempotencyKey"> {
  /** `all`: accepted events are in `results` too, each with its charge. Else only what was not accepted. */
  results?: "all" | "rejected" | undefined;
}

/** @internal An event's JSON. Throws TypeError for what could not be sent as it is meant, or would spoil the batch that it is in. */
export function encodeEvent(event: UsageEventInput): string {
  const { quantity, occurredAt } = event;
  const plain =
    typeof quantity === "string" && typeof occurredAt === "string"
      ? event
      : { ...event, quantity: decimal(quantity), occurredAt: occurredAt instanceof Date ? occurredAt.toISOString() : occurredAt };
  const text = JSON.stringify(plain);
  // Half of a surrogate pair stands in JSON as an escape, and no other \ud… does.
  if (text.includes("\\ud") && /(?<!\\)(?:\\\\)*\\ud[89a-f]/.test(text))
    throw new TypeError("A usage event contains half of a surrogate pair");
  return text;
}

function decimal(quantity: unknown): string {
  if (typeof quantity === "string") return quantity;
  if (typeof quantity === "bigint" || Number.isSafeInteger(quantity)) return String(quantity);
  throw new TypeError(`quantity is a decimal string, a bigint or a safe integer, not ${quantity}`);
}

/** @internal Sends encoded events, up to 500 at a time, in order. */
export async function sendEvents(transport: Transport, events: readonly string[], options: IngestOptions): Promise<IngestResult> {
  const target = `/v1/usage-events${options.results === "all" ? "?results=all" : ""}`;
  const counts = { accepted: 0, duplicates: 0, rejected: 0 };
  const merged: IngestResult = { ...counts, results: [], charged: "0", chargedByCurrency: {}, balances: {}, requestIds: [] };
  const send = async (from: number, to: number): Promise<void> => {
    try {
      const body = `{"events":[${events.slice(from, to).join(",")}]}`;
      merge(merged, (await transport.send("POST", target, body, undefined, options)) as UsageAnswer, from);
    } catch (error) {
      // Events with many dimensions can be more than a body may hold. Nothing of such a batch was taken.
      if (!(error instanceof BuffMoneyError && error.code === "body_too_large" && to - from > 1)) throw error;
      const middle = (from + to) >>> 1;
      await send(from, middle);
      await send(middle, to);
    }
  };
  try {
    for (let from = 0; from < events.length; from += MAX_EVENTS) await send(from, Math.min(from + MAX_EVENTS, events.length));
  } catch (error) {
    if (error instanceof BuffMoneyError && merged.requestIds.length) error.partialResult = merged;
    throw error;
  }
  return merged;
}

function merge(into: IngestResult, answer: UsageAnswer, from: number): void {
  into.accepted += answer.accepted;
  into.duplicates += answer.duplicates;
  into.rejected += answer.rejected;
  for (const result of answer.results) {
    const index = result.index + from;
    const param = result.param?.replace(/^events\[\d+\]/, `events[${index}]`);
    into.results.push({ ...result, index, ...(param && { param }) });
  }
  for (const [currency, amount] of Object.entries(answer.chargedByCurrency)) {
    into.chargedByCurrency[currency] = sum(into.chargedByCurrency[currency] ?? "0", amount);
  }
  const [charged, ...others] = Object.values(into.chargedByCurrency);
  into.charged = others.length ? null : (charged ?? answer.charged);
  Object.assign(into.balances, answer.balances);
  into.requestIds.push(answer.requestId);
}

const DECIMALS = 9;

/** The sum of two decimal strings of at most nine decimals, exactly. */
function sum(left: string, right: string): string {
  const total = nanos(left) + nanos(right);
  const digits = (total < 0n ? -total : total).toString().padStart(DECIMALS + 1, "0");
  const fraction = digits.slice(-DECIMALS).replace(/0+$/, "");
  return `${total < 0n ? "-" : ""}${digits.slice(0, -DECIMALS)}${fraction && `.${fraction}`}`;
}

function nanos(amount: string): bigint {
  const [whole = "", fraction = ""] = amount.split(".");
  return BigInt(whole + fraction.padEnd(DECIMALS, "0"));
}
