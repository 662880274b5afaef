import { BuffMoneyError, UnrecordedEventsError, type RejectedEvent } from "./errors.js";
import { encodeEvent, MAX_EVENTS, sendEvents, type IngestResult, type UsageEventInput } from "./events.js";
import { backOff, pause, type Transport } from "./transport.js";

const FIRST_DELAY_MS = 1_000;
const LONGEST_DELAY_MS = 30_000;

export interface BufferOptions {
  /** A batch is sent when so many events have gathered: 500 unless set, which is also the most. */
  maxEvents?: number | undefined;
  /** … or so long after the first of them: 1,000 unless set. */
  maxDelayMs?: number | undefined;
  /** How many events may wait for their answer before `add` waits: 10,000 unless set. */
  maxPending?: number | undefined;
  /** How many batches may be under way at once: 4 unless set. Those of one customer go one after the other. */
  concurrency?: number | undefined;
  /** Gets the events that the API refused. Without it they are kept, take up room, and are thrown by `flush` and `close`. */
  onRejected?: ((rejected: RejectedEvent[]) => void) | undefined;
  /** Told of each failure after which a batch is sent again. */
  onRetry?: ((error: BuffMoneyError) => void) | undefined;
}

/** Events on their way, first come first served. The events of a batch under way are still in `queue`, in front. */
interface Lane {
  queue: Pending[];
  /** how many were answered, and how many must be without waiting for more of them */
  done: number;
  urgent: number;
  timer: ReturnType<typeof setTimeout> | undefined;
  sending: Promise<void> | undefined;
}

/** The lane of a customer who has events in it, and how many. */
interface Place {
  customer: string;
  lane: Lane;
  events: number;
}

interface Pending {
  text: string;
  place: Place;
}

interface Waiting {
  text: string;
  customer: string;
  resolve: () => void;
  reject: (reason: unknown) => void;
}

const ROOM = Promise.resolve();

/**
 * Gathers usage events and sends them in batches. An event leaves it only when the API has answered for it: through 429, 503 and lost
 * connections it is kept and sent again, with the same key, for as long as it takes. So nothing is lost while the program runs, and
 * nothing is doubled. Made by `client.usageEvents.buffer()`.
 *
 * Events of one customer are recorded in the order in which they were added.
 */
export class UsageBuffer {
  readonly #transport: Transport;
  readonly #maxEvents: number;
  readonly #maxDelayMs: number;
  readonly #maxPending: number;
  readonly #onRejected: ((rejected: RejectedEvent[]) => void) | undefined;
  readonly #onRetry: ((error: BuffMoneyError) => void) | undefined;
  readonly #lanes: Lane[];
  readonly #places = new Map<string, Place>();
  readonly #giveUp = new AbortController();
  #pending = 0;
  readonly #waiting: Waiting[] = [];
  #rejected: RejectedEvent[] = [];
  #failure: { cause: unknown } | undefined;
  #closed = false;

  /** @internal */
  constructor(transport: Transport, options: BufferOptions) {
    this.#transport = transport;
    this.#maxEvents = whole("maxEvents", options.maxEvents ?? MAX_EVENTS, 1, MAX_EVENTS);
    this.#maxDelayMs = whole("maxDelayMs", options.maxDelayMs ?? 1_000, 0, 2 ** 31 - 1);
    this.#maxPending = whole("maxPending", options.maxPending ?? 10_000, 1, Number.MAX_SAFE_INTEGER);
    this.#onRejected = options.onRejected;
    this.#onRetry = options.onRetry;
    const lanes = whole("concurrency", options.concurrency ?? 4, 1, 256);
    this.#lanes = Array.from({ length: lanes }, () => ({ queue: [], done: 0, urgent: 0, timer: undefined, sending: undefined }));
  }

  /** How many events have no answer yet. */
  get pending(): number {
    return this.#pending + this.#waiting.length;
  }

