// Made from the OpenAPI document by scripts/generate.js: do not edit, run `make sdk`.

/** Every `code` that the API answers with. Codes are stable and never reused. */
export type ApiErrorCode =
  | "amount_out_of_range"
  | "body_too_large"
  | "capture_exceeds_hold"
  | "core_unavailable"
  | "currency_mismatch"
  | "customer_mismatch"
  | "database_unavailable"
  | "empty_batch"
  | "event_not_found"
  | "event_voided"
  | "hold_closed"
  | "hold_expired"
  | "hold_not_found"
  | "idempotency_conflict"
  | "idempotency_in_progress"
  | "in_future"
  | "insufficient_balance"
  | "internal_error"
  | "invalid_amount"
  | "invalid_api_key"
  | "invalid_assignment"
  | "invalid_batch"
  | "invalid_billing_period"
  | "invalid_body"
  | "invalid_currency"
  | "invalid_cursor"
  | "invalid_customer"
  | "invalid_dimensions"
  | "invalid_event"
  | "invalid_expiry"
  | "invalid_header"
  | "invalid_idempotency_key"
  | "invalid_metric"
  | "invalid_parameter"
  | "invalid_price"
  | "invalid_product"
  | "invalid_promotion"
  | "invalid_quantity"
  | "invalid_rate_card"
  | "invalid_reason"
  | "invalid_request"
  | "invalid_time"
  | "invalid_ttl"
  | "key_not_found"
  | "malformed_json"
  | "metric_exists"
  | "missing_api_key"
  | "missing_field"
  | "no_price"
  | "not_found"
  | "outcome_unknown"
  | "overloaded"
  | "product_exists"
  | "product_not_found"
  | "promotion_not_found"
  | "rate_card_not_found"
  | "rate_card_published"
  | "redis_unavailable"
  | "refund_exceeds_payment"
  | "refund_exceeds_unspent"
  | "refund_not_found"
  | "refund_window_over"
  | "request_timeout"
  | "set_changed"
  | "shutting_down"
  | "simulation_too_large"
  | "too_many_assignments"
  | "too_many_changes"
  | "too_many_events"
  | "too_many_grants"
  | "too_many_metrics"
  | "too_many_products"
  | "too_many_refunds"
  | "too_old"
  | "top_up_closed"
  | "top_up_not_credited"
  | "top_up_not_found"
  | "top_up_not_paid"
  | "unknown_customer"
  | "unknown_field"
  | "unknown_metric"
  | "unsupported_encoding"
  | "unsupported_media_type"
  | "uri_too_long"
  | "void_too_large";

/** What became of a batch. What is accepted is durable and in the ledger. */
export interface UsageAnswer {
  accepted: number;
  duplicates: number;
  /** Events that were not taken, conflicts among them. */
  rejected: number;
  /** What was not accepted; with results=all every event, each with its charge. */
  results: EventResult[];
  /** The sum of the accepted events' charges; null where they are in several currencies. */
  charged: string | null;
  /** The same by the currency of the customers' wallets. */
  chargedByCurrency: {
    [key: string]: string;
  };
  /** What is available to each customer of the batch, after it. */
  balances: {
    [key: string]: string;
  };
  requestId: string;
}

/** What became of one event. index: its place in the request. */
export interface EventResult {
  index: number;
  outcome: "accepted" | "conflict" | "duplicate" | "rejected";
  idempotencyKey?: string | null;
  code?: string | null;
  detail?: string | null;
  param?: string | null;
  charge?: string | null;
}

/** Up to 500 events. Each has its own outcome. */
export interface UsageBatch {
  events: UsageEvent[];
}

/** One use of one metric by one customer. */
export interface UsageEvent {
  /** Your id of the customer, at most 255 bytes. */
  customerExternalId: string;
  /** Names this event for good. The same key again is a duplicate and is not charged. */
  idempotencyKey: string;
  /** A built-in metric or one of yours. */
  metric: string;
  /** Above zero, as a decimal string with at most 9 decimals. Integers may also be numbers. */
  quantity: string;
  /**
   * Format: date-time
   * RFC 3339 with a zone; at most 5 minutes ahead and 35 days back.
   */
  occurredAt: string;
  /**
   * model, region, tier and your own: what rate cards match and usage is grouped by.
   * @default {}
   */
  dimensions?: {
    [key: string]: string;
  };
}

/**
 * Sums of all events that were answered before `asOf`; `events` and `charged` are over all rows.
 *
 *     currency and charged null: the rows are in several currencies, whose sums are in chargedByCurrency.
 */
export interface UsageReport {
  asOf: string;
  from: string | null;
  to: string | null;
  granularity: string | null;
  timeZone: string;
  currency: string | null;
  events: number;
  charged: string | null;
  chargedByCurrency: {
    [key: string]: string;
  };
  data: UsageRow[];
}

/**
 * The sum of some events of one metric, of customers of one currency. start, end, customerExternalId, dimensions: only where they
 *     were asked for.
 */
export interface UsageRow {
  metric: string;
  events: number;
  quantity: string;
  charge: string;
  currency: string;
  /** @default null */
  start?: string | null;
  /** @default null */
  end?: string | null;
  /** @default null */
  customerExternalId?: string | null;
  /** @default null */
  dimensions?: {
    [key: string]: string | null;
  } | null;
}

/**
 * An event as it was accepted. posting null and postings empty: free of charge.
 *
 *     void: how it was taken back, null if it was not. amends, amendedBy: the key of the event it replaces, and of the one that replaces it.
 */
export interface RecordedEvent {
  idempotencyKey: string;
  customerExternalId: string;
  metric: string;
  quantity: string;
  occurredAt: string;
  acceptedAt: string;
  dimensions: unknown;
  charge: string;
  currency: string;
  price: PriceLine;
  posting: UsagePosting | null;
  postings: UsagePosting[];
  commitId: string;
  void: EventVoid | null;
  amends: string | null;
  amendedBy: string | null;
}

/** The line of a rate card that priced an event. line: from 0. price and per: null for a line with tiers, which has several. */
export interface PriceLine {
  rateCardId: string;
  line: number;
  price: string | null;
  per: string | null;
}

/**
 * A posting that carries (a part of) an event's charge, with others of the same commit.
 *
 *     grantId null: what no grant paid, overdraft of the wallet or owed unbilled, as debitAccount says.
 */
export interface UsagePosting {
  sequence: number;
  kind: string;
  amount: string;
  debitAccount: string;
  creditAccount: string;
  balanceAfter: string;
  heldAfter: string;
  unbilledAfter: string;
  grantId: string | null;
  postedAt: string;
}

/**
 * The void of an event. amount: all that was given back. postingSequence: its first posting; null if the event was free of charge.
 *
 *     balanceAfter: what was available after it, unbilledAfter: what was owed. setId: the set it was voided with; null: alone.
 */
export interface EventVoid {
  voidedAt: string;
  voidedBy: string;
  commandId: string;
  setId: string | null;
  reason: string | null;
  amount: string;
  givenBackTo: GivenBack[];
  postingSequence: number | null;
  balanceAfter: string;
  unbilledAfter: string;
  commitId: string;
}

