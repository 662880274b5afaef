"""Top-ups: what a customer wants to buy, the address at which it is paid, and what became of it."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from blake3 import blake3

from buffmoney import _core
from buffmoney.audit import log
from buffmoney.base import cursors, money, queries
from buffmoney.base.clock import format_time, to_datetime, to_us
from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.base.http import Answer, Call
from buffmoney.base.ids import new_bytes, public
from buffmoney.base.wire import Address, Currency, CustomerId, Number, NumberInput, Time
from buffmoney.collection import accounts, checkout_token, promotions, return_url, top_up_settings
from buffmoney.collection.channels import Channel
from buffmoney.collection.checkout_view import Locale
from buffmoney.collection.top_up_settings import CURRENCY, parse_yuan
from buffmoney.wallets import commands
from buffmoney.wallets.customers import check_external_id

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

MAX_RETURN_URL_BYTES = 2_048
_SQL = queries.load("buffmoney.collection", "top_ups.sql")

Status = Literal["open", "paid", "credited", "expired", "canceled"]


class TopUpBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """What a customer buys.

    amount: CNY, a tier or a free amount. returnUrl: where the checkout leads back to. locale: of the checkout, else the browser's.
    """

    customer_external_id: CustomerId
    amount: NumberInput
    return_url: Address | None = None
    locale: Locale | None = None


class CancelBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """No fields."""


class Payment(msgspec.Struct, rename="camel"):
    """The payment that was credited. orderNo: ours, at the channel. transactionId: the channel's. paidAt: by the channel."""

    channel: Channel
    order_no: str
    transaction_id: str | None
    paid_at: Time


class TopUp(msgspec.Struct, rename="camel"):
    """A top-up.

    status: `paid` becomes `credited` when the credits are in the wallet. bonus: promised, from the payment on granted. refunded: what was
    or is being refunded of the amount. checkoutUrl: where it is paid; whoever has it may pay. returnUrl: where the checkout leads back to.
    expiresAt: until when it can be paid. payment: null until it is paid. creditedAt: when the credits were in the wallet.
    """

    top_up_id: str
    status: Status
    customer_external_id: CustomerId
    amount: Number
    currency: Currency
    bonus: Number
    promotion_id: str | None
    checkout_url: Address
    return_url: Address | None
    created_at: Time
    expires_at: Time
    payment: Payment | None
    credited_at: Time | None
    refunded: Number


class TopUpPage(msgspec.Struct, rename="camel"):
    """Newest first. nextCursor null: the last page."""

    data: list[TopUp]
    next_cursor: str | None


