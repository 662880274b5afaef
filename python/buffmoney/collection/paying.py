"""A payer before an open top-up: what the checkout shows, the attempts to pay, and the merchant's cancelling.

Nothing that could still be paid is left behind: before another way to pay is opened, the orders of the ways before are closed at their
channels, each after it was asked; one that turns out to be paid is settled in place of the new attempt. Only a channel that does not answer
is not waited for: its order is watched until it ends, and if both are paid, the second payment goes back.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec

from buffmoney.base import queries, telemetry
from buffmoney.base.clock import to_datetime
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call, Services, Tenant
from buffmoney.base.ids import new_bytes, public
from buffmoney.collection import accounts, checkout_token, patience, polling, promotions, top_up_settings, top_ups
from buffmoney.collection.channels import CHANNEL_OF, Channel, ChannelError, ChannelUnavailable, NewPayment, Product, Started
from buffmoney.collection.checkout_view import CheckoutAttempt, CheckoutReturn, CheckoutView
from buffmoney.collection.orders import number_of

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

VISIBLE_FOR = timedelta(hours=24)
"""how long after its end a top-up's address still shows what became of it"""
SHORTEST_ORDER = timedelta(seconds=90)
"""both channels want at least a minute between an order and its end"""
GOOD_FOR: dict[Product, timedelta] = {"h5": timedelta(minutes=4), "native": timedelta(minutes=110), "jsapi": timedelta(minutes=110)}
"""how long what the channel gave can be gone on with, a little less than it says; the others last as long as their order"""
PAGE_WAITS_S = 1.5
"""how long a page waits for what the channels say: then it shows what is known"""
SWITCH_WAITS_S = 3.0
"""how long another way to pay waits until the one before is closed at its channel"""
MAX_ATTEMPTS = 20
"""payment orders that may ever be made for one top-up: the page is public, and every one of them is a call to a channel and a row"""
PAID_ALREADY = ("ORDER_PAID", "TRADE_HAS_SUCCESS")

_SQL = queries.load("buffmoney.collection", "orders.sql")
_REFUNDS = queries.load("buffmoney.collection", "refunds.sql")
_TOP_UPS = queries.load("buffmoney.collection", "top_ups.sql")
_log = telemetry.logger("paying")


class _Found(msgspec.Struct, frozen=True):
    """A token's top-up."""

    tenant: Tenant
    top_up_id: str
    merchant_name: str


async def view(services: Services, token: str, /) -> CheckoutView | None:
    """The top-up of a token as its payer sees it; None if there is none, or not any more."""
    found = await _find(services, token)
    if found is None:
        return None
    async with services.database.tenant(found.tenant.tenant_id) as connection:
        return await _view(services, connection, found, token)


async def poll(services: Services, token: str, /) -> CheckoutView | None:
    """As `view`, after asking the channels about what is open, unless that was done a moment ago.

    A channel that takes longer than the payer should wait is heard the next time.
    """
    found = await _find(services, token)
    if found is None:
        return None
    async with services.database.tenant(found.tenant.tenant_id) as connection:
        live = await _live(connection, found)
    asks = (
        patience.within(PAGE_WAITS_S, f"ask {row['channel']}", row["order_id"], partial(polling.ask_for_page, services, found.tenant, row))
        for row in live
    )
    await asyncio.gather(*asks)
    return await view(services, token)


async def start(
    services: Services, token: str, channel: Channel, product: Product, client_ip: str | None, openid: str | None, /
) -> Started:
    """An attempt to pay: the open one of this product again, or a new order.

    Raises Problem not_found, invalid_parameter, top_up_closed, too_many_attempts, channel_not_configured, channel_refused or
    channel_unavailable.
    """
    found = await _find(services, token)
    if found is None:
        raise Problem("not_found")
    if CHANNEL_OF.get(product) != channel or (product == "jsapi" and not openid):
        raise Problem("invalid_parameter", "This way to pay does not go with this channel or payer.", "product")
    if product != "jsapi":
        openid = None
    async with services.database.tenant(found.tenant.tenant_id) as connection:
        await _check_open(services, connection, found, lock=False)
        rows = await _orders(connection, found)
        live = [row for row in rows if _is_live(row)]
        if not any(_is_same(row, product, openid) for row in live):
            # Before anything is closed: what was begun last can still be paid.
            _check_attempts(rows)
        others = [row for row in live if not _is_same(row, product, openid)]
    await asyncio.gather(*(_close(services, found.tenant, row) for row in others))
    order = await _order(services, found, channel, product, client_ip, openid)
    if order["started"] is not None and not _is_stale(order, to_datetime(services.clock.now_us())):
        return msgspec.json.decode(order["started"], type=Started)
    return await _create(services, found, token, order)