/**
 * What came back to whom. account: the wallet, or what is owed unbilled, which is less now. grantId null: to no grant, so of the
 *     wallet overdraft that was repaid.
 */
export interface GivenBack {
  account: "customer_unbilled" | "customer_wallet";
  grantId: string | null;
  amount: string;
}

/**
 * A charge, recomputable by hand. posting: the first of postings; null and empty if the event was free of charge.
 *
 *     exact: before rounding, `a/b` where a decimal takes more than 18 places. counter: null for a line without graduated tiers and
 *     allowance. period: null for a line that asks for nothing at the end of a period. tiers:
 *     what of the event lies in each. The shares of an event add up to its charge, and those of a posting's events to its amount. void: how
 *     the event was taken back, and its charge with it. amends, amendedBy: as in the event.
 */
export interface ExplainedCharge {
  idempotencyKey: string;
  customerExternalId: string;
  metric: string;
  quantity: string;
  dimensions: unknown;
  occurredAt: string;
  acceptedAt: string;
  currency: string;
  rateCard: ChargingCard;
  line: ChargingLine;
  steps: ChargeStep[];
  exact: string;
  rounded: string;
  rounding: string;
  minimumApplied: boolean;
  charge: string;
  counter: CountedUsage | null;
  period: ChargedPeriod | null;
  tiers: PricedTier[];
  posting: ChargePosting | null;
  postings: ChargePosting[];
  commitId: string;
  void: EventVoid | null;
  amends: string | null;
  amendedBy: string | null;
}

/** The rate card that priced an event. version: of its product's cards. effectiveFrom null: since ever. */
export interface ChargingCard {
  rateCardId: string;
  name: string;
  version: number | null;
  effectiveFrom: string | null;
}

/** The line of the rate card that priced an event, with the fields of its model. index: from 0, within the card. */
export interface ChargingLine {
  index: number;
  metric: string;
  match: {
    [key: string]: string;
  };
  model: string;
  /** @default null */
  price?: string | null;
  /** @default null */
  cost?: string | null;
  /** @default null */
  per?: string | null;
  /** @default null */
  percent?: string | null;
  /** @default null */
  minimum?: string | null;
  /** @default null */
  minimumPerPeriod?: string | null;
  /** @default null */
  allowance?: string | null;
  /** @default null */
  tiers?: ChargingTier[] | null;
}

/** A tier of a graduated or volume line. upTo null: all units beyond the tier before. */
export interface ChargingTier {
  upTo: string | null;
  price: string;
  per: string;
}

/** One step of a calculation. amount: what the formula gives, exactly; `a/b` where that takes more than 18 decimals. */
export interface ChargeStep {
  what: string;
  formula: string;
  amount: string;
}

/**
 * How the event was counted: in the billing period in which it occurred, of its customer, on this line and its versions.
 *
 *     before, after: units that the period had used. allowanceUsed: those of this event that were free; billable: the others.
 */
export interface CountedUsage {
  periodStart: string;
  periodEnd: string;
  timeZone: string;
  before: string;
  after: string;
  allowanceUsed: string;
  billable: string;
}

/**
 * The billing period in which an event occurred, of a line that asks for more when it is over: all of it of a volume line, else what
 *     the minimum per period is above the events' charges. GET /v1/period-charges shows it then.
 */
export interface ChargedPeriod {
  periodStart: string;
  periodEnd: string;
  timeZone: string;
  pricing: string;
}

/** The part of an event that lies in one tier. number: from 1. amount: quantity × price ÷ per, before any rounding. */
export interface PricedTier {
  number: number;
  upTo: string | null;
  quantity: string;
  price: string;
  per: string;
  amount: string;
}

/**
 * A posting that carries (a part of) the charge.
 *
 *     Usage of a customer that was committed at once and paid by one grant is one posting: amount is that of all its `events`,
 *     shareOfThisEvent the part that is this one's. account: what paid it, the wallet, or for usage that accrued what the customer owes
 *     unbilled. grantId null: no grant. balanceAfter: what was available after it, unbilledAfter: what was owed.
 */
export interface ChargePosting {
  sequence: number;
  account: "customer_unbilled" | "customer_wallet";
  grantId: string | null;
  amount: string;
  events: number;
  shareOfThisEvent: string;
  balanceAfter: string;
  unbilledAfter: string;
  postedAt: string;
}

/** Newest first. nextCursor null: the last page. */
export interface PeriodChargePage {
  data: PeriodCharge[];
  nextCursor: string | null;
}

/**
 * What a customer's billing period costs on one line beyond what its events were charged. The newest revision of a period counts.
 *
 *     line, rateCard: in force for the customer at the period's last moment. quantity: units used in the period; eventCharges: what its
 *     events were charged; total: what the period is charged; amount: total less that of the revision before, and what the postings moved
 *     (below zero: given back). Revisions after the first are made when late events or voids have moved the period.
 */
export interface PeriodCharge {
  customerExternalId: string;
  metric: string;
  currency: string;
  periodStart: string;
  periodEnd: string;
  timeZone: string;
  revision: number;
  rateCard: ChargingCard;
  line: ChargingLine;
  quantity: string;
  eventCharges: string;
  billable: string | null;
  tier: PricedTier | null;
  steps: ChargeStep[];
  exact: string;
  rounded: string;
  rounding: string;
  minimumApplied: boolean;
  total: string;
  amount: string;
  postings: PeriodPosting[];
  balanceAfter: string;
  commitId: string;
  settledAt: string;
}

/**
 * A posting of a period charge: to revenue (`period_charge`), or back (`period_charge_reversal`). account: what paid it or got it back,
 *     the wallet or what the customer owes unbilled. grantId null: no grant.
 */
export interface PeriodPosting {
  sequence: number;
  kind: string;
  amount: string;
  account: "customer_unbilled" | "customer_wallet";
  grantId: string | null;
  balanceAfter: string;
  unbilledAfter: string;
  postedAt: string;
}

/** An event after its void. alreadyVoided: it was voided before, and this is what was said then. */
export interface VoidedEvent {
  alreadyVoided: boolean;
  idempotencyKey: string;
  customerExternalId: string;
  amount: string;
  currency: string;
  givenBackTo: GivenBack[];
  balanceAfter: string;
  unbilledAfter: string;
  voidedAt: string;
  reason: string | null;
  amendedBy: string | null;
}

/** reason: at most 255 bytes, kept with the void. */
export interface VoidBody {
  /** @default null */
  reason?: string | null;
}

/** Both halves of an amendment, and what was available and owed unbilled after it. */
export interface AmendedEvent {
  void: VoidedEvent;
  event: AmendingEvent;
  balanceAfter: string;
  unbilledAfter: string;
}

/** The event that stands in the place of another. */
export interface AmendingEvent {
  idempotencyKey: string;
  amends: string;
  charge: string;
  currency: string;
}

/** The new event: idempotencyKey names it, and what is left out is as it was. */
export interface AmendBody {
  idempotencyKey: string;
  quantity?: string;
  occurredAt?: string;
  metric?: string;
  dimensions?: Record<string, never>;
  /** @default null */
  reason?: string | null;
}

