"""Compares a merchant's wallets, orders, refunds and cash book with what the channels' own records say of its payments."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg

BONUS_SHARE = Decimal("0.2")
"""of the promotion that every top-up here is promised: pay ¥100, get ¥20"""
HUNDRED = Decimal(100)


@dataclass
class Truth:
    """What came out. Amounts are not shown: every payment is counted, whole.

    paid: payments that the channels have taken. credited: top-ups whose credits are in the wallet. lost: customers with less credit than
    their payments, less refunds, should give, or money that is missing in the cash book. unpaid: customers with more than that. doubled:
    grants, refunds or postings that exist twice. left_open: things that nobody will finish any more.
    """

    paid: int = 0
    credited: int = 0
    refunded: int = 0
    lost: int = 0
    unpaid: int = 0
    doubled: int = 0
    left_open: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, text: str) -> None:
        """Notes an example."""
        if len(self.differences) < 20:
            self.differences.append(text)


def channel_records(simulator: Path, collectors: list[str]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Orders by number and all refunds that the channels have of these collectors, read from their own database."""
    marks = ", ".join("?" * len(collectors))
    with closing(sqlite3.connect(f"file:{simulator / 'simulator.sqlite'}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        orders = [dict(row) for row in database.execute(f"SELECT * FROM orders WHERE collector_id IN ({marks})", collectors)]
        refunds = [
            dict(row)
            for row in database.execute(
                f"SELECT r.*, o.order_no FROM refunds r JOIN orders o USING (order_id) WHERE r.collector_id IN ({marks})", collectors
            )
        ]
    return {order["order_no"]: order for order in orders}, refunds


async def compare(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, simulator: Path) -> Truth:
    """Everything of one tenant, whose customers have no credit but from top-ups and have used none."""
    truth = Truth()
    accounts = await connection.fetch("SELECT collector_id FROM channel_accounts WHERE tenant_id = $1", tenant_id)
    orders, refunds = channel_records(simulator, [row["collector_id"] for row in accounts])
    ours = {
        row["order_no"]: row
        for row in await connection.fetch(
            "SELECT o.*, u.customer, u.status AS top_up_status FROM payment_orders o JOIN top_ups u USING (tenant_id, top_up_id)"
            " WHERE o.tenant_id = $1",
            tenant_id,
        )
    }
    paid = {number: Decimal(order["amount_fen"]) / HUNDRED for number, order in orders.items() if order["paid_at_us"] is not None}
    truth.paid = len(paid)
    for number in orders.keys() - ours.keys():
        truth.lost += 1
        truth.differ(f"order {number} is at the channel and not here")
    back: dict[str, Decimal] = defaultdict(Decimal)
    for refund in refunds:
        if refund["status"] == "SUCCESS":
            back[refund["order_no"]] += Decimal(refund["amount_fen"]) / HUNDRED
    truth.refunded = sum(refund["status"] == "SUCCESS" for refund in refunds)
    await _wallets(connection, tenant_id, ours, paid, back, truth)
    await _cash(connection, tenant_id, ours, paid, refunds, truth)
    await _refunds(connection, tenant_id, refunds, truth)
    await _open(connection, tenant_id, ours, orders, paid, truth)
    return truth


async def _wallets(
    connection: asyncpg.Connection[asyncpg.Record],
    tenant_id: int,
    ours: dict[str, asyncpg.Record],
    paid: dict[str, Decimal],
    back: dict[str, Decimal],
    truth: Truth,
) -> None:
    """A wallet has what its customer has paid and was not given back, and the bonus for that; each grant was posted once."""
    due: dict[str, Decimal] = {order["customer"]: Decimal(0) for order in ours.values()}
    for number, amount in paid.items():
        if number in ours:
            due[ours[number]["customer"]] += (amount - back[number]) * (1 + BONUS_SHARE)
    balances = {
        row["external_id"]: row["balance_after"] + row["held_after"]
        for row in await connection.fetch(
            "SELECT DISTINCT ON (c.external_id) c.external_id, p.balance_after, p.held_after FROM customers c"
            " JOIN postings p USING (tenant_id, account_id) WHERE c.tenant_id = $1 ORDER BY c.external_id, p.seq DESC",
            tenant_id,
        )
    }
    for customer, amount in due.items():
        has = balances.get(customer, Decimal(0))
        if has < amount:
            truth.lost += 1
            truth.differ(f"{customer} has {has} and should have {amount}")
        elif has > amount:
            truth.unpaid += 1
            truth.differ(f"{customer} has {has}, which is more than {amount}")
    posted = await connection.fetch("SELECT grant_id, count(*) AS n FROM postings WHERE tenant_id = $1 AND kind = 1 GROUP BY 1", tenant_id)
    for row in posted:
        if row["n"] != 1:
            truth.doubled += 1
            truth.differ(f"grant {row['grant_id']} was posted {row['n']} times")
    granted = {row["grant_id"] for row in posted}
    sold = await connection.fetch("SELECT customer, paid_grant_id FROM top_ups WHERE tenant_id = $1 AND status = 'paid'", tenant_id)
    truth.credited = sum(row["paid_grant_id"] in granted for row in sold)


async def _cash(
    connection: asyncpg.Connection[asyncpg.Record],
    tenant_id: int,
    ours: dict[str, asyncpg.Record],
    paid: dict[str, Decimal],
    refunds: list[dict[str, Any]],
    truth: Truth,
) -> None:
    """The cash book has every payment and every refund of the channels once, and no other."""
    expected = {("payment", ours[number]["order_id"]): amount for number, amount in paid.items() if number in ours}
    numbers = {
        row["refund_no"]: row["refund_id"]
        for row in await connection.fetch("SELECT refund_no, refund_id FROM refunds WHERE tenant_id = $1", tenant_id)
    }
    for refund in refunds:
        if refund["status"] == "SUCCESS":
            key = ("refund", numbers.get(refund["refund_no"], refund["refund_no"]))
            expected[key] = Decimal(refund["amount_fen"]) / HUNDRED
    booked: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in await connection.fetch(
        "SELECT kind, order_id, refund_id, amount FROM cash_postings WHERE tenant_id = $1 AND kind IN ('payment', 'refund')", tenant_id
    ):
        booked[row["kind"], row["refund_id"] or row["order_id"]] += row["amount"]
    for key in expected.keys() | booked.keys():
        should, stands = expected.get(key, Decimal(0)), booked.get(key, Decimal(0))
        if stands < should:
            truth.lost += 1
        elif stands > should:
            truth.doubled += 1
        if stands != should:
            truth.differ(f"cash book: {key[0]} {key[1]} is {stands}, at the channel {should}")


async def _refunds(connection: asyncpg.Connection[asyncpg.Record], tenant_id: int, refunds: list[dict[str, Any]], truth: Truth) -> None:
    """Each refund here is one refund there, and ended as it did there."""
    there = {refund["refund_no"]: refund for refund in refunds}
    ends = {"succeeded": "SUCCESS", "closed": "CLOSED"}
    for row in await connection.fetch("SELECT refund_no, status, amount FROM refunds WHERE tenant_id = $1", tenant_id):
        found = there.pop(row["refund_no"], None)
        status = None if found is None else found["status"]
        if row["status"] in ends and status != ends[row["status"]] and not (row["status"] == "closed" and status is None):
            truth.lost += 1
            truth.differ(f"refund {row['refund_no']} is {row['status']} here and {status} there")
        if found is not None and Decimal(found["amount_fen"]) / HUNDRED != row["amount"]:
            truth.doubled += 1
            truth.differ(f"refund {row['refund_no']} is of {row['amount']} here and of {found['amount_fen']} fen there")
    for number in there:
        truth.doubled += 1
        truth.differ(f"refund {number} is at the channel and not here")


async def _open(
    connection: asyncpg.Connection[asyncpg.Record],
    tenant_id: int,
    ours: dict[str, asyncpg.Record],
    orders: dict[str, dict[str, Any]],
    paid: dict[str, Decimal],
    truth: Truth,
) -> None:
    """Nothing is left under way: no command undecided, no refund unfinished, no order paid or closed there and open here."""
    for statement, what in (
        ("SELECT source FROM wallet_outbox WHERE tenant_id = $1 AND result IS NULL", "undecided"),
        ("SELECT source FROM wallet_outbox WHERE tenant_id = $1 AND refused IS NOT NULL", "refused by the core"),
        ("SELECT refund_no || ' ' || status FROM refunds WHERE tenant_id = $1 AND next_step_at IS NOT NULL", "unfinished"),
    ):
        for row in await connection.fetch(statement, tenant_id):
            truth.left_open += 1
            truth.differ(f"{row[0]} is {what}")
    for number, order in ours.items():
        there = orders.get(number, {}).get("state")
        if (number in paid) != (order["status"] == "paid") or (there == "closed" and order["status"] in ("created", "pending")):
            truth.left_open += 1
            truth.differ(f"order {number} of {order['customer']} is {order['status']} here and {there} there")
