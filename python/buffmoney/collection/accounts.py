"""A merchant's accounts at the payment channels, their credentials, and the channels opened with them.

A live tenant's accounts are made on the command line. A sandbox tenant's are made when they are first needed, by onboarding at the
simulator with a key pair of their own. Which of the two a channel is opened at is decided here by the tenant's mode alone: live
credentials never reach the simulator, and nothing of a sandbox a live channel.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import httpx
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from buffmoney.audit import log
from buffmoney.base import queries, telemetry
from buffmoney.base.clock import Clock, format_time, to_datetime
from buffmoney.base.config import Settings
from buffmoney.base.errors import Problem
from buffmoney.base.http import Tenant
from buffmoney.base.ids import new_short
from buffmoney.collection.channels import (
    LIVE_BASE_URLS,
    AlipayCredentials,
    Channel,
    Credentials,
    CredentialsError,
    PaymentChannel,
    WechatCredentials,
    new_nonce,
    open_channel,
)
from buffmoney.collection.channels.credentials import UnsealError, seal, sealing_key, unseal
from buffmoney.collection.desk import Desk

if TYPE_CHECKING:
    import asyncpg

    from buffmoney.base.database import Connection

LONGEST_OVERLAP_S = 90 * 86_400
MAX_OPENED = 1_000
_SQL = queries.load("buffmoney.collection", "accounts.sql")
_log = telemetry.logger("channel accounts")

AccountMode = Literal["direct", "service_provider"]


class Account(msgspec.Struct, frozen=True):
    """An account at a channel. collector_id: whom the channel says it pays. sub_merchant_id: for whom a service provider collects."""

    channel_account_id: str
    channel: Channel
    mode: AccountMode
    collector_id: str
    app_id: str
    sub_merchant_id: str | None
    retired: bool


class Opened(msgspec.Struct, frozen=True):
    """An account and the channel opened with its credentials of these versions."""

    account: Account
    versions: tuple[int, ...]
    channel: PaymentChannel


class Resealed(msgspec.Struct, frozen=True, rename="camel"):
    """How many accounts' credentials were sealed anew, and until when older ones go on verifying under an older key; None: none does."""

    resealed: int
    older_keys_until: str | None


class ListedAccount(msgspec.Struct, rename="camel"):
    """An account as the command line shows it. version: of its newest credentials."""

    channel_account_id: str
    channel: str
    mode: str
    collector_id: str
    app_id: str
    sub_merchant_id: str | None
    version: int
    created_at: str
    retired_at: str | None


_opened: WeakKeyDictionary[httpx.AsyncClient, dict[str, Opened]] = WeakKeyDictionary()
"""by client and account: loading keys takes milliseconds"""
_found: dict[str, tuple[Tenant, Channel]] = {}
"""whose account it is, which never changes"""


# ---------------------------------------------------------------- in use


async def of_callback(desk: Desk, channel_account_id: str, channel: Channel) -> Tenant | None:
    """The tenant whose account a callback names; None if there is no such account of this channel."""
    known = _found.get(channel_account_id)
    if known is None:
        async with desk.database.connection() as connection:
            row = await connection.fetchrow(_SQL["callback_account"], channel_account_id)
        if row is None:
            return None
        tenant = Tenant(row["tenant_id"], row["merchant_id"], row["mode"], row["partition_id"], row["currency"], key_id="")
        if len(_found) >= MAX_OPENED:
            _found.clear()
        known = _found[channel_account_id] = (tenant, row["channel"])
    return known[0] if known[1] == channel else None


