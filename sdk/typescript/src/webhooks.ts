import { WebhookVerificationError } from "./errors.js";

const TOLERANCE_S = 300;
const PREFIX = "whsec_";

export interface VerifyOptions {
  /** How far the sender's clock may be from ours, either way: 300 seconds unless set. */
  toleranceSeconds?: number | undefined;
  /** The time to judge by, else now. */
  now?: Date | undefined;
}

/**
 * The content of a webhook that is signed as Standard Webhooks say, or WebhookVerificationError. payload: the body as it came, before
 * any parsing. secrets: `whsec_…`, several while one takes another's place.
 *
 * @example
 * const event = await verifyWebhook(await request.text(), request.headers, process.env.WEBHOOK_SECRET);
 */
export async function verifyWebhook<T = unknown>(
  payload: string | Uint8Array,
  headers: Headers | Readonly<Record<string, string | readonly string[] | undefined>>,
  secrets: string | readonly string[] | undefined,
  options: VerifyOptions = {},
): Promise<T> {
  const keys = (typeof secrets === "string" ? [secrets] : (secrets ?? [])).map(secretBytes);
  if (keys.length === 0) throw new TypeError("A webhook secret is needed");
  const id = header(headers, "webhook-id");
  const timestamp = header(headers, "webhook-timestamp");
  const signatures = header(headers, "webhook-signature");
  if (!/^\d{1,12}$/.test(timestamp))
    throw new WebhookVerificationError("invalid_timestamp", "webhook-timestamp is not a number of seconds");
  const age = Math.floor((options.now ?? new Date()).getTime() / 1000) - Number(timestamp);
  const tolerance = options.toleranceSeconds ?? TOLERANCE_S;
  if (!(age <= tolerance)) throw new WebhookVerificationError("too_old", `The webhook was signed ${age} s ago`);
  if (!(-age <= tolerance)) throw new WebhookVerificationError("too_new", `The webhook was signed ${-age} s in the future`);

  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const prefix = new TextEncoder().encode(`${id}.${timestamp}.`);
  const signed = new Uint8Array(prefix.length + bytes.length);
  signed.set(prefix);
  signed.set(bytes, prefix.length);
  for (const secret of keys) {
    const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
    for (const signature of signatures.split(" ")) {
      const [version, text] = signature.split(",", 2);
      const given = version === "v1" && text ? fromBase64(text) : undefined;
      // Web Crypto compares in constant time.
      if (given && (await crypto.subtle.verify("HMAC", key, given, signed))) return JSON.parse(new TextDecoder().decode(bytes)) as T;
    }
  }
  throw new WebhookVerificationError("wrong_signature", "No signature of the webhook fits a secret");
}

function header(headers: Parameters<typeof verifyWebhook>[1], name: string): string {
  const found = headers instanceof Headers ? headers.get(name) : Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  const value = Array.isArray(found) ? found[0] : found;
  if (!value) throw new WebhookVerificationError("missing_header", `The header ${name} is missing`);
  return value;
}

function secretBytes(secret: string): Uint8Array<ArrayBuffer> {
  const bytes = fromBase64(secret.startsWith(PREFIX) ? secret.slice(PREFIX.length) : secret);
  if (!bytes?.length) throw new TypeError("A webhook secret is base64, with or without whsec_ before it");
  return bytes;
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
