import { BuffMoneyError, ConnectionError } from "./errors.js";
import type { Problem } from "./generated.js";

export const VERSION = "0.1.0";

/** Where `buffmoney up` listens unless it is told otherwise. */
const DEFAULT_BASE_URL = "http://127.0.0.1:8000";
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 8_000;
/** A server that asks for more patience than this gets none: the caller decides. */
const LONGEST_RETRY_AFTER_MS = 60_000;

/** How to reach the API. All of it can be left out where the environment says it. */
export interface ClientOptions {
  /** `bm_test_…` or `bm_live_…`. Else `BUFFMONEY_API_KEY` of the environment. */
  apiKey?: string | undefined;
  /** Else `BUFFMONEY_URL` of the environment, else `http://127.0.0.1:8000`, where `buffmoney up` listens. */
  baseUrl?: string | undefined;
  /** How long one attempt may take, answer included: 30,000 unless set. */
  timeoutMs?: number | undefined;
  /** How often a call is repeated after 429, 503 or a lost connection: 5 unless set. */
  maxRetries?: number | undefined;
  /** In place of the runtime's `fetch`: a proxy, a trace, a pool of connections. */
  fetch?: ((url: string, init: RequestInit) => Promise<Response>) | undefined;
}

/** What can be set for one call. */
export interface RequestOptions {
  /** Ends the call, repetitions included, and rejects it with the signal's reason. */
  signal?: AbortSignal | undefined;
  /** See {@link ClientOptions.timeoutMs}. */
  timeoutMs?: number | undefined;
  /** See {@link ClientOptions.maxRetries}. */
  maxRetries?: number | undefined;
  /**
   * Names a POST for good: the same key and body again are given the first answer again. Made at random for each call unless set; set it to
   * something of yours (an order's number) so that a repetition after a crash of your program has no second effect either.
   */
  idempotencyKey?: string | undefined;
}

interface Reply {
  status: number;
  headers: Headers;
  text: string;
}

/** @internal Sends requests and repeats them where that is safe and may help. Every request of the API is safe to repeat as it was. */
export class Transport {
  readonly #authorization: string;
  readonly #baseUrl: string;
  readonly #timeoutMs: number;
  readonly #maxRetries: number;
  readonly #fetch: (url: string, init: RequestInit) => Promise<Response>;

  constructor(options: ClientOptions) {
    const apiKey = options.apiKey ?? environment("BUFFMONEY_API_KEY");
    if (!apiKey || !/^[\x21-\x7E]+$/.test(apiKey)) {
      throw new TypeError("An API key is needed: new BuffMoneyClient({ apiKey }), or BUFFMONEY_API_KEY in the environment.");
    }
    const baseUrl = options.baseUrl ?? (environment("BUFFMONEY_URL") || DEFAULT_BASE_URL);
    if (!/^https?:$/.test(new URL(baseUrl).protocol)) throw new TypeError(`The base URL is not one of http or https: ${baseUrl}`);
    this.#authorization = `Bearer ${apiKey}`;
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#timeoutMs = options.timeoutMs ?? 30_000;
    this.#maxRetries = options.maxRetries ?? 5;
    // Looked up at each call, so that what a tracer puts in its place later is used; and never with a `this`, which Workers refuse.
    this.#fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init));
  }

