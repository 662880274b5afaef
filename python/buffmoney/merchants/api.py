"""Routes of what is a merchant's own, in the mode of the key that asks: API keys and where its billing periods begin."""

from __future__ import annotations

from datetime import datetime

import msgspec

from buffmoney.audit.log import Author
from buffmoney.base.clock import format_time
from buffmoney.base.http import Answer, Call, Route, tell_core
from buffmoney.base.wire import Mode, Time, TimeZone
from buffmoney.merchants import billing_period, keys


class KeyBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """A new key. name: for people, at most 255 characters."""

    name: str = ""


class RotateBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """How a key is replaced. overlapSeconds: how long the old key goes on working, at most 30 days."""

    overlap_seconds: int = 86_400


class RevokeBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """No fields."""


class BillingPeriodBody(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Where billing periods begin. timeZone: a name like Asia/Shanghai. anchorDay: 1 to 31; a month without it has its last day."""

    time_zone: TimeZone
    anchor_day: int


class CreatedKey(msgspec.Struct, rename="camel"):
    """A key just made. prefix: how it begins, to know it by. key: shown this once."""

    key_id: str
    prefix: str
    key: str


class ApiKey(msgspec.Struct, rename="camel"):
    """A key as it may be shown.

    prefix: how it begins, to know it by. expiresAt: the end of a rotation's overlap. revokedAt null: it works.
    """

    key_id: str
    prefix: str
    name: str
    mode: Mode
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None


class ApiKeyList(msgspec.Struct, rename="camel"):
    """All keys of the tenant, oldest first, revoked ones too."""

    data: list[ApiKey]


async def list_api_keys(call: Call) -> Answer:
    """Lists the tenant's keys."""
    async with call.transaction() as connection:
        rows = await keys.list_keys(connection, call.tenant.tenant_id)
    return Answer(ApiKeyList([_shown(call, row) for row in rows]))


async def create_api_key(call: Call) -> Answer:
    """Makes another key for the same tenant."""
    body: KeyBody = call.body
    services, tenant = call.services, call.tenant
    async with call.transaction() as connection:
        made = await keys.create(
            connection, services.settings.api_key_pepper, services.clock, tenant.tenant_id, tenant.mode, body.name, by=Author.of(call)
        )
    return Answer(CreatedKey(made.key_id, made.prefix, made.secret))


async def revoke_api_key(call: Call) -> Answer:
    """Ends a key; every edge refuses it within a second."""
    async with call.transaction() as connection:
        row = await keys.revoke(connection, call.services.clock, call.tenant.tenant_id, call.path["keyId"], by=Author.of(call))
    return Answer(_shown(call, row))


async def rotate_api_key(call: Call) -> Answer:
    """Makes a key in place of another, which goes on working during the overlap."""
    body: RotateBody = call.body
    services, tenant = call.services, call.tenant
    async with call.transaction() as connection:
        made = await keys.rotate(
            connection,
            services.settings.api_key_pepper,
            services.clock,
            tenant.tenant_id,
            tenant.mode,
            call.path["keyId"],
            body.overlap_seconds,
            by=Author.of(call),
        )
    return Answer(CreatedKey(made.key_id, made.prefix, made.secret))


async def get_billing_period(call: Call) -> Answer:
    """The setting in force and the one to come."""
    async with call.transaction() as connection:
        return Answer(await billing_period.read(connection, call.services.clock, call.tenant.tenant_id))


async def change_billing_period(call: Call) -> Answer:
    """Lets billing periods begin elsewhere once the open one has ended."""
    body: BillingPeriodBody = call.body
    tenant = call.tenant
    wanted = (tenant.tenant_id, tenant.merchant_id, body.time_zone, body.anchor_day)
    async with call.transaction() as connection:
        changed = await billing_period.change(connection, call.services.clock, *wanted, by=Author.of(call))
    if changed.catalog_version is not None:
        await tell_core(call, changed.catalog_version)
    return Answer(changed.billing_period)


def _shown(call: Call, row: keys.ApiKey) -> ApiKey:
    return ApiKey(
        row.key_id, row.prefix, row.name, call.tenant.mode, format_time(row.created_at), _time(row.expires_at), _time(row.revoked_at)
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/v1/api-keys",
        handler=list_api_keys,
        summary="List API keys",
        tag="API keys",
        description="Without the keys themselves; revoked ones too.",
        answer=ApiKeyList,
    ),
    Route(
        method="POST",
        path="/v1/api-keys",
        handler=create_api_key,
        summary="Create an API key",
        tag="API keys",
        description="The key is shown in this answer only.",
        body=KeyBody,
        answer=CreatedKey,
        status=201,
        errors=("invalid_parameter",),
        idempotency="stored",
    ),
    Route(
        method="POST",
        path="/v1/api-keys/{keyId}/revoke",
        handler=revoke_api_key,
        summary="Revoke an API key",
        tag="API keys",
        description="Every server refuses the key within a second. It cannot be taken back.",
        body=RevokeBody,
        answer=ApiKey,
        errors=("key_not_found",),
        idempotency="stored",
    ),
    Route(
        method="POST",
        path="/v1/api-keys/{keyId}/rotate",
        handler=rotate_api_key,
        summary="Replace an API key by a new one",
        tag="API keys",
        description="The new key works at once, the old one until the overlap ends.",
        body=RotateBody,
        answer=CreatedKey,
        status=201,
        errors=("key_not_found", "invalid_parameter"),
        idempotency="stored",
    ),
    Route(
        method="GET",
        path="/v1/billing-period",
        handler=get_billing_period,
        summary="Get where billing periods begin",
        tag="Billing period",
        description="The setting in force, and the one to come.",
        answer=billing_period.BillingPeriod,
    ),
    Route(
        method="PUT",
        path="/v1/billing-period",
        handler=change_billing_period,
        summary="Change where billing periods begin",
        tag="Billing period",
        description="A change takes effect when the open period ends. From there one short period, at most a month long, runs to the next "
        "boundary by the new setting; periods that have begun never change. A further change before then takes the place of the first, and "
        "the setting in force takes it back. The same again changes nothing.",
        body=BillingPeriodBody,
        answer=billing_period.BillingPeriod,
        errors=("invalid_billing_period", "too_many_changes"),
    ),
)