async def opened(desk: Desk, connection: Connection, tenant: Tenant, channel_account_id: str) -> Opened:
    """An account of this tenant and its channel, with the credentials in force now. Raises Problem channel_not_configured."""
    now = to_datetime(desk.clock.now_us())
    rows = await connection.fetch(_SQL["account"], tenant.tenant_id, channel_account_id, now)
    if not rows:
        raise Problem("channel_not_configured")
    versions = tuple(row["version"] for row in rows)
    known = _opened.setdefault(desk.http, {})
    found = known.get(channel_account_id)
    if found is None or found.versions != versions:
        account = _account(rows[0])
        current, *others = (unseal(desk.settings, tenant.tenant_id, row["key_id"], row["sealed"]) for row in rows)
        base_url = _base_url(desk.settings, tenant, account.channel)
        channel = open_channel(current, tuple(others), desk.http, base_url, desk.clock, new_nonce)
        if len(known) >= MAX_OPENED:
            known.clear()
        found = known[channel_account_id] = Opened(account, versions, channel)
    elif found.account.retired != (rows[0]["retired_at"] is not None):
        found = known[channel_account_id] = msgspec.structs.replace(found, account=_account(rows[0]))
    return found


async def for_order(desk: Desk, tenant: Tenant, channel: Channel, merchant_name: str) -> Opened:
    """The account that new orders of a channel go to; a sandbox tenant's is made if there is none, under the merchant's name.

    Raises Problem channel_not_configured or channel_unavailable.
    """
    async with desk.database.tenant(tenant.tenant_id) as connection:
        found = await connection.fetchval(_SQL["active"], tenant.tenant_id, channel)
        if found is not None:
            return await opened(desk, connection, tenant, found)
    if tenant.mode != "sandbox" or not desk.settings.simulator_url:
        raise Problem("channel_not_configured", f"The merchant has no account at {channel}.", "channel")
    credentials = await _onboard(desk, channel, merchant_name)
    async with desk.database.tenant(tenant.tenant_id) as connection:
        # Of two requests that both onboarded, the first one's account stays.
        made = await _insert(connection, desk.settings, desk.clock, tenant.tenant_id, credentials)
        found = made or await connection.fetchval(_SQL["active"], tenant.tenant_id, channel)
        return await opened(desk, connection, tenant, found)


async def available(connection: Connection, settings: Settings, tenant: Tenant) -> tuple[Channel, ...]:
    """The channels at which new orders can be made: those of a live tenant's accounts; in the sandbox all that the simulator stands for."""
    if tenant.mode == "sandbox":
        return tuple(LIVE_BASE_URLS) if settings.simulator_url else ()
    return tuple(row["channel"] for row in await connection.fetch(_SQL["active_channels"], tenant.tenant_id))


def _base_url(settings: Settings, tenant: Tenant, channel: Channel) -> str:
    if tenant.mode == "live":
        return LIVE_BASE_URLS[channel]
    if not settings.simulator_url:
        raise Problem("channel_not_configured", "There is no simulator for sandbox payments: see BUFFMONEY_SIMULATOR_URL.")
    return settings.simulator_url


async def _onboard(desk: Desk, channel: Channel, merchant_name: str) -> Credentials:
    """New credentials at the simulator. Raises Problem channel_unavailable."""
    private, public = await asyncio.to_thread(_key_pair)
    keys = {"merchantPublicKey": public, "mode": "direct"} if channel == "wechat" else {"appPublicKey": public}
    body = {"name": merchant_name, **keys}
    try:
        answer = await desk.http.post(f"{desk.settings.simulator_url}/onboarding/{channel}", json=body)
        answer.raise_for_status()
        made: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as failure:
        _log.warning("onboarding_failed", channel=channel, detail=f"{type(failure).__name__}: {failure}")
        raise Problem("channel_unavailable", "The simulator of payment channels did not answer.") from failure
    if channel == "wechat":
        platform = {made["platformKeyId"]: made["platformPublicKey"]}
        return WechatCredentials(made["appId"], made["mchid"], None, None, made["merchantSerial"], private, made["apiV3Key"], platform)
    return AlipayCredentials(made["appId"], made["sellerId"], private, (made["alipayPublicKey"],))


def _key_pair() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _account(row: asyncpg.Record) -> Account:
    return Account(
        row["channel_account_id"],
        row["channel"],
        row["mode"],
        row["collector_id"],
        row["app_id"],
        row["sub_merchant_id"],
        row["retired_at"] is not None,
    )


# ---------------------------------------------------------------- on the command line