  /** The answer's JSON. target: path and query. body: JSON. key: of the Idempotency-Key header. */
  async send(method: string, target: string, body: string | undefined, key: string | undefined, options: RequestOptions): Promise<unknown> {
    const headers = new Headers({ Authorization: this.#authorization, Accept: "application/json" });
    headers.set("User-Agent", `buffmoney-sdk-typescript/${VERSION}`);
    if (body !== undefined) headers.set("Content-Type", "application/json");
    if (key !== undefined) headers.set("Idempotency-Key", key);
    const init: RequestInit = { method, headers, redirect: "manual", ...(body !== undefined && { body }) };
    const maxRetries = options.maxRetries ?? this.#maxRetries;
    for (let retries = 0; ; retries++) {
      options.signal?.throwIfAborted();
      let failure: BuffMoneyError;
      let retryAfterMs = 0;
      try {
        const reply = await this.#attempt(this.#baseUrl + target, init, options);
        if (reply.status >= 200 && reply.status < 300) return parse(reply);
        failure = problem(reply);
        retryAfterMs = retryAfter(reply.headers.get("Retry-After"));
      } catch (error) {
        if (!(error instanceof ConnectionError)) throw error;
        failure = error;
      }
      if (retries >= maxRetries || !repeats(failure) || retryAfterMs > LONGEST_RETRY_AFTER_MS) throw failure;
      await pause(retryAfterMs + backOff(retries, FIRST_DELAY_MS, LONGEST_DELAY_MS), options.signal);
    }
  }

  async #attempt(url: string, init: RequestInit, options: RequestOptions): Promise<Reply> {
    const { signal } = options;
    // Timers of more than that many milliseconds end at once.
    const timeoutMs = Math.min(options.timeoutMs ?? this.#timeoutMs, 2 ** 31 - 1);
    // By hand and not by AbortSignal.any: Node 20 keeps what that makes for as long as the caller's signal lives.
    const controller = new AbortController();
    const abort = () => controller.abort(signal?.reason);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      controller.abort();
    }, timeoutMs);
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const response = await this.#fetch(url, { ...init, signal: controller.signal });
      return { status: response.status, headers: response.headers, text: await response.text() };
    } catch (cause) {
      signal?.throwIfAborted();
      if (late) throw new ConnectionError(`No answer came within ${timeoutMs} ms`, { code: "timeout", retryable: true, cause });
      throw new ConnectionError("The connection failed", { code: "connection_failed", retryable: true, cause });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }
}

/** After 429, 503 or a lost connection; and while the attempt whose connection was lost is still being answered. */
function repeats(failure: BuffMoneyError): boolean {
  const { status, code } = failure;
  return failure instanceof ConnectionError || status === 429 || status === 503 || code === "idempotency_in_progress";
}

function parse(reply: Reply): unknown {
  try {
    return JSON.parse(reply.text);
  } catch (cause) {
    // Something on the way cut it off. The request was carried out, and repeating it tells its answer.
    throw new ConnectionError("The answer is not complete", { code: "connection_failed", retryable: true, cause });
  }
}

function problem({ status, headers, text }: Reply): BuffMoneyError {
  const requestId = headers.get("X-Request-Id") ?? undefined;
  if (headers.get("Content-Type")?.startsWith("application/problem+json")) {
    try {
      const said = JSON.parse(text) as Problem;
      const { code, detail, retryable } = said;
      return new BuffMoneyError(`${detail} [${code}, ${requestId}]`, { code, retryable, status, requestId, problem: said });
    } catch (error) {
      // Cut off on its way: the status alone has to do.
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return new BuffMoneyError(`HTTP ${status}`, { code: "http_error", retryable: status === 429 || status >= 500, status, requestId });
}

/** Milliseconds that a Retry-After header asks for, in seconds or as a date; 0 without one. */
function retryAfter(header: string | null): number {
  if (header === null) return 0;
  const wait = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return wait > 0 ? wait : 0;
}

/** @internal How long to wait before a repetition, the first being 0: doubled each time, and at random, so that not all come at once. */
export function backOff(retries: number, firstMs: number, longestMs: number): number {
  return Math.min(firstMs * 2 ** retries, longestMs) * (0.5 + Math.random() / 2);
}

/** @internal Waits; rejects with the signal's reason when that comes first. */
export function pause(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, delayMs);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}

/** A variable of the environment, where there is one and we may read it: Deno refuses without --allow-env, Workers may have none. */
function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  try {
    return process?.env?.[name];
  } catch (error) {
    if (error instanceof Error && ["NotCapable", "PermissionDenied"].includes(error.name)) return undefined;
    throw error;
  }
}