  /**
   * Takes an event as it is now; later changes of the object do not count. Resolves at once while there is room, else when the buffer has
   * taken it: await it, and a slow network slows its producer instead of filling the memory.
   *
   * Rejects with TypeError for an event that cannot be sent, and with `UnrecordedEventsError` once the buffer has stopped. Then this event
   * was not taken.
   */
  add(event: UsageEventInput): Promise<void> {
    try {
      const text = encodeEvent(event);
      if (this.#closed) throw new TypeError("The buffer is closed");
      if (this.#failure) throw this.#unrecorded();
      const customer = event.customerExternalId;
      if (this.#waiting.length || this.#room() === 0) {
        return new Promise((resolve, reject) => {
          this.#waiting.push({ text, customer, resolve, reject });
          // There is no room for more to gather: what is there goes.
          if (this.#waiting.length === 1) for (const lane of this.#lanes) this.#schedule(lane);
        });
      }
      this.#take(text, customer);
      return ROOM;
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Sends everything that was added so far; resolves when all of it is recorded, rejects with `UnrecordedEventsError` if some is not. */
  async flush(): Promise<void> {
    const last = this.#waiting.at(-1);
    if (last) {
      await new Promise<void>((done) => {
        const { resolve, reject } = last;
        last.resolve = () => (resolve(), done());
        last.reject = (reason) => (reject(reason), done());
      });
    }
    await Promise.all(this.#lanes.map((lane) => this.#drain(lane)));
    if (this.#failure || this.#rejected.length) throw this.#unrecorded();
  }

  /**
   * Takes no more events, sends what is left, and resolves when all of it is recorded. Call it before your program ends. signal: gives up
   * when it aborts, and rejects with an `UnrecordedEventsError` that has the events that are left.
   */
  async close(options: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    this.#closed = true;
    const { signal } = options;
    const abort = () => this.#giveUp.abort(signal?.reason);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
    try {
      await this.flush();
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  #room(): number {
    return Math.max(0, this.#maxPending - this.#pending - this.#rejected.length);
  }

  #take(text: string, customer: string): void {
    let place = this.#places.get(customer);
    if (place === undefined) this.#places.set(customer, (place = { customer, lane: this.#idlest(), events: 0 }));
    const { lane } = place;
    place.events++;
    this.#pending++;
    lane.queue.push({ text, place });
    if (lane.sending === undefined && (lane.queue.length >= this.#maxEvents || lane.timer === undefined)) this.#schedule(lane);
  }

  /** The first lane that waits for more, so that few events make one batch and not several; else the shortest. */
  #idlest(): Lane {
    let best = this.#lanes[0] as Lane;
    for (const lane of this.#lanes) {
      if (lane.sending === undefined) return lane;
      if (lane.queue.length < best.queue.length) best = lane;
    }
    return best;
  }

  #schedule(lane: Lane): void {
    if (lane.sending !== undefined || lane.queue.length === 0 || this.#failure) return;
    if (lane.queue.length >= this.#maxEvents || lane.urgent > lane.done || this.#waiting.length) {
      this.#start(lane);
    } else if (lane.timer === undefined) {
      lane.timer = setTimeout(() => this.#start(lane), this.#maxDelayMs);
    }
  }

  #start(lane: Lane): void {
    clearTimeout(lane.timer);
    lane.timer = undefined;
    lane.sending ??= this.#sendOne(lane).then(
      () => {
        lane.sending = undefined;
        this.#schedule(lane);
      },
      (cause: unknown) => {
        lane.sending = undefined;
        this.#fail(cause);
      },
    );
  }

  async #sendOne(lane: Lane): Promise<void> {
    const batch = lane.queue.slice(0, this.#maxEvents);
    const result = await this.#record(batch.map((each) => each.text));
    lane.queue.splice(0, batch.length);
    lane.done += batch.length;
    this.#pending -= batch.length;
    for (const { place } of batch) {
      if (--place.events === 0) this.#places.delete(place.customer);
    }
    const refused = result.results.filter(({ outcome }) => outcome === "rejected" || outcome === "conflict");
    const rejected = refused.map(({ index, param, ...why }): RejectedEvent => {
      const field = param?.replace(/^events\[\d+\]\.?/, "");
      return { event: JSON.parse((batch[index] as Pending).text), ...why, ...(field && { param: field }) };
    });
    if (!this.#onRejected) this.#rejected.push(...rejected);
    else if (rejected.length) this.#onRejected(rejected);
    if (this.#rejected.length >= this.#maxPending) throw new Error("Refused events fill the buffer: give it onRejected");
    for (const next of this.#waiting.splice(0, this.#room())) {
      this.#take(next.text, next.customer);
      next.resolve();
    }
  }

  /** Sends a batch until there is an answer. */
  async #record(events: string[]): Promise<IngestResult> {
    const { signal } = this.#giveUp;
    for (let failures = 0; ; failures++) {
      try {
        return await sendEvents(this.#transport, events, { signal });
      } catch (error) {
        if (!(error instanceof BuffMoneyError && error.retryable)) throw error;
        this.#onRetry?.(error);
      }
      await pause(backOff(failures, FIRST_DELAY_MS, LONGEST_DELAY_MS), signal);
    }
  }

  /** Resolves when what is in the lane now was answered, or can no longer be. */
  async #drain(lane: Lane): Promise<void> {
    const until = lane.done + lane.queue.length;
    lane.urgent = Math.max(lane.urgent, until);
    while (lane.done < until) {
      this.#schedule(lane);
      if (lane.sending === undefined) return;
      await lane.sending;
    }
  }

  #fail(cause: unknown): void {
    this.#failure ??= { cause };
    for (const lane of this.#lanes) clearTimeout(lane.timer);
    const waiting = this.#waiting.splice(0);
    if (!waiting.length) return;
    const error = this.#unrecorded();
    for (const { reject } of waiting) reject(error);
  }

  /** What has failed; refused events of a buffer that goes on are handed over with it. */
  #unrecorded(): UnrecordedEventsError {
    const rejected = this.#rejected;
    if (this.#failure) {
      const unsent = this.#lanes.flatMap(({ queue }) => queue.map(({ text }) => JSON.parse(text) as UsageEventInput));
      return new UnrecordedEventsError(unsent, rejected, this.#failure.cause);
    }
    this.#rejected = [];
    return new UnrecordedEventsError([], rejected, undefined);
  }
}

function whole(name: string, value: number, least: number, most: number): number {
  if (!Number.isSafeInteger(value) || value < least || value > most)
    throw new RangeError(`${name} is a whole number from ${least} to ${most}`);
  return value;
}
