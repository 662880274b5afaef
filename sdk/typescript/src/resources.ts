import type * as Api from "./generated.js";
import type { List } from "./list.js";
import { Resource, type Query } from "./operations.js";
import type { RequestOptions } from "./transport.js";

/** Which usage, and by what it is summed up. `dimension.<name>` filters by a dimension's value. */
export interface UsageQuery extends Omit<Query<"get", "/v1/usage">, "dimension.model"> {
  [dimension: `dimension.${string}`]: string | undefined;
}

/** Sums of usage. */
export class Usage extends Resource {
  /**
   * Sums by metric, and by what `groupBy` and `granularity` say.
   *
   * @example
   * await client.usage.get({ customerExternalId: "acme", granularity: "day", groupBy: "dimension.model" });
   */
  get(query: UsageQuery = {}, options?: RequestOptions): Promise<Api.UsageReport> {
    return this.call("get", "/v1/usage", { query }, options);
  }
}

/** What billing periods cost beyond their events: volume prices and minimums. */
export class PeriodCharges extends Resource {
  /** The newest first. */
  list(query: Query<"get", "/v1/period-charges"> = {}, options?: RequestOptions): List<Api.PeriodChargePage> {
    return this.pages("/v1/period-charges", { query }, options);
  }
}

/** Your customers, and which rate card each of them meets. */
export class Customers extends Resource {
  /**
   * Makes a customer, or changes its settings.
   *
   * @example
   * await client.customers.create({ externalId: "acme", lowBalanceThreshold: "10" });
   */
  create(body: Api.CustomerBody, options?: RequestOptions): Promise<Api.Customer> {
    return this.call("post", "/v1/customers", { body }, options);
  }

  get(externalId: string, options?: RequestOptions): Promise<Api.Customer> {
    return this.call("get", "/v1/customers/{externalId}", { path: { externalId } }, options);
  }

  /**
   * @example
   * for await (const customer of client.customers.list()) console.log(customer.externalId);
   */
  list(query: Query<"get", "/v1/customers"> = {}, options?: RequestOptions): List<Api.CustomerPage> {
    return this.pages("/v1/customers", { query }, options);
  }

  /** From a moment on, the customer's usage is priced by this rate card; null: by its product's default ones again. */
  assignRateCard(externalId: string, body: Api.AssignmentBody, options?: RequestOptions): Promise<Api.Assignment> {
    return this.call("put", "/v1/customers/{externalId}/rate-card", { path: { externalId }, body }, options);
  }

  /** Back to the default rate cards. */
  unassignRateCard(
    externalId: string,
    query: Query<"delete", "/v1/customers/{externalId}/rate-card"> = {},
    options?: RequestOptions,
  ): Promise<Api.Assignment> {
    return this.call("delete", "/v1/customers/{externalId}/rate-card", { path: { externalId }, query }, options);
  }

  /** Which rate cards were assigned, and from when on. */
  rateCards(externalId: string, options?: RequestOptions): Promise<Api.AssignmentList> {
    return this.call("get", "/v1/customers/{externalId}/rate-card", { path: { externalId } }, options);
  }
}

/** What customers have left. */
export class Balances extends Resource {
  /**
   * Includes everything that was answered before.
   *
   * @example
   * const { available, currency } = await client.balances.get("acme");
   */
  get(customerExternalId: string, options?: RequestOptions): Promise<Api.Balance> {
    return this.call("get", "/v1/customers/{externalId}/balance", { path: { externalId: customerExternalId } }, options);
  }

  /** Every posting of the wallet, with the balance after it. */
  history(
    customerExternalId: string,
    query: Query<"get", "/v1/customers/{externalId}/history"> = {},
    options?: RequestOptions,
  ): List<Api.HistoryPage> {
    return this.pages("/v1/customers/{externalId}/history", { path: { externalId: customerExternalId }, query }, options);
  }
}

/** Credit that customers were given. */
export class Grants extends Resource {
  /**
   * Gives credit.
   *
   * @example
   * await client.grants.create("acme", { amount: "100", currency: "CNY", kind: "paid" }, { idempotencyKey: "order-1" });
   */
  create(customerExternalId: string, body: Api.GrantBody, options?: RequestOptions): Promise<Api.Grant> {
    return this.call("post", "/v1/customers/{externalId}/grants", { path: { externalId: customerExternalId }, body }, options);
  }

  list(
    customerExternalId: string,
    query: Query<"get", "/v1/customers/{externalId}/grants"> = {},
    options?: RequestOptions,
  ): List<Api.GrantPage> {
    return this.pages("/v1/customers/{externalId}/grants", { path: { externalId: customerExternalId }, query }, options);
  }
}

