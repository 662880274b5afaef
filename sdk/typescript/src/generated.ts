// Made from the OpenAPI document by scripts/generate.js: do not edit, run `make sdk`.

/** Every `code` that the API answers with. Codes are stable and never reused. */
export type ApiErrorCode =
  | "amount_out_of_range"
  | "body_too_large"
  | "capture_exceeds_hold"
  | "channel_not_configured"
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
  | "unexpected_idempotency_key"
  | "unknown_customer"
  | "unknown_field"
  | "unknown_metric"
  | "unsupported_encoding"
  | "unsupported_media_type"
  | "uri_too_long"
  | "void_too_large";

/** Newest first. */
export interface AlertPage {
  /** The entries. */
  data: PaymentAlert[];
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** The new event. */
export interface AmendBody {
  /** Names it. */
  idempotencyKey: string;
  /** As they were where they are left out. */
  quantity?: string | number;
  /**
   * Format: date-time
   * As they were where they are left out.
   */
  occurredAt?: string;
  /** As they were where they are left out. */
  metric?: string;
  /** As they were where they are left out. */
  dimensions?: {
    [key: string]: string;
  };
  /**
   * At most 255 bytes, kept with the void.
   * @default null
   */
  reason?: string | null;
}

/** Both halves of an amendment. */
export interface AmendedEvent {
  /** The event that was taken back. */
  void: VoidedEvent;
  /** The one in its place. */
  event: AmendingEvent;
  /**
   * Format: decimal
   * What was available after both.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was owed after both.
   */
  unbilledAfter: string;
}

/** The event that stands in the place of another. */
export interface AmendingEvent {
  /** The key that names the event for good. */
  idempotencyKey: string;
  /** The key of the event it replaces. */
  amends: string;
  /**
   * Format: decimal
   * What it was charged.
   */
  charge: string;
  /** ISO 4217. */
  currency: string;
}

/** A key as it may be shown. */
export interface ApiKey {
  /** The API key's id, which is no secret. */
  keyId: string;
  /** How it begins, to know it by. */
  prefix: string;
  /** For people. */
  name: string;
  /**
   * Sandbox and live share nothing.
   */
  mode: "live" | "sandbox";
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** The end of a rotation's overlap. */
  expiresAt: string | null;
  /** Null: it works. */
  revokedAt: string | null;
}

/** All keys of the tenant, oldest first, revoked ones too. */
export interface ApiKeyList {
  /** The entries. */
  data: ApiKey[];
}

/** A customer's card for a product from a moment on. */
export interface Assignment {
  /** Your id of the customer. */
  customerExternalId: string;
  /** The product. */
  productId: string;
  /** The rate card; null: the product's default cards. */
  rateCardId: string | null;
  /** For people; null: the product's default cards. */
  name: string | null;
  /** Null: the product's default cards. */
  version: number | null;
  /**
   * Format: date-time
   * From when on it counts.
   */
  effectiveFrom: string;
  /**
   * `replaced` by a later one with the same start, else `past`, `in_force` or `scheduled`.
   */
  state: "in_force" | "past" | "replaced" | "scheduled";
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** Which card a customer meets. */
export interface AssignmentBody {
  /** A published version; null: the default cards of the product. */
  rateCardId: string | null;
  /**
   * Only with null, the default product without it.
   * @default null
   */
  productId?: string | null;
  /**
   * RFC 3339, by when usage occurred; at once without it.
   * @default null
   */
  effectiveFrom?: string | null;
}

/** Everything that was ever assigned to a customer, newest first. */
export interface AssignmentList {
  /** The entries. */
  data: Assignment[];
}

/** One change. */
export interface AuditEntry {
  /** From 1 without gaps. */
  sequence: number;
  /**
   * Format: date-time
   * When.
   */
  at: string;
  /**
   * An API key, an account of the machine, or a job of ours.
   */
  actorKind: "api_key" | "command_line" | "system";
  /** Its id or name. */
  actor: string;
  /**
   * What was done.
   */
  action: "api_key.create" | "api_key.revoke" | "api_key.rotate" | "audit_log.begin" | "channel_account.create" | "channel_account.reseal" | "channel_account.retire" | "channel_account.rotate" | "customer.assign_rate_card" | "merchant.change_billing_period" | "merchant.create" | "metric.create" | "product.create" | "promotion.create" | "promotion.end" | "rate_card.create" | "rate_card.delete" | "rate_card.publish" | "rate_card.update" | "refund.create" | "top_up.cancel" | "top_up_settings.update";
  /** To what kind of thing. */
  objectKind: string;
  /** To which. */
  objectId: string;
  /** What it was; null: it was made. */
  before: Record<string, never> | null;
  /** What it is; null: it is gone. */
  after: Record<string, never> | null;
  /** The request that did it. */
  requestId: string;
  /** Hexadecimal. */
  chainHash: string;
}

/** Newest first; a page of long entries may hold fewer than `limit`. */
export interface AuditPage {
  /** The entries. */
  data: AuditEntry[];
  /** Give it as `cursor` to get the next page; null: this is the last. */
  nextCursor: string | null;
}

/** A wallet. */
export interface Balance {
  /**
   * Format: decimal
   * Negative only within the overdraft limit, where customers pay before.
   */
  available: string;
  /**
   * Format: decimal
   * What is on hold.
   */
  held: string;
  /**
   * Format: decimal
   * Where they pay after, what the customer owes and was not invoiced for, what open holds took of it included; it is no part of available, and credits do not repay it.
   */
  unbilled: string;
  /** ISO 4217. */
  currency: string;
  /** What is available, by kind of grant. */
  byKind: BalanceByKind;
  /** Those with something left, in the order of spending. */
  grants: OpenGrant[];
  /** Of the last posting in it. */
  sequence: number;
}

/** The wallet right after the movement. */
export interface BalanceAfter {
  /**
   * Format: decimal
   * What can be spent.
   */
  available: string;
  /**
   * Format: decimal
   * What is on hold.
   */
  held: string;
  /**
   * Format: decimal
   * What is owed and was not invoiced for; 0 where customers pay before.
   */
  unbilled: string;
}

/** What is available of each kind of grant. */
export interface BalanceByKind {
  /**
   * Format: decimal
   * Paid for.
   */
  paid: string;
  /**
   * Format: decimal
   * On top of what was paid for.
   */
  bonus: string;
  /**
   * Format: decimal
   * Given without a payment.
   */
  promotional: string;
}

/** Where billing periods begin. */
export interface BillingPeriod {
  /** The setting of the open period. */
  inForce: PeriodSetting;
  /** The one that takes its place when that period ends; null: none does. */
  scheduled: PeriodSetting | null;
}

/** Where billing periods begin. */
export interface BillingPeriodBody {
  /** A name like Asia/Shanghai. */
  timeZone: string;
  /** 1 to 31; a month without it has its last day. */
  anchorDay: number;
}

/** How the event used up blocks: in the billing period in which it occurred, of its customer, on this line and its versions. */
export interface BoughtBlocks {
  /**
   * Format: date-time
   * When the billing period begins.
   */
  periodStart: string;
  /**
   * Format: date-time
   * When the billing period ends, itself not in it.
   */
  periodEnd: string;
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /**
   * Format: decimal
   * Units that the allowance and blocks bought so far still covered.
   */
  leftBefore: string;
  /**
   * Format: decimal
   * What of the quantity they did not cover.
   */
  lacking: string;
  /** How many blocks the event bought for that. */
  bought: number;
  /**
   * Format: decimal
   * The same after the event.
   */
  leftAfter: string;
}

/** No fields. */
export type CancelBody = Record<string, never>;

/** What the work came to; the rest is released. Events may cost more than is held, as far as the balance covers them. Where it does not, the answer is 402 `insufficient_balance`, nothing happens and the hold stays open: the same capture can be tried again after a top-up. */
export interface CaptureBody {
  /**
   * A part of what is held.
   * @default null
   */
  amount?: string | null;
  /** The actual usage, as in POST /v1/usage-events; without either the whole is taken. */
  events?: UsageEvent[];
}

/** What became of the events of a capture. */
export interface CapturedUsage {
  /** How many had this outcome. */
  accepted: number;
  /** How many had this outcome. */
  duplicates: number;
  /** How many had this outcome. */
  rejected: number;
  /**
   * Format: decimal
   * The sum of the charges.
   */
  charged: string;
  /** What was not accepted, as in POST /v1/usage-events. */
  results: EventResult[];
}

/** The cash book. */
export interface CashBook {
  /** ISO 4217. */
  currency: string;
  /** Of every account, by its code: what the channels hold, their fees, ours, what the merchant is owed. */
  balances: {
    [key: string]: string;
  };
}

/** What is said of both cards as a whole, and differs. */
export interface ChangedField {
  /**
   * Its name.
   */
  field: "audience" | "currency" | "effectiveFrom" | "name" | "productId";
  /** What `against` says, null: since ever. */
  before: string | null;
  /** What `rateCardId` says, likewise. */
  after: string | null;
}

/** A line that both cards have, with different prices in one currency. */
export interface ChangedLine {
  /** The metric's code. */
  metric: string;
  /** The dimensions that an event must have for this line; empty: any. */
  match: {
    [key: string]: string;
  };
  /** Of `against`. */
  before: ChargeLine;
  /** Of `rateCardId`. */
  after: ChargeLine;
}

/** A line, for events of `metric` whose dimensions contain `match` (empty: all of them). What an event of quantity q costs: `per_unit` q × price ÷ per; `package` price for each block of `per` units that it begins; `flat` price; `markup` q × cost ÷ per and percent on top; `graduated` of each part of q, by the tier it lies in, part × price ÷ per; `volume` nothing: when the billing period is over, all its units cost the price of the tier in which their total lies. In the card's currency unless it names its own; `prices`, `costs`, `minimums` and `minimumsPerPeriod` say it in several side by side, and the currency of the customer's wallet decides. */
export interface ChargeBody {
  /** The metric's code. */
  metric: string;
  /**
   * How the price is worked out: see the fields of a charge.
   * @default per_unit
   */
  model?: "per_unit" | "package" | "flat" | "markup" | "graduated" | "volume";
  /**
   * Format: decimal
   * For `per` units.
   */
  price?: string;
  /**
   * Format: decimal
   * For `per` units, before the mark-up.
   */
  cost?: string;
  /**
   * Format: decimal
   * How many units the price is for.
   */
  per?: string;
  /**
   * Format: decimal
   * What is put on top of the cost.
   */
  percent?: string;
  /**
   * Format: decimal
   * What an event costs at least, with any model but `volume`.
   */
  minimum?: string;
  /**
   * Format: decimal
   * What a billing period costs at least in which the line was used, with any model; what the events did not pay of it is charged when the period is over; like `volume` for pay-as-you-go only.
   */
  minimumPerPeriod?: string;
  /**
   * Format: decimal
   * Units of the metric that are free for a customer in each billing period, with any model but `flat`; q is what lies beyond them, and an event within them is free.
   */
  allowance?: string;
  /**
   * Whose blocks a package counts. `period`, which they are without it: those that a billing period begins, so that what an event leaves of a block the customer's next ones use up; there is no `minimum` then. `event`: those of each event by itself.
   */
  blocks?: "period" | "event";
  /** From the first unit on; the last is open. */
  tiers?: TierBody[];
  /**
   * The dimensions that an event must have for this line; empty: any.
   * @default {}
   */
  match?: {
    [key: string]: string;
  };
  /** The card's without it. */
  currency?: string;
  /** `price` by currency. */
  prices?: {
    [key: string]: string;
  };
  /** `cost` by currency. */
  costs?: {
    [key: string]: string;
  };
  /** `minimum` by currency. */
  minimums?: {
    [key: string]: string;
  };
  /** `minimumPerPeriod` by currency. */
  minimumsPerPeriod?: {
    [key: string]: string;
  };
}

/** A line of a rate card, with the fields of its model. */
export interface ChargeLine {
  /** The metric's code. */
  metric: string;
  /**
   * How the price is worked out: see the fields of a charge.
   */
  model: "per_unit" | "package" | "flat" | "markup" | "graduated" | "volume";
  /** The dimensions that an event must have for this line; empty: any. */
  match: {
    [key: string]: string;
  };
  /**
   * Format: decimal
   * For `per` units.
   */
  price?: string;
  /**
   * Format: decimal
   * For `per` units, before the mark-up.
   */
  cost?: string;
  /**
   * Format: decimal
   * How many units the price is for.
   */
  per?: string;
  /**
   * Format: decimal
   * What is put on top of the cost.
   */
  percent?: string;
  /**
   * Format: decimal
   * What an event costs at least.
   */
  minimum?: string;
  /**
   * Format: decimal
   * What a billing period costs at least in which the line was used.
   */
  minimumPerPeriod?: string;
  /** Where it is not the card's. */
  currency?: string;
  /** By currency. */
  prices?: {
    [key: string]: string;
  };
  /** By currency. */
  costs?: {
    [key: string]: string;
  };
  /** By currency. */
  minimums?: {
    [key: string]: string;
  };
  /** By currency. */
  minimumsPerPeriod?: {
    [key: string]: string;
  };
  /**
   * Format: decimal
   * Units that are free for a customer in each billing period.
   */
  allowance?: string;
  /**
   * Whose blocks a package counts: those of a billing period, or of each event by itself.
   */
  blocks?: "period" | "event";
  /** From the first unit on; the last is open. */
  tiers?: TierBody[];
}

/** A posting that carries (a part of) the charge. Usage of a customer that was committed at once and paid by one grant is one posting. */
export interface ChargePosting {
  /** The number of the posting in its account, from 1 without gaps. */
  sequence: number;
  /**
   * What paid it, the wallet, or for usage that accrued what the customer owes unbilled.
   */
  account: "customer_unbilled" | "customer_wallet";
  /** The grant; null: no grant. */
  grantId: string | null;
  /**
   * Format: decimal
   * That of all its `events`.
   */
  amount: string;
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * The part that is this one's.
   */
  shareOfThisEvent: string;
  /**
   * Format: decimal
   * What was available after it.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was owed.
   */
  unbilledAfter: string;
  /**
   * Format: date-time
   * When it was posted.
   */
  postedAt: string;
}

/** One step of a calculation. */
export interface ChargeStep {
  /** In words. */
  what: string;
  /** With its numbers. */
  formula: string;
  /** What the formula gives, exactly; `a/b` where that takes more than 18 decimals. */
  amount: string;
}

/** The billing period in which an event occurred, of a line that asks for more when it is over: all of it of a volume line, else what the minimum per period is above the events' charges. GET /v1/period-charges shows it then. */
export interface ChargedPeriod {
  /**
   * Format: date-time
   * When the billing period begins.
   */
  periodStart: string;
  /**
   * Format: date-time
   * When the billing period ends, itself not in it.
   */
  periodEnd: string;
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /** How it is charged, in words. */
  pricing: string;
}

/** The rate card that priced an event. */
export interface ChargingCard {
  /** The rate card. */
  rateCardId: string;
  /** For people. */
  name: string;
  /** Of its product's cards. */
  version: number | null;
  /** From when on it counts; null: since ever. */
  effectiveFrom: string | null;
}

/** The line of the rate card that priced an event, with the fields of its model. */
export interface ChargingLine {
  /** From 0, within the card. */
  index: number;
  /** The metric's code. */
  metric: string;
  /** The dimensions that an event must have for this line; empty: any. */
  match: {
    [key: string]: string;
  };
  /**
   * How the price is worked out: see the fields of a charge.
   */
  model: "per_unit" | "package" | "flat" | "markup" | "graduated" | "volume";
  /**
   * Format: decimal
   * For `per` units.
   */
  price?: string;
  /**
   * Format: decimal
   * For `per` units, before the mark-up.
   */
  cost?: string;
  /**
   * Format: decimal
   * How many units the price is for.
   */
  per?: string;
  /**
   * Format: decimal
   * What is put on top of the cost.
   */
  percent?: string;
  /**
   * Format: decimal
   * What an event costs at least.
   */
  minimum?: string;
  /**
   * Format: decimal
   * What a billing period costs at least in which the line was used.
   */
  minimumPerPeriod?: string;
  /**
   * Format: decimal
   * Units that are free for a customer in each billing period.
   */
  allowance?: string;
  /**
   * Whose blocks a package counts: those of a billing period, or of each event by itself.
   */
  blocks?: "period" | "event";
  /** From the first unit on; the last is open. */
  tiers?: ChargingTier[];
}

/** A tier of a graduated or volume line. */
export interface ChargingTier {
  /** The last unit of the tier, counted from the beginning of the billing period; null: all units beyond the tier before. */
  upTo: string | null;
  /**
   * Format: decimal
   * For `per` units.
   */
  price: string;
  /**
   * Format: decimal
   * How many units the price is for.
   */
  per: string;
}

/** A hold after its capture or release. */
export interface ClosedHold {
  /** The hold. */
  holdId: string;
  /**
   * Where it stands.
   */
  status: "captured" | "expired" | "open" | "released";
  /**
   * Format: decimal
   * What was taken.
   */
  captured: string;
  /**
   * Format: decimal
   * What was given back.
   */
  released: string;
  /** The wallet right after it. */
  balance: BalanceAfter;
  /**
   * Only of a capture with events.
   * @default null
   */
  usage?: CapturedUsage | null;
}

/** How the event was counted: in the billing period in which it occurred, of its customer, on this line and its versions. */
export interface CountedUsage {
  /**
   * Format: date-time
   * When the billing period begins.
   */
  periodStart: string;
  /**
   * Format: date-time
   * When the billing period ends, itself not in it.
   */
  periodEnd: string;
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /**
   * Format: decimal
   * Units that the period had used.
   */
  before: string;
  /**
   * Format: decimal
   * Units that the period had used.
   */
  after: string;
  /**
   * Format: decimal
   * Those of this event that were free.
   */
  allowanceUsed: string;
  /**
   * Format: decimal
   * The others.
   */
  billable: string;
}

/** A key just made. */
export interface CreatedKey {
  /** The API key's id, which is no secret. */
  keyId: string;
  /** How it begins, to know it by. */
  prefix: string;
  /** Shown this once. */
  key: string;
}

/** Credits taken back. */
export interface CreditsTaken {
  /**
   * Format: decimal
   * From the paid grant.
   */
  paid: string;
  /**
   * Format: decimal
   * From the bonus grant.
   */
  bonus: string;
}

/** A customer. */
export interface Customer {
  /** Your id of the customer. */
  externalId: string;
  /** ISO 4217. */
  currency: string;
  /** Null: no floor, and no limit to what may be owed unbilled. */
  overdraftLimit: string | null;
  /** Falling below it is recorded; null: none. */
  lowBalanceThreshold: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** A customer to make or to change; what is left out stays as it is. */
export interface CustomerBody {
  /** Your id of the customer. */
  externalId: string;
  /** Of the wallet, for good; the merchant's without it. */
  currency?: string;
  /** How far below zero the balance may go, or, where customers pay after, how much may be owed unbilled; null: without end. */
  overdraftLimit?: string | null;
  /** Falling below it is recorded; null: none. */
  lowBalanceThreshold?: string | null;
}

/** In the order of their making. */
export interface CustomerPage {
  /** The entries. */
  data: Customer[];
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** A draft that is no more. */
export interface DeletedRateCard {
  /** The rate card. */
  rateCardId: string;
  /** True. */
  deleted: boolean;
}

/** All of a draft. */
export interface DraftBody {
  /** For people. */
  name: string;
  /** ISO 4217. */
  currency: string;
  /** Its lines. */
  charges: ChargeBody[];
  /**
   * RFC 3339, in force at once without it.
   * @default null
   */
  effectiveFrom?: string | null;
  /**
   * The draft stays with its product without it.
   * @default null
   */
  productId?: string | null;
  /**
   * `assigned` for a card that only customers meet to whom it is assigned.
   * @default everyone
   */
  audience?: "assigned" | "everyone";
}

/** No fields. */
export type EndBody = Record<string, never>;

/** Usage that is expected. */
export interface EstimatedEvent {
  /** The metric's code. */
  metric: string;
  /** Units of the metric. */
  quantity: string | number;
  /** The event's own words for what it was: model, region, tier, or any of yours. */
  dimensions?: {
    [key: string]: string;
  };
  /**
   * Format: date-time
   * Now without it.
   */
  occurredAt?: string;
  /** The hold's customer without it. */
  customerExternalId?: string;
  /** Of no effect: nothing of an estimate is recorded. */
  idempotencyKey?: string;
}

/** What became of one event. */
export interface EventResult {
  /** Its place in the request, from 0. */
  index: number;
  /**
   * Only `accepted` events are charged; `conflict`: the key was used with other content.
   */
  outcome: "accepted" | "conflict" | "duplicate" | "rejected";
  /** That of the event, null where it could not be read. */
  idempotencyKey?: string | null;
  /** Of an event that was not taken, one of the API's error codes. */
  code?: string | null;
  /** One sentence for the developer. */
  detail?: string | null;
  /** The field at fault. */
  param?: string | null;
  /** What the event was charged, of a duplicate what it was charged the first time. */
  charge?: string | null;
}

/** The void of an event. */
export interface EventVoid {
  /**
   * Format: date-time
   * When it was taken back.
   */
  voidedAt: string;
  /** The id of the API key. */
  voidedBy: string;
  /** Of the void. */
  commandId: string;
  /** The set it was voided with; null: alone. */
  setId: string | null;
  /** Why, in the merchant's words. */
  reason: string | null;
  /**
   * Format: decimal
   * All that was given back.
   */
  amount: string;
  /** What came back to whom. */
  givenBackTo: GivenBack[];
  /** Its first posting; null if the event was free of charge. */
  postingSequence: number | null;
  /**
   * Format: decimal
   * What was available after it.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was owed.
   */
  unbilledAfter: string;
  /** The commit of the ledger that has it. */
  commitId: string;
}

/** A charge, recomputable by hand. */
export interface ExplainedCharge {
  /** The key that names the event for good. */
  idempotencyKey: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /** The metric's code. */
  metric: string;
  /**
   * Format: decimal
   * Units of the metric.
   */
  quantity: string;
  /** The event's own words for what it was: model, region, tier, or any of yours. */
  dimensions: {
    [key: string]: string;
  };
  /**
   * Format: date-time
   * When it was used.
   */
  occurredAt: string;
  /**
   * Format: date-time
   * When it was taken.
   */
  acceptedAt: string;
  /** ISO 4217. */
  currency: string;
  /** That priced the event. */
  rateCard: ChargingCard;
  /** Of that card. */
  line: ChargingLine;
  /** The calculation. */
  steps: ChargeStep[];
  /** Before rounding, `a/b` where a decimal takes more than 18 places. */
  exact: string;
  /**
   * Format: decimal
   * To nine decimals, once.
   */
  rounded: string;
  /** The rule. */
  rounding: string;
  /** The line's minimum is more than that. */
  minimumApplied: boolean;
  /**
   * Format: decimal
   * What it was charged.
   */
  charge: string;
  /** Null for a line without graduated tiers and allowance. */
  counter: CountedUsage | null;
  /** In its place for a package line whose blocks are those of the period. */
  blocks: BoughtBlocks | null;
  /** Null for a line that asks for nothing at the end of a period. */
  period: ChargedPeriod | null;
  /** What of the event lies in each. */
  tiers: PricedTier[];
  /** The first of them. */
  posting: ChargePosting | null;
  /** Those that carry the charge, empty if the event was free of charge; the shares of an event add up to its charge, and those of a posting's events to its amount. */
  postings: ChargePosting[];
  /** The commit of the ledger that has it. */
  commitId: string;
  /** How the event was taken back, and its charge with it. */
  void: EventVoid | null;
  /** The key of the event that it replaces. */
  amends: string | null;
  /** The key of the one that replaces it. */
  amendedBy: string | null;
}

/** Any amount in between, in whole fen. */
export interface FreeAmounts {
  /**
   * Format: decimal
   * CNY.
   */
  minimum: string;
  /**
   * Format: decimal
   * CNY.
   */
  maximum: string;
}

/** What came back to whom. */
export interface GivenBack {
  /**
   * The wallet, or what is owed unbilled, which is less now.
   */
  account: "customer_unbilled" | "customer_wallet";
  /** The grant; null: to no grant, so of the wallet overdraft that was repaid. */
  grantId: string | null;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
}

/** A grant just made. */
export interface Grant {
  /** The grant. */
  grantId: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /**
   * What it is.
   */
  kind: "bonus" | "paid" | "promotional";
  /** 0 to 1000; lower is spent first. */
  priority: number;
  /** When it ends by itself; null: never. */
  expiresAt: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** The wallet right after it. */
  balance: BalanceAfter;
}

/** Money to give. */
export interface GrantBody {
  /**
   * Format: decimal
   * Above zero.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /**
   * `paid` for, `bonus` on top of what was paid for, or `promotional`.
   */
  kind: "bonus" | "paid" | "promotional";
  /**
   * 0 to 1000, lower is spent first.
   * @default 100
   */
  priority?: number;
  /**
   * RFC 3339; what is left then is lost.
   * @default null
   */
  expiresAt?: string | null;
}

/** A grant with what remains of it. */
export interface GrantInList {
  /** The grant. */
  grantId: string;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /**
   * Format: decimal
   * What is left of it.
   */
  remaining: string;
  /** ISO 4217. */
  currency: string;
  /**
   * What it is.
   */
  kind: "bonus" | "paid" | "promotional";
  /** 0 to 1000; lower is spent first. */
  priority: number;
  /**
   * Open, spent (also while the rest is on hold, and when it was refunded), or expired.
   */
  status: "expired" | "open" | "spent";
  /** When it ends by itself; null: never. */
  expiresAt: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** Newest first. */
export interface GrantPage {
  /** The entries. */
  data: GrantInList[];
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** One posting: `amount` went from the debit to the credit account. */
export interface HistoryEntry {
  /** The number of the posting in its account, from 1 without gaps. */
  sequence: number;
  /**
   * What it is.
   */
  kind: "capture" | "grant" | "grant_expiry" | "hold" | "hold_expiry" | "period_charge" | "period_charge_reversal" | "refund" | "release" | "usage" | "void";
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** Where the amount came from. */
  debitAccount: string;
  /** Where the amount went. */
  creditAccount: string;
  /**
   * Format: decimal
   * What was available after it.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was on hold right after it.
   */
  heldAfter: string;
  /**
   * Format: decimal
   * What was owed and not invoiced.
   */
  unbilledAfter: string;
  /** The grant; null: no grant. */
  grantId: string | null;
  /** The grant or hold behind it; of a refund its command, `cmd_` and 32 hexadecimal digits. */
  reference: string | null;
  /** Only of a void, that of the event it reverses. */
  idempotencyKey: string | null;
  /**
   * Format: date-time
   * When it was posted.
   */
  postedAt: string;
}

/** Newest first. */
export interface HistoryPage {
  /** The entries. */
  data: HistoryEntry[];
  /** ISO 4217. */
  currency: string;
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** A hold just made. */
export interface Hold {
  /** The hold. */
  holdId: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /**
   * Where it stands.
   */
  status: "captured" | "expired" | "open" | "released";
  /**
   * Format: date-time
   * When it is released by itself.
   */
  expiresAt: string;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** The wallet right after it. */
  balance: BalanceAfter;
}

/** What is held: either `amount`, or what `events` would be charged now, one after the other, on the customer's tiers, allowances and blocks as they stand. That may be nothing, and then the hold is one of zero. */
export interface HoldBody {
  /**
   * Above zero, in the currency of the wallet.
   * @default null
   */
  amount?: string | null;
  /**
   * Usage that is expected, at most 500.
   * @default null
   */
  events?: EstimatedEvent[] | null;
  /**
   * 1 second to 7 days.
   * @default 900
   */
  ttlSeconds?: number;
}

/** A hold as it stands. */
export interface HoldState {
  /** The hold. */
  holdId: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /**
   * Where it stands.
   */
  status: "captured" | "expired" | "open" | "released";
  /** Null while it is open. */
  captured: string | null;
  /** Null while it is open. */
  released: string | null;
  /**
   * Format: date-time
   * When it is released by itself.
   */
  expiresAt: string;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** A new key. */
export interface KeyBody {
  /**
   * For people, at most 255 characters.
   * @default
   */
  name?: string;
}

/** Something that is counted. */
export interface Metric {
  /** Below 100 for the built-in ones. */
  metricId: number;
  /** Stable: programs may decide by it. */
  code: string;
  /** For people. */
  unit: string;
  /** Every merchant has it. */
  builtIn: boolean;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** A merchant's own metric. */
export interface MetricBody {
  /** a-z, 0-9 and _, at most 64 characters. */
  code: string;
  /**
   * For people.
   * @default
   */
  unit?: string;
}

/** All metrics of the tenant. */
export interface MetricList {
  /** The entries. */
  data: Metric[];
}

/** A line that begins to count at zero, whatever the running billing period has used: no version before counts this metric and match. */
export interface NewCounter {
  /** The metric's code. */
  metric: string;
  /** The dimensions that an event must have for this line; empty: any. */
  match: {
    [key: string]: string;
  };
}

/** A grant with something left, in the order of spending. */
export interface OpenGrant {
  /** The grant. */
  grantId: string;
  /**
   * What it is.
   */
  kind: "bonus" | "paid" | "promotional";
  /** 0 to 1000; lower is spent first. */
  priority: number;
  /**
   * Format: decimal
   * What is left of it.
   */
  remaining: string;
  /** When it ends by itself; null: never. */
  expiresAt: string | null;
}

/** The payment that was credited. */
export interface Payment {
  /**
   * The payment channel.
   */
  channel: "alipay" | "wechat";
  /** Ours, at the channel. */
  orderNo: string;
  /** The channel's. */
  transactionId: string | null;
  /**
   * Format: date-time
   * By the channel.
   */
  paidAt: string;
}

/** Something that people have to look at. */
export interface PaymentAlert {
  /** Of the alert. */
  alertId: string;
  /**
   * What happened.
   */
  kind: "double_payment" | "grant_refused" | "paid_after_cancel" | "refund_abnormal" | "refund_closed" | "refund_stuck" | "refunded_elsewhere" | "second_transaction" | "unknown_order" | "wrong_amount" | "wrong_collector" | "wrong_currency";
  /**
   * The payment channel.
   */
  channel: "alipay" | "wechat";
  /** Ours, at the channel. */
  orderNo: string;
  /** The channel's transaction, or the refund's number. */
  subject: string;
  /** Null: the order is not known. */
  orderId: string | null;
  /** Of alerts about a refund. */
  refundId: string | null;
  /** CNY. */
  amount: string | null;
  /** The amount waits for people to decide. */
  inSuspense: boolean;
  /** For people. */
  detail: string;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** What a customer's billing period costs on one line beyond what its events were charged. The newest revision of a period counts. */
export interface PeriodCharge {
  /** Your id of the customer. */
  customerExternalId: string;
  /** The metric's code. */
  metric: string;
  /** ISO 4217. */
  currency: string;
  /**
   * Format: date-time
   * When the billing period begins.
   */
  periodStart: string;
  /**
   * Format: date-time
   * When the billing period ends, itself not in it.
   */
  periodEnd: string;
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /** From 1. */
  revision: number;
  /** In force for the customer at the period's last moment. */
  rateCard: ChargingCard;
  /** In force for the customer at the period's last moment. */
  line: ChargingLine;
  /**
   * Format: decimal
   * Units used in the period.
   */
  quantity: string;
  /**
   * Format: decimal
   * What its events were charged.
   */
  eventCharges: string;
  /** Of a volume line, units beyond the allowance. */
  billable: string | null;
  /** Of a volume line, the one in which the total lies. */
  tier: PricedTier | null;
  /** The calculation. */
  steps: ChargeStep[];
  /** Before rounding, `a/b` where a decimal takes more than 18 places. */
  exact: string;
  /**
   * Format: decimal
   * To nine decimals, once.
   */
  rounded: string;
  /** The rule. */
  rounding: string;
  /** The minimum per period is more than that. */
  minimumApplied: boolean;
  /**
   * Format: decimal
   * What the period is charged.
   */
  total: string;
  /**
   * Format: decimal
   * Total less that of the revision before, and what the postings moved (below zero: given back). Revisions after the first are made when late events or voids have moved the period.
   */
  amount: string;
  /** Those that carry the amount. */
  postings: PeriodPosting[];
  /**
   * Format: decimal
   * What was available right after it.
   */
  balanceAfter: string;
  /** The commit of the ledger that has it. */
  commitId: string;
  /**
   * Format: date-time
   * When it was charged.
   */
  settledAt: string;
}

/** Newest first. */
export interface PeriodChargePage {
  /** The entries. */
  data: PeriodCharge[];
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** A posting of a period charge: to revenue (`period_charge`), or back (`period_charge_reversal`). */
export interface PeriodPosting {
  /** The number of the posting in its account, from 1 without gaps. */
  sequence: number;
  /**
   * What it is.
   */
  kind: "period_charge" | "period_charge_reversal";
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /**
   * What paid it or got it back, the wallet or what the customer owes unbilled.
   */
  account: "customer_unbilled" | "customer_wallet";
  /** The grant; null: no grant. */
  grantId: string | null;
  /**
   * Format: decimal
   * What was available right after it.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was owed and not invoiced for right after it.
   */
  unbilledAfter: string;
  /**
   * Format: date-time
   * When it was posted.
   */
  postedAt: string;
}

/** A setting of billing periods, which begin at midnight of the time zone. */
export interface PeriodSetting {
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /** The day of the month, 1 to 31; a month without it has its last. */
  anchorDay: number;
  /** By when usage occurred; null: since ever. */
  effectiveFrom: string | null;
  /**
   * Format: date-time
   * Of the period that is open, or of the first one by a setting to come.
   */
  periodStart: string;
  /**
   * Format: date-time
   * Of the period that is open, or of the first one by a setting to come.
   */
  periodEnd: string;
}

/** The line of a rate card that priced an event. */
export interface PriceLine {
  /** The rate card. */
  rateCardId: string;
  /** Its index in the card, from 0. */
  line: number;
  /** Null for a line with tiers, which has several. */
  price: string | null;
  /** Null for a line with tiers, which has several. */
  per: string | null;
}

/** The part of an event that lies in one tier. */
export interface PricedTier {
  /** From 1. */
  number: number;
  /** The last unit of the tier, counted from the beginning of the billing period; null: no end. */
  upTo: string | null;
  /**
   * Format: decimal
   * Units of the metric.
   */
  quantity: string;
  /**
   * Format: decimal
   * For `per` units.
   */
  price: string;
  /**
   * Format: decimal
   * How many units the price is for.
   */
  per: string;
  /** Quantity × price ÷ per, before any rounding. */
  amount: string;
}

/** What a merchant sells, with rate cards of its own. */
export interface Product {
  /** The product. */
  productId: string;
  /** Unique among the products. */
  code: string;
  /** For people. */
  name: string;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
}

/** A new product. */
export interface ProductBody {
  /** a-z, 0-9 and _, at most 64 characters. */
  code: string;
  /**
   * For people, the code without it.
   * @default
   */
  name?: string;
}

/** All products of the tenant, oldest first. */
export interface ProductList {
  /** The entries. */
  data: Product[];
}

/** A promotion, whose terms never change. */
export interface Promotion {
  /** The promotion. */
  promotionId: string;
  /** For people. */
  name: string;
  /**
   * Format: decimal
   * CNY, from which amount on.
   */
  buy: string;
  /**
   * Format: decimal
   * CNY, the bonus.
   */
  get: string;
  /** For every whole `buy` in the amount, else once. */
  repeats: boolean;
  /** Only for a customer's first paid top-up. */
  firstPurchaseOnly: boolean;
  /** Null: without end. */
  usesPerCustomer: number | null;
  /** Null: as the top-up settings say. */
  bonusValidDays: number | null;
  /**
   * Format: date-time
   * Itself in it.
   */
  startsAt: string;
  /** Itself not in it; null: never. */
  endsAt: string | null;
  /**
   * Whether it counts now.
   */
  state: "active" | "ended" | "scheduled";
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** When it was ended by hand. */
  endedAt: string | null;
}

/** Terms of a promotion. */
export interface PromotionBody {
  /** For people. */
  name: string;
  /**
   * Format: decimal
   * CNY, from which amount on.
   */
  buy: string;
  /**
   * Format: decimal
   * CNY, the bonus.
   */
  get: string;
  /**
   * For every whole `buy` in the amount, else once from `buy` on.
   * @default false
   */
  repeats?: boolean;
  /**
   * Only for a customer's first paid top-up.
   * @default false
   */
  firstPurchaseOnly?: boolean;
  /**
   * Null: without end.
   * @default null
   */
  usesPerCustomer?: number | null;
  /**
   * Null: as the top-up settings say.
   * @default null
   */
  bonusValidDays?: number | null;
  /**
   * At once without it.
   * @default null
   */
  startsAt?: string | null;
  /**
   * RFC 3339, half-open, null for never.
   * @default null
   */
  endsAt?: string | null;
}

/** All promotions of the tenant, newest first. */
export interface PromotionList {
  /** The entries. */
  data: Promotion[];
}

/** How a draft is published. */
export interface PublishBody {
  /**
   * RFC 3339; without it what the draft says, else at once.
   * @default null
   */
  effectiveFrom?: string | null;
  /**
   * Without it what the draft says.
   * @default null
   */
  audience?: ("assigned" | "everyone") | null;
}

/** A rate card. */
export interface RateCard {
  /** The rate card. */
  rateCardId: string;
  /** The product. */
  productId: string;
  /** For people. */
  name: string;
  /** ISO 4217. */
  currency: string;
  /**
   * `assigned`: only customers meet it to whom it is assigned.
   */
  audience: "assigned" | "everyone";
  /**
   * Where it stands.
   */
  status: "draft" | "published";
  /** Null for a draft. */
  version: number | null;
  /** Its lines. */
  charges: ChargeLine[];
  /** From when on it counts; null: a version also prices what happened before it was made. */
  effectiveFrom: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** When it was published; null for a draft. */
  publishedAt: string | null;
}

/** A new rate card, published at once unless it is a draft. */
export interface RateCardBody {
  /** For people. */
  name: string;
  /** ISO 4217. */
  currency: string;
  /** Its lines; the most specific one that matches an event prices it. */
  charges: ChargeBody[];
  /**
   * RFC 3339, in force at once without it.
   * @default null
   */
  effectiveFrom?: string | null;
  /**
   * The product with the code `default` without it.
   * @default null
   */
  productId?: string | null;
  /**
   * It stays a draft until it is published.
   * @default false
   */
  draft?: boolean;
  /**
   * `assigned` for a card that only customers meet to whom it is assigned.
   * @default everyone
   */
  audience?: "assigned" | "everyone";
}

/** What changes when a card takes the place of another. */
export interface RateCardDiff {
  /** The rate card. */
  rateCardId: string;
  /** Null: there is no version before. */
  against: string | null;
  /** What is said of the cards as a whole; not what a draft leaves open. */
  fields: ChangedField[];
  /** Lines that only `rateCardId` has. */
  added: ChargeLine[];
  /** Lines that only `against` has. */
  removed: ChargeLine[];
  /** Lines that both have, with other prices. */
  changed: ChangedLine[];
  /** Lines that begin to count at zero. */
  newCounters: NewCounter[];
  /** The same for people. */
  text: string;
}

/** Newest first. */
export interface RateCardPage {
  /** The entries. */
  data: RateCardSummary[];
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** A rate card in a list. */
export interface RateCardSummary {
  /** The rate card. */
  rateCardId: string;
  /** The product. */
  productId: string;
  /** For people. */
  name: string;
  /** ISO 4217. */
  currency: string;
  /**
   * `assigned`: only customers meet it to whom it is assigned.
   */
  audience: "assigned" | "everyone";
  /**
   * Where it stands.
   */
  status: "draft" | "published";
  /**
   * Whether customers without a card of their own meet it now; `replaced`: never, since a higher version has the same start; `by_assignment`: only those customers to whom it is assigned.
   */
  state: "by_assignment" | "draft" | "in_force" | "past" | "replaced" | "scheduled";
  /** Null for a draft. */
  version: number | null;
  /** How many lines it has. */
  chargeCount: number;
  /** From when on it counts; null: a version also prices what happened before it was made. */
  effectiveFrom: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** When it was published; null for a draft. */
  publishedAt: string | null;
}

/** An event as it was accepted. */
export interface RecordedEvent {
  /** The key that names the event for good. */
  idempotencyKey: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /** The metric's code. */
  metric: string;
  /**
   * Format: decimal
   * Units of the metric.
   */
  quantity: string;
  /**
   * Format: date-time
   * When it was used.
   */
  occurredAt: string;
  /**
   * Format: date-time
   * When it was taken.
   */
  acceptedAt: string;
  /** The event's own words for what it was: model, region, tier, or any of yours. */
  dimensions: {
    [key: string]: string;
  };
  /**
   * Format: decimal
   * What it was charged.
   */
  charge: string;
  /** ISO 4217. */
  currency: string;
  /** The line that priced it. */
  price: PriceLine;
  /** The first of postings; null: free of charge. */
  posting: UsagePosting | null;
  /** Those that carry the charge. */
  postings: UsagePosting[];
  /** The commit of the ledger that has it. */
  commitId: string;
  /** How it was taken back, null if it was not. */
  void: EventVoid | null;
  /** The key of the event it replaces. */
  amends: string | null;
  /** The key of the event that replaces it. */
  amendedBy: string | null;
}

/** A refund. */
export interface Refund {
  /** The refund. */
  refundId: string;
  /** The top-up. */
  topUpId: string;
  /**
   * Who asked for it.
   */
  cause: "canceled" | "double_payment" | "grant_refused" | "merchant";
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /** Why, in the merchant's words. */
  reason: string;
  /**
   * `requested`: the credits are being taken back; `ready`: to be sent to the channel; `processing`: the channel works on it; `succeeded`; `abnormal`: the channel could not pay it out, see to it there; `closed`: the channel refused, the credits are given back; `refused`: the credits were spent meanwhile.
   */
  status: "abnormal" | "closed" | "processing" | "ready" | "refused" | "requested" | "succeeded";
  /** From the customer's wallet. */
  creditsTaken: CreditsTaken;
  /**
   * The payment channel.
   */
  channel: "alipay" | "wechat";
  /** Ours, at the channel. */
  refundNo: string;
  /** The channel's. */
  channelRefundId: string | null;
  /** The core's or channel's code. */
  failure: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /** By the channel. */
  succeededAt: string | null;
}

/** What is given back. */
export interface RefundBody {
  /**
   * Format: decimal
   * CNY, at most what is left of the payment and unspent of its credits.
   */
  amount: string;
  /**
   * For the customer, at most 80 characters.
   * @default
   */
  reason?: string;
}

/** All refunds of a top-up, oldest first. */
export interface RefundList {
  /** The entries. */
  data: Refund[];
}

/** An event of the set that could not be voided. */
export interface RefusedVoid {
  /** The key that names the event for good. */
  idempotencyKey: string;
  /** Why. */
  code: string;
}

/** No fields. */
export type ReleaseBody = Record<string, never>;

/** What signs return URLs. */
export interface ReturnSecret {
  /** The key of `bm_signature`. */
  returnSecret: string;
}

/** No fields. */
export type RevokeBody = Record<string, never>;

/** How a key is replaced. */
export interface RotateBody {
  /**
   * How long the old key goes on working, at most 30 days.
   * @default 86400
   */
  overlapSeconds?: number;
}

/** Which past usage. */
export interface SimulateBody {
  /**
   * RFC 3339, half-open, by when it occurred.
   * @default null
   */
  from?: string | null;
  /**
   * RFC 3339, half-open, by when it occurred.
   * @default null
   */
  to?: string | null;
  /**
   * Of one customer.
   * @default null
   */
  customerExternalId?: string | null;
  /**
   * Where its days begin.
   * @default Asia/Shanghai
   */
  timeZone?: string;
  /**
   * Of which customers; without it that of the one asked for, else the merchant's.
   * @default null
   */
  currency?: string | null;
}

/** The events of one customer. */
export interface SimulatedCustomer {
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * What was charged.
   */
  before: string;
  /**
   * Format: decimal
   * What the card would have charged.
   */
  after: string;
  /**
   * Format: decimal
   * After less before.
   */
  difference: string;
  /** Those that no line of the card matches, so that it would have refused them. */
  unpricedEvents: number;
  /**
   * Format: decimal
   * What was charged for them.
   */
  unpricedBefore: string;
  /** Your id of the customer. */
  customerExternalId: string;
}

/** The events of one day. */
export interface SimulatedDay {
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * What was charged.
   */
  before: string;
  /**
   * Format: decimal
   * What the card would have charged.
   */
  after: string;
  /**
   * Format: decimal
   * After less before.
   */
  difference: string;
  /** Those that no line of the card matches, so that it would have refused them. */
  unpricedEvents: number;
  /**
   * Format: decimal
   * What was charged for them.
   */
  unpricedBefore: string;
  /**
   * Format: date
   * In the time zone that was asked for.
   */
  day: string;
}

/** The events of one customer, metric and day. */
export interface SimulatedGroup {
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * What was charged.
   */
  before: string;
  /**
   * Format: decimal
   * What the card would have charged.
   */
  after: string;
  /**
   * Format: decimal
   * After less before.
   */
  difference: string;
  /** Those that no line of the card matches, so that it would have refused them. */
  unpricedEvents: number;
  /**
   * Format: decimal
   * What was charged for them.
   */
  unpricedBefore: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /** The metric's code. */
  metric: string;
  /**
   * Format: date
   * In the time zone that was asked for.
   */
  day: string;
}

/** The events of one metric. */
export interface SimulatedMetric {
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * What was charged.
   */
  before: string;
  /**
   * Format: decimal
   * What the card would have charged.
   */
  after: string;
  /**
   * Format: decimal
   * After less before.
   */
  difference: string;
  /** Those that no line of the card matches, so that it would have refused them. */
  unpricedEvents: number;
  /**
   * Format: decimal
   * What was charged for them.
   */
  unpricedBefore: string;
  /** The metric's code. */
  metric: string;
}

/** What a card would have earned; sums are over all events. */
export interface SimulationReport {
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * What was charged.
   */
  before: string;
  /**
   * Format: decimal
   * What the card would have charged.
   */
  after: string;
  /**
   * Format: decimal
   * After less before.
   */
  difference: string;
  /** Those that no line of the card matches, so that it would have refused them. */
  unpricedEvents: number;
  /**
   * Format: decimal
   * What was charged for them.
   */
  unpricedBefore: string;
  /** The rate card; null: a card that is not stored. */
  rateCardId: string | null;
  /** For people. */
  name: string;
  /** ISO 4217. */
  currency: string;
  /** RFC 3339, itself in the span; null: from the first event on. */
  from: string | null;
  /** RFC 3339, itself not in the span; null: up to now. */
  to: string | null;
  /** Your id of the customer. */
  customerExternalId: string | null;
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /** Their charge would be too large to be kept. */
  outOfRangeEvents: number;
  /** Of metrics that another product prices, which are in no other sum. */
  otherProductsEvents: number;
  /**
   * Format: decimal
   * What was charged for those.
   */
  otherProductsBefore: string;
  /** All metrics. */
  byMetric: SimulatedMetric[];
  /** All days. */
  byDay: SimulatedDay[];
  /** Those that change most. */
  byCustomer: SimulatedCustomer[];
  /** How many there are. */
  customers: number;
  /** By customer, metric and day, those that change most. */
  data: SimulatedGroup[];
  /** How many of them there are. */
  groups: number;
}

/** A tier of a graduated or volume line: units of a billing period, beyond the allowance, after the tier before and up to the `upTo`th. */
export interface TierBody {
  /** Null for the last tier, and only for it. */
  upTo: string | null;
  /**
   * Format: decimal
   * For `per` units.
   */
  price: string;
  /**
   * Format: decimal
   * How many units the price is for.
   * @default 1
   */
  per?: string;
}

/** A top-up. */
export interface TopUp {
  /** The top-up. */
  topUpId: string;
  /**
   * `paid` becomes `credited` when the credits are in the wallet.
   */
  status: "canceled" | "credited" | "expired" | "open" | "paid";
  /** Your id of the customer. */
  customerExternalId: string;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /**
   * Format: decimal
   * Promised, from the payment on granted.
   */
  bonus: string;
  /** The promotion. */
  promotionId: string | null;
  /**
   * Format: uri
   * Where it is paid; whoever has it may pay.
   */
  checkoutUrl: string;
  /** Where the checkout leads back to. */
  returnUrl: string | null;
  /**
   * Format: date-time
   * When it was made.
   */
  createdAt: string;
  /**
   * Format: date-time
   * Until when it can be paid.
   */
  expiresAt: string;
  /** Null until it is paid. */
  payment: Payment | null;
  /** When the credits were in the wallet. */
  creditedAt: string | null;
  /**
   * Format: decimal
   * What was or is being refunded of the amount.
   */
  refunded: string;
}

/** What a customer buys. */
export interface TopUpBody {
  /** Your id of the customer. */
  customerExternalId: string;
  /**
   * Format: decimal
   * CNY, a tier or a free amount.
   */
  amount: string;
  /**
   * Where the checkout leads back to.
   * @default null
   */
  returnUrl?: string | null;
  /**
   * Of the checkout, else the browser's.
   * @default null
   */
  locale?: ("en" | "zh") | null;
}

/** Newest first. */
export interface TopUpPage {
  /** The entries. */
  data: TopUp[];
  /** Give it as `cursor` to get the next page; null: the last page. */
  nextCursor: string | null;
}

/** What customers may buy, for top-ups made from now on. */
export interface TopUpSettings {
  /** Amounts to choose from, CNY. */
  tiers: string[];
  /**
   * Null: only the tiers.
   * @default null
   */
  freeAmounts?: FreeAmounts | null;
  /**
   * What the checkout shows; null: the merchant's name.
   * @default null
   */
  displayName?: string | null;
  /**
   * When credits expire, counted from the payment; null: never.
   * @default null
   */
  paidValidDays?: number | null;
  /**
   * When credits expire, counted from the payment; null: never.
   * @default null
   */
  bonusValidDays?: number | null;
  /**
   * How long after its payment a top-up may be refunded; 0: never.
   * @default 30
   */
  refundWindowDays?: number;
  /**
   * How long a top-up can be paid.
   * @default 30
   */
  checkoutValidMinutes?: number;
}

/** What became of a batch. What is accepted is durable and in the ledger. */
export interface UsageAnswer {
  /** How many events had this outcome. */
  accepted: number;
  /** How many events had this outcome. */
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
  /** Names this request in our logs. */
  requestId: string;
}

/** Usage. */
export interface UsageBatch {
  /** Up to 500, each with an outcome of its own. */
  events: UsageEvent[];
}

/** One use of one metric by one customer. */
export interface UsageEvent {
  /** Your id of the customer, at most 255 bytes. */
  customerExternalId: string;
  /** Names this event for good; the same key again is a duplicate and is not charged. */
  idempotencyKey: string;
  /** A built-in metric or one of yours. */
  metric: string;
  /** Above zero, a decimal string with at most 9 decimals; integers may also be numbers. */
  quantity: string | number;
  /**
   * Format: date-time
   * RFC 3339 with a zone, at most 5 minutes ahead and 35 days back.
   */
  occurredAt: string;
  /**
   * Model, region, tier and your own, what rate cards match and usage is grouped by.
   * @default {}
   */
  dimensions?: {
    [key: string]: string;
  };
}

/** A posting that carries (a part of) an event's charge, with others of the same commit. */
export interface UsagePosting {
  /** The number of the posting in its account, from 1 without gaps. */
  sequence: number;
  /** What it is. */
  kind: string;
  /**
   * Format: decimal
   * In the currency of the wallet.
   */
  amount: string;
  /** Where the amount came from. */
  debitAccount: string;
  /** Where the amount went. */
  creditAccount: string;
  /**
   * Format: decimal
   * What was available right after it.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was on hold right after it.
   */
  heldAfter: string;
  /**
   * Format: decimal
   * What was owed and not invoiced for right after it.
   */
  unbilledAfter: string;
  /** The grant; null: what no grant paid, overdraft of the wallet or owed unbilled, as debitAccount says. */
  grantId: string | null;
  /**
   * Format: date-time
   * When it was posted.
   */
  postedAt: string;
}

/** Sums of usage. */
export interface UsageReport {
  /**
   * Format: date-time
   * All events that were answered before are in it.
   */
  asOf: string;
  /** RFC 3339, itself in the span; null: from the first event on. */
  from: string | null;
  /** RFC 3339, itself not in the span; null: up to now. */
  to: string | null;
  /** As it was asked for. */
  granularity: ("day" | "hour" | "month") | null;
  /** An IANA name, for example Asia/Shanghai. */
  timeZone: string;
  /** Null where the rows are in several currencies. */
  currency: string | null;
  /** Over all rows. */
  events: number;
  /** Over all rows; null where they are in several currencies. */
  charged: string | null;
  /** Over all rows, by the currency of the customers' wallets. */
  chargedByCurrency: {
    [key: string]: string;
  };
  /** The entries. */
  data: UsageRow[];
}

/** The sum of some events of one metric, of customers of one currency. */
export interface UsageRow {
  /** The metric's code. */
  metric: string;
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * Units of the metric.
   */
  quantity: string;
  /**
   * Format: decimal
   * What it was charged.
   */
  charge: string;
  /** ISO 4217. */
  currency: string;
  /**
   * Format: date-time
   * Of the hour, day or month, where a granularity was asked for.
   */
  start?: string;
  /**
   * Format: date-time
   * Of the hour, day or month, where a granularity was asked for.
   */
  end?: string;
  /** Where they were grouped by. */
  customerExternalId?: string;
  /** Where they were grouped by. */
  dimensions?: {
    [key: string]: string | null;
  };
}

/** Why an event is taken back. */
export interface VoidBody {
  /**
   * At most 255 bytes, kept with the void.
   * @default null
   */
  reason?: string | null;
}

/** Which events; at least one of these is needed. */
export interface VoidFilter {
  /**
   * Your id of the customer.
   * @default null
   */
  customerExternalId?: string | null;
  /**
   * The metric's code.
   * @default null
   */
  metric?: string | null;
  /**
   * All of these values.
   * @default null
   */
  dimensions?: {
    [key: string]: string;
  } | null;
  /**
   * Of occurredAt, RFC 3339, half-open.
   * @default null
   */
  from?: string | null;
  /**
   * Of occurredAt, RFC 3339, half-open.
   * @default null
   */
  to?: string | null;
}

/** A set of events, and how far its voiding is. */
export interface VoidSet {
  /** Names exactly these events. */
  setId: string;
  /** Of the whole set. */
  events: number;
  /** Of the whole set; null where there are several currencies. */
  charge: string | null;
  /** Null where there are several. */
  currency: string | null;
  /** The same by currency. */
  chargeByCurrency: {
    [key: string]: string;
  };
  /** Of the whole set. */
  byMetric: VoidedMetric[];
  /** How many there are. */
  customers: number;
  /** Of the whole set, the largest first. */
  byCustomer: VoidedCustomer[];
  /** How many are, so far. */
  voided: number;
  /** Given back by this call; null where there are several currencies. */
  amount: string | null;
  /** The same by currency. */
  amountByCurrency: {
    [key: string]: string;
  };
  /** Those that could not be voided. */
  refused: RefusedVoid[];
  /** Nothing is left to do but what was refused; false: repeat the call as it was. */
  done: boolean;
}

/** What is to be voided. */
export interface VoidSetBody {
  /** Which events. */
  filter: VoidFilter;
  /** True: only tell what would be voided; false: void it. */
  preview: boolean;
  /**
   * The preview's, where preview is false.
   * @default null
   */
  setId?: string | null;
  /**
   * At most 255 bytes, kept with each void.
   * @default null
   */
  reason?: string | null;
}

/** The events of one customer. */
export interface VoidedCustomer {
  /** Your id of the customer. */
  customerExternalId: string;
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * What it was charged.
   */
  charge: string;
  /** ISO 4217. */
  currency: string;
}

/** An event after its void. */
export interface VoidedEvent {
  /** It was voided before, and this is what was said then. */
  alreadyVoided: boolean;
  /** The key that names the event for good. */
  idempotencyKey: string;
  /** Your id of the customer. */
  customerExternalId: string;
  /**
   * Format: decimal
   * All that was given back.
   */
  amount: string;
  /** ISO 4217. */
  currency: string;
  /** What came back to whom. */
  givenBackTo: GivenBack[];
  /**
   * Format: decimal
   * What was available right after it.
   */
  balanceAfter: string;
  /**
   * Format: decimal
   * What was owed and not invoiced for right after it.
   */
  unbilledAfter: string;
  /**
   * Format: date-time
   * When it was taken back.
   */
  voidedAt: string;
  /** Why, in the merchant's words. */
  reason: string | null;
  /** The key of the event in its place; null: none. */
  amendedBy: string | null;
}

/** The events of one metric in one currency. */
export interface VoidedMetric {
  /** The metric's code. */
  metric: string;
  /** How many events. */
  events: number;
  /**
   * Format: decimal
   * Units of the metric.
   */
  quantity: string;
  /**
   * Format: decimal
   * What it was charged.
   */
  charge: string;
  /** ISO 4217. */
  currency: string;
}

/** An error (RFC 9457). */
export interface Problem {
  /**
   * Format: uri
   * `urn:buffmoney:problem:` and the code.
   */
  type: string;
  /** What the code means. */
  title: string;
  /** The HTTP status. */
  status: number;
  /** Stable: decide by it. */
  code: string;
  /** One sentence for the developer; its words may change. */
  detail: string;
  /** The field, parameter or header at fault. */
  param?: string;
  /** Names this request in our logs. */
  requestId: string;
  /** The same request may succeed later without a change. */
  retryable: boolean;
  /** Where events are to blame: what is wrong with each. */
  results?: EventResult[];
  /**
   * Format: decimal
   * Of a refund that is too large: the most that is possible.
   */
  refundable?: string;
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
     * Every event is rated by the rate card in force when it occurred, deducted from the customer's balance and written to the ledger, exactly once. 200 means durable. Events that are not taken have an outcome of their own and do not touch their neighbours; a rejection is not remembered, so the same key may succeed after a top-up. Repeat the whole request after a 503 or a lost connection: what was accepted before is not charged again. Each event carries its own `idempotencyKey`, the same in every attempt; a header `Idempotency-Key` is refused with `unexpected_idempotency_key`.
     */
    post: operations["ingestUsageEvents"];
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
    /**
     * Get an event with its charge and its postings
     * The event as it was accepted, with its charge, the line that priced it, and how it was taken back, if it was.
     */
    get: operations["getUsageEvent"];
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
    get: operations["getCharge"];
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
    get: operations["listPeriodCharges"];
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
    post: operations["voidUsageEvent"];
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
    post: operations["amendUsageEvent"];
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
    post: operations["voidUsageEvents"];
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
    /**
     * List customers
     * All customers, in the order of their making.
     */
    get: operations["listCustomers"];
    put?: never;
    /**
     * Create a customer or change its settings
     * Makes the customer if there is none with this id; what is left out of the body stays as it is.
     */
    post: operations["configureCustomer"];
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
    /**
     * Get a customer
     * One customer with the settings of its wallet.
     */
    get: operations["getCustomer"];
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
    /**
     * List a customer's grants
     * Everything that was ever given to the customer, newest first, each with what is left of it.
     */
    get: operations["listGrants"];
    put?: never;
    /**
     * Give money to a customer's wallet
     * Send an `Idempotency-Key`: the same key with the same body is one grant, however often it is sent.
     */
    post: operations["createGrant"];
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
    get: operations["getBalance"];
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
    /**
     * Get a wallet's postings with the running balance
     * Newest first, by kind and by time of posting. Each posting says what was available, on hold and owed after it.
     */
    get: operations["getHistory"];
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
    /**
     * Hold money for work to be done
     * Sets an amount aside, or what the given events would cost, before the work is done. Capture it with what the work came to, or release it; otherwise it is released when its time is over.
     */
    post: operations["createHold"];
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
    /**
     * Get a hold
     * The hold as it stands, and what became of it.
     */
    get: operations["getHold"];
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
     * Takes at once what the work came to and releases the rest. Events that the balance and the hold together do not cover are refused as a whole, and the hold stays open.
     */
    post: operations["captureHold"];
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
    /**
     * Release a hold
     * Gives all of it back to the grants that it was taken from.
     */
    post: operations["releaseHold"];
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
    /**
     * List rate cards
     * Newest first, drafts among them; each with the number of its lines in place of them.
     */
    get: operations["listRateCards"];
    put?: never;
    /**
     * Create a rate card
     * It is published at once, or stays a draft with `draft`. A published card is never changed: a new version takes its place, at once or from `effectiveFrom`. Of two with the same `effectiveFrom`, which must be to come, the higher version counts: so a scheduled one can be replaced. A product's first version also prices what happened before it was made.
     */
    post: operations["createRateCard"];
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
    /**
     * Get a rate card
     * One rate card with all its lines.
     */
    get: operations["getRateCard"];
    /**
     * Replace a draft
     * Only a draft can be replaced: a published card never changes.
     */
    put: operations["replaceRateCard"];
    post?: never;
    /**
     * Delete a draft
     * Only a draft can be deleted: a published card stays for good.
     */
    delete: operations["deleteRateCard"];
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
    post: operations["publishRateCard"];
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
     * What changes when this card takes the place of `against`, by default of the version for everyone that is in force until then. A line is known by its metric, its match and its currency.
     */
    get: operations["diffRateCards"];
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
    /**
     * List products
     * All products, the oldest first.
     */
    get: operations["listProducts"];
    put?: never;
    /**
     * Create a product
     * Every merchant has a product with the code `default`. A metric is priced by the cards of one product only.
     */
    post: operations["createProduct"];
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
    /**
     * Get a product
     * One product.
     */
    get: operations["getProduct"];
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
    /**
     * List metrics
     * The built-in metrics and the merchant's own.
     */
    get: operations["listMetrics"];
    put?: never;
    /**
     * Create a metric
     * Something of your own to count, beside the built-in metrics.
     */
    post: operations["createMetric"];
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
    /**
     * List the rate cards assigned to a customer
     * Everything that was ever assigned to the customer, newest first.
     */
    get: operations["listAssignments"];
    /**
     * Assign a rate card to a customer
     * From `effectiveFrom` on the customer meets this one version in place of its product's default cards: an override (published with `audience` `assigned`) or a version it keeps, in force for others or not. The answer comes once the next event will be rated by it. What was priced before stays as it is.
     */
    put: operations["assignCard"];
    post?: never;
    /**
     * Let a customer meet the default rate cards again
     * From `effectiveFrom` on. The same as assigning `null`.
     */
    delete: operations["endAssignment"];
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
     * What was charged and what this card would have charged, by customer, metric and day. Every stored event is rated anew as if the card had been in force alone and since ever; balances play no part, nor do assigned cards, nor customers of other currencies. Tiers and allowances begin with the billing period in which `from` lies. Periods that lie in the span as a whole and are over count with what they cost at their ends. Nothing is written.
     */
    post: operations["simulateRateCard"];
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
    /**
     * Get what customers may buy
     * As they were set, or the defaults.
     */
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
    /**
     * List promotions
     * All promotions, newest first, those that have ended among them.
     */
    get: operations["listPromotions"];
    put?: never;
    /**
     * Create a promotion
     * Of all promotions that apply to a top-up, the one with the largest bonus counts.
     */
    post: operations["createPromotion"];
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
    post: operations["endPromotion"];
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
    /**
     * List top-ups
     * Newest first, of one customer or of all.
     */
    get: operations["listTopUps"];
    put?: never;
    /**
     * Create a top-up
     * Send the customer to `checkoutUrl`. Once it is paid, amount and bonus become two grants in the customer's wallet.
     */
    post: operations["createTopUp"];
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
    /**
     * Get a top-up
     * What became of it. What is delivered is decided by this answer, not by the return address that its payer opened.
     */
    get: operations["getTopUp"];
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
    post: operations["cancelTopUp"];
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
    /**
     * List the refunds of a top-up
     * Oldest first, those that we made by rule among them: of a second payment, or of a cancelled top-up.
     */
    get: operations["listRefunds"];
    put?: never;
    /**
     * Refund a top-up, whole or in part
     * Takes back paid credits that are unspent, and the bonus in proportion, then asks the channel. Ask for the refund until its status is final: `succeeded`, `closed` or `refused`.
     */
    post: operations["createRefund"];
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
    /**
     * Get a refund
     * The refund as it stands.
     */
    get: operations["getRefund"];
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
    /**
     * List what people have to look at
     * Payments that no rule could decide, refunds that did not come through: newest first.
     */
    get: operations["listPaymentAlerts"];
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
    /**
     * Get the balances of the cash book
     * In CNY and whole fen, double-entry: the balances of all accounts add up to nothing.
     */
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
    /**
     * List API keys
     * Without the keys themselves; revoked ones too.
     */
    get: operations["listApiKeys"];
    put?: never;
    /**
     * Create an API key
     * The key is shown in this answer only.
     */
    post: operations["createApiKey"];
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
    /**
     * Revoke an API key
     * Every server refuses the key within a second. It cannot be taken back.
     */
    post: operations["revokeApiKey"];
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
    /**
     * Replace an API key by a new one
     * The new key works at once, the old one until the overlap ends.
     */
    post: operations["rotateApiKey"];
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
    /**
     * Get where billing periods begin
     * The setting in force, and the one to come.
     */
    get: operations["getBillingPeriod"];
    /**
     * Change where billing periods begin
     * A change takes effect when the open period ends. From there one short period, at most a month long, runs to the next boundary by the new setting; periods that have begun never change. A further change before then takes the place of the first, and the setting in force takes it back. The same again changes nothing.
     */
    put: operations["changeBillingPeriod"];
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
    get: operations["listAuditLog"];
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
  ingestUsageEvents: {
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
        /** Of one customer. */
        customerExternalId?: string;
        /** Of one metric. */
        metric?: string;
        /** Only events with this value of a dimension, `dimension.<name>=<value>`. */
        "dimension.model"?: string;
        /** `customer`, `dimension.<name>`, several with commas. */
        groupBy?: string;
        /** RFC 3339, half-open, whole quarter hours. */
        from?: string;
        /** RFC 3339, half-open, whole quarter hours. */
        to?: string;
        /** A row for each hour, day or month. */
        granularity?: "day" | "hour" | "month";
        /** Where days and months begin. */
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
  getUsageEvent: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The key that names the event for good. */
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
  getCharge: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The key that names the event for good. */
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
  listPeriodCharges: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
        cursor?: string;
        /** Of one customer. */
        customerExternalId?: string;
        /** RFC 3339, the moment at which the period begins. */
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
  voidUsageEvent: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The key that names the event for good. */
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
  amendUsageEvent: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The key that names the event for good. */
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
  voidUsageEvents: {
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
  listCustomers: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
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
  configureCustomer: {
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
  getCustomer: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** Your id of the customer. */
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
  listGrants: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
        cursor?: string;
      };
      header?: never;
      path: {
        /** Your id of the customer. */
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
  createGrant: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** Your id of the customer. */
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
  getBalance: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** Your id of the customer. */
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
  getHistory: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
        cursor?: string;
        /** Repeated for several. */
        kind?: ("capture" | "grant" | "grant_expiry" | "hold" | "hold_expiry" | "period_charge" | "period_charge_reversal" | "refund" | "release" | "usage" | "void")[];
        /** RFC 3339, half-open, of the time of posting. */
        from?: string;
        /** RFC 3339, half-open, of the time of posting. */
        to?: string;
      };
      header?: never;
      path: {
        /** Your id of the customer. */
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
  createHold: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** Your id of the customer. */
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
  getHold: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The hold. */
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
  captureHold: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The hold. */
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
  releaseHold: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The hold. */
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
  listRateCards: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
        cursor?: string;
        /** Those of one product. */
        productId?: string;
        /** Those of one status. */
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
  createRateCard: {
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
  getRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The rate card. */
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
  replaceRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The rate card. */
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
  deleteRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The rate card. */
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
  publishRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The rate card. */
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
  diffRateCards: {
    parameters: {
      query?: {
        /** The card before; without it the version for everyone that is in force until this card takes effect. */
        against?: string;
      };
      header?: never;
      path: {
        /** The rate card. */
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
  listProducts: {
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
  createProduct: {
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
  getProduct: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The product. */
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
  listMetrics: {
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
  createMetric: {
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
  listAssignments: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** Your id of the customer. */
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
  assignCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** Your id of the customer. */
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
  endAssignment: {
    parameters: {
      query?: {
        /** The default product without it. */
        productId?: string;
        /** RFC 3339, at once without it. */
        effectiveFrom?: string;
      };
      header?: never;
      path: {
        /** Your id of the customer. */
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
  simulateRateCard: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The rate card. */
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
  listPromotions: {
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
  createPromotion: {
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
  endPromotion: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The promotion. */
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
  listTopUps: {
    parameters: {
      query?: {
        /** Of one customer only. */
        customerExternalId?: string;
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
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
  createTopUp: {
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
  getTopUp: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The top-up. */
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
  cancelTopUp: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The top-up. */
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
  listRefunds: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The top-up. */
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
  createRefund: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The top-up. */
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
  getRefund: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The refund. */
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
  listPaymentAlerts: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
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
  listApiKeys: {
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
  createApiKey: {
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
  revokeApiKey: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The API key's id, which is no secret. */
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
  rotateApiKey: {
    parameters: {
      query?: never;
      header?: never;
      path: {
        /** The API key's id, which is no secret. */
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
  changeBillingPeriod: {
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
  listAuditLog: {
    parameters: {
      query?: {
        /** How many entries a page has at most. */
        limit?: number;
        /** The `nextCursor` of the page before. */
        cursor?: string;
        /** Of one kind. */
        action?: "api_key.create" | "api_key.revoke" | "api_key.rotate" | "audit_log.begin" | "channel_account.create" | "channel_account.reseal" | "channel_account.retire" | "channel_account.rotate" | "customer.assign_rate_card" | "merchant.change_billing_period" | "merchant.create" | "metric.create" | "product.create" | "promotion.create" | "promotion.end" | "rate_card.create" | "rate_card.delete" | "rate_card.publish" | "rate_card.update" | "refund.create" | "top_up.cancel" | "top_up_settings.update";
        /** A key's id, or an account of the machine. */
        actor?: string;
        /** Of a rate card, a key, a metric's code. */
        objectId?: string;
        /** RFC 3339, half-open. */
        from?: string;
        /** RFC 3339, half-open. */
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