async def add(
    connection: Connection, settings: Settings, clock: Clock, tenant_id: int, mode: str, credentials: Credentials, *, by: log.Author
) -> str:
    """Makes an account and gives its id. connection: the schema's owner's. mode: of the tenant.

    Raises Problem invalid_channel_account for a sandbox tenant, credentials that open no channel, and a second active account.
    """
    if mode != "live":
        raise Problem("invalid_channel_account", "Sandbox payments go to the simulator: its accounts are made by themselves.", "mode")
    await _check(credentials, clock)
    async with connection.transaction():
        made = await _insert(connection, settings, clock, tenant_id, credentials)
        if made is None:
            raise Problem("invalid_channel_account", "There is an active account of this channel: retire it first.", "channel")
        await log.record(connection, by, tenant_id, "channel_account.create", made, None, await _told(connection, tenant_id, made))
    return made


async def rotate(
    connection: Connection,
    settings: Settings,
    clock: Clock,
    channel_account_id: str,
    credentials: Credentials,
    overlap_s: int,
    *,
    by: log.Author,
) -> int:
    """Gives an account new credentials; the old ones go on verifying for `overlap_s` seconds. Gives the new version.

    Raises Problem channel_account_not_found, invalid_channel_account for another merchant's credentials, or invalid_parameter.
    """
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise Problem("invalid_parameter", f"The overlap is 0 to {LONGEST_OVERLAP_S} seconds.", "overlapSeconds")
    await _check(credentials, clock)
    tenant_id = await tenant_of(connection, channel_account_id)
    async with connection.transaction():
        row = await connection.fetchrow(_SQL["lock_account"], tenant_id, channel_account_id)
        assert row is not None
        if _identity(credentials) != tuple(row[name] for name in ("channel", "mode", "collector_id", "app_id", "sub_merchant_id")):
            raise Problem("invalid_channel_account", "These credentials are of another merchant or app at the channel.")
        before = await _told(connection, tenant_id, channel_account_id)
        now = to_datetime(clock.now_us())
        await connection.execute(_SQL["end_credentials"], tenant_id, channel_account_id, now + timedelta(seconds=overlap_s))
        version: int = await connection.fetchval(
            _SQL["insert_credentials"], tenant_id, channel_account_id, *seal(settings, tenant_id, credentials), now
        )
        after = await _told(connection, tenant_id, channel_account_id)
        await log.record(connection, by, tenant_id, "channel_account.rotate", channel_account_id, before, after)
    return version


async def reseal(connection: Connection, settings: Settings, clock: Clock, *, by: log.Author) -> Resealed:
    """Seals the credentials of all accounts anew that are not under the first key of BUFFMONEY_CREDENTIAL_KEYS, each as a new version.

    What an older version goes on verifying until its overlap ends stays under its key, which must be kept until then. Raises Problem
    invalid_channel_account for a key that is not there: then nothing has changed.
    """
    now, first = to_datetime(clock.now_us()), sealing_key(settings)
    resealed, kept_until = 0, None
    async with connection.transaction():
        for row in await connection.fetch(_SQL["good_credentials"], now):
            if row["key_id"] == first:
                continue
            if row["retires_at"] is not None:
                kept_until = max(kept_until or row["retires_at"], row["retires_at"])
                continue
            tenant_id, account_id = row["tenant_id"], row["channel_account_id"]
            await connection.fetchrow(_SQL["lock_account"], tenant_id, account_id)
            before = await _told(connection, tenant_id, account_id)
            try:
                credentials = unseal(settings, tenant_id, row["key_id"], row["sealed"])
            except UnsealError as failure:
                raise Problem("invalid_channel_account", f"{account_id}: {failure}.") from None
            await connection.execute(_SQL["end_version"], tenant_id, account_id, row["version"], now)
            await connection.fetchval(_SQL["insert_credentials"], tenant_id, account_id, *seal(settings, tenant_id, credentials), now)
            after = await _told(connection, tenant_id, account_id)
            await log.record(connection, by, tenant_id, "channel_account.reseal", account_id, before, after)
            resealed += 1
    return Resealed(resealed, None if kept_until is None else format_time(kept_until))