/** Credit that is kept for work under way. */
export class Holds extends Resource {
  /**
   * Keeps an amount, or what some events would cost, until it is captured, released or expires.
   *
   * @example
   * const { holdId } = await client.holds.create("acme", { amount: "5", ttlSeconds: 600 });
   * await client.holds.capture(holdId, { amount: "3.2" });
   */
  create(customerExternalId: string, body: Api.HoldBody, options?: RequestOptions): Promise<Api.Hold> {
    return this.call("post", "/v1/customers/{externalId}/holds", { path: { externalId: customerExternalId }, body }, options);
  }

  get(holdId: string, options?: RequestOptions): Promise<Api.HoldState> {
    return this.call("get", "/v1/holds/{holdId}", { path: { holdId } }, options);
  }

  /** Takes what the work came to: an amount, the price of the actual events, or all of it. The rest is released. */
  capture(holdId: string, body: Api.CaptureBody = {}, options?: RequestOptions): Promise<Api.ClosedHold> {
    return this.call("post", "/v1/holds/{holdId}/capture", { path: { holdId }, body }, options);
  }

  release(holdId: string, body: Api.ReleaseBody = {}, options?: RequestOptions): Promise<Api.ClosedHold> {
    return this.call("post", "/v1/holds/{holdId}/release", { path: { holdId }, body }, options);
  }
}

/** Prices, version by version. */
export class RateCards extends Resource {
  /**
   * Makes a rate card, published at once unless it is a draft.
   *
   * @example
   * await client.rateCards.create({
   *   name: "standard",
   *   currency: "CNY",
   *   charges: [{ metric: "tokens_input", per: "1000000", price: "4" }],
   * });
   */
  create(body: Api.RateCardBody, options?: RequestOptions): Promise<Api.RateCard> {
    return this.call("post", "/v1/rate-cards", { body }, options);
  }

  get(rateCardId: string, options?: RequestOptions): Promise<Api.RateCard> {
    return this.call("get", "/v1/rate-cards/{rateCardId}", { path: { rateCardId } }, options);
  }

  list(query: Query<"get", "/v1/rate-cards"> = {}, options?: RequestOptions): List<Api.RateCardPage> {
    return this.pages("/v1/rate-cards", { query }, options);
  }

  /** Changes a draft. */
  update(rateCardId: string, body: Api.DraftBody, options?: RequestOptions): Promise<Api.RateCard> {
    return this.call("put", "/v1/rate-cards/{rateCardId}", { path: { rateCardId }, body }, options);
  }

  /** Deletes a draft. */
  delete(rateCardId: string, options?: RequestOptions): Promise<Api.DeletedRateCard> {
    return this.call("delete", "/v1/rate-cards/{rateCardId}", { path: { rateCardId } }, options);
  }

  /** Puts a draft in force. It never changes again. */
  publish(rateCardId: string, body: Api.PublishBody = {}, options?: RequestOptions): Promise<Api.RateCard> {
    return this.call("post", "/v1/rate-cards/{rateCardId}/publish", { path: { rateCardId }, body }, options);
  }

  /** What differs from the version before, or from another card. */
  diff(
    rateCardId: string,
    query: Query<"get", "/v1/rate-cards/{rateCardId}/diff"> = {},
    options?: RequestOptions,
  ): Promise<Api.RateCardDiff> {
    return this.call("get", "/v1/rate-cards/{rateCardId}/diff", { path: { rateCardId }, query }, options);
  }

  /** What past usage was charged, and what this card would have charged. Nothing is written. */
  simulate(rateCardId: string, body: Api.SimulateBody = {}, options?: RequestOptions): Promise<Api.SimulationReport> {
    return this.call("post", "/v1/rate-cards/{rateCardId}/simulate", { path: { rateCardId }, body }, options);
  }
}

/** What has prices of its own. */
export class Products extends Resource {
  create(body: Api.ProductBody, options?: RequestOptions): Promise<Api.Product> {
    return this.call("post", "/v1/products", { body }, options);
  }

  get(productId: string, options?: RequestOptions): Promise<Api.Product> {
    return this.call("get", "/v1/products/{productId}", { path: { productId } }, options);
  }

  list(options?: RequestOptions): Promise<Api.ProductList> {
    return this.call("get", "/v1/products", {}, options);
  }
}

/** What is counted. */
export class Metrics extends Resource {
  create(body: Api.MetricBody, options?: RequestOptions): Promise<Api.Metric> {
    return this.call("post", "/v1/metrics", { body }, options);
  }

  list(options?: RequestOptions): Promise<Api.MetricList> {
    return this.call("get", "/v1/metrics", {}, options);
  }
}

/** Credit that customers buy, by WeChat Pay or Alipay. */
export class TopUps extends Resource {
  /**
   * Begins a top-up. Its payer opens `checkoutUrl`.
   *
   * @example
   * const { checkoutUrl } = await client.topUps.create({ customerExternalId: "acme", amount: "100" });
   */
  create(body: Api.TopUpBody, options?: RequestOptions): Promise<Api.TopUp> {
    return this.call("post", "/v1/top-ups", { body }, options);
  }

