import {
  ApiKeys,
  AuditLog,
  Balances,
  BillingPeriod,
  CashBook,
  Customers,
  Grants,
  Holds,
  Metrics,
  PaymentAlerts,
  PeriodCharges,
  Products,
  Promotions,
  RateCards,
  Refunds,
  ReturnSecret,
  TopUpSettings,
  TopUps,
  Usage,
} from "./resources.js";
import { Transport, type ClientOptions } from "./transport.js";
import { UsageEvents } from "./usage_events.js";

/**
 * BuffMoney's API, one property for each of its resources.
 *
 * Every call is repeated by itself after 429, 503 and lost connections, which is safe: each POST carries a key that makes it happen once.
 *
 * @example
 * import BuffMoneyClient from "@buffmoney/sdk";
 *
 * const client = new BuffMoneyClient({ apiKey });
 * await client.usageEvents.ingest([
 *   { customerExternalId: "acme", idempotencyKey: "call-4711", metric: "tokens_input", quantity: "1200", occurredAt: new Date() },
 * ]);
 */
export class BuffMoneyClient {
  /** Record usage, look at it, take it back. */
  readonly usageEvents: UsageEvents;
  /** Sums of usage. */
  readonly usage: Usage;
  /** What billing periods cost beyond their events. */
  readonly periodCharges: PeriodCharges;
  /** Customers, and which rate card each of them meets. */
  readonly customers: Customers;
  /** What customers have left, and every posting of their wallets. */
  readonly balances: Balances;
  /** Credit given to customers. */
  readonly grants: Grants;
  /** Credit kept for work under way. */
  readonly holds: Holds;
  /** Prices, version by version. */
  readonly rateCards: RateCards;
  /** What has prices of its own. */
  readonly products: Products;
  /** What is counted. */
  readonly metrics: Metrics;
  /** Credit that customers buy. */
  readonly topUps: TopUps;
  /** Amounts and terms of top-ups. */
  readonly topUpSettings: TopUpSettings;
  /** The key that signs what comes back to a `returnUrl`. */
  readonly returnSecret: ReturnSecret;
  /** Buy so much, get so much more. */
  readonly promotions: Promotions;
  /** What goes back to payers. */
  readonly refunds: Refunds;
  /** Payments that somebody should look at. */
  readonly paymentAlerts: PaymentAlerts;
  /** What was collected, and whose it is. */
  readonly cashBook: CashBook;
  /** Who may use the API in your name. */
  readonly apiKeys: ApiKeys;
  /** Where billing periods begin. */
  readonly billingPeriod: BillingPeriod;
  /** Who changed what. */
  readonly auditLog: AuditLog;

  /** Throws TypeError without an API key, or for a base URL that is none. Opens no connection. */
  constructor(options: ClientOptions = {}) {
    const transport = new Transport(options);
    this.usageEvents = new UsageEvents(transport);
    this.usage = new Usage(transport);
    this.periodCharges = new PeriodCharges(transport);
    this.customers = new Customers(transport);
    this.balances = new Balances(transport);
    this.grants = new Grants(transport);
    this.holds = new Holds(transport);
    this.rateCards = new RateCards(transport);
    this.products = new Products(transport);
    this.metrics = new Metrics(transport);
    this.topUps = new TopUps(transport);
    this.topUpSettings = new TopUpSettings(transport);
    this.returnSecret = new ReturnSecret(transport);
    this.promotions = new Promotions(transport);
    this.refunds = new Refunds(transport);
    this.paymentAlerts = new PaymentAlerts(transport);
    this.cashBook = new CashBook(transport);
    this.apiKeys = new ApiKeys(transport);
    this.billingPeriod = new BillingPeriod(transport);
    this.auditLog = new AuditLog(transport);
  }
}
