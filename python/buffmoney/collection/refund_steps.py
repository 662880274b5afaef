"""What becomes of a refund: its credits are taken, the channel is asked, and its word is followed until there is nothing more to come.

Every step can be taken by anybody any number of times: taking credits is a command that the core knows again, a refund at the channel is
known by its number, and what the channel says is applied under the lock of the top-up. So a worker goes on where a process has died.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import Counter

from buffmoney.base import money, queries, telemetry
from buffmoney.base.clock import Clock, to_datetime, to_us
from buffmoney.base.http import Tenant
from buffmoney.collection import accounts, alerts, orders
from buffmoney.collection.alerts import Alert
from buffmoney.collection.channels import Channel, ChannelError, ChannelUnavailable, RefundRequest, RefundState
from buffmoney.collection.desk import Desk
from buffmoney.collection.top_up_settings import CURRENCY
from buffmoney.ledger import cash
from buffmoney.wallets import outbox

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

LONGEST_WAIT_S = 600
BACK_AT_LEAST = timedelta(days=7)
"""how long credits that are given back live at least, where theirs expire sooner"""
FINAL_REFUSALS = (
    *(
        "TRADE_NOT_ALLOW_REFUND",
        "TRADE_HAS_FINISHED",
        "TRADE_HAS_CLOSE",
        "REFUND_AMT_NOT_EQUAL_TOTAL",
        "REFUND_FEE_ERROR",
        "TRADE_NOT_EXIST",
    ),
    *("ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS", "INVALID_REQUEST", "PARAM_ERROR", "INVALID_PARAMETER", "REFUND_NOT_EXISTS", "TRADE_ERROR"),
)
"""codes after which the same request never succeeds; everything else, known or not, is tried again"""
TOO_OFTEN = ("FREQUENCY_LIMITED", "RATELIMIT_EXCEEDED", "SYSTEM_ERROR", "isv.call-limited", "isp.call-limited", "app-call-limited")
"""codes that a later try mends without anybody's doing: no alert tells of them"""
FINISHED = Counter("buffmoney_refunds_finished", "Refunds that are over, by how.", ["status"])

_SQL = queries.load("buffmoney.collection", "refunds.sql")
_log = telemetry.logger("refunds")


async def go_on(desk: Desk, tenant: Tenant, refund_id: str) -> None:
    """Takes as many steps as can be taken now. Raises nothing: what fails, a worker tries again."""
    try:
        while await _step(desk, tenant, refund_id):
            pass
    except ChannelUnavailable as failure:
        await _wait_quietly(desk, tenant, refund_id, failure.detail)
    except Exception as failure:
        _log.warning(
            "refund_step_failed", tenant=tenant.tenant_id, refund=refund_id, detail=f"{type(failure).__name__}: {failure}", exc_info=True
        )
        await _wait_quietly(desk, tenant, refund_id, type(failure).__name__)


async def _step(desk: Desk, tenant: Tenant, refund_id: str) -> bool:
    """One step. True if there may be another one at once."""
    async with desk.database.tenant(tenant.tenant_id) as connection:
        row = await connection.fetchrow(_SQL["refund"], tenant.tenant_id, refund_id)
        if row is None or row["next_step_at"] is None:
            return False
        opened = await accounts.opened(desk, connection, tenant, row["channel_account_id"])
    if row["status"] == "requested":
        return await _take_credits(desk, tenant, row)
    try:
        if row["status"] == "ready":
            state = await _submit(desk, opened, row)
        else:
            state = await opened.channel.query_refund(row["order_no"], row["refund_no"])
            if state.status == "unknown":
                state = await _submit(desk, opened, row)
    except ChannelError as refusal:
        return await _refused(desk, tenant, opened, row, refusal)
    await apply(desk, tenant, refund_id, state)
    return False


async def _take_credits(desk: Desk, tenant: Tenant, row: asyncpg.Record) -> bool:
    answer = await outbox.deliver_one(desk.commands, desk.database, desk.clock, tenant, row["command_id"].bytes)
    if answer is None:
        await _wait(desk, tenant, row["refund_id"], None)
        return False
    async with desk.database.tenant(tenant.tenant_id) as connection:
        locked = await connection.fetchrow(_SQL["lock_refund"], tenant.tenant_id, row["refund_id"])
        if locked is None or locked["status"] != "requested":
            return True
        if answer.get("ok"):
            await _set(connection, desk.clock, tenant, row, "ready")
            return True
        await _set(connection, desk.clock, tenant, row, "refused", failure=str(answer.get("code", "")))
    FINISHED.labels("refused").inc()
    return False


