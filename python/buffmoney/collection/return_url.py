"""The way back to the merchant, with a result that the merchant can check without asking us.

To the merchant's return URL these parameters are added, in place of any of the same name:

    bm_top_up_id   the top-up, as in POST /v1/top-ups
    bm_status      credited: paid, and the credits are there; paid: paid, the credits are on their way;
                   open: the payer came back without having paid so far; expired, canceled: nothing is to come;
                   refunded: what was paid goes back whole, or has gone; review: a payment came that people have to decide about
    bm_amount      what was to be paid, a decimal string
    bm_currency    CNY
    bm_time        when this was signed, seconds since 1970
    bm_signature   64 hexadecimal digits

The signature is HMAC-SHA256 under the tenant's return secret, its ASCII text as the key, over the six lines
`v1`, bm_top_up_id, bm_status, bm_amount, bm_currency, bm_time, joined by a line feed, none at the end, values as they are after decoding.
A merchant gets its secret from GET /v1/return-secret, computes the signature again, compares it in constant time, and refuses times
older than it likes. It proves who said this and when, not that it is still so, and an address can be opened twice: what is delivered is
decided by GET /v1/top-ups/{id}.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from decimal import Decimal
from urllib.parse import unquote_plus, urlencode, urlsplit, urlunsplit

import msgspec

from buffmoney.base.clock import to_us
from buffmoney.base.config import Settings
from buffmoney.base.http import Answer, Call
from buffmoney.base.money import format_decimal

VERSION = "v1"
PARAMETERS = ("bm_top_up_id", "bm_status", "bm_amount", "bm_currency", "bm_time", "bm_signature")


class ReturnSecret(msgspec.Struct, rename="camel"):
    """What signs return URLs. returnSecret: the key of `bm_signature`."""

    return_secret: str


async def get_return_secret(call: Call) -> Answer:
    """The tenant's return secret."""
    return Answer(ReturnSecret(secret(call.services.settings, call.tenant.tenant_id)))


def secret(settings: Settings, tenant_id: int) -> str:
    """The key of a tenant's return URLs, for the merchant to keep. The same every time, another for each tenant."""
    key = settings.derive("checkout return secrets")
    return "bmret_" + hmac.digest(key, tenant_id.to_bytes(8, "big", signed=True), hashlib.sha256).hex()


def is_safe(url: str) -> bool:
    """Whether a browser may be sent there: http or https, to a host, without credentials or characters that browsers drop."""
    if any(character <= " " or character == "\\" or character == "\x7f" for character in url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False


def signed(url: str, key: str, *, top_up_id: str, status: str, amount: Decimal, currency: str, now: datetime) -> str | None:
    """The return URL with the signed result; None if the URL is not one to send a browser to."""
    if not is_safe(url):
        return None
    values = (top_up_id, status, format_decimal(amount), currency, str(to_us(now) // 1_000_000))
    signature = hmac.new(key.encode(), "\n".join((VERSION, *values)).encode(), hashlib.sha256).hexdigest()
    parts = urlsplit(url)
    # What the merchant wrote stays as it is, byte by byte.
    given = [part for part in parts.query.split("&") if part and unquote_plus(part.partition("=")[0]) not in PARAMETERS]
    query = "&".join((*given, urlencode(list(zip(PARAMETERS, (*values, signature), strict=True)))))
    return urlunsplit(parts._replace(query=query))