class TopUpQuery(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A page of the list. customerExternalId: of one customer only."""

    customer_external_id: CustomerId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: str | None = None


def token_of(settings: Settings, tenant_id: int, top_up_id: str) -> str:
    """The token in a top-up's checkout address: 43 characters that only who knows BUFFMONEY_SECRET can work out."""
    key = settings.derive("checkout token")
    digest = blake3(tenant_id.to_bytes(8, "big") + top_up_id.encode(), key=key).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def checkout_url(settings: Settings, token: str) -> str:
    """Where a top-up is paid."""
    return f"{settings.public_url}/pay/{token}"


def status_of(row: asyncpg.Record, now: datetime) -> Status:
    """A top-up's status as clients see it. row: of the statement `top_up`."""
    if row["status"] == "paid":
        return "credited" if row["credited_at"] is not None else "paid"
    if row["status"] == "open" and row["expires_at"] <= now:
        return "expired"
    status: Status = row["status"]
    return status


async def create_top_up(call: Call) -> Answer:
    """Makes a top-up, and its customer if the merchant lets customers be made."""
    body: TopUpBody = call.body
    name = check_external_id(body.customer_external_id, "customerExternalId")
    amount = parse_yuan(body.amount, "amount")
    if body.return_url is not None:
        _check_return_url(body.return_url, live=call.tenant.mode == "live")
    tenant_id, clock, settings = call.tenant.tenant_id, call.services.clock, call.services.settings
    now = to_datetime(clock.now_us())
    async with call.transaction() as connection:
        terms = await top_up_settings.read(connection, tenant_id)
        top_up_settings.check_amount(terms, amount)
        if not await accounts.available(connection, settings, call.tenant):
            raise Problem("channel_not_configured", "The merchant has no account at a payment channel: see `buffmoney channels add`.")
        await _check_buyer(call, connection, name)
        promised = await promotions.promise(connection, tenant_id, name, amount, now)
        top_up_id = public("tu", new_bytes(clock))
        await connection.execute(
            _SQL["insert_top_up"],
            tenant_id,
            top_up_id,
            name,
            amount,
            CURRENCY,
            promised.promotion_id,
            promised.bonus,
            terms.paid_valid_days,
            promised.bonus_valid_days or terms.bonus_valid_days,
            terms.refund_window_days,
            checkout_token.hashed(token_of(settings, tenant_id, top_up_id)),
            body.return_url,
            body.locale,
            call.tenant.key_id,
            call.request_id,
            now,
            now + timedelta(minutes=terms.checkout_valid_minutes),
        )
        return Answer(_top_up(call, await connection.fetchrow(_SQL["top_up"], tenant_id, top_up_id)))


async def get_top_up(call: Call) -> Answer:
    """One top-up."""
    async with call.transaction() as connection:
        return Answer(_top_up(call, await connection.fetchrow(_SQL["top_up"], call.tenant.tenant_id, call.path["topUpId"])))


async def list_top_ups(call: Call) -> Answer:
    """A page of top-ups."""
    query: TopUpQuery = call.query
    name = query.customer_external_id
    if name is not None:
        check_external_id(name, "customerExternalId")
    secret, tenant_id = call.services.settings.secret, call.tenant.tenant_id
    scope = f"top-ups\0{name or ''}"
    after = (None, None)
    if query.cursor is not None:
        created_us, last = cursors.unseal(secret, tenant_id, scope, query.cursor)
        after = (to_datetime(created_us), last)  # type: ignore[assignment]
    async with call.transaction() as connection:
        rows = await connection.fetch(_SQL["list_top_ups"], tenant_id, name, *after, query.limit + 1)
    page = rows[: query.limit]
    cursor = None
    if len(rows) > query.limit:
        cursor = cursors.seal(secret, tenant_id, scope, [to_us(page[-1]["created_at"]), page[-1]["top_up_id"]])
    return Answer(TopUpPage([_top_up(call, row) for row in page], cursor))


async def cancel_in(connection: Connection, call: Call, top_up_id: str) -> TopUp:
    """Cancels an open top-up; cancelling twice is the same as once. Raises Problem top_up_not_found, or top_up_closed once it was paid."""
    tenant_id, now = call.tenant.tenant_id, to_datetime(call.services.clock.now_us())
    locked = await connection.fetchrow(_SQL["lock_top_up"], tenant_id, top_up_id)
    if locked is None:
        raise Problem("top_up_not_found")
    before = _top_up(call, await connection.fetchrow(_SQL["top_up"], tenant_id, top_up_id))
    if locked["status"] == "canceled":
        return before
    if before.status not in ("open", "expired"):
        raise Problem("top_up_closed", f"The top-up is {before.status}.")
    await connection.execute(_SQL["cancel_top_up"], tenant_id, top_up_id, now)
    after = msgspec.structs.replace(before, status="canceled")
    told = (msgspec.to_builtins(_told(before)), msgspec.to_builtins(_told(after)))
    await log.record(connection, log.Author.of(call), tenant_id, "top_up.cancel", top_up_id, *told)
    return after


async def _check_buyer(call: Call, connection: Connection, name: str) -> None:
    """Makes sure that the credits will have a wallet in CNY to go to."""
    row = await connection.fetchrow(_SQL["buyer"], call.tenant.tenant_id, name)
    if row is None:
        raise Problem("not_found", "The tenant does not exist.")
    currency = row["currency"]
    if currency is None:
        if row["unknown_customers"] == "refuse":
            raise Problem("unknown_customer", "There is no customer with this id.", "customerExternalId")
        # Made now and not by the grant: a wallet made in another currency meanwhile could not take the credits.
        command_id = _core.key_hash(call.tenant.tenant_id, f"buyer\0{name}").hex()
        command: dict[str, object] = {"type": "configure", "commandId": command_id, "customer": name, "create": True, "currency": CURRENCY}
        await commands.run(call, command)
    elif currency != CURRENCY:
        raise Problem(
            "currency_mismatch", f"The customer's wallet is in {currency}, and top-ups are paid in {CURRENCY}.", "customerExternalId"
        )


def _check_return_url(text: str, *, live: bool) -> None:
    """Raises Problem invalid_parameter unless this is where a browser can be sent, in live mode over TLS."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        size = MAX_RETURN_URL_BYTES + 1
    if size > MAX_RETURN_URL_BYTES or not return_url.is_safe(text) or (live and urlsplit(text).scheme != "https"):
        schemes = "https" if live else "http or https"
        raise Problem("invalid_parameter", f"Give an absolute {schemes} address of at most {MAX_RETURN_URL_BYTES} bytes.", "returnUrl")


def _told(top_up: TopUp) -> TopUp:
    # Whoever has the address can pay, and sees the customer's balance: it does not belong into a log.
    return msgspec.structs.replace(top_up, checkout_url="")


def _top_up(call: Call, row: asyncpg.Record | None) -> TopUp:
    if row is None:
        raise Problem("top_up_not_found")
    settings = call.services.settings
    payment = None
    if row["paid_at"] is not None:
        payment = Payment(row["channel"], row["order_no"], row["transaction_id"], format_time(row["paid_at"]))
    return TopUp(
        row["top_up_id"],
        status_of(row, to_datetime(call.services.clock.now_us())),
        row["customer"],
        money.format_decimal(row["amount"]),
        row["currency"],
        money.format_decimal(row["bonus"] if row["bonus_granted"] is None else row["bonus_granted"]),
        row["promotion_id"],
        checkout_url(settings, token_of(settings, row["tenant_id"], row["top_up_id"])),
        row["return_url"],
        format_time(row["created_at"]),
        format_time(row["expires_at"]),
        payment,
        None if row["credited_at"] is None else format_time(row["credited_at"]),
        money.format_decimal(row["refunded"]),
    )
