export { BuffMoneyClient, BuffMoneyClient as default } from "./client.js";
export type { BufferOptions, UsageBuffer } from "./buffer.js";
export {
  BuffMoneyError,
  ConnectionError,
  UnrecordedEventsError,
  WebhookVerificationError,
  type ErrorCode,
  type RejectedEvent,
} from "./errors.js";
export type { IngestOptions, IngestResult, UsageEventInput } from "./events.js";
export type * from "./generated.js";
export type { List, Page } from "./list.js";
export type { UsageQuery } from "./resources.js";
export { VERSION, type ClientOptions, type RequestOptions } from "./transport.js";
export { verifyWebhook, type VerifyOptions } from "./webhooks.js";
