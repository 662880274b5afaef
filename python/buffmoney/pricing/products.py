"""Products: what a merchant sells, each with rate cards of its own. Every tenant has one with the code `default`."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from buffmoney.base import queries
from buffmoney.base.clock import Clock, to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.ids import new_short

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

MAX_PRODUCTS = 1_000
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_PRODUCT_ID = re.compile(r"prod_[0-9a-f]{24}", re.ASCII)
_SQL = queries.load("buffmoney.pricing")


class Product(msgspec.Struct, frozen=True):
    """A product as it is stored. code: for programs, name: for people."""

    product_id: str
    code: str
    name: str
    created_at: datetime


async def create(connection: Connection, clock: Clock, tenant_id: int, code: str, name: str) -> Product:
    """Makes a product. name: the code if empty. Raises Problem invalid_product, product_exists or too_many_products."""
    if _CODE.fullmatch(code) is None:
        raise Problem("invalid_product", "A product's code starts with a-z and has at most 64 characters of a-z, 0-9 and _.", "code")
    if len(name) > 255 or any(ord(character) < 32 or 0xD800 <= ord(character) <= 0xDFFF for character in name):
        raise Problem("invalid_product", "A product's name has at most 255 characters and no control characters.", "name")
    if await connection.fetchval(_SQL["lock_tenant"], tenant_id) is None:
        raise Problem("not_found", "The tenant does not exist.")
    if await connection.fetchval(_SQL["count_products"], tenant_id) >= MAX_PRODUCTS:
        raise Problem("too_many_products", f"A merchant has at most {MAX_PRODUCTS} products.")
    made = Product(new_short("prod", clock), code, name or code, to_datetime(clock.now_us()))
    if await connection.fetchval(_SQL["insert_product"], tenant_id, made.product_id, code, made.name, made.created_at) is None:
        raise Problem("product_exists", f"There is a product {code} already.", "code")
    return made


async def list_products(connection: Connection, tenant_id: int) -> list[Product]:
    """All products, oldest first."""
    return [Product(**dict(row)) for row in await connection.fetch(_SQL["list_products"], tenant_id)]


async def get(connection: Connection, tenant_id: int, product_id: str) -> Product:
    """One product. Raises Problem product_not_found."""
    row = await connection.fetchrow(_SQL["get_product"], tenant_id, product_id) if _PRODUCT_ID.fullmatch(product_id) else None
    if row is None:
        raise Problem("product_not_found", "There is no product with this id.", "productId")
    return Product(**dict(row))


async def resolve(connection: Connection, tenant_id: int, product_id: str | None) -> str:
    """The id of the product that is meant. None: the default one. Raises Problem product_not_found."""
    if product_id is not None:
        return (await get(connection, tenant_id, product_id)).product_id
    found: str = await connection.fetchval(_SQL["default_product"], tenant_id)
    return found