/**
 * A set of events, and how far its voiding is.
 *
 *     events, charge, byMetric, byCustomer (the largest first, of `customers`): of the whole set. voided: of it, so far. amount: given back
 *     by this call. charge, amount and currency: null where there are several currencies; those have sums of their own. done: nothing is left
 *     to do but what was refused; false: repeat the call as it was.
 */
export interface VoidSet {
  setId: string;
  events: number;
  charge: string | null;
  currency: string | null;
  chargeByCurrency: {
    [key: string]: string;
  };
  byMetric: VoidedMetric[];
  customers: number;
  byCustomer: VoidedCustomer[];
  voided: number;
  amount: string | null;
  amountByCurrency: {
    [key: string]: string;
  };
  refused: RefusedVoid[];
  done: boolean;
}

/** The events of one metric in one currency. */
export interface VoidedMetric {
  metric: string;
  events: number;
  quantity: string;
  charge: string;
  currency: string;
}

/** The events of one customer. */
export interface VoidedCustomer {
  customerExternalId: string;
  events: number;
  charge: string;
  currency: string;
}

/** An event of the set that could not be voided. */
export interface RefusedVoid {
  idempotencyKey: string;
  code: string;
}

/** preview true: what would be voided. preview false: void it; setId is the preview's. */
export interface VoidSetBody {
  filter: VoidFilter;
  preview: boolean;
  /** @default null */
  setId?: string | null;
  /** @default null */
  reason?: string | null;
}

/** Which events. from, to: of occurredAt, RFC 3339, half-open. dimensions: all of these values. One of them all is needed. */
export interface VoidFilter {
  /** @default null */
  customerExternalId?: string | null;
  /** @default null */
  metric?: string | null;
  /** @default null */
  dimensions?: {
    [key: string]: string;
  } | null;
  /** @default null */
  from?: string | null;
  /** @default null */
  to?: string | null;
}

/** A customer. overdraftLimit null: no floor, and no limit to what may be owed unbilled. */
export interface Customer {
  externalId: string;
  currency: string;
  overdraftLimit: string | null;
  lowBalanceThreshold: string | null;
  createdAt: string;
}

/**
 * A customer to make or to change; what is left out stays as it is.
 *
 *     overdraftLimit: how far below zero the balance may go, or, where customers pay after, how much may be owed unbilled; null: without
 *     end. lowBalanceThreshold: falling below it is recorded; null: none.
 *     currency: of the wallet, for good; the merchant's without it.
 */
export interface CustomerBody {
  externalId: string;
  currency?: string;
  overdraftLimit?: string | null;
  lowBalanceThreshold?: string | null;
}

/** In the order of their making. nextCursor null: the last page. */
export interface CustomerPage {
  data: Customer[];
  nextCursor: string | null;
}

/** A grant just made. */
export interface Grant {
  grantId: string;
  customerExternalId: string;
  amount: string;
  currency: string;
  kind: "bonus" | "paid" | "promotional";
  priority: number;
  expiresAt: string | null;
  createdAt: string;
  balance: BalanceAfter;
}

/** The wallet right after the movement. */
export interface BalanceAfter {
  available: string;
  held: string;
  unbilled: string;
}

/** Money to give. priority: 0 to 1000, lower is spent first. expiresAt: RFC 3339; what is left then is lost. */
export interface GrantBody {
  amount: string;
  currency: string;
  kind: "bonus" | "paid" | "promotional";
  /** @default 100 */
  priority?: number;
  /** @default null */
  expiresAt?: string | null;
}

/** Newest first. nextCursor null: the last page. */
export interface GrantPage {
  data: GrantInList[];
  nextCursor: string | null;
}

/**
 * A grant with what remains of it. status: open, spent (also while the rest is on hold, and when it was refunded), or
 *     expired.
 */
export interface GrantInList {
  grantId: string;
  amount: string;
  remaining: string;
  currency: string;
  kind: "bonus" | "paid" | "promotional";
  priority: number;
  status: "expired" | "open" | "spent";
  expiresAt: string | null;
  createdAt: string;
}

/**
 * A wallet. available may be negative within the overdraft limit, where customers pay before. sequence: of the last posting in it.
 *
 *     unbilled: where they pay after, what the customer owes and was not invoiced for, what open holds took of it included. It is no part of
 *     available, and credits do not repay it.
 */
export interface Balance {
  available: string;
  held: string;
  unbilled: string;
  currency: string;
  byKind: BalanceByKind;
  grants: OpenGrant[];
  sequence: number;
}

/** What is available of each kind of grant. */
export interface BalanceByKind {
  paid: string;
  bonus: string;
  promotional: string;
}

/** A grant with something left, in the order of spending. */
export interface OpenGrant {
  grantId: string;
  kind: "bonus" | "paid" | "promotional";
  priority: number;
  remaining: string;
  expiresAt: string | null;
}

/** Newest first. nextCursor null: the last page. */
export interface HistoryPage {
  data: HistoryEntry[];
  currency: string;
  nextCursor: string | null;
}

/**
 * One posting: `amount` went from the debit to the credit account.
 *
 *     balanceAfter: what was available after it, unbilledAfter: what was owed and not invoiced. grantId null: no grant.
 *     reference: the grant or hold behind it; of a refund its command, `cmd_` and 32 hexadecimal digits.
 *     idempotencyKey: only of a void, that of the event it reverses.
 */
export interface HistoryEntry {
  sequence: number;
  kind: "capture" | "grant" | "grant_expiry" | "hold" | "hold_expiry" | "period_charge" | "period_charge_reversal" | "refund" | "release" | "usage" | "void";
  amount: string;
  debitAccount: string;
  creditAccount: string;
  balanceAfter: string;
  heldAfter: string;
  unbilledAfter: string;
  grantId: string | null;
  reference: string | null;
  idempotencyKey: string | null;
  postedAt: string;
}

/** A hold just made. */
export interface Hold {
  holdId: string;
  customerExternalId: string;
  amount: string;
  currency: string;
  status: "captured" | "expired" | "open" | "released";
  expiresAt: string;
  createdAt: string;
  balance: BalanceAfter;
}

/** Either `amount`, or `events` whose price is held. ttlSeconds: 1 second to 7 days. */
export interface HoldBody {
  /** @default null */
  amount?: string | null;
  /** @default null */
  events?: EstimatedEvent[] | null;
  /** @default 900 */
  ttlSeconds?: number;
}

/** Usage that is expected. What is left out is filled in: the hold's customer, and now. */
export interface EstimatedEvent {
  metric: string;
  quantity: unknown;
  dimensions?: unknown;
  occurredAt?: string;
  customerExternalId?: string;
  idempotencyKey?: string;
}

/** A hold as it stands. captured, released: null while it is open. */
export interface HoldState {
  holdId: string;
  customerExternalId: string;
  amount: string;
  currency: string;
  status: "captured" | "expired" | "open" | "released";
  captured: string | null;
  released: string | null;
  expiresAt: string;
  createdAt: string;
}

/** A hold after its capture or release. usage: only of a capture with events. */
export interface ClosedHold {
  holdId: string;
  status: "captured" | "expired" | "open" | "released";
  captured: string;
  released: string;
  balance: BalanceAfter;
  /** @default null */
  usage?: CapturedUsage | null;
}