  get(topUpId: string, options?: RequestOptions): Promise<Api.TopUp> {
    return this.call("get", "/v1/top-ups/{topUpId}", { path: { topUpId } }, options);
  }

  list(query: Query<"get", "/v1/top-ups"> = {}, options?: RequestOptions): List<Api.TopUpPage> {
    return this.pages("/v1/top-ups", { query }, options);
  }

  cancel(topUpId: string, body: Api.CancelBody = {}, options?: RequestOptions): Promise<Api.TopUp> {
    return this.call("post", "/v1/top-ups/{topUpId}/cancel", { path: { topUpId }, body }, options);
  }
}

/** Amounts, terms and names for top-ups made from now on. */
export class TopUpSettings extends Resource {
  get(options?: RequestOptions): Promise<Api.TopUpSettings> {
    return this.call("get", "/v1/top-up-settings", {}, options);
  }

  /** Replaces all of them. */
  update(body: Api.TopUpSettings, options?: RequestOptions): Promise<Api.TopUpSettings> {
    return this.call("put", "/v1/top-up-settings", { body }, options);
  }
}

/** The key that signs what the checkout adds to a `returnUrl`. */
export class ReturnSecret extends Resource {
  get(options?: RequestOptions): Promise<Api.ReturnSecret> {
    return this.call("get", "/v1/return-secret", {}, options);
  }
}

/** Buy so much, get so much more. */
export class Promotions extends Resource {
  create(body: Api.PromotionBody, options?: RequestOptions): Promise<Api.Promotion> {
    return this.call("post", "/v1/promotions", { body }, options);
  }

  list(options?: RequestOptions): Promise<Api.PromotionList> {
    return this.call("get", "/v1/promotions", {}, options);
  }

  /** For top-ups made from now on it is over. */
  end(promotionId: string, body: Api.EndBody = {}, options?: RequestOptions): Promise<Api.Promotion> {
    return this.call("post", "/v1/promotions/{promotionId}/end", { path: { promotionId }, body }, options);
  }
}

/** What goes back to payers of top-ups. */
export class Refunds extends Resource {
  /** Refunds what is unspent, whole or in part. */
  create(topUpId: string, body: Api.RefundBody, options?: RequestOptions): Promise<Api.Refund> {
    return this.call("post", "/v1/top-ups/{topUpId}/refunds", { path: { topUpId }, body }, options);
  }

  get(refundId: string, options?: RequestOptions): Promise<Api.Refund> {
    return this.call("get", "/v1/refunds/{refundId}", { path: { refundId } }, options);
  }

  /** Of one top-up. */
  list(topUpId: string, options?: RequestOptions): Promise<Api.RefundList> {
    return this.call("get", "/v1/top-ups/{topUpId}/refunds", { path: { topUpId } }, options);
  }
}

/** Payments that somebody should look at. */
export class PaymentAlerts extends Resource {
  list(query: Query<"get", "/v1/payment-alerts"> = {}, options?: RequestOptions): List<Api.AlertPage> {
    return this.pages("/v1/payment-alerts", { query }, options);
  }
}

/** What was collected, its fees, and what you are owed. */
export class CashBook extends Resource {
  get(options?: RequestOptions): Promise<Api.CashBook> {
    return this.call("get", "/v1/cash-book", {}, options);
  }
}

/** Who may use the API in your name. */
export class ApiKeys extends Resource {
  /** The answer alone has the key itself: keep it. */
  create(body: Api.KeyBody, options?: RequestOptions): Promise<Api.CreatedKey> {
    return this.call("post", "/v1/api-keys", { body }, options);
  }

  list(options?: RequestOptions): Promise<Api.ApiKeyList> {
    return this.call("get", "/v1/api-keys", {}, options);
  }

  /** Refused within a second. */
  revoke(keyId: string, body: Api.RevokeBody = {}, options?: RequestOptions): Promise<Api.ApiKey> {
    return this.call("post", "/v1/api-keys/{keyId}/revoke", { path: { keyId }, body }, options);
  }

  /** A new key in place of this one. */
  rotate(keyId: string, body: Api.RotateBody = {}, options?: RequestOptions): Promise<Api.CreatedKey> {
    return this.call("post", "/v1/api-keys/{keyId}/rotate", { path: { keyId }, body }, options);
  }
}

/** Where billing periods begin. */
export class BillingPeriod extends Resource {
  get(options?: RequestOptions): Promise<Api.BillingPeriod> {
    return this.call("get", "/v1/billing-period", {}, options);
  }

  /** From the end of the open period on. */
  update(body: Api.BillingPeriodBody, options?: RequestOptions): Promise<Api.BillingPeriod> {
    return this.call("put", "/v1/billing-period", { body }, options);
  }
}

/** Who changed what. */
export class AuditLog extends Resource {
  list(query: Query<"get", "/v1/audit-log"> = {}, options?: RequestOptions): List<Api.AuditPage> {
    return this.pages("/v1/audit-log", { query }, options);
  }
}