async def cancel_top_up(call: Call) -> Answer:
    """Cancels an open top-up, and closes its orders at their channels. What is paid nevertheless goes back."""
    top_up_id = call.path["topUpId"]
    services, tenant = call.services, call.tenant
    async with call.transaction() as connection:
        answer = await top_ups.cancel_in(connection, call, top_up_id)

    async def close_orders() -> None:
        try:
            async with services.database.tenant(tenant.tenant_id) as connection:
                live = await _live(connection, _Found(tenant, top_up_id, ""))
            for row in live:
                await polling.close(services, tenant, row["order_id"])
        except (Problem, ChannelError, ChannelUnavailable) as failure:
            # The worker asks about it until it ends.
            _log.warning("not_closed", top_up=top_up_id, detail=str(failure))

    call.after_commit.append(close_orders)
    return Answer(answer)


# ---------------------------------------------------------------- attempts


async def _order(
    services: Services, found: _Found, channel: Channel, product: Product, client_ip: str | None, openid: str | None
) -> asyncpg.Record:
    """The open order of this product, or a new one."""
    tenant_id, clock = found.tenant.tenant_id, services.clock
    opened = await accounts.for_order(services, found.tenant, channel, found.merchant_name)
    async with services.database.tenant(tenant_id) as connection:
        # Under the top-up's lock, so that of two equal requests the second finds the first one's order.
        top_up = await _check_open(services, connection, found, lock=True)
        rows = await _orders(connection, found)
        for row in reversed(rows):
            if _is_live(row) and _is_same(row, product, openid):
                return row
        _check_attempts(rows)
        order_id, now = public("po", new_bytes(clock)), to_datetime(clock.now_us())
        await connection.execute(
            _SQL["insert_order"],
            tenant_id,
            order_id,
            number_of(order_id),
            found.top_up_id,
            channel,
            product,
            opened.account.channel_account_id,
            opened.account.collector_id,
            opened.account.app_id,
            top_up["amount"],
            top_up["currency"],
            openid,
            client_ip,
            now,
            max(top_up["expires_at"], now + SHORTEST_ORDER),
            now + polling.FIRST_POLL,
        )
        made = await connection.fetchrow(_SQL["order"], tenant_id, order_id)
        assert made is not None
        return made


async def _create(services: Services, found: _Found, token: str, order: asyncpg.Record) -> Started:
    """Makes the order at its channel, or the same one again: a lost answer is repeated under the same number."""
    tenant, settings = found.tenant, services.settings
    async with services.database.tenant(tenant.tenant_id) as connection:
        opened = await accounts.opened(services, connection, tenant, order["channel_account_id"])
        terms = await top_up_settings.read(connection, tenant.tenant_id)
    payment = NewPayment(
        order_no=order["order_no"],
        amount=order["amount"],
        description=f"{terms.display_name or found.merchant_name} 充值",
        product=order["product"],
        expires_at=order["expires_at"],
        notify_url=f"{settings.public_url}/callbacks/{order['channel']}/{order['channel_account_id']}",
        return_url=top_ups.checkout_url(settings, token),
        payer_openid=order["payer_openid"],
        client_ip=order["client_ip"],
    )
    try:
        started = await opened.channel.create(payment)
    except ChannelUnavailable as failure:
        raise Problem("channel_unavailable", "The payment channel did not answer. Try again.") from failure
    except (ChannelError, ValueError) as refusal:
        raise await _not_created(services, tenant, order, refusal) from refusal
    async with services.database.tenant(tenant.tenant_id) as connection:
        now = to_datetime(services.clock.now_us())
        await connection.execute(_SQL["order_started"], tenant.tenant_id, order["order_id"], msgspec.json.encode(started).decode(), now)
    return started