/** What became of the events of a capture; results as in POST /v1/usage-events. */
export interface CapturedUsage {
  accepted: number;
  duplicates: number;
  rejected: number;
  charged: string;
  results: Record<string, never>[];
}

/** `amount` captures a part, `events` the actual usage (as in POST /v1/usage-events), neither the whole. The rest is released. */
export interface CaptureBody {
  /** @default null */
  amount?: string | null;
  events?: Record<string, never>[];
}

/** Nothing. */
export type ReleaseBody = Record<string, never>;

/**
 * A rate card. version: null for a draft. effectiveFrom null: a version also prices what happened before it was made. audience:
 *     `assigned`: only customers meet it to whom it is assigned.
 */
export interface RateCard {
  rateCardId: string;
  productId: string;
  name: string;
  currency: string;
  audience: "assigned" | "everyone";
  status: "draft" | "published";
  version: number | null;
  charges: ChargeLine[];
  effectiveFrom: string | null;
  createdAt: string;
  publishedAt: string | null;
}

/** A line of a rate card, with the fields of its model. currency: where it is not the card's. */
export interface ChargeLine {
  metric: string;
  model: string;
  match: {
    [key: string]: string;
  };
  price?: string;
  cost?: string;
  per?: string;
  percent?: string;
  minimum?: string;
  minimumPerPeriod?: string;
  currency?: string;
  prices?: {
    [key: string]: string;
  };
  costs?: {
    [key: string]: string;
  };
  minimums?: {
    [key: string]: string;
  };
  minimumsPerPeriod?: {
    [key: string]: string;
  };
  allowance?: string;
  tiers?: TierBody[];
}

/**
 * A tier of a graduated or volume line: units of a billing period, beyond the allowance, after the tier before and up to the `upTo`th.
 *
 *     upTo: null for the last tier, and only for it. price: for `per` units.
 */
export interface TierBody {
  upTo: string | null;
  price: string;
  /** @default 1 */
  per?: string;
}

/**
 * A new rate card, published at once unless it is a draft. productId: the product with the code `default` without it.
 *
 *     effectiveFrom: RFC 3339, in force at once without it. audience: `assigned` for a card that only customers meet to whom it is assigned.
 */
export interface RateCardBody {
  name: string;
  currency: string;
  charges: ChargeBody[];
  /** @default null */
  effectiveFrom?: string | null;
  /** @default null */
  productId?: string | null;
  /** @default false */
  draft?: boolean;
  /**
   * @default everyone
   */
  audience?: "assigned" | "everyone";
}

/**
 * A line, for events of `metric` whose dimensions contain `match` (empty: all of them).
 *
 *     What an event of quantity q costs: `per_unit` q × price ÷ per; `package` price for each `per` units or part of them; `flat` price;
 *     `markup` q × cost ÷ per and percent on top; `graduated` of each part of q, by the tier it lies in, part × price ÷ per; `volume`
 *     nothing: when the billing period is over, all its units cost the price of the tier in which their total lies. At least `minimum`,
 *     with any model but `volume`. minimumPerPeriod: what a billing period costs at least in which the line was used, with any model; what
 *     the events did not pay of it is charged when the period is over. `volume` and minimumPerPeriod are for pay-as-you-go. allowance:
 *     units of the metric that are free for a customer in each billing period, with any model but `flat`; q is what lies beyond them, and
 *     an event within them is free. In the card's currency unless it names its own; `prices`, `costs`, `minimums` and `minimumsPerPeriod`
 *     (currency → amount) say it in several side by side. The currency of the customer's wallet decides.
 */
export interface ChargeBody {
  metric: string;
  /**
   * @default per_unit
   * @enum {string}
   */
  model?: "per_unit" | "package" | "flat" | "markup" | "graduated" | "volume";
  price?: string;
  cost?: string;
  per?: string;
  percent?: string;
  minimum?: string;
  minimumPerPeriod?: string;
  allowance?: string;
  tiers?: TierBody[];
  /** @default {} */
  match?: {
    [key: string]: string;
  };
  currency?: string;
  prices?: {
    [key: string]: string;
  };
  costs?: {
    [key: string]: string;
  };
  minimums?: {
    [key: string]: string;
  };
  minimumsPerPeriod?: {
    [key: string]: string;
  };
}

/** Newest first. nextCursor null: the last page. */
export interface RateCardPage {
  data: RateCardSummary[];
  nextCursor: string | null;
}

/** A rate card in a list: the number of its lines in place of them. */
export interface RateCardSummary {
  rateCardId: string;
  productId: string;
  name: string;
  currency: string;
  audience: "assigned" | "everyone";
  status: "draft" | "published";
  version: number | null;
  chargeCount: number;
  effectiveFrom: string | null;
  createdAt: string;
  publishedAt: string | null;
}

/** All of a draft. productId: the draft stays with its product without it. */
export interface DraftBody {
  name: string;
  currency: string;
  charges: ChargeBody[];
  /** @default null */
  effectiveFrom?: string | null;
  /** @default null */
  productId?: string | null;
  /**
   * @default everyone
   */
  audience?: "assigned" | "everyone";
}

/** A draft that is no more. */
export interface DeletedRateCard {
  rateCardId: string;
  deleted: boolean;
}

/** effectiveFrom: RFC 3339; without it what the draft says, else at once. audience: without it what the draft says. */
export interface PublishBody {
  /** @default null */
  effectiveFrom?: string | null;
  /** @default null */
  audience?: ("assigned" | "everyone") | null;
}

/** From `against` to `rateCardId`. against null: there is no version before. text: the same for people. */
export interface RateCardDiff {
  rateCardId: string;
  against: string | null;
  added: ChargeLine[];
  removed: ChargeLine[];
  changed: ChangedLine[];
  text: string;
}

/** A line that both cards have, with different prices in one currency. */
export interface ChangedLine {
  metric: string;
  match: {
    [key: string]: string;
  };
  before: ChargeLine;
  after: ChargeLine;
}

/** All products of the tenant, oldest first. */
export interface ProductList {
  data: Product[];
}

/** What a merchant sells, with rate cards of its own. */
export interface Product {
  productId: string;
  code: string;
  name: string;
  createdAt: string;
}

/** A new product. code: a-z, 0-9 and _, at most 64 characters. name: for people, the code without it. */
export interface ProductBody {
  code: string;
  /** @default  */
  name?: string;
}

/** All metrics of the tenant. */
export interface MetricList {
  data: Metric[];
}

/** Something that is counted. The built-in ones have ids below 100. */
export interface Metric {
  metricId: number;
  code: string;
  unit: string;
  builtIn: boolean;
  createdAt: string;
}

/** A merchant's own metric. code: a-z, 0-9 and _, at most 64 characters. unit: for people. */
export interface MetricBody {
  code: string;
  /** @default  */
  unit?: string;
}

/**
 * A customer's card for a product from a moment on. rateCardId, name and version null: the product's default cards.
 *
 *     state: `replaced` by a later one with the same start, else `past`, `in_force` or `scheduled`.
 */
