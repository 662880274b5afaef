"""Collection: how money comes in through WeChat Pay and Alipay.

Owns the channels' clients (`channels`): their signatures, their wire forms and what their answers mean, for one shape of payment and
refund over both; and the sealing of the credentials with which merchants collect. It keeps no table: orders, refunds and what a payment
grants are not decided by a client.

Invariants: nothing that a channel sends is parsed before its signature is verified over the raw bytes; the bytes that are signed are the
bytes that are sent; a state that is not known means pending, never paid and never closed; an answer that is lost, late, unsigned or 5xx
means that the outcome is unknown, never that nothing happened; amounts are exact, whole fen on the wire; no private key, API key or
plaintext of sealed credentials is in a repr, a log line or an error. Idempotency key: the order's number at the channel, and the refund's,
which is reused on every repetition. A crash leaves a call whose outcome is unknown: ask the channel by the number, or repeat it under the
same number.
"""
