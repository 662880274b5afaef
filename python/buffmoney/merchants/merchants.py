"""A merchant: a company that bills its customers through BuffMoney, in two modes that share nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from buffmoney.audit import log
from buffmoney.base import money, queries
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.ids import new_short
from buffmoney.base.periods import ASIA_SHANGHAI, check_anchor_day, time_zone
from buffmoney.ledger import cash
from buffmoney.merchants import keys

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

Billing = Literal["prepaid", "pay-as-you-go"]
UnknownCustomers = Literal["create", "refuse"]
Mode = Literal["sandbox", "live"]

BUILTIN_METRICS = (
    (1, "tokens_input", "token"),
    (2, "tokens_output", "token"),
    (3, "images", "image"),
    (4, "agent_runs", "run"),
    (5, "storage_gb", "GB"),
)
"""(metric_id, code, unit) that every tenant starts with; its own metrics are numbered from 100"""

_SQL = queries.load("buffmoney.merchants")


class NewMerchant(msgspec.Struct, frozen=True, rename="camel"):
    """A merchant just made, with the first key of each of its tenants. The keys are shown this once."""

    merchant_id: str
    sandbox_key: str
    live_key: str


async def create(
    connection: Connection,
    pepper: bytes,
    clock: Clock,
    name: str,
    *,
    by: log.Author,
    billing: Billing = "prepaid",
    unknown_customers: UnknownCustomers = "create",
    currency: str = "CNY",
    zone: str = ASIA_SHANGHAI,
    anchor_day: int = 1,
) -> NewMerchant:
    """Makes a merchant, its sandbox and live tenants, their built-in metrics, default product and one key each, in one transaction.

    connection: the schema's owner's. currency: of the wallets of new customers, ISO 4217. zone, anchor_day: where its billing
    periods begin; a month without such a day has its last one in its place. Raises Problem invalid_merchant.
    """
    if not 1 <= len(name) <= 255 or any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in name):
        raise Problem("invalid_merchant", "A merchant's name has 1 to 255 characters and no control characters.", param="name")
    if billing not in get_args(Billing):
        raise Problem("invalid_merchant", "Billing is prepaid or pay-as-you-go.", param="billing")
    if unknown_customers not in get_args(UnknownCustomers):
        raise Problem("invalid_merchant", "Unknown customers are to be created or refused: create or refuse.", param="unknownCustomers")
    if currency not in money.CURRENCIES:
        raise Problem("invalid_merchant", f"The currencies are {', '.join(money.CURRENCIES)}.", param="currency")
    anchor_day = check_anchor_day(anchor_day, "anchorDay", "invalid_merchant")
    zone = time_zone(zone, "timeZone", "invalid_merchant")

    merchant_id = new_short("mer", clock)
    created_at = to_datetime(clock.now_us())
    made: dict[str, str] = {}
    async with connection.transaction():
        partitions = [row["partition_id"] for row in await connection.fetch(_SQL["partition_ids"])]
        if not partitions:
            raise Problem("not_ready", "The database has no partitions yet: run `buffmoney migrate`.")
        await connection.execute(_SQL["insert_merchant"], merchant_id, name, billing, created_at)
        count: int = await connection.fetchval(_SQL["count_tenants"])
        # Both tenants of a merchant lie on one partition, merchants in turn on the next.
        partition_id = partitions[count // 2 % len(partitions)]
        for mode in get_args(Mode):
            tenant_id: int = await connection.fetchval(
                _SQL["insert_tenant"], merchant_id, mode, partition_id, currency, unknown_customers, created_at
            )
            await connection.execute(_SQL["first_period_setting"], tenant_id, zone, anchor_day, created_at)
            await connection.executemany(
                _SQL["insert_builtin_metric"], [(tenant_id, metric_id, code, unit, created_at) for metric_id, code, unit in BUILTIN_METRICS]
            )
            await connection.execute(_SQL["insert_default_product"], tenant_id, new_short("prod", clock), created_at)
            await log.begin(connection, by, tenant_id)
            await cash.begin(connection, by, tenant_id)
            told = {
                "merchantId": merchant_id,
                "name": name,
                "mode": mode,
                "billing": billing,
                "currency": currency,
                "unknownCustomers": unknown_customers,
                "timeZone": zone,
                "anchorDay": anchor_day,
                "metrics": [code for _, code, _ in BUILTIN_METRICS],
            }
            await log.record(connection, by, tenant_id, "merchant.create", merchant_id, None, told)
            made[mode] = (await keys.create(connection, pepper, clock, tenant_id, mode, "first key", by=by)).secret
    return NewMerchant(merchant_id, made["sandbox"], made["live"])


async def tenant_id_of(connection: Connection, merchant_id: str, mode: Mode) -> int:
    """The tenant of a merchant in one mode. Raises Problem merchant_not_found."""
    for row in await connection.fetch(_SQL["merchant_tenants"], merchant_id):
        if row["mode"] == mode:
            tenant_id: int = row["tenant_id"]
            return tenant_id
    raise Problem("merchant_not_found", f"There is no merchant {merchant_id}.", param="merchantId")