export interface Assignment {
  customerExternalId: string;
  productId: string;
  rateCardId: string | null;
  name: string | null;
  version: number | null;
  effectiveFrom: string;
  state: "in_force" | "past" | "replaced" | "scheduled";
  createdAt: string;
}

/**
 * rateCardId: a published version; null: the default cards of the product. productId: only with null, the default product without it.
 *
 *     effectiveFrom: RFC 3339, by when usage occurred; at once without it.
 */
export interface AssignmentBody {
  rateCardId: string | null;
  /** @default null */
  productId?: string | null;
  /** @default null */
  effectiveFrom?: string | null;
}

/** Everything that was ever assigned to a customer, newest first. */
export interface AssignmentList {
  data: Assignment[];
}

/**
 * What a card would have earned. byCustomer and data hold those that change most, of the `customers` and `groups` there are; every
 *     other sum is over all events. outOfRangeEvents: their charge would be too large to be kept. otherProducts…: events of metrics that
 *     another product prices, which are in no other sum.
 */
export interface SimulationReport {
  events: number;
  before: string;
  after: string;
  difference: string;
  unpricedEvents: number;
  unpricedBefore: string;
  rateCardId: string | null;
  name: string;
  currency: string;
  from: string | null;
  to: string | null;
  customerExternalId: string | null;
  timeZone: string;
  outOfRangeEvents: number;
  otherProductsEvents: number;
  otherProductsBefore: string;
  byMetric: SimulatedMetric[];
  byDay: SimulatedDay[];
  byCustomer: SimulatedCustomer[];
  customers: number;
  data: SimulatedGroup[];
  groups: number;
}

/** The events of one metric. */
export interface SimulatedMetric {
  events: number;
  before: string;
  after: string;
  difference: string;
  unpricedEvents: number;
  unpricedBefore: string;
  metric: string;
}

/** The events of one day. */
export interface SimulatedDay {
  events: number;
  before: string;
  after: string;
  difference: string;
  unpricedEvents: number;
  unpricedBefore: string;
  day: string;
}

/** The events of one customer. */
export interface SimulatedCustomer {
  events: number;
  before: string;
  after: string;
  difference: string;
  unpricedEvents: number;
  unpricedBefore: string;
  customerExternalId: string;
}

/** The events of one customer, metric and day. */
export interface SimulatedGroup {
  events: number;
  before: string;
  after: string;
  difference: string;
  unpricedEvents: number;
  unpricedBefore: string;
  customerExternalId: string;
  metric: string;
  day: string;
}

/**
 * Which past usage. from, to: RFC 3339, half-open, by when it occurred. timeZone: where its days begin. currency: of which customers;
 *     without it that of the one asked for, else the merchant's.
 */
export interface SimulateBody {
  /** @default null */
  from?: string | null;
  /** @default null */
  to?: string | null;
  /** @default null */
  customerExternalId?: string | null;
  /** @default Asia/Shanghai */
  timeZone?: string;
  /** @default null */
  currency?: string | null;
}

/**
 * Tiers, free amounts and terms, for top-ups made from now on.
 *
 *     displayName: what the checkout shows; null: the merchant's name. freeAmounts null: only the tiers. paidValidDays, bonusValidDays: when
 *     credits expire, counted from the payment; null: never. refundWindowDays: how long after its payment a top-up may be refunded; 0: never.
 */
export interface TopUpSettings {
  tiers: string[];
  /** @default null */
  freeAmounts?: FreeAmounts | null;
  /** @default null */
  displayName?: string | null;
  /** @default null */
  paidValidDays?: number | null;
  /** @default null */
  bonusValidDays?: number | null;
  /** @default 30 */
  refundWindowDays?: number;
  /** @default 30 */
  checkoutValidMinutes?: number;
}

/** Any amount from minimum to maximum, in whole fen. */
export interface FreeAmounts {
  minimum: string;
  maximum: string;
}

/** A promotion. Its terms never change; endedAt: when it was ended by hand. */
export interface Promotion {
  promotionId: string;
  name: string;
  buy: string;
  get: string;
  repeats: boolean;
  firstPurchaseOnly: boolean;
  usesPerCustomer: number | null;
  bonusValidDays: number | null;
  startsAt: string;
  endsAt: string | null;
  state: "active" | "ended" | "scheduled";
  createdAt: string;
  endedAt: string | null;
}

/**
 * buy, get: CNY. repeats: for every whole `buy` in the amount, else once from `buy` on.
 *
 *     usesPerCustomer null: without end. bonusValidDays null: as the top-up settings say. startsAt: at once without it; endsAt: RFC 3339,
 *     half-open, null for never.
 */
export interface PromotionBody {
  name: string;
  buy: string;
  get: string;
  /** @default false */
  repeats?: boolean;
  /** @default false */
  firstPurchaseOnly?: boolean;
  /** @default null */
  usesPerCustomer?: number | null;
  /** @default null */
  bonusValidDays?: number | null;
  /** @default null */
  startsAt?: string | null;
  /** @default null */
  endsAt?: string | null;
}

/** All promotions of the tenant, newest first. */
export interface PromotionList {
  data: Promotion[];
}

/** Nothing. */
export type EndBody = Record<string, never>;

/**
 * A top-up. status: `paid` becomes `credited` when the credits are in the wallet. bonus: promised, from the payment on granted.
 *
 *     refunded: what was or is being refunded of the amount.
 */
export interface TopUp {
  topUpId: string;
  status: "canceled" | "credited" | "expired" | "open" | "paid";
  customerExternalId: string;
  amount: string;
  currency: string;
  bonus: string;
  promotionId: string | null;
  checkoutUrl: string;
  returnUrl: string | null;
  createdAt: string;
  expiresAt: string;
  payment: Payment | null;
  creditedAt: string | null;
  refunded: string;
}

/** The payment that was credited. paidAt: by the channel. */
export interface Payment {
  channel: string;
  orderNo: string;
  transactionId: string | null;
  paidAt: string;
}

/** amount: CNY, a tier or a free amount. returnUrl: where the checkout leads back to. locale: else the browser's. */
export interface TopUpBody {
  customerExternalId: string;
  amount: string;
  /** @default null */
  returnUrl?: string | null;
  /** @default null */
  locale?: ("en" | "zh") | null;
}

/** Newest first. nextCursor null: the last page. */
export interface TopUpPage {
  data: TopUp[];
  nextCursor: string | null;
}

/** Nothing. */
export type CancelBody = Record<string, never>;

/**
 * A refund.
 *
 *     status: `requested`: the credits are being taken back; `ready`: to be sent to the channel; `processing`: the channel works on it;
 *     `succeeded`; `abnormal`: the channel could not pay it out, see to it there; `closed`: the channel refused, the credits are given back;
 *     `refused`: the credits were spent meanwhile. cause: who asked for it. failure: the core's or channel's code.
 */
export interface Refund {
  refundId: string;
  topUpId: string;
  cause: "canceled" | "double_payment" | "grant_refused" | "merchant";
  amount: string;
  currency: string;
  reason: string;
  status: "abnormal" | "closed" | "processing" | "ready" | "refused" | "requested" | "succeeded";
  creditsTaken: CreditsTaken;
  channel: string;
  refundNo: string;
  channelRefundId: string | null;
  failure: string | null;
  createdAt: string;
  succeededAt: string | null;
}

