// Proves: webhooks are believed exactly where Standard Webhooks say so, judged against another implementation and fixed bytes.
import assert from "node:assert/strict";
import test from "node:test";
import { Webhook } from "standardwebhooks";
import { verifyWebhook, WebhookVerificationError } from "../dist/index.js";

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const other = `whsec_${Buffer.from("another secret of 32 bytes, to rotate").toString("base64")}`;
const payload = '{"type":"top_up.credited","data":{"amount":"100","name":"小明"}}';
const now = new Date("2026-03-31T08:00:00.9Z");
const at = (seconds) => new Date(Math.floor(now / 1000) * 1000 + seconds * 1000);
const headersAt = (time, key = secret, id = "msg_1", body = payload) => ({
  "webhook-id": id,
  "webhook-timestamp": String(Math.floor(time / 1000)),
  "webhook-signature": new Webhook(key).sign(id, time, body),
});
const code = (promise) =>
  promise.then(
    () => "believed",
    (error) => (assert.ok(error instanceof WebhookVerificationError), error.code),
  );
const judge = (headers, secrets = secret, body = payload) => code(verifyWebhook(body, headers, secrets, { now }));

test("fixed bytes, signed by hand with Python's hmac", async () => {
  const signature = "+G/Or2EQ/fZ2/xE0z8lIefb92yw92Ac61HvR8ydrk0o=";
  const headers = new Headers({
    "Webhook-Id": "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    "Webhook-Timestamp": "1649367553",
    "Webhook-Signature": `v1,${signature}`,
  });
  const options = { now: new Date(1649367553_000) };
  assert.deepEqual(await verifyWebhook('{"email":"test@example.com"}', headers, "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", options), {
    email: "test@example.com",
  });
});

test("what the other implementation signs is believed, as text and as bytes, under any spelling of the headers", async () => {
  const headers = headersAt(now);
  assert.deepEqual(await verifyWebhook(payload, headers, secret, { now }), JSON.parse(payload));
  assert.deepEqual(await verifyWebhook(new TextEncoder().encode(payload), new Headers(headers), secret, { now }), JSON.parse(payload));
  const shouted = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), [value]]));
  assert.equal(await judge(shouted), "believed");
});

test("300 seconds either way are near enough, 301 are not", async () => {
  const found = [];
  for (const seconds of [-301, -300, 300, 301]) found.push(await judge(headersAt(at(seconds))));
  assert.deepEqual(found, ["too_old", "believed", "believed", "too_new"]);
});

test("any one altered byte is found", async () => {
  const headers = headersAt(now);
  const bytes = new TextEncoder().encode(payload);
  for (let place = 0; place < bytes.length; place++) {
    const altered = bytes.slice();
    altered[place] ^= 1;
    assert.equal(await judge(headers, secret, altered), "wrong_signature");
  }
  const [, text] = headers["webhook-signature"].split(",");
  const signature = Buffer.from(text, "base64");
  for (let place = 0; place < signature.length; place++) {
    const altered = Buffer.from(signature);
    altered[place] ^= 0x80;
    assert.equal(await judge({ ...headers, "webhook-signature": `v1,${altered.toString("base64")}` }), "wrong_signature");
  }
  assert.equal(await judge({ ...headers, "webhook-id": "msg_2" }), "wrong_signature");
  assert.equal(await judge({ ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) }), "wrong_signature");
});

test("one good signature among several is enough, of the version we know; while secrets rotate, either counts", async () => {
  const headers = headersAt(now);
  const good = headers["webhook-signature"];
  const signed = (text) => ({ ...headers, "webhook-signature": text });
  assert.equal(await judge(signed(`v1a,AAAA v1,!!! v1, ${headersAt(now, other)["webhook-signature"]} ${good}`)), "believed");
  assert.equal(await judge(signed(good.replace("v1,", "v2,"))), "wrong_signature");
  assert.equal(await judge(headers, [other, secret]), "believed");
  assert.equal(await judge(headers, [other]), "wrong_signature");
});

test("headers that are missing or no time, and secrets that are none", async () => {
  const headers = headersAt(now);
  for (const name of Object.keys(headers)) assert.equal(await judge({ ...headers, [name]: undefined }), "missing_header");
  for (const time of ["now", "-1", "1e9", "1.5", " 1"])
    assert.equal(await judge({ ...headers, "webhook-timestamp": time }), "invalid_timestamp");
  for (const none of ["", "whsec_", "not base64!", [], undefined])
    await assert.rejects(verifyWebhook(payload, headers, none, { now }), TypeError);
});
