"""Commands about who may use this installation: merchants and API keys. They work on the database as the schema's owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from buffmoney.cli.context import DataDir, Json, as_owner, say, say_json

if TYPE_CHECKING:
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Connection

MerchantId = Annotated[str, Parameter(name="--merchant", help="The merchant's id, mer_…")]
Mode = Annotated[Literal["sandbox", "live"], Parameter(name="--mode", help="Which of the merchant's two tenants.")]

merchants = App(name="merchants", help="Merchants: the companies that bill their customers through this installation.")
keys = App(name="keys", help="API keys of a merchant's sandbox or live tenant.")


def register(app: App) -> None:
    """Adds the commands."""
    app.command(merchants)
    app.command(keys)


@merchants.command(name="create")
def merchants_create(
    *,
    name: Annotated[str, Parameter(help="The merchant's name.")],
    billing: Annotated[Literal["prepaid", "pay-as-you-go"], Parameter(help="Whether its customers pay before or after.")] = "prepaid",
    unknown_customers: Annotated[Literal["create", "refuse"], Parameter(help="What usage of an unknown customer does.")] = "create",
    currency: Annotated[str, Parameter(help="Currency of its customers' wallets, ISO 4217.")] = "CNY",
    time_zone: Annotated[str, Parameter(help="Where its billing periods begin.")] = "Asia/Shanghai",
    anchor_day: Annotated[int, Parameter(help="Day of the month on which they begin, 1 to 31: a month without it has its last.")] = 1,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make a merchant with a sandbox and a live tenant, and an API key for each. The keys are shown this once.

    Example: `buffmoney merchants create --name "My company" --json`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants.merchants import create

    made = as_owner(
        lambda connection, settings: create(
            connection,
            settings.api_key_pepper,
            SystemClock(),
            name,
            by=Author.command_line(settings, SystemClock()),
            billing=billing,
            unknown_customers=unknown_customers,
            currency=currency,
            zone=time_zone,
            anchor_day=anchor_day,
        ),
        data_dir,
    )
    if as_json:
        say_json(made)
        return
    say(f"merchant     {made.merchant_id}")
    say(f"sandbox key  {made.sandbox_key}")
    say(f"live key     {made.live_key}")
    say("Keep the keys: they are not stored and cannot be shown again.")


@merchants.command(name="billing-period")
def merchants_billing_period(
    *,
    merchant: MerchantId,
    mode: Mode = "sandbox",
    time_zone: Annotated[str | None, Parameter(help="Where they shall begin. Without it as it was set last.")] = None,
    anchor_day: Annotated[int | None, Parameter(help="Day of the month on which they shall begin, 1 to 31. Without it as before.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show where a tenant's billing periods begin, or change it from the end of the open period on.

    Example: `buffmoney merchants billing-period --merchant mer_… --mode live --time-zone America/New_York --anchor-day 15`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants import billing_period as owner
    from buffmoney.merchants.merchants import tenant_id_of

    async def work(connection: Connection, settings: Settings) -> owner.BillingPeriod:
        clock = SystemClock()
        tenant_id = await tenant_id_of(connection, merchant, mode)
        if time_zone is None and anchor_day is None:
            return await owner.read(connection, clock, tenant_id)
        by = Author.command_line(settings, clock)
        return (await owner.change(connection, clock, tenant_id, merchant, time_zone, anchor_day, by=by)).billing_period

    found = as_owner(work, data_dir)
    if as_json:
        say_json(found)
        return
    for name, setting in (("in force", found.in_force), ("scheduled", found.scheduled)):
        if setting is not None:
            about = f"from day {setting.anchor_day} at midnight in {setting.time_zone}"
            say(f"{name:<10}  {about}, period {setting.period_start} to {setting.period_end}")


@keys.command(name="create")
def keys_create(*, merchant: MerchantId, mode: Mode = "sandbox", name: str = "", data_dir: DataDir = None, as_json: Json = False) -> None:
    """Make another API key. It is shown this once.

    Example: `buffmoney keys create --merchant mer_… --mode live --name billing-service`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants import keys as owner
    from buffmoney.merchants.merchants import tenant_id_of

    async def work(connection: Connection, settings: Settings) -> owner.NewKey:
        tenant_id = await tenant_id_of(connection, merchant, mode)
        by = Author.command_line(settings, SystemClock())
        return await owner.create(connection, settings.api_key_pepper, SystemClock(), tenant_id, mode, name, by=by)

    _show_new_key(as_owner(work, data_dir), as_json)


