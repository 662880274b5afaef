/** One page. `nextCursor` null: the last one. */
export interface Page {
  data: unknown[];
  nextCursor: string | null;
}

/**
 * A list that comes in pages. Awaited it is its first page; iterated over it is every item, page after page as they are needed.
 *
 * @example
 * for await (const customer of client.customers.list()) console.log(customer.externalId);
 * const { data, nextCursor } = await client.customers.list({ limit: 10 });
 */
export class List<P extends Page> implements PromiseLike<P>, AsyncIterable<P["data"][number]> {
  readonly #fetch: (cursor: string | undefined) => Promise<P>;
  #first: Promise<P> | undefined;

  /** @internal */
  constructor(fetch: (cursor: string | undefined) => Promise<P>) {
    this.#fetch = fetch;
  }

  then<A = P, B = never>(
    onPage?: ((page: P) => A | PromiseLike<A>) | null,
    onError?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    // Asked for once, and not before somebody wants it.
    this.#first ??= this.#fetch(undefined);
    return this.#first.then(onPage, onError);
  }

  catch<B = never>(onError?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<P | B> {
    return this.then(undefined, onError);
  }

  finally(onEnd?: (() => void) | null): Promise<P> {
    return this.then().finally(onEnd);
  }

  /** Page after page. */
  async *pages(): AsyncGenerator<P, void, undefined> {
    let page: P = await this.then();
    yield page;
    while (page.nextCursor !== null) {
      page = await this.#fetch(page.nextCursor);
      yield page;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<P["data"][number], void, undefined> {
    for await (const { data } of this.pages()) {
      for (const item of data) yield item as Awaited<P["data"][number]>;
    }
  }
}