async def _submit(desk: Desk, opened: accounts.Opened, row: asyncpg.Record) -> RefundState:
    request = RefundRequest(
        row["order_no"],
        row["refund_no"],
        row["amount"],
        row["total"],
        row["reason"] or "refund",
        f"{desk.settings.public_url}/callbacks/{opened.account.channel}/{opened.account.channel_account_id}",
    )
    return await opened.channel.refund(request)


async def _refused(desk: Desk, tenant: Tenant, opened: accounts.Opened, row: asyncpg.Record, refusal: ChannelError) -> bool:
    """The channel refused. Whether it will for ever, and whether there is such a refund after all, decides what follows."""
    if not refusal.retryable and refusal.says(*FINAL_REFUSALS):
        try:
            state = await opened.channel.query_refund(row["order_no"], row["refund_no"])
        except ChannelError as unsaid:
            # Of an earlier request the answer may be lost, so that it has the money back all the same: it is asked until it says.
            refusal = unsaid
        else:
            if state.status == "unknown":
                state = msgspec.structs.replace(state, status="closed", raw_state=refusal.code)
            await apply(desk, tenant, row["refund_id"], state)
            return False
    async with desk.database.tenant(tenant.tenant_id) as connection:
        if not refusal.says(*TOO_OFTEN):
            # Too little money at the channel, a frozen payment, a wrong key: it goes on once people have seen to it.
            alert = _alert(row, "refund_stuck", f"The channel says {refusal.code}: {refusal.detail}. It is asked again.")
            await alerts.record(connection, desk.clock, tenant.tenant_id, alert)
        await _wait_in(connection, desk.clock, tenant, row["refund_id"], row["steps"], refusal.code)
    return False


async def apply(desk: Desk, tenant: Tenant, refund_id: str, state: RefundState) -> None:
    """Follows the channel's word about a refund: under the lock, once, and never a step back."""
    commands: list[outbox.Command] = []
    now = to_datetime(desk.clock.now_us())
    async with desk.database.tenant(tenant.tenant_id) as connection:
        locked = await connection.fetchrow(_SQL["lock_refund"], tenant.tenant_id, refund_id)
        row = await connection.fetchrow(_SQL["refund"], tenant.tenant_id, refund_id)
        if locked is None or row is None or row["status"] == "requested":
            return
        if row["next_step_at"] is None:
            if state.status == "succeeded" and row["status"] != "succeeded":
                alert = _alert(row, "refund_stuck", f"The channel says it succeeded after it was {row['status']} here.")
                await alerts.record(connection, desk.clock, tenant.tenant_id, alert)
            return
        if state.status == "succeeded" and state.amount is not None and state.amount != row["amount"]:
            detail = f"The channel says it paid back {state.amount}, not {money.format_decimal(row['amount'])}."
            await alerts.record(connection, desk.clock, tenant.tenant_id, _alert(row, "refund_stuck", detail))
            await _wait_in(connection, desk.clock, tenant, refund_id, row["steps"], "wrong_amount")
        elif state.status == "succeeded":
            await _succeed(connection, desk, tenant, row, state, now)
        elif state.status == "closed":
            await _set(connection, desk.clock, tenant, row, "closed", state, failure=state.raw_state)
            detail = f"The channel says {state.raw_state}; credits that were taken for it are given back."
            await alerts.record(connection, desk.clock, tenant.tenant_id, _alert(row, "refund_closed", detail))
            commands = await _give_back(connection, desk.clock, tenant, row, now)
        elif state.status == "abnormal":
            if row["status"] != "abnormal":
                await _set(connection, desk.clock, tenant, row, "abnormal", state, failure=state.raw_state)
                detail = "The channel could not pay it out: see to it in the channel's own back office."
                await alerts.record(connection, desk.clock, tenant.tenant_id, _alert(row, "refund_abnormal", detail))
            await _wait_in(connection, desk.clock, tenant, refund_id, row["steps"], None)
        else:
            if row["status"] == "ready":
                await _set(connection, desk.clock, tenant, row, "processing", state)
            await _wait_in(connection, desk.clock, tenant, refund_id, row["steps"], None)
    await outbox.deliver(desk.commands, desk.database, desk.clock, tenant, commands)


async def find(connection: Connection, tenant_id: int, refund_no: str) -> str | None:
    """The id of the refund with this number."""
    refund_id: str | None = await connection.fetchval(_SQL["refund_by_number"], tenant_id, refund_no)
    return refund_id


