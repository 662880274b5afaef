"""The rules for one usage event's fields, in plain Python, and the message that a decoded batch becomes.

Independent of the Rust decoder: regular expressions, `datetime`, and blake3 of its Python package.
"""

from __future__ import annotations

import json
import re
import struct
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from blake3 import blake3

from tests.oracle import nano

QUANTITY = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
METRIC = re.compile(r"[a-z][a-z0-9_]{0,63}")
DIMENSION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OLDEST_US = 35 * 86_400 * 10**6
NEWEST_US = 5 * 60 * 10**6


@dataclass(frozen=True)
class Decoded:
    """A valid event as the core gets it."""

    index: int
    key: str
    customer: str
    metric: str
    dimensions: str
    quantity: int
    occurred_us: int

    def key_hash(self, tenant_id: int) -> bytes:
        """The event's identity."""
        return blake3(struct.pack("<Q", tenant_id) + self.key.encode()).digest(16)

    def fingerprint(self, tenant_id: int) -> int:
        """The event's payload, in 64 bits."""
        customer, metric, dimensions = (text.encode() for text in (self.customer, self.metric, self.dimensions))
        body = struct.pack("<QI", tenant_id, len(customer)) + customer + struct.pack("<I", len(metric)) + metric
        body += self.quantity.to_bytes(16, "little", signed=True) + struct.pack("<qI", self.occurred_us, len(dimensions)) + dimensions
        return int.from_bytes(blake3(body).digest(8), "little")


def bad_id(text: Any) -> bool:
    """Ids are 1 to 255 bytes of UTF-8 without control characters."""
    if not isinstance(text, str) or not 1 <= len(text.encode()) <= 255:
        return True
    return any(unicodedata.category(character) == "Cc" for character in text)


def time_us(text: Any) -> int | None:
    """Microseconds since 1970 of an RFC 3339 time with a zone. None: not a time, or one finer than a microsecond."""
    match = TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    zone = match[8]
    offset_s = 0
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        if hours > 23 or minutes > 59:
            return None
        offset_s = (hours * 60 + minutes) * 60 * (-1 if zone[0] == "-" else 1)
    fraction = ((match[7] or ".")[1:]).ljust(9, "0")
    if fraction[6:] != "000" or year in (0, 9999):
        return None
    micros = int(fraction[:6])
    return ((moment - EPOCH) // timedelta(seconds=1) - offset_s) * 10**6 + micros


def bad_dimensions(dimensions: Any) -> bool:
    """At most 16 pairs of an ASCII name and a text."""
    if not isinstance(dimensions, dict) or len(dimensions) > 16:
        return True
    return any(not DIMENSION.fullmatch(name) or bad_id(value) for name, value in dimensions.items())


def canonical(dimensions: dict[str, str]) -> str:
    """Keys sorted by their bytes, no white space, nothing escaped that need not be."""
    ordered = dict(sorted(dimensions.items(), key=lambda item: item[0].encode()))
    return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def decode_event(index: int, body: dict[str, Any], now_us: int) -> Decoded | str:
    """The event, or the code of what is wrong with it. Only one field may be wrong, since their order is no rule."""
    names = {"customerExternalId", "idempotencyKey", "metric", "quantity", "occurredAt", "dimensions"}
    if body.keys() - names:
        return "unknown_field"
    if names - {"dimensions"} - body.keys():
        return "missing_field"
    if bad_id(body["customerExternalId"]):
        return "invalid_customer"
    if bad_id(body["idempotencyKey"]):
        return "invalid_idempotency_key"
    if not isinstance(body["metric"], str) or not METRIC.fullmatch(body["metric"]):
        return "invalid_metric"
    quantity = body["quantity"]
    if not isinstance(quantity, str) or not QUANTITY.fullmatch(quantity) or nano(quantity) == 0:
        return "invalid_quantity"
    occurred_us = time_us(body["occurredAt"])
    if occurred_us is None:
        return "invalid_time"
    if occurred_us < now_us - OLDEST_US:
        return "too_old"
    if occurred_us > now_us + NEWEST_US:
        return "in_future"
    if bad_dimensions(body.get("dimensions", {})):
        return "invalid_dimensions"
    dimensions = canonical(body.get("dimensions", {}))
    return Decoded(index, body["idempotencyKey"], body["customerExternalId"], body["metric"], dimensions, nano(quantity), occurred_us)


class Reader:
    """Reads little-endian fields one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.place += count
        assert self.place <= len(self.data), "the message ends early"
        return self.data[self.place - count : self.place]

    def number(self, size: int, *, signed: bool = False) -> int:
        """The next integer."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def text(self) -> str:
        """A string with a length of two bytes."""
        return self.take(self.number(2)).decode()


def read_message(message: bytes) -> tuple[int, bytes, bytes, bool, list[tuple[Decoded, bytes, int]]]:
    """(tenant, message id, reply_to, redelivered, [(event, key hash, fingerprint)]) of a usage message."""
    reader = Reader(message)
    assert (reader.number(1), reader.number(1)) == (3, 1), "version 3, kind usage"
    redelivered = bool(reader.number(1) & 1)
    assert reader.number(1) == 0
    tenant_id = reader.number(8)
    message_id = reader.take(16)
    reply_to = reader.take(reader.number(2))
    mark = reader.take(16)
    customers = [reader.text() for _ in range(reader.number(2))]
    shapes = [(reader.text(), reader.text()) for _ in range(reader.number(2))]
    records = []
    for _ in range(reader.number(2)):
        key_hash, fingerprint = reader.take(16), reader.number(8)
        index, customer, shape = reader.number(2), reader.number(2), reader.number(2)
        quantity, occurred_us = reader.number(16, signed=True), reader.number(8, signed=True)
        records.append((key_hash, fingerprint, index, customer, shape, quantity, occurred_us, reader.number(2)))
    # All keys follow in one piece, behind their length together.
    assert reader.number(4) == sum(record[-1] for record in records)
    events = []
    for key_hash, fingerprint, index, customer, shape, quantity, occurred_us, key_bytes in records:
        event = Decoded(index, reader.take(key_bytes).decode(), customers[customer], *shapes[shape], quantity, occurred_us)
        events.append((event, key_hash, fingerprint))
    assert reader.place == len(message), "bytes after the message"
    identities = b"".join(key_hash + fingerprint.to_bytes(8, "little") for _, key_hash, fingerprint in events)
    assert mark == blake3(identities).digest()[:16]
    return tenant_id, message_id, reply_to, redelivered, events
