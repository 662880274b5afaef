"""The catalogue of one tenant as the engine takes it: settings, metrics, and every published rate card in order of effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from buffmoney.base import queries

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

_SQL = queries.load("buffmoney.pricing")


async def read(connection: Connection, tenant_id: int) -> bytes:
    """The JSON that `Engine.load_catalog` takes, of one snapshot:

    {"tenantId", "version", "currency", "unknownCustomers": "create|refuse", "defaultOverdraftLimit": "0"|null, "metrics": [{"id", "code"}],
    "rateCards": [{"rateCardId", "productId", "currency", "audience": "everyone|assigned", "effectiveFromUs": int|null,
    "charges": [{"priceId", "metricId", "match", "model"?, "currency"?, "price", "per", "percent"?, "minimum"?}]}],
    "assignments": [{"accountId", "productId", "rateCardId": str|null, "effectiveFromUs": int}]}

    A line without "model" is per_unit, one without "currency" in its card's; "price" is the cost where the model is markup. Assignments
    are in order of effect; "rateCardId" null: the product's default cards again.

    Raises LookupError for a tenant that does not exist.
    """
    catalog: str | None = await connection.fetchval(_SQL["catalog"], tenant_id)
    if catalog is None:
        raise LookupError(f"there is no tenant {tenant_id}")
    return catalog.encode()