/** Credits taken back, from the paid and from the bonus grant. */
export interface CreditsTaken {
  paid: string;
  bonus: string;
}

/** amount: CNY, at most what is left of the payment and unspent of its credits. reason: for the customer, at most 80 characters. */
export interface RefundBody {
  amount: string;
  /** @default  */
  reason?: string;
}

/** All refunds of a top-up, oldest first. */
export interface RefundList {
  data: Refund[];
}

/** Newest first. nextCursor null: the last page. */
export interface AlertPage {
  data: ListedAlert[];
  nextCursor: string | null;
}

/** An alert. subject: the channel's transaction, or the refund's number. inSuspense: the amount waits for people to decide. */
export interface ListedAlert {
  alertId: string;
  kind: "double_payment" | "grant_refused" | "paid_after_cancel" | "refund_abnormal" | "refund_closed" | "refund_stuck" | "refunded_elsewhere" | "second_transaction" | "unknown_order" | "wrong_amount" | "wrong_collector" | "wrong_currency";
  channel: string;
  orderNo: string;
  subject: string;
  orderId: string | null;
  refundId: string | null;
  amount: string | null;
  inSuspense: boolean;
  detail: string;
  createdAt: string;
}

/** The balance of every account of the cash book, by its code: what the channels hold, their fees, ours, what the merchant is owed. */
export interface CashBook {
  currency: string;
  balances: {
    [key: string]: string;
  };
}

/** The key under which the tenant's return URLs are signed. */
export interface ReturnSecret {
  returnSecret: string;
}

/** All keys of the tenant, oldest first, revoked ones too. */
export interface ApiKeyList {
  data: ApiKey[];
}

/** A key as it may be shown. expiresAt: the end of a rotation's overlap. */
export interface ApiKey {
  keyId: string;
  prefix: string;
  name: string;
  mode: string;
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
}

/** A key just made. `key` is shown this once. */
export interface CreatedKey {
  keyId: string;
  prefix: string;
  key: string;
}

/** A new key. name: for people, at most 255 characters. */
export interface KeyBody {
  /** @default  */
  name?: string;
}

/** Nothing. */
export type RevokeBody = Record<string, never>;

/** overlapSeconds: how long the old key goes on working, at most 30 days. */
export interface RotateBody {
  /** @default 86400 */
  overlapSeconds?: number;
}

/** The setting in force, and the one that takes its place when the open period ends; null: none does. */
export interface BillingPeriod {
  inForce: PeriodSetting;
  scheduled: PeriodSetting | null;
}

/**
 * Where periods begin: on the anchor day (a month without it has its last), at midnight of the time zone. effectiveFrom: by when usage
 *     occurred; null: since ever. periodStart, periodEnd: of the period that is open, or of the first one by a setting to come.
 */
export interface PeriodSetting {
  timeZone: string;
  anchorDay: number;
  effectiveFrom: string | null;
  periodStart: string;
  periodEnd: string;
}

/** timeZone: a name like Asia/Shanghai. anchorDay: 1 to 31; a month without it has its last day. */
export interface BillingPeriodBody {
  timeZone: string;
  anchorDay: number;
}

/** Newest first. nextCursor null: the last page. A page of long entries may hold fewer than `limit`. */
export interface AuditPage {
  data: Listed[];
  nextCursor: string | null;
}

/** One change. before null: it was made; after null: it is gone. chainHash: hexadecimal. */
export interface Listed {
  sequence: number;
  at: string;
  actorKind: "api_key" | "command_line" | "system";
  actor: string;
  action: string;
  objectKind: string;
  objectId: string;
  before: Record<string, never> | null;
  after: Record<string, never> | null;
  requestId: string;
  chainHash: string;
}

/** An error (RFC 9457). `code` is stable: decide by it. `retryable`: the same request may succeed later. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  /** The field, parameter or header at fault. */
  param?: string;
  requestId: string;
  retryable: boolean;
}

