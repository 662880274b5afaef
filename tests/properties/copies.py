"""Reads PostgreSQL's COPY BINARY format, so that the tests see the very bytes that would be written."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from buffmoney import _core

SIGNATURE = b"PGCOPY\n\xff\r\n\0"
POSTGRES_EPOCH_US = 946_684_800_000_000
"""microseconds from 1970 to 2000"""
NUMERIC = frozenset(
    [
        "amount",
        "balance_after",
        "held_after",
        "unbilled_after",
        "charged",
        "quantity",
        "charge",
        "captured",
        "overdraft_limit",
        "low_balance_threshold",
        "threshold",
        "available",
        "counter_before",
        "total",
    ]
)
TIMES = frozenset(
    ["voided_at", "posted_at", "created_at", "expires_at", "committed_at", "accepted_at", "occurred_at", "period_start", "settled_at"]
)
INTEGERS = frozenset(
    [
        "tenant_id",
        "account_id",
        "seq",
        "kind",
        "debit_account_id",
        "credit_account_id",
        "commit_id",
        "posting_seq",
        "metric_id",
        "price_id",
        "fingerprint",
        "priority",
        "partition_id",
        "commit_seq",
        "key_table",
        "epoch",
        "events",
        "postings",
        "expired_commit_id",
        "event_commit_id",
        "event_posting_seq",
        "replaced_fingerprint",
        "closed_commit_id",
        "counter_id",
        "revision",
    ]
)
BYTES = frozenset(
    [
        "grant_id",
        "reference",
        "chain_hash",
        "grants_after",
        "parts",
        "digest",
        "head",
        "messages",
        "key_hash",
        "command_id",
        "set_id",
        "hold_id",
        "head_mac",
    ]
)


def numeric_nano(field: bytes) -> int:
    """A NUMERIC as nano-units. Layout of numeric_send: digits of base 10,000, weight, sign, scale."""
    count, weight, sign, _scale = struct.unpack_from("!hhHh", field)
    if sign not in (0, 0x4000):
        raise ValueError("NaN or infinity in a NUMERIC")
    digits = struct.unpack_from(f"!{count}h", field, 8)
    scaled = 0
    for place, digit in enumerate(digits):
        exponent = 4 * (weight - place) + 9
        scaled += digit * 10**exponent if exponent >= 0 else digit // 10**-exponent
    return -scaled if sign else scaled


def array(field: bytes) -> list[bytes]:
    """The elements of an array of one dimension without NULLs. Layout of array_send."""
    dimensions, nulls, _type, count, first = struct.unpack_from("!iiIii", field)
    assert (dimensions, nulls, first) == (1, 0, 1)
    place, elements = 20, []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", field, place)
        elements.append(field[place + 4 : place + 4 + length])
        place += 4 + length
    assert place == len(field), "bytes after the last element"
    return elements


def decode(table: str, column: str, field: bytes | None) -> Any:
    """One field as a Python value: nano-units for NUMERIC, microseconds since 1970 for times."""
    if field is None:
        return None
    if column in TIMES:
        return int.from_bytes(field, "big", signed=True) + POSTGRES_EPOCH_US
    if column in NUMERIC:
        return numeric_nano(field)
    if column == "whole":
        return field == b"\x01"
    if column == "counter_ids":
        return [int.from_bytes(one, "big", signed=True) for one in array(field)]
    if column == "quantities":
        return [numeric_nano(one) for one in array(field)]
    if column == "kind" and table == "grants":
        return field.decode()
    if column in INTEGERS:
        return int.from_bytes(field, "big", signed=True)
    return bytes(field) if column in BYTES else field.decode()


def rows(table: str, columns: list[str], copied: _core.CopyStream | bytes) -> Iterator[dict[str, Any]]:
    """The rows of one COPY stream, by column name. Fails on anything but a complete stream."""
    stream = bytes(copied)
    assert stream.startswith(SIGNATURE), "not a COPY BINARY stream"
    place = len(SIGNATURE) + 8
    while True:
        (count,) = struct.unpack_from("!h", stream, place)
        place += 2
        if count == -1:
            assert place == len(stream), "bytes after the trailer"
            return
        assert count == len(columns), f"{table}: {count} fields for {len(columns)} columns"
        row: dict[str, Any] = {}
        for column in columns:
            (length,) = struct.unpack_from("!i", stream, place)
            place += 4
            field = None
            if length >= 0:
                field = stream[place : place + length]
                place += length
            row[column] = decode(table, column, field)
        yield row
