"""The cash book as its merchant sees it."""

from __future__ import annotations

import msgspec

from buffmoney.base import money
from buffmoney.base.http import Answer, Call
from buffmoney.base.wire import Currency, Number
from buffmoney.collection.top_up_settings import CURRENCY
from buffmoney.ledger import cash


class CashBook(msgspec.Struct, rename="camel"):
    """The cash book. balances: of every account, by its code: what the channels hold, their fees, ours, what the merchant is owed."""

    currency: Currency
    balances: dict[str, Number]


async def get_cash_book(call: Call) -> Answer:
    """All balances."""
    async with call.transaction() as connection:
        balances = await cash.balances(connection, call.tenant.tenant_id)
    return Answer(CashBook(CURRENCY, {code: money.format_decimal(balance) for code, balance in balances.items()}))
