"""What a merchant's customers may buy, and on which terms."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import msgspec

from buffmoney.audit import log
from buffmoney.base import money, queries
from buffmoney.base.clock import to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.wire import NumberInput

if TYPE_CHECKING:
    from buffmoney.base.database import Connection

CURRENCY = "CNY"
SMALLEST = Decimal("0.01")
LARGEST = Decimal(50_000)
"""about what a wallet lets its owner pay at once"""
MAX_TIERS = 12
_SQL = queries.load("buffmoney.collection", "top_ups.sql")

Days = Annotated[int, msgspec.Meta(ge=1, le=3650)]


class FreeAmounts(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Any amount in between, in whole fen. minimum: CNY. maximum: CNY."""

    minimum: NumberInput
    maximum: NumberInput


class TopUpSettings(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What customers may buy, for top-ups made from now on.

    tiers: amounts to choose from, CNY. displayName: what the checkout shows; null: the merchant's name. freeAmounts null: only the tiers.
    paidValidDays, bonusValidDays: when credits expire, counted from the payment; null: never. refundWindowDays: how long after its payment
    a top-up may be refunded; 0: never. checkoutValidMinutes: how long a top-up can be paid.
    """

    tiers: list[NumberInput]
    free_amounts: FreeAmounts | None = None
    display_name: str | None = None
    paid_valid_days: Days | None = None
    bonus_valid_days: Days | None = None
    refund_window_days: Annotated[int, msgspec.Meta(ge=0, le=365)] = 30
    checkout_valid_minutes: Annotated[int, msgspec.Meta(ge=5, le=120)] = 30


DEFAULTS = TopUpSettings(["30", "100", "300", "1000"], FreeAmounts("1", "50000"))
"""of a merchant that has not set any"""


def parse_yuan(text: str, param: str) -> Decimal:
    """An amount that a channel can collect: CNY, whole fen, 0.01 to 50,000. Raises Problem invalid_amount."""
    amount = money.parse(text, param)
    if amount != round(amount, 2):
        raise Problem("invalid_amount", "An amount is of whole fen: at most two decimals.", param)
    if not SMALLEST <= amount <= LARGEST:
        raise Problem("invalid_amount", f"An amount is {SMALLEST} to {LARGEST:,}.", param)
    return amount


async def read(connection: Connection, tenant_id: int) -> TopUpSettings:
    """The settings in force."""
    row = await connection.fetchrow(_SQL["settings"], tenant_id)
    if row is None:
        return DEFAULTS
    free = None
    if row["free_amount_minimum"] is not None:
        free = FreeAmounts(money.format_decimal(row["free_amount_minimum"]), money.format_decimal(row["free_amount_maximum"]))
    return TopUpSettings(
        [money.format_decimal(tier) for tier in row["tiers"]],
        free,
        row["display_name"],
        row["paid_valid_days"],
        row["bonus_valid_days"],
        row["refund_window_days"],
        row["checkout_valid_minutes"],
    )


def check_amount(settings: TopUpSettings, amount: Decimal) -> None:
    """Raises Problem invalid_amount unless the merchant sells this amount."""
    if any(amount == Decimal(tier) for tier in settings.tiers):
        return
    free = settings.free_amounts
    if free is None:
        raise Problem("invalid_amount", f"The amounts are {', '.join(settings.tiers)}.", "amount")
    if not Decimal(free.minimum) <= amount <= Decimal(free.maximum):
        raise Problem("invalid_amount", f"The amounts are {', '.join(settings.tiers)}, and {free.minimum} to {free.maximum}.", "amount")


async def get_top_up_settings(call: Call) -> Answer:
    """The settings in force."""
    async with call.transaction() as connection:
        return Answer(await read(connection, call.tenant.tenant_id))


async def put_top_up_settings(call: Call) -> Answer:
    """Replaces the settings."""
    wanted = _checked(call.body)
    tenant_id = call.tenant.tenant_id
    async with call.transaction() as connection:
        before = await read(connection, tenant_id)
        if before == wanted:
            return Answer(wanted)
        free = wanted.free_amounts
        await connection.execute(
            _SQL["put_settings"],
            tenant_id,
            wanted.display_name,
            [Decimal(tier) for tier in wanted.tiers],
            None if free is None else Decimal(free.minimum),
            None if free is None else Decimal(free.maximum),
            wanted.paid_valid_days,
            wanted.bonus_valid_days,
            wanted.refund_window_days,
            wanted.checkout_valid_minutes,
            to_datetime(call.services.clock.now_us()),
        )
        told = (msgspec.to_builtins(before), msgspec.to_builtins(wanted))
        await log.record(connection, log.Author.of(call), tenant_id, "top_up_settings.update", "top-up-settings", *told)
    return Answer(wanted)


def _checked(wanted: TopUpSettings) -> TopUpSettings:
    """The same settings with amounts in their shortest form, tiers rising. Raises Problem."""
    if len(wanted.tiers) > MAX_TIERS:
        raise Problem("invalid_parameter", f"There are at most {MAX_TIERS} tiers.", "tiers")
    tiers = sorted({parse_yuan(tier, f"tiers[{index}]") for index, tier in enumerate(wanted.tiers)})
    if len(tiers) != len(wanted.tiers):
        raise Problem("invalid_parameter", "A tier is given twice.", "tiers")
    free = wanted.free_amounts
    if free is not None:
        lowest, highest = parse_yuan(free.minimum, "freeAmounts.minimum"), parse_yuan(free.maximum, "freeAmounts.maximum")
        if lowest > highest:
            raise Problem("invalid_amount", "The minimum is above the maximum.", "freeAmounts.minimum")
        free = FreeAmounts(money.format_decimal(lowest), money.format_decimal(highest))
    if not tiers and free is None:
        raise Problem("invalid_parameter", "Give tiers, free amounts, or both.", "tiers")
    name = wanted.display_name
    if name is not None and (not 1 <= len(name) <= 64 or not name.strip() or any(_unwritable(character) for character in name)):
        raise Problem("invalid_parameter", "A display name has 1 to 64 characters and no control characters.", "displayName")
    return msgspec.structs.replace(wanted, tiers=[money.format_decimal(tier) for tier in tiers], free_amounts=free)


def _unwritable(character: str) -> bool:
    return ord(character) < 32 or ord(character) == 127 or 0xD800 <= ord(character) <= 0xDFFF
