"""The catalogue of one tenant as the engine takes it: settings, metrics, and every published rate card in order of effect."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from buffmoney.base import queries
from buffmoney.base.clock import Clock
from buffmoney.base.periods import Periods

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

_SQL = queries.load("buffmoney.pricing")


async def read(connection: Connection, clock: Clock, tenant_id: int) -> bytes:
    """The JSON that `Engine.load_catalog` takes, of one snapshot:

    {"tenantId", "version", "currency", "unknownCustomers": "create|refuse", "defaultOverdraftLimit": "0"|null,
    "accrues": bool, "metrics": [{"id", "code"}],
    "rateCards": [{"rateCardId", "productId", "currency", "audience": "everyone|assigned", "effectiveFromUs": int|null,
    "charges": [{"priceId", "metricId", "match", "model"?, "currency"?, "price", "per", "percent"?, "minimum"?, "counterId"?, "allowance"?,
    "tiers"?: [{"upTo": "1000000"|null, "price", "per"}], "blocks"?: "period", "minimumPerPeriod"?, "periodQuantityCounterId"?,
    "periodChargeCounterId"?}]}],
    "periods"?: {"startsUs": [..rising..]},
    "assignments": [{"accountId", "productId", "rateCardId": str|null, "effectiveFromUs": int}]}

    A line without "model" is per_unit, one without "currency" in its card's; "price" is the cost where the model is markup, and of no
    meaning where it is graduated or volume. "counterId" is there when the line has an allowance, graduated tiers or blocks of the period,
    the counters of the period when it has volume tiers or a minimum per period, "periods" when any line has one of them: the last of its
    starts only ends a period. Assignments are in order of effect; "rateCardId" null: the product's default cards again.

    Raises LookupError for a tenant that does not exist.
    """
    row = await connection.fetchrow(_SQL["catalog"], tenant_id)
    if row is None:
        raise LookupError(f"there is no tenant {tenant_id}")
    catalog: str = row["catalog"]
    if row["counts"]:
        periods = Periods.stored(row["period_settings"])
        catalog = f'{catalog.rstrip().removesuffix("}")},"periods":{json.dumps(periods.wire(periods.around(clock.now_us())))}}}'
    return catalog.encode()