async def _not_created(services: Services, tenant: Tenant, order: asyncpg.Record, refusal: ChannelError | ValueError) -> Problem:
    """What to say of an order that the channel refused, after noting it."""
    code = refusal.code if isinstance(refusal, ChannelError) else "INVALID"
    if isinstance(refusal, ChannelError):
        if refusal.says(*PAID_ALREADY):
            await polling.ask(services, tenant, order["order_id"])
            return Problem("top_up_closed", "The top-up is paid.")
        if refusal.retryable:
            return Problem("channel_unavailable", "The payment channel could not do it now. Try again.")
    _log.warning("order_refused", order=order["order_id"], channel=order["channel"], code=code, detail=str(refusal))
    async with services.database.tenant(tenant.tenant_id) as connection:
        await connection.execute(_SQL["order_failed"], tenant.tenant_id, order["order_id"], code)
    return Problem("channel_refused", f"The payment channel says {code}.", channelCode=code)


async def _close(services: Services, tenant: Tenant, row: asyncpg.Record) -> None:
    """Closes the order of another way to pay. Raises Problem top_up_closed if it is paid.

    If its channel does not say so in time, the order can still be paid until it ends, like one of Alipay's that nobody has scanned yet:
    it goes on being closed and watched, and a second payment goes back by the rule. A channel that is away must not keep the payer from
    the other one.
    """
    close = partial(polling.close, services, tenant, row["order_id"])
    try:
        came_to = await patience.within(SWITCH_WAITS_S, f"close {row['channel']}", row["order_id"], close)
    except (ChannelError, ChannelUnavailable) as failure:
        _log.warning("not_closed_before_another", order=row["order_id"], detail=str(failure))
        return
    if came_to == "paid":
        raise Problem("top_up_closed", "The top-up is paid.")


async def _check_open(services: Services, connection: Connection, found: _Found, *, lock: bool) -> asyncpg.Record:
    """The top-up, if it can be paid now. Raises Problem top_up_closed."""
    statement = _TOP_UPS["lock_top_up" if lock else "bare_top_up"]
    row = await connection.fetchrow(statement, found.tenant.tenant_id, found.top_up_id)
    if row is None:
        raise Problem("not_found")
    if row["status"] != "open" or row["expires_at"] <= to_datetime(services.clock.now_us()):
        raise Problem("top_up_closed", f"The top-up is {row['status'] if row['status'] != 'open' else 'expired'}.")
    return row


async def _live(connection: Connection, found: _Found) -> list[asyncpg.Record]:
    """Orders that may still be paid, the oldest first."""
    return [row for row in await _orders(connection, found) if _is_live(row)]


async def _orders(connection: Connection, found: _Found) -> list[asyncpg.Record]:
    """All orders of the top-up, the oldest first."""
    rows: list[asyncpg.Record] = await connection.fetch(_SQL["orders_of"], found.tenant.tenant_id, found.top_up_id)
    return rows


def _is_live(row: asyncpg.Record) -> bool:
    return row["status"] in ("created", "pending") and row["suspended_at"] is None


def _check_attempts(rows: list[asyncpg.Record]) -> None:
    """Raises Problem too_many_attempts if another order is one too many. rows: all orders of the top-up."""
    if len(rows) >= MAX_ATTEMPTS:
        raise Problem("too_many_attempts", f"A top-up can be tried to be paid {MAX_ATTEMPTS} times. Make a new one.")


def _is_same(row: asyncpg.Record, product: Product, openid: str | None) -> bool:
    same: bool = row["product"] == product and row["payer_openid"] == openid
    return same


def _is_stale(row: asyncpg.Record, now: datetime) -> bool:
    lasts = GOOD_FOR.get(row["product"])
    return lasts is not None and row["started_at"] is not None and now >= row["started_at"] + lasts


# ---------------------------------------------------------------- what is shown