@keys.command(name="list")
def keys_list(*, merchant: MerchantId, mode: Mode = "sandbox", data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the API keys of a tenant, without their secrets.

    Example: `buffmoney keys list --merchant mer_… --mode live`
    """
    from buffmoney.base.clock import format_time
    from buffmoney.merchants import keys as owner
    from buffmoney.merchants.merchants import tenant_id_of

    async def work(connection: Connection, _settings: Settings) -> list[owner.ApiKey]:
        return await owner.list_keys(connection, await tenant_id_of(connection, merchant, mode))

    found = as_owner(work, data_dir)
    rows = [
        {
            "keyId": key.key_id,
            "prefix": key.prefix,
            "name": key.name,
            "createdAt": format_time(key.created_at),
            "expiresAt": format_time(key.expires_at) if key.expires_at else None,
            "revokedAt": format_time(key.revoked_at) if key.revoked_at else None,
        }
        for key in found
    ]
    if as_json:
        say_json({"keys": rows})
        return
    for row in rows:
        state = f"revoked {row['revokedAt']}" if row["revokedAt"] else f"until {row['expiresAt']}" if row["expiresAt"] else "in force"
        say(f"{row['keyId']}  {row['prefix']}…  {state:<36}  {row['name']}")


@keys.command(name="revoke")
def keys_revoke(key_id: str, *, data_dir: DataDir = None, as_json: Json = False) -> None:
    """End an API key for good. Every edge refuses it within a second.

    Example: `buffmoney keys revoke key_…`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock, format_time
    from buffmoney.merchants import keys as owner

    async def work(connection: Connection, settings: Settings) -> owner.ApiKey:
        tenant_id, _mode = await owner.tenant_of(connection, key_id)
        return await owner.revoke(connection, SystemClock(), tenant_id, key_id, by=Author.command_line(settings, SystemClock()))

    key = as_owner(work, data_dir)
    revoked_at = format_time(key.revoked_at) if key.revoked_at else None
    if as_json:
        say_json({"keyId": key.key_id, "prefix": key.prefix, "revokedAt": revoked_at})
    else:
        say(f"{key.key_id} ({key.prefix}…) is revoked since {revoked_at}.")


@keys.command(name="rotate")
def keys_rotate(
    key_id: str,
    *,
    overlap_seconds: Annotated[int, Parameter(help="How long the old key goes on working.")] = 86_400,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Make an API key in place of another, which goes on working for a while. The new one is shown this once.

    Example: `buffmoney keys rotate key_… --overlap-seconds 3600`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.merchants import keys as owner

    async def work(connection: Connection, settings: Settings) -> owner.NewKey:
        tenant_id, mode = await owner.tenant_of(connection, key_id)
        by = Author.command_line(settings, SystemClock())
        return await owner.rotate(connection, settings.api_key_pepper, SystemClock(), tenant_id, mode, key_id, overlap_seconds, by=by)

    _show_new_key(as_owner(work, data_dir), as_json)


def _show_new_key(made: Any, as_json: bool) -> None:
    if as_json:
        say_json({"keyId": made.key_id, "prefix": made.prefix, "apiKey": made.secret})
    else:
        say(f"{made.key_id}  {made.secret}")
        say("Keep the key: it is not stored and cannot be shown again.")