async def claim(desk: Desk, channel: Channel, limit: int, lease: timedelta) -> list[tuple[Tenant, str]]:
    """Refunds of a channel with a step that is due, each for this worker alone until `lease` is over."""
    now = to_datetime(desk.clock.now_us())
    async with desk.database.transaction() as connection:
        rows = await connection.fetch(_SQL["claim_due"], now, now + lease, limit, channel)
    return [
        (Tenant(row["tenant_id"], row["merchant_id"], row["mode"], row["partition_id"], row["currency"], key_id=""), row["refund_id"])
        for row in rows
    ]


async def _succeed(connection: Connection, desk: Desk, tenant: Tenant, row: asyncpg.Record, state: RefundState, now: datetime) -> None:
    succeeded_at = state.succeeded_at or now
    sums = await cash.order_sums(connection, tenant.tenant_id, row["order_id"])
    if sums is None:
        raise RuntimeError(f"order {row['order_id']} is refunded and not in the cash book")
    entries = cash.refund_entries(row["order_id"], row["refund_id"], row["channel"], row["amount"], sums, occurred_at=succeeded_at)
    await _set(connection, desk.clock, tenant, row, "succeeded", state, succeeded_at=succeeded_at)
    await cash.post(connection, orders.Books(desk.settings, desk.clock), tenant.tenant_id, entries)


async def _give_back(connection: Connection, clock: Clock, tenant: Tenant, row: asyncpg.Record, now: datetime) -> list[outbox.Command]:
    """Grants in place of what was taken, of the same kind, priority and expiry."""
    terms = {
        one["grant_id"]: one
        for one in await connection.fetch(_SQL["grant_terms"], tenant.tenant_id, row["paid_grant_id"], row["bonus_grant_id"])
    }
    commands = []
    for kind, grant_id, amount in (("paid", row["paid_grant_id"], row["paid_taken"]), ("bonus", row["bonus_grant_id"], row["bonus_taken"])):
        if not amount:
            continue
        expires_at = terms[grant_id]["expires_at"]
        command: dict[str, object] = {
            "type": "grant",
            "customer": row["customer"],
            "amount": money.format_decimal(amount),
            "currency": CURRENCY,
            "kind": kind,
            "priority": terms[grant_id]["priority"],
            "expiresAtUs": None if expires_at is None else to_us(max(expires_at, now + BACK_AT_LEAST)),
        }
        commands.append(await outbox.enqueue(connection, clock, tenant.tenant_id, f"refund:{row['refund_id']}:{kind}_back", command))
    return commands


async def _set(
    connection: Connection,
    clock: Clock,
    tenant: Tenant,
    row: asyncpg.Record,
    status: str,
    state: RefundState | None = None,
    *,
    failure: str | None = None,
    succeeded_at: datetime | None = None,
) -> None:
    now = to_datetime(clock.now_us())
    over = status in ("succeeded", "closed", "refused")
    channel_refund_id = None if state is None else state.channel_refund_id
    submitted_at = None if state is None else now
    await connection.execute(
        _SQL["step"],
        tenant.tenant_id,
        row["refund_id"],
        status,
        failure,
        channel_refund_id,
        submitted_at,
        succeeded_at,
        None if over else now,
    )
    if over and status != "refused":
        FINISHED.labels(status).inc()


async def _wait(desk: Desk, tenant: Tenant, refund_id: str, failure: str | None) -> None:
    async with desk.database.tenant(tenant.tenant_id) as connection:
        row = await connection.fetchrow(_SQL["refund"], tenant.tenant_id, refund_id)
        if row is not None:
            await _wait_in(connection, desk.clock, tenant, refund_id, row["steps"], failure)


async def _wait_in(connection: Connection, clock: Clock, tenant: Tenant, refund_id: str, steps: int, failure: str | None) -> None:
    pause = timedelta(seconds=min(2 ** min(steps + 1, 20), LONGEST_WAIT_S))
    await connection.execute(_SQL["wait"], tenant.tenant_id, refund_id, to_datetime(clock.now_us()) + pause, failure)


async def _wait_quietly(desk: Desk, tenant: Tenant, refund_id: str, failure: str) -> None:
    try:
        await _wait(desk, tenant, refund_id, failure[:200])
    except Exception as again:
        # Its time to be looked at is in the table already.
        _log.warning("refund_not_put_off", tenant=tenant.tenant_id, refund=refund_id, detail=f"{type(again).__name__}: {again}")


def _alert(row: asyncpg.Record, kind: alerts.Kind, detail: str) -> Alert:
    return Alert(
        kind=kind,
        channel=row["channel"],
        order_no=row["order_no"],
        subject=row["refund_no"],
        order_id=row["order_id"],
        refund_id=row["refund_id"],
        amount=row["amount"],
        detail=detail,
    )
