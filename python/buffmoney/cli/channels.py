"""Commands about the accounts with which a merchant collects. They work on the database as the schema's owner; secrets come from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from buffmoney.cli.access import MerchantId, Mode
from buffmoney.cli.context import DataDir, Json, as_owner, say, say_json, say_table

if TYPE_CHECKING:
    from buffmoney.base.config import Settings
    from buffmoney.base.database import Connection

channels = App(name="channels", help="A merchant's accounts at WeChat Pay and Alipay. Sandbox orders go to the simulator without one.")

Credentials = Annotated[
    Path,
    Parameter(
        name="--credentials",
        help='JSON file with "type": "wechat" (app_id, mchid, sub_mchid, sub_app_id, merchant_serial, merchant_private_key, api_v3_key, '
        'platform_keys by serial) or "alipay" (app_id, seller_id, app_private_key, alipay_public_keys). It is sealed; the file can go.',
    ),
]
AccountId = Annotated[str, Parameter(help="The account's id, ca_…")]


def register(app: App) -> None:
    """Adds the commands."""
    app.command(channels)


@channels.command(name="add")
def channels_add(*, merchant: MerchantId, credentials: Credentials, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Have a merchant collect through an account of its own. New live orders use it at once.

    Example: `buffmoney channels add --merchant mer_… --credentials wechat.json`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.collection import accounts
    from buffmoney.merchants.merchants import tenant_id_of

    read = accounts.read_credentials(credentials.read_bytes())

    async def work(connection: Connection, settings: Settings) -> str:
        tenant_id = await tenant_id_of(connection, merchant, "live")
        by = Author.command_line(settings, SystemClock())
        return await accounts.add(connection, settings, SystemClock(), tenant_id, "live", read, by=by)

    made = as_owner(work, data_dir)
    if as_json:
        say_json({"channelAccountId": made})
        return
    say(f"account {made} collects from now on")


@channels.command(name="list")
def channels_list(*, merchant: MerchantId, mode: Mode = "live", data_dir: DataDir = None, as_json: Json = False) -> None:
    """List the accounts of a tenant, retired ones too, without their secrets.

    Example: `buffmoney channels list --merchant mer_…`
    """
    from buffmoney.collection import accounts
    from buffmoney.merchants.merchants import tenant_id_of

    async def work(connection: Connection, _settings: Settings) -> list[Any]:
        return list(await accounts.list_accounts(connection, await tenant_id_of(connection, merchant, mode)))

    found = as_owner(work, data_dir)
    if as_json:
        say_json({"channelAccounts": found})
        return
    rows = [
        (one.channel_account_id, one.channel, one.mode, one.collector_id, str(one.version), one.retired_at or "collects") for one in found
    ]
    say_table(("account", "channel", "mode", "collector", "version", "state"), rows)


@channels.command(name="rotate")
def channels_rotate(
    account: AccountId,
    *,
    credentials: Credentials,
    overlap: Annotated[int, Parameter(help="Seconds for which the old credentials go on verifying what the channel sends.")] = 86_400,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Give an account new credentials of the same merchant and app.

    Example: `buffmoney channels rotate ca_… --credentials wechat-new.json --overlap 3600`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.collection import accounts

    read = accounts.read_credentials(credentials.read_bytes())

    async def work(connection: Connection, settings: Settings) -> int:
        by = Author.command_line(settings, SystemClock())
        return await accounts.rotate(connection, settings, SystemClock(), account, read, overlap, by=by)

    version = as_owner(work, data_dir)
    if as_json:
        say_json({"channelAccountId": account, "version": version})
        return
    say(f"account {account} signs with version {version}; the version before verifies for {overlap} s")


@channels.command(name="reseal")
def channels_reseal(*, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Seal all credentials anew under the first key of BUFFMONEY_CREDENTIAL_KEYS, before an older key is dropped.

    Example: `BUFFMONEY_CREDENTIAL_KEYS=new:…,old:… buffmoney channels reseal`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.collection import accounts

    async def work(connection: Connection, settings: Settings) -> Any:
        return await accounts.reseal(connection, settings, SystemClock(), by=Author.command_line(settings, SystemClock()))

    done = as_owner(work, data_dir)
    if as_json:
        say_json(done)
        return
    until = f"; older ones go on verifying until {done.older_keys_until}: keep their keys until then" if done.older_keys_until else ""
    say(f"{done.resealed} accounts sealed anew{until}")


@channels.command(name="retire")
def channels_retire(account: AccountId, *, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Take an account out of use for new orders. What was ordered through it goes on.

    Example: `buffmoney channels retire ca_…`
    """
    from buffmoney.audit.log import Author
    from buffmoney.base.clock import SystemClock
    from buffmoney.collection import accounts

    async def work(connection: Connection, settings: Settings) -> None:
        await accounts.retire(connection, SystemClock(), account, by=Author.command_line(settings, SystemClock()))

    as_owner(work, data_dir)
    if as_json:
        say_json({"channelAccountId": account, "retired": True})
        return
    say(f"account {account} takes no new orders")
