import type { ApiErrorCode, EventResult, Problem } from "./generated.js";
import type { IngestResult, UsageEventInput } from "./events.js";

/** What the API, or the way to it, says went wrong. `connection_failed` and `timeout` are this client's own. */
export type ErrorCode = ApiErrorCode | "connection_failed" | "timeout" | "http_error";

/**
 * Every failure of a call. Decide by `code`, which is stable; `message` is for people.
 *
 * @example
 * try {
 *   await client.holds.create("acme", { amount: "5" });
 * } catch (error) {
 *   if (error instanceof BuffMoneyError && error.code === "insufficient_balance") return askForTopUp();
 *   throw error;
 * }
 */
export class BuffMoneyError extends Error {
  override readonly name: string = "BuffMoneyError";
  /** Stable, never reused. Codes that are newer than this client are strings all the same. */
  readonly code: ErrorCode | (string & {});
  /** Whether the same request may succeed later, unchanged. This client has already repeated what it safely could. */
  readonly retryable: boolean;
  /** The HTTP status; undefined where no answer came. */
  readonly status: number | undefined;
  /** The field, parameter or header at fault. */
  readonly param: string | undefined;
  /** Names the request in BuffMoney's logs. */
  readonly requestId: string | undefined;
  /** All that the API said; undefined where no answer of the API came. */
  readonly problem: Problem | undefined;
  /** Of `usageEvents.ingest` with more than one batch: what became of the batches before the one that failed. */
  declare partialResult?: IngestResult;

  /** @internal */
  constructor(
    message: string,
    about: {
      code: string;
      retryable: boolean;
      status?: number;
      requestId?: string | undefined;
      problem?: Problem | undefined;
      cause?: unknown;
    },
  ) {
    super(message, about.cause === undefined ? undefined : { cause: about.cause });
    this.code = about.code;
    this.retryable = about.retryable;
    this.status = about.status;
    this.param = about.problem?.param;
    this.requestId = about.requestId;
    this.problem = about.problem;
  }
}

/** The request may or may not have arrived: the connection failed, or no answer came in time. Repeating it is safe. */
export class ConnectionError extends BuffMoneyError {
  override readonly name = "ConnectionError";
}

/** An event that the API did not take, and why: `code` and, where a field is at fault, `param`. */
export interface RejectedEvent extends Omit<EventResult, "index"> {
  event: UsageEventInput;
}

/**
 * What a buffer could not get recorded. Nothing else of what it was given is missing: the rest is in the ledger.
 *
 * An event in `unsent` may have been recorded if the answer to it was lost. Sending it again is safe, since its key is the same.
 */
export class UnrecordedEventsError extends Error {
  override readonly name = "UnrecordedEventsError";
  /** Events without an answer, those of a customer in their order. `cause` says why. */
  readonly unsent: UsageEventInput[];
  /** Events that were refused. Only where the buffer has no `onRejected`. */
  readonly rejected: RejectedEvent[];

  /** @internal */
  constructor(unsent: UsageEventInput[], rejected: RejectedEvent[], cause: unknown) {
    const counts = [unsent.length && `${unsent.length} not sent`, rejected.length && `${rejected.length} refused`];
    const why = cause instanceof Error ? `: ${cause.message}` : rejected[0] ? `, the first with ${rejected[0].code}` : "";
    super(`Usage events were not recorded: ${counts.filter(Boolean).join(", ") || "the buffer has stopped"}${why}`, { cause });
    this.unsent = unsent;
    this.rejected = rejected;
  }
}

/** A webhook that must not be believed. */
export class WebhookVerificationError extends Error {
  override readonly name = "WebhookVerificationError";
  readonly code: "missing_header" | "invalid_timestamp" | "too_old" | "too_new" | "wrong_signature";

  /** @internal */
  constructor(code: WebhookVerificationError["code"], message: string) {
    super(message);
    this.code = code;
  }
}
