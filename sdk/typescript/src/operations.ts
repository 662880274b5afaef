import type { paths } from "./generated.js";
import { List, type Page } from "./list.js";
import type { RequestOptions, Transport } from "./transport.js";

export type Method = "get" | "post" | "put" | "delete";
type PathOf<M extends Method> = { [P in keyof paths]: paths[P] extends Record<M, object> ? P : never }[keyof paths];
type Operation<M extends Method, P extends PathOf<M>> = paths[P][M & keyof paths[P]];
type Part<O, K extends string> = O extends { parameters: { [key in K]?: infer T } } ? Exclude<T, undefined> : never;

/** The query parameters of an operation. */
export type Query<M extends Method, P extends PathOf<M>> = Part<Operation<M, P>, "query">;
type PathParameters<M extends Method, P extends PathOf<M>> = Part<Operation<M, P>, "path">;
type Body<M extends Method, P extends PathOf<M>> =
  Operation<M, P> extends { requestBody?: infer R }
    ? Exclude<R, undefined> extends { content: { "application/json": infer T } }
      ? T
      : never
    : never;
type Answer<M extends Method, P extends PathOf<M>> =
  Operation<M, P> extends { responses: infer R }
    ? { [S in keyof R]: R[S] extends { content: { "application/json": infer T } } ? T : never }[keyof R]
    : never;
type Given<K extends string, T> = [T] extends [never]
  ? { [key in K]?: never }
  : {} extends T
    ? { [key in K]?: T | undefined }
    : { [key in K]: T };
type Input<M extends Method, P extends PathOf<M>> = Given<"path", PathParameters<M, P>> &
  Given<"query", Query<M, P>> &
  Given<"body", Body<M, P>>;

/** What resources are made of: operations by method and path, whose types are those of the OpenAPI document. */
export abstract class Resource {
  /** @internal */
  protected readonly transport: Transport;

  /** @internal */
  constructor(transport: Transport) {
    this.transport = transport;
  }

  protected async call<M extends Method, P extends PathOf<M>>(
    method: M,
    path: P,
    input: Input<M, P>,
    options: RequestOptions = {},
  ): Promise<Answer<M, P>> {
    const { path: parameters, query, body } = input as Record<"path" | "query" | "body", Record<string, unknown> | undefined>;
    const target = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => segment(name, parameters?.[name])) + search(query);
    // One key for all attempts of this call. Usage events carry keys of their own.
    const key = method === "post" && path !== "/v1/usage-events" ? (options.idempotencyKey ?? crypto.randomUUID()) : undefined;
    const text = method === "get" || method === "delete" ? undefined : JSON.stringify(body ?? {}, exact);
    return (await this.transport.send(method.toUpperCase(), target, text, key, options)) as Answer<M, P>;
  }

  protected pages<P extends PathOf<"get">>(
    path: P,
    input: Input<"get", P>,
    options: RequestOptions = {},
  ): Answer<"get", P> extends Page ? List<Answer<"get", P>> : never {
    const next = (cursor: string | undefined) => {
      const query = { ...(input as { query?: object }).query, ...(cursor !== undefined && { cursor }) };
      return this.call("get", path, { ...input, query } as Input<"get", P>, options) as Promise<Page>;
    };
    return new List(next) as never;
  }
}

/** What JSON cannot say exactly is not sent: amounts and quantities are decimal strings, and every number of the API is whole. */
function exact(name: string, value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  throw new TypeError(`${name} is a decimal string or a safe integer, not ${value}`);
}

function segment(name: string, value: unknown): string {
  // A URL cannot say these: every parser takes them, percent-encoded as well, for the way up.
  if (typeof value !== "string" || ["", ".", ".."].includes(value)) throw new TypeError(`${name} cannot be ${JSON.stringify(value)}`);
  return encodeURIComponent(value);
}

function search(query: Record<string, unknown> = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
}