async def _find(services: Services, token: str) -> _Found | None:
    hashed = checkout_token.hashed(token)
    if hashed is None:
        return None
    async with services.database.connection() as connection:
        row = await connection.fetchrow(_TOP_UPS["checkout_top_up"], hashed)
    if row is None:
        return None
    tenant = Tenant(row["tenant_id"], row["merchant_id"], row["mode"], row["partition_id"], row["currency"], key_id="")
    return _Found(tenant, row["top_up_id"], row["merchant_name"])


async def _view(services: Services, connection: Connection, found: _Found, token: str) -> CheckoutView | None:
    tenant_id, now = found.tenant.tenant_id, to_datetime(services.clock.now_us())
    row = await connection.fetchrow(_TOP_UPS["top_up"], tenant_id, found.top_up_id)
    if row is None or now >= row["expires_at"] + VISIBLE_FOR:
        return None
    terms = await top_up_settings.read(connection, tenant_id)
    rows = await connection.fetch(_SQL["orders_of"], tenant_id, found.top_up_id)
    status = top_ups.status_of(row, now)
    bonus: Decimal = row["bonus"] if row["bonus_granted"] is None else row["bonus_granted"]
    if (
        bonus
        and row["bonus_granted"] is None
        and not await promotions.still_counts(connection, tenant_id, row["customer"], row["promotion_id"])
    ):
        # Promised, and meanwhile another payment of the customer's has used it up: the page must not promise it still.
        bonus = Decimal(0)
    balance = await connection.fetchval(_TOP_UPS["balance"], tenant_id, row["customer"]) if status == "credited" else None
    returns, under_review = await _returns(connection, tenant_id, row, rows)
    return CheckoutView(
        tenant_id=tenant_id,
        top_up_id=found.top_up_id,
        token=token,
        merchant_name=terms.display_name or found.merchant_name,
        customer=row["customer"],
        amount=row["amount"],
        bonus=bonus,
        currency=row["currency"],
        status=status,
        expires_at=row["expires_at"],
        now=now,
        attempts=[_attempt(one) for one in rows if one["suspended_at"] is None],
        channels=await accounts.available(connection, services.settings, found.tenant) if status == "open" else (),
        returns=returns,
        under_review=under_review,
        return_url=row["return_url"],
        balance=balance,
        locale=row["locale"],
        sandbox=found.tenant.mode == "sandbox",
    )


async def _returns(
    connection: Connection, tenant_id: int, top_up: asyncpg.Record, rows: list[asyncpg.Record]
) -> tuple[tuple[CheckoutReturn, ...], bool]:
    """What goes back to the payer of these orders, and whether a payment is left that people have to decide about."""
    suspended = {row["order_id"] for row in rows if row["suspended_at"] is not None}
    if not suspended and not any(row["status"] == "paid" for row in rows):
        return (), False
    refunds = await connection.fetch(_REFUNDS["list_refunds"], tenant_id, top_up["top_up_id"])
    going = [row for row in refunds if row["status"] not in ("closed", "refused")]
    returns = tuple(
        CheckoutReturn(amount=row["amount"], extra=row["order_id"] != top_up["paid_order_id"], done=row["status"] == "succeeded")
        for row in going
    )
    # A merchant's refund that the channel refuses leaves everything as it was; of any other payment it leaves money that bought nothing.
    failed = {row["order_id"] for row in refunds if row["cause"] != "merchant"}
    return returns, bool((suspended | failed) - {row["order_id"] for row in going})


def _attempt(row: asyncpg.Record) -> CheckoutAttempt:
    started = None if row["started"] is None else msgspec.json.decode(row["started"], type=Started)
    expires_at = row["expires_at"]
    lasts = GOOD_FOR.get(row["product"])
    if lasts is not None and row["started_at"] is not None:
        expires_at = min(expires_at, row["started_at"] + lasts)
    status: Literal["created", "pending", "paid", "closed", "failed"] = row["status"]
    return CheckoutAttempt(
        channel=row["channel"],
        product=row["product"],
        status=status,
        expires_at=expires_at,
        qr_content=None if started is None else started.qr_content,
        redirect_url=None if started is None else started.redirect_url,
        jsapi=None if started is None else started.jsapi,
    )