async def retire(connection: Connection, clock: Clock, channel_account_id: str, *, by: log.Author) -> None:
    """Takes an account out of use for new orders; what was ordered through it goes on. Twice is the same as once.

    Raises Problem channel_account_not_found.
    """
    tenant_id = await tenant_of(connection, channel_account_id)
    async with connection.transaction():
        row = await connection.fetchrow(_SQL["lock_account"], tenant_id, channel_account_id)
        assert row is not None
        if row["retired_at"] is not None:
            return
        before = await _told(connection, tenant_id, channel_account_id)
        await connection.execute(_SQL["retire_account"], tenant_id, channel_account_id, to_datetime(clock.now_us()))
        after = await _told(connection, tenant_id, channel_account_id)
        await log.record(connection, by, tenant_id, "channel_account.retire", channel_account_id, before, after)


async def list_accounts(connection: Connection, tenant_id: int) -> list[ListedAccount]:
    """All accounts of a tenant, oldest first, retired ones too, without anything secret."""
    return [
        ListedAccount(
            row["channel_account_id"],
            row["channel"],
            row["mode"],
            row["collector_id"],
            row["app_id"],
            row["sub_merchant_id"],
            row["version"],
            format_time(row["created_at"]),
            None if row["retired_at"] is None else format_time(row["retired_at"]),
        )
        for row in await connection.fetch(_SQL["list_accounts"], tenant_id)
    ]


async def tenant_of(connection: Connection, channel_account_id: str) -> int:
    """The tenant of an account, for the command line. Raises Problem channel_account_not_found."""
    tenant_id: int | None = await connection.fetchval(_SQL["account_tenant"], channel_account_id)
    if tenant_id is None:
        raise Problem("channel_account_not_found", f"There is no account {channel_account_id}.", "channelAccountId")
    return tenant_id


def read_credentials(text: bytes) -> Credentials:
    """Credentials from a file: JSON of `WechatCredentials` or `AlipayCredentials`, with "type": "wechat" or "alipay".

    Raises Problem invalid_channel_account, which shows nothing of what is in the file.
    """
    try:
        return msgspec.json.decode(text, type=WechatCredentials | AlipayCredentials)
    except (msgspec.DecodeError, UnicodeDecodeError) as failure:
        place = str(failure) if isinstance(failure, msgspec.ValidationError) else "it is not JSON"
        raise Problem("invalid_channel_account", f"The credentials cannot be read: {place}.") from None


async def _insert(connection: Connection, settings: Settings, clock: Clock, tenant_id: int, credentials: Credentials) -> str | None:
    now = to_datetime(clock.now_us())
    channel, mode, collector_id, app_id, sub_merchant_id = _identity(credentials)
    made: str | None = await connection.fetchval(
        _SQL["insert_account"], tenant_id, new_short("ca", clock), channel, mode, collector_id, app_id, sub_merchant_id, now
    )
    if made is not None:
        await connection.execute(_SQL["insert_credentials"], tenant_id, made, *seal(settings, tenant_id, credentials), now)
    return made


def _identity(credentials: Credentials) -> tuple[Channel, AccountMode, str, str, str | None]:
    """Channel, mode, collector, app, and for whom a service provider collects."""
    if isinstance(credentials, WechatCredentials):
        mode: AccountMode = "direct" if credentials.sub_mchid is None else "service_provider"
        return "wechat", mode, credentials.mchid, credentials.app_id, credentials.sub_mchid
    return "alipay", "direct", credentials.seller_id, credentials.app_id, None


async def _check(credentials: Credentials, clock: Clock) -> None:
    """Raises Problem invalid_channel_account unless a channel opens with these."""
    channel: Channel = _identity(credentials)[0]
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            open_channel(credentials, (), http, LIVE_BASE_URLS[channel], clock, new_nonce)
        except CredentialsError as failure:
            raise Problem("invalid_channel_account", f"{failure}.") from None


async def _told(connection: Connection, tenant_id: int, channel_account_id: str) -> dict[str, Any]:
    """An account as the audit log tells of it: nothing secret is in it."""
    (found,) = (one for one in await list_accounts(connection, tenant_id) if one.channel_account_id == channel_account_id)
    told: dict[str, Any] = msgspec.to_builtins(found)
    return told