export interface paths {
  "/v1/usage-events": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Record usage, up to 500 events at once
     * Every event is rated by the rate card in force when it occurred, deducted from the customer's balance and written to the ledger, exactly once. 200 means durable. Events that are not taken have an outcome of their own and do not touch their neighbours; a rejection is not remembered, so the same key may succeed after a top-up. Repeat the whole request after a 503 or a lost connection: what was accepted before is not charged again.
     */
    post: operations["postUsageEvents"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/usage": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Sum usage by metric, time, customer and dimensions
     * Always the sum of the events it covers that are not voided: everything answered before `asOf` is in it. Charges of customers of different currencies are rows of their own and are never added up.
     */
    get: operations["getUsage"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/usage-events/{idempotencyKey}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get an event with its charge and its postings */
    get: operations["getUsageEventsIdempotencyKey"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/usage-events/{idempotencyKey}/charge": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Explain an event's charge
     * The card and the line that priced the event, the calculation step by step before and after rounding, and the postings that carry the charge with this event's share of each.
     */
    get: operations["getUsageEventsIdempotencyKeyCharge"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/period-charges": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * List what billing periods cost at their ends
     * Volume tiers and minimums per period are charged an hour after a billing period has ended, and again, as a new revision with the difference, when late events or voids have moved it. Sums of usage do not have these charges: they are sums of events.
     */
    get: operations["getPeriodCharges"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/usage-events/{idempotencyKey}/void": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Take an event back
     * Gives its charge back to those who paid it and takes it out of all sums. The event stays on record and its key stays taken. Voiding it again answers with the first void.
     */
    post: operations["postUsageEventsIdempotencyKeyVoid"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/usage-events/{idempotencyKey}/amend": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Replace an event by a corrected one
     * Voids the event and takes a new one of the same customer, in one commit or not at all. What is left out is as it was.
     */
    post: operations["postUsageEventsIdempotencyKeyAmend"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/usage-events/void": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Take many events back, after a preview
     * With `preview`: how many events the filter finds, what they come to, and the setId of exactly these. Without: voids the events of that setId, if they still are the same ones (else 409). At most 100,000 events. A call works for some seconds; as long as `done` is false, or after an error, repeat it as it was and it goes on.
     */
    post: operations["postUsageEventsVoid"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List customers */
    get: operations["getCustomers"];
    put?: never;
    /** Create a customer or change its settings */
    post: operations["postCustomers"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers/{externalId}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a customer */
    get: operations["getCustomersExternalId"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers/{externalId}/grants": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List a customer's grants */
    get: operations["getCustomersExternalIdGrants"];
    put?: never;
    /**
     * Give money to a customer's wallet
     * Send an `Idempotency-Key`: the same key with the same body is one grant, however often it is sent.
     */
    post: operations["postCustomersExternalIdGrants"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers/{externalId}/balance": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Get a customer's balance
     * Includes everything that was answered before. Served from memory, and from the ledger when that is not there.
     */
    get: operations["getCustomersExternalIdBalance"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers/{externalId}/history": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a wallet's postings with the running balance */
    get: operations["getCustomersExternalIdHistory"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers/{externalId}/holds": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /** Hold money for work to be done */
    post: operations["postCustomersExternalIdHolds"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/holds/{holdId}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a hold */
    get: operations["getHoldsHoldId"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/holds/{holdId}/capture": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Capture a hold, whole, in part, or with the actual events
     * Takes at once what the work came to and releases the rest.
     */
    post: operations["postHoldsHoldIdCapture"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/holds/{holdId}/release": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /** Release a hold */
    post: operations["postHoldsHoldIdRelease"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/rate-cards": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List rate cards */
    get: operations["getRateCards"];
    put?: never;
    /**
     * Create a rate card
     * It is published at once, or stays a draft with `draft`. A published card is never changed: a new version takes its place, at once or from `effectiveFrom`. A product's first version also prices what happened before it was made.
     */
    post: operations["postRateCards"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/rate-cards/{rateCardId}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a rate card */
    get: operations["getRateCardsRateCardId"];
    /** Replace a draft */
    put: operations["putRateCardsRateCardId"];
    post?: never;
    /** Delete a draft */
    delete: operations["deleteRateCardsRateCardId"];
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/rate-cards/{rateCardId}/publish": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Publish a draft
     * The draft becomes the next version of its product's rate card and never changes again. Its lines are looked at together: none may be ambiguous, and none may price a metric that another product prices.
     */
    post: operations["postRateCardsRateCardIdPublish"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/rate-cards/{rateCardId}/diff": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Compare two rate cards
     * What changes when this card takes the place of `against`. A line is known by its metric, its match and its currency.
     */
    get: operations["getRateCardsRateCardIdDiff"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/products": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List products */
    get: operations["getProducts"];
    put?: never;
    /**
     * Create a product
     * Every merchant has a product with the code `default`. A metric is priced by the cards of one product only.
     */
    post: operations["postProducts"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/products/{productId}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a product */
    get: operations["getProductsProductId"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/metrics": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List metrics */
    get: operations["getMetrics"];
    put?: never;
    /** Create a metric */
    post: operations["postMetrics"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/customers/{externalId}/rate-card": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List the rate cards assigned to a customer */
    get: operations["getCustomersExternalIdRateCard"];
    /**
     * Assign a rate card to a customer
     * From `effectiveFrom` on the customer meets this one version in place of its product's default cards: an override (published with `audience` `assigned`) or a version it keeps, in force for others or not. The answer comes once the next event will be rated by it. What was priced before stays as it is.
     */
    put: operations["putCustomersExternalIdRateCard"];
    post?: never;
    /**
     * Let a customer meet the default rate cards again
     * From `effectiveFrom` on. The same as assigning `null`.
     */
    delete: operations["deleteCustomersExternalIdRateCard"];
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/rate-cards/{rateCardId}/simulate": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Try a rate card on past usage
     * What was charged and what this card would have charged, by customer, metric and day. Every stored event is rated anew as if the card had been in force alone and since ever; balances play no part, nor do assigned cards, nor customers of other currencies. Periods that lie in the span as a whole and are over count with what they cost at their ends. Nothing is written.
     */
    post: operations["postRateCardsRateCardIdSimulate"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/top-up-settings": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get what customers may buy */
    get: operations["getTopUpSettings"];
    /**
     * Set what customers may buy
     * Replaces all of it, for top-ups made from now on.
     */
    put: operations["putTopUpSettings"];
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/promotions": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List promotions */
    get: operations["getPromotions"];
    put?: never;
    /**
     * Create a promotion
     * Of all promotions that apply to a top-up, the one with the largest bonus counts.
     */
    post: operations["postPromotions"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/promotions/{promotionId}/end": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * End a promotion
     * Now. Top-ups that were promised it keep it.
     */
    post: operations["postPromotionsPromotionIdEnd"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/top-ups": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List top-ups */
    get: operations["getTopUps"];
    put?: never;
    /**
     * Create a top-up
     * Send the customer to `checkoutUrl`. Once it is paid, amount and bonus become two grants in the customer's wallet.
     */
    post: operations["postTopUps"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/top-ups/{topUpId}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a top-up */
    get: operations["getTopUpsTopUpId"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/top-ups/{topUpId}/cancel": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /**
     * Cancel a top-up
     * Its orders are closed at the channels. A payment that comes nevertheless is refunded.
     */
    post: operations["postTopUpsTopUpIdCancel"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/top-ups/{topUpId}/refunds": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List the refunds of a top-up */
    get: operations["getTopUpsTopUpIdRefunds"];
    put?: never;
    /**
     * Refund a top-up, whole or in part
     * Takes back paid credits that are unspent, and the bonus in proportion, then asks the channel. Ask for the refund until its status is final: `succeeded`, `closed` or `refused`.
     */
    post: operations["postTopUpsTopUpIdRefunds"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/refunds/{refundId}": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get a refund */
    get: operations["getRefundsRefundId"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/payment-alerts": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List what people have to look at */
    get: operations["getPaymentAlerts"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/cash-book": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get the balances of the cash book */
    get: operations["getCashBook"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/return-secret": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * Read the return secret
     * The key of `bm_signature`, which the checkout adds to a top-up's `returnUrl`: HMAC-SHA256 over `v1`, `bm_top_up_id`, `bm_status`, `bm_amount`, `bm_currency` and `bm_time`, joined by line feeds.
     */
    get: operations["getReturnSecret"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/api-keys": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** List API keys */
    get: operations["getApiKeys"];
    put?: never;
    /**
     * Create an API key
     * The key is shown in this answer only.
     */
    post: operations["postApiKeys"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/api-keys/{keyId}/revoke": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /** Revoke an API key */
    post: operations["postApiKeysKeyIdRevoke"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/api-keys/{keyId}/rotate": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    get?: never;
    put?: never;
    /** Replace an API key by a new one */
    post: operations["postApiKeysKeyIdRotate"];
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/billing-period": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /** Get where billing periods begin */
    get: operations["getBillingPeriod"];
    /**
     * Change where billing periods begin
     * A change takes effect when the open period ends. From there one short period, at most a month long, runs to the next boundary by the new setting; periods that have begun never change. A further change before then takes the place of the first, and the setting in force takes it back. The same again changes nothing.
     */
    put: operations["putBillingPeriod"];
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
  "/v1/audit-log": {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    /**
     * List changes
     * Who changed what: merchants, API keys, metrics, rate cards. What moves a balance is in the customer's history.
     */
    get: operations["getAuditLog"];
    put?: never;
    post?: never;
    delete?: never;
    options?: never;
    head?: never;
    patch?: never;
    trace?: never;
  };
}

export interface operations {
  postUsageEvents: {
    parameters: {
      query?: {
        /** `all`: accepted events are in `results` too. `rejected`: only what was not accepted. */
        results?: "all" | "rejected";
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": UsageBatch;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": UsageAnswer;
        };
      };
    };
  };
  getUsage: {
    parameters: {
      query?: {
        customerExternalId?: string;
        metric?: string;
        /** Only events with this value of a dimension: dimension.<name>=<value>. */
        "dimension.model"?: string;
        groupBy?: string;
        from?: string;
        to?: string;
        granularity?: "day" | "hour" | "month";
        timeZone?: string;
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": UsageReport;
        };
      };
    };
  };
  getUsageEventsIdempotencyKey: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        idempotencyKey: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RecordedEvent;
        };
      };
    };
  };
  getUsageEventsIdempotencyKeyCharge: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        idempotencyKey: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ExplainedCharge;
        };
      };
    };
  };
  getPeriodCharges: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
        customerExternalId?: string;
        periodStart?: string;
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": PeriodChargePage;
        };
      };
    };
  };
  postUsageEventsIdempotencyKeyVoid: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        idempotencyKey: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": VoidBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": VoidedEvent;
        };
      };
    };
  };
  postUsageEventsIdempotencyKeyAmend: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        idempotencyKey: string;
      };
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": AmendBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": AmendedEvent;
        };
      };
    };
  };
  postUsageEventsVoid: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": VoidSetBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": VoidSet;
        };
      };
    };
  };
  getCustomers: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": CustomerPage;
        };
      };
    };
  };
  postCustomers: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": CustomerBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Customer;
        };
      };
    };
  };
  getCustomersExternalId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Customer;
        };
      };
    };
  };
  getCustomersExternalIdGrants: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
      };
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": GrantPage;
        };
      };
    };
  };
  postCustomersExternalIdGrants: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": GrantBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Grant;
        };
      };
    };
  };
  getCustomersExternalIdBalance: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Balance;
        };
      };
    };
  };
  getCustomersExternalIdHistory: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
        kind?: ("capture" | "grant" | "grant_expiry" | "hold" | "hold_expiry" | "period_charge" | "period_charge_reversal" | "refund" | "release" | "usage" | "void")[];
        from?: string;
        to?: string;
      };
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": HistoryPage;
        };
      };
    };
  };
  postCustomersExternalIdHolds: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": HoldBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Hold;
        };
      };
    };
  };
  getHoldsHoldId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        holdId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": HoldState;
        };
      };
    };
  };
  postHoldsHoldIdCapture: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        holdId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": CaptureBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ClosedHold;
        };
      };
    };
  };
  postHoldsHoldIdRelease: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        holdId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": ReleaseBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ClosedHold;
        };
      };
    };
  };
  getRateCards: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
        productId?: string;
        status?: "draft" | "published";
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RateCardPage;
        };
      };
    };
  };
  postRateCards: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": RateCardBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RateCard;
        };
      };
    };
  };
  getRateCardsRateCardId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        rateCardId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RateCard;
        };
      };
    };
  };
  putRateCardsRateCardId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        rateCardId: string;
      };
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": DraftBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RateCard;
        };
      };
    };
  };
  deleteRateCardsRateCardId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        rateCardId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": DeletedRateCard;
        };
      };
    };
  };
  postRateCardsRateCardIdPublish: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        rateCardId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": PublishBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RateCard;
        };
      };
    };
  };
  getRateCardsRateCardIdDiff: {
    parameters: {
      query?: {
        against?: string;
      };
      header?: never;
      path: {
        rateCardId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RateCardDiff;
        };
      };
    };
  };
  getProducts: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ProductList;
        };
      };
    };
  };
  postProducts: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": ProductBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Product;
        };
      };
    };
  };
  getProductsProductId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        productId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Product;
        };
      };
    };
  };
  getMetrics: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": MetricList;
        };
      };
    };
  };
  postMetrics: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": MetricBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Metric;
        };
      };
    };
  };
  getCustomersExternalIdRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": AssignmentList;
        };
      };
    };
  };
  putCustomersExternalIdRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": AssignmentBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Assignment;
        };
      };
    };
  };
  deleteCustomersExternalIdRateCard: {
    parameters: {
      query?: {
        productId?: string;
        effectiveFrom?: string;
      };
      header?: never;
      path: {
        externalId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Assignment;
        };
      };
    };
  };
  postRateCardsRateCardIdSimulate: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        rateCardId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": SimulateBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": SimulationReport;
        };
      };
    };
  };
  getTopUpSettings: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": TopUpSettings;
        };
      };
    };
  };
  putTopUpSettings: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": TopUpSettings;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": TopUpSettings;
        };
      };
    };
  };
  getPromotions: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": PromotionList;
        };
      };
    };
  };
  postPromotions: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": PromotionBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Promotion;
        };
      };
    };
  };
  postPromotionsPromotionIdEnd: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        promotionId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": EndBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Promotion;
        };
      };
    };
  };
  getTopUps: {
    parameters: {
      query?: {
        customerExternalId?: string;
        limit?: number;
        cursor?: string;
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": TopUpPage;
        };
      };
    };
  };
  postTopUps: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": TopUpBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": TopUp;
        };
      };
    };
  };
  getTopUpsTopUpId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        topUpId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": TopUp;
        };
      };
    };
  };
  postTopUpsTopUpIdCancel: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        topUpId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": CancelBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": TopUp;
        };
      };
    };
  };
  getTopUpsTopUpIdRefunds: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        topUpId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": RefundList;
        };
      };
    };
  };
  postTopUpsTopUpIdRefunds: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        topUpId: string;
      };
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": RefundBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Refund;
        };
      };
    };
  };
  getRefundsRefundId: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        refundId: string;
      };
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": Refund;
        };
      };
    };
  };
  getPaymentAlerts: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": AlertPage;
        };
      };
    };
  };
  getCashBook: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": CashBook;
        };
      };
    };
  };
  getReturnSecret: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ReturnSecret;
        };
      };
    };
  };
  getApiKeys: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ApiKeyList;
        };
      };
    };
  };
  postApiKeys: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": KeyBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": CreatedKey;
        };
      };
    };
  };
  postApiKeysKeyIdRevoke: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        keyId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": RevokeBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": ApiKey;
        };
      };
    };
  };
  postApiKeysKeyIdRotate: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        keyId: string;
      };
      cookie?: never;
    };
    requestBody?: {
      content: {
        "application/json": RotateBody;
      };
    };
    responses: {
      /** Done. */
      201: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": CreatedKey;
        };
      };
    };
  };
  getBillingPeriod: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": BillingPeriod;
        };
      };
    };
  };
  putBillingPeriod: {
    parameters: {
      query?: never;
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody: {
      content: {
        "application/json": BillingPeriodBody;
      };
    };
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": BillingPeriod;
        };
      };
    };
  };
  getAuditLog: {
    parameters: {
      query?: {
        limit?: number;
        cursor?: string;
        action?: "api_key.create" | "api_key.revoke" | "api_key.rotate" | "audit_log.begin" | "channel_account.create" | "channel_account.retire" | "channel_account.rotate" | "customer.assign_rate_card" | "merchant.change_billing_period" | "merchant.create" | "metric.create" | "product.create" | "promotion.create" | "promotion.end" | "rate_card.create" | "rate_card.delete" | "rate_card.publish" | "rate_card.update" | "refund.create" | "top_up.cancel" | "top_up_settings.update";
        actor?: string;
        objectId?: string;
        from?: string;
        to?: string;
      };
      header?: never;
      path?: never;
      cookie?: never;
    };
    requestBody?: never;
    responses: {
      /** Done. */
      200: {
        headers: {
          [name: string]: unknown;
        };
        content: {
          "application/json": AuditPage;
        };
      };
    };
  };
}
