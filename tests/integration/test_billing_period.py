"""A merchant changes where its billing periods begin: by API and command, told, guarded, and followed by everything that counts."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from buffmoney.audit import log
from buffmoney.base.clock import Clock, SystemClock, format_time, to_datetime, to_us
from buffmoney.base.errors import Problem
from buffmoney.base.periods import Periods, Setting
from buffmoney.merchants import billing_period
from buffmoney.migrate import migrate, migrations
from buffmoney.pricing import cards, versions
from tests import by_hand
from tests.integration.partition import ACCEPTED, Room, assert_whole, running_core
from tests.integration.partition import event as room_event
from tests.integration.test_bad_inputs_tenants import as_role
from tests.integration.test_period_charges import Moved, card, settled
from tests.product import Merchant, Product, assert_problem, event

PATH = "/v1/billing-period"
CARDS = "/v1/rate-cards"
SHANGHAI = ZoneInfo("Asia/Shanghai")
BANDS = [{"upTo": "100", "price": "2", "per": "1"}, {"upTo": None, "price": "1", "per": "1"}]
VOLUME = {"metric": "images", "model": "volume", "tiers": BANDS}
TIERS = [{"upTo": "10", "price": "1", "per": "1"}, {"upTo": None, "price": "0.5", "per": "1"}]
TIERED = {"metric": "agent_runs", "model": "graduated", "tiers": TIERS}
DAY_US = 86_400 * 10**6
INSERT = "INSERT INTO tenant_period_settings (tenant_id, effective_from, revision, time_zone, anchor_day, created_at) VALUES "


def body(zone: str, day: Any) -> dict[str, Any]:
    """What PUT takes."""
    return {"timeZone": zone, "anchorDay": day}


def shown(setting: Setting, periods: Periods) -> dict[str, Any]:
    """A setting as answers have it: with the open period, or with the first one that is to come."""
    start, end = periods.of(SystemClock().now_us() if setting.since_us is None else setting.since_us)
    since = None if setting.since_us is None else format_time(setting.since_us)
    about = {"effectiveFrom": since, "periodStart": format_time(start), "periodEnd": format_time(end)}
    return {**body(setting.zone, setting.anchor_day), **about}


def entries(merchant: Merchant) -> list[tuple[str, dict[str, Any] | None, dict[str, Any] | None]]:
    """The audit log's changes of billing periods, oldest first: who, from what, to what."""
    found = merchant.ok("GET", "/v1/audit-log?action=merchant.change_billing_period")["data"][::-1]
    assert {one["objectId"] for one in found} <= {merchant.merchant_id}
    return [(one["actorKind"], one["before"], one["after"]) for one in found]


def test_a_change_is_scheduled_replaced_and_taken_back(merchant: Merchant) -> None:
    """Proves: a change is answered with when it begins and how long its first period is, the same again changes nothing, a further one
    takes its place, the setting in force takes it back; each is told once, from what to what, and bumps the catalogue once; the other
    mode stays as it is."""
    version = "SELECT catalog_version FROM tenants WHERE tenant_id = $1"
    first = merchant.product.sql.value(version, merchant.tenant_id)
    first_periods = Periods()
    end_us = first_periods.of(SystemClock().now_us())[1]
    untouched = {"inForce": shown(Setting(), first_periods), "scheduled": None}
    assert merchant.ok("GET", PATH) == untouched
    assert merchant.ok("PUT", PATH, body("Asia/Shanghai", 1)) == untouched
    for zone, day in (("America/New_York", 15), ("America/New_York", 15), ("Pacific/Kiritimati", 31)):
        coming = Setting(zone, day, end_us)
        expected = {"inForce": untouched["inForce"], "scheduled": shown(coming, Periods((Setting(), coming)))}
        assert merchant.ok("PUT", PATH, body(zone, day)) == expected
        assert merchant.ok("GET", PATH) == expected
        assert expected["scheduled"]["periodStart"] == untouched["inForce"]["periodEnd"] == expected["scheduled"]["effectiveFrom"]
    assert merchant.ok("PUT", PATH, body("Asia/Shanghai", 1)) == untouched
    assert merchant.ok("GET", PATH) == untouched

    end = format_time(end_us)
    told = [{**body("Asia/Shanghai", 1), "effectiveFrom": None}]
    places = (("America/New_York", 15), ("Pacific/Kiritimati", 31), ("Asia/Shanghai", 1))
    told += [{**body(*place), "effectiveFrom": end} for place in places]
    assert entries(merchant) == [("api_key", before, after) for before, after in pairwise(told)]
    assert merchant.product.sql.value(version, merchant.tenant_id) == first + 3
    statement = "SELECT revision, time_zone FROM tenant_period_settings WHERE tenant_id = $1 AND isfinite(effective_from) ORDER BY 1"
    rows = merchant.product.sql.fetch(statement, merchant.tenant_id)
    assert [tuple(row) for row in rows] == [(1, "America/New_York"), (2, "Pacific/Kiritimati"), (3, "Asia/Shanghai")]
    live = merchant.live
    assert (live.ok("GET", PATH), entries(live)) == (untouched, [])
    live.close()


def test_the_command_shows_and_changes(merchant: Merchant) -> None:
    """Proves: the command shows what the API shows, changes one mode, keeps what is not given, and is told with its account."""
    cli, of = merchant.product.cli, ("merchants", "billing-period", "--merchant", merchant.merchant_id)
    assert json.loads(cli(*of, "--json").stdout) == merchant.ok("GET", PATH)
    made = json.loads(cli(*of, "--anchor-day", "20", "--json").stdout)
    assert made == merchant.ok("GET", PATH)
    assert (made["scheduled"]["timeZone"], made["scheduled"]["anchorDay"]) == ("Asia/Shanghai", 20)
    text = cli(*of, "--time-zone", "UTC").stdout
    assert "in force    from day 1 at midnight in Asia/Shanghai, period " in text
    assert "scheduled   from day 20 at midnight in UTC, period " in text
    assert cli(*of).stdout == text
    assert [actor for actor, _, _ in entries(merchant)] == ["command_line"] * 2
    live = json.loads(cli(*of, "--mode", "live", "--json").stdout)
    assert (live["inForce"]["anchorDay"], live["scheduled"]) == (1, None)
    for wrong in (("--time-zone", "Mars/Olympus"), ("--anchor-day", "0"), ("--anchor-day", "32"), ("--merchant", "mer_" + "0" * 24)):
        done = cli(*(("merchants", "billing-period") if wrong[0] == "--merchant" else of), *wrong, check=False)
        assert (done.returncode, done.stdout) == (1, "")
    assert "America/New_York" in cli("merchants", "billing-period", "--help").stdout


@pytest.mark.parametrize(
    "content, code, param",
    [
        (body("Mars/Olympus", 1), "invalid_billing_period", "timeZone"),
        (body("", 1), "invalid_billing_period", "timeZone"),
        (body("../../etc/passwd", 1), "invalid_billing_period", "timeZone"),
        (body("Asia/Shanghai\0", 1), None, None),
        (body("A" * 5_000, 1), "invalid_billing_period", "timeZone"),
        (body("UTC", 0), "invalid_billing_period", "anchorDay"),
        (body("UTC", -1), "invalid_billing_period", "anchorDay"),
        (body("UTC", 32), "invalid_billing_period", "anchorDay"),
        (body("UTC", 10**30), None, None),
        (body("UTC", 1.5), None, None),
        (body("UTC", "1"), None, None),
        (body("UTC", None), None, None),
        ({"timeZone": "UTC"}, None, None),
        ({"anchorDay": 3}, None, None),
        ({**body("UTC", 3), "effectiveFrom": "2020-01-01T00:00:00Z"}, None, None),
    ],
)
def test_wrong_settings_get_one_error(merchant: Merchant, content: dict[str, Any], code: str | None, param: str | None) -> None:
    """Proves: what is no time zone, no day, or not asked for is refused by name, and nothing is stored or told."""
    problem = assert_problem(merchant.call("PUT", PATH, content), 422, code)
    if param is not None:
        assert problem["param"] == param
    assert merchant.ok("GET", PATH)["scheduled"] is None
    assert entries(merchant) == []


def test_what_is_to_come_is_not_changed_for_ever(merchant: Merchant) -> None:
    """Proves: after a hundred changes of what is to come a further one is refused, and the last one counts."""
    merchant.ok("PUT", PATH, body("UTC", 2))
    rows = ", ".join(f"($1, $2, {revision}, 'UTC', {revision % 2 + 1}, now())" for revision in range(2, billing_period.MAX_REVISIONS + 1))
    effective = datetime.fromisoformat(merchant.ok("GET", PATH)["scheduled"]["effectiveFrom"])
    merchant.product.sql.fetch(INSERT + rows, merchant.tenant_id, effective)
    last = merchant.ok("GET", PATH)
    assert last["scheduled"]["anchorDay"] == 1
    assert_problem(merchant.call("PUT", PATH, body("UTC", 5)), 422, "too_many_changes")
    assert merchant.ok("PUT", PATH, body("UTC", 1)) == merchant.ok("GET", PATH) == last


@pytest.mark.parametrize(
    "row",
    [
        "now() - interval '2 minutes', 1",
        "'-infinity', 2",
        "'infinity', 1",
        "date_trunc('month', now()) + interval '40 days', 2",
    ],
)
def test_the_database_refuses_the_past(product: Product, merchant: Merchant, row: str) -> None:
    """Proves: no role, nor the owner, can add a setting to what has begun, or number it otherwise than one after the other."""
    refused = (asyncpg.RestrictViolationError, asyncpg.CheckViolationError)
    statement = f"{INSERT} ({merchant.tenant_id}, {row}, 'UTC', 3, now())"
    with pytest.raises(refused):
        product.sql.fetch(statement)
    with pytest.raises(refused):
        as_role(product, "buffmoney_edge", statement, merchant.tenant_id)
    for role in ("buffmoney_core", "buffmoney_worker"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            as_role(product, role, statement, merchant.tenant_id)
    other = f"{INSERT} ({merchant.live.tenant_id}, '-infinity', 1, 'UTC', 3, now())"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        as_role(product, "buffmoney_edge", other, merchant.tenant_id)


def changed_days_ago(product: Product) -> tuple[Merchant, datetime, datetime]:
    """A merchant whose periods began by Shanghai's calendar until four days ago, and by another day of UTC's from then on, which came
    yesterday; with both moments. What takes weeks is written into the database, past the trigger that refuses the past."""
    changed = datetime.now(SHANGHAI).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=4)
    ended = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    arguments = ("--name", "Moved", "--billing", "pay-as-you-go", "--anchor-day", str(changed.day), "--json")
    made = json.loads(product.cli("merchants", "create", *arguments).stdout)
    merchant = Merchant(product, made["merchantId"], made["sandboxKey"], made["liveKey"])

    async def insert() -> None:
        connection = await asyncpg.connect(product.run["databaseUrl"])
        try:
            await connection.execute("SET session_replication_role = replica")
            await connection.execute(f"{INSERT} ($1, $2, 1, 'UTC', $3, $2)", merchant.tenant_id, changed, ended.day)
        finally:
            await connection.close()

    asyncio.run(insert())
    return merchant, changed, ended


def test_everything_follows_a_change(product: Product) -> None:
    """Proves: on the running product, events before a change, in the short period and after it, and late ones of each, meet the counter
    and the charge of their own period; explanations name its bounds and zone, a simulation settles the same periods, and the ledger
    verifies."""
    merchant, changed, ended = changed_days_ago(product)
    merchant.ok("POST", CARDS, card(VOLUME, TIERED))
    moments = {"old": changed - timedelta(hours=30), "short": changed + timedelta(hours=30), "open": datetime.now(UTC)}
    edges = {"old": changed - timedelta(microseconds=1), "short": ended - timedelta(microseconds=1), "open": ended}
    for name, moment in moments.items():
        merchant.usage(event(key=f"{name}-1", metric="agent_runs", quantity="8", occurredAt=moment.isoformat()))
        merchant.usage(event(key=f"{name}-v", metric="images", quantity="60", occurredAt=moment.isoformat()))
    for name, moment in edges.items():
        # Two units of the first tier, two of the second: of another period they would all be of the first.
        answer = merchant.usage(event(key=f"{name}-2", metric="agent_runs", quantity="4", occurredAt=moment.isoformat()))
        assert answer["results"][0]["charge"] == "3", name
        merchant.usage(event("late", key=f"{name}-l", metric="images", quantity="101", occurredAt=moment.isoformat()))
    begun = changed - timedelta(days=25)
    for name in moments:
        why = merchant.ok("GET", f"/v1/usage-events/{name}-2/charge")
        assert by_hand.check(why) == 3
        counter = why["counter"]
        assert (counter["before"], counter["after"]) == ("8", "12")
        bounds = tuple(datetime.fromisoformat(counter[place]) for place in ("periodStart", "periodEnd"))
        assert counter["timeZone"] == ("Asia/Shanghai" if name == "old" else "UTC")
        match name:
            case "old":
                assert bounds[0] < begun < bounds[1] == changed
            case "short":
                assert bounds == (changed, ended)
            case "open":
                assert bounds[0] == ended < datetime.now(UTC) < bounds[1]
        period = merchant.ok("GET", f"/v1/usage-events/{name}-v/charge")["period"]
        assert {place: counter[place] for place in ("periodStart", "periodEnd", "timeZone")}.items() <= period.items()

    deadline = time.monotonic() + 30
    while len(found := merchant.ok("GET", "/v1/period-charges")["data"]) < 4:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    assert settled(merchant, 1)["total"] == "120"
    kept = {(one["customerExternalId"], one["timeZone"]): (one["periodEnd"], one["quantity"], one["total"]) for one in found}
    ends = {"Asia/Shanghai": format_time(changed), "UTC": format_time(ended)}
    assert kept == {
        (customer, zone): (end, quantity, total)
        for zone, end in ends.items()
        for customer, quantity, total in (("acme", "60", "120"), ("late", "101", "101"))
    }

    cheaper = {**VOLUME, "tiers": BANDS[1:]}
    draft = merchant.ok("POST", CARDS, card(cheaper, TIERED, draft=True))["rateCardId"]
    report = merchant.ok("POST", f"{CARDS}/{draft}/simulate", {"timeZone": "UTC"})
    images = next(row for row in report["byMetric"] if row["metric"] == "images")
    assert (images["before"], images["after"]) == ("442", "322")
    assert {row["after"] for row in report["byMetric"] if row["metric"] == "agent_runs"} == {"33"}
    shown_now = merchant.ok("GET", PATH)
    assert (shown_now["inForce"]["periodStart"], shown_now["inForce"]["effectiveFrom"]) == (format_time(ended), format_time(changed))
    report = merchant.product.verify()
    assert (report["exit"], report["differences"]) == (0, []), report
    merchant.close()


class _Tier:
    def __init__(self, up_to: str | None, price: str, per: str) -> None:
        self.up_to, self.price, self.per = up_to, price, per


def at(moment_us: int) -> Clock:
    """A clock that goes on from a moment."""
    return Moved(moment_us - SystemClock().now_us())


async def volume_room(place: Room) -> str:
    """A room whose tenant pays later, and for its tokens by volume. Gives its merchant's id."""
    await place.owner.execute("UPDATE merchants SET billing = 'pay-as-you-go'")
    charges = cards.check_line(0, "CNY", "tokens_input", {}, "volume", tiers=[_Tier("1500", "2", "1000"), _Tier(None, "1", "1000")])
    await place.owner.execute("SELECT setval('price_ids', 100)")
    async with place.owner.transaction():
        draft = versions.Draft(None, "volume", "CNY", charges, None)
        card_id = await versions.create(place.owner, SystemClock(), place.tenant_id, draft)
        await versions.publish(place.owner, SystemClock(), place.tenant_id, card_id)
    await asyncio.sleep(0.01)
    return str(await place.owner.fetchval("SELECT merchant_id FROM tenants WHERE tenant_id = $1", place.tenant_id))


async def test_a_core_lives_through_a_change(place: Room) -> None:
    """Proves: a core that runs as a change is made, the next one in the short period and the one after it count each event in its period
    and settle the period before the change, the short one and no other; a late event before the change is a revision of its own period; a
    change during the short period begins where that ends; and verify agrees at every step."""
    merchant_id = await volume_room(place)
    by = log.Author.system(place.settings, SystemClock(), "test")

    async def change(clock: Clock, zone: str, day: int) -> billing_period.BillingPeriod:
        # In place of the edge, which would tell the core: so it has to find out.
        async with place.owner.transaction():
            changed = await billing_period.change(place.owner, clock, place.tenant_id, merchant_id, zone, day, by=by)
        assert changed.catalog_version is not None
        return changed.billing_period

    async def use(key: str, occurred_us: int, clock: Clock) -> None:
        answers = await place.usage([{**room_event(key), "occurredAt": format_time(occurred_us)}], clock=clock)
        assert [row[1] for row in answers] == [ACCEPTED], key

    async def periods_settled(count: int) -> list[tuple[int, int, str, str]]:
        statement = "SELECT period_start, revision, quantity::integer AS quantity, total::text AS total FROM period_charges ORDER BY 1, 2"
        deadline = time.monotonic() + 30
        while len(rows := await place.owner.fetch(statement)) < count:
            assert time.monotonic() < deadline, rows
            await asyncio.sleep(0.1)
        await asyncio.sleep(1.2)
        rows = await place.owner.fetch(statement)
        return [(to_us(row["period_start"]), row["revision"], row["quantity"], row["total"].rstrip("0").rstrip(".")) for row in rows]

    now_us = SystemClock().now_us()
    start_us, changed_us = Periods().of(now_us)
    # The New York day that comes some days after Shanghai's month has ended.
    day = (to_datetime(changed_us) + timedelta(days=5)).astimezone(ZoneInfo("America/New_York")).day
    hour_us = 3_600 * 10**6
    async with running_core(place.settings):
        await use("before", now_us, SystemClock())
        coming = (await change(SystemClock(), "America/New_York", day)).scheduled
        assert coming is not None
        assert coming.effective_from == format_time(changed_us)
        await use("after", SystemClock().now_us(), SystemClock())
    short_end_us = to_us(datetime.fromisoformat(coming.period_end))
    assert 4 * DAY_US < short_end_us - changed_us < 6 * DAY_US

    in_short = at(changed_us + 2 * hour_us)
    async with running_core(place.settings, in_short):
        await use("short", changed_us, in_short)
        await use("late", changed_us - 1, in_short)
        # 2,000 units were there before; a thousand more, whether they are counted before or after the period is settled.
        found = await periods_settled(1)
        assert {row[0] for row in found} == {start_us}
        assert found[-1][2:] == (3000, "3")
        again = (await change(in_short, "Asia/Kathmandu", 1)).scheduled
        assert again is not None
        assert again.effective_from == format_time(short_end_us)
        await asyncio.sleep(1.2)
        await use("short too", in_short.now_us(), in_short)
    await assert_whole(place, in_short)

    after_short = at(short_end_us + 2 * hour_us)
    async with running_core(place.settings, after_short):
        before = len(found)
        await use("next", short_end_us, after_short)
        found = (await periods_settled(before + 1))[before:]
        assert found == [(changed_us, 1, 2000, "2")]
        await use("late short", short_end_us - 1, after_short)
        assert (await periods_settled(before + 2))[-1] == (changed_us, 2, 3000, "3")
    await assert_whole(place, after_short)
    counted = "SELECT period_start, max(quantity)::integer FROM usage_counter_quantities CROSS JOIN LATERAL "
    counted += "unnest(counter_ids, quantities) AS u (counter_id, quantity) "
    rows = await place.owner.fetch(
        counted + "JOIN usage_counters USING (tenant_id, counter_id) WHERE measure = 'period_quantity' GROUP BY 1 ORDER BY 1"
    )
    assert [(to_us(row[0]), row[1]) for row in rows] == [(start_us, 3000), (changed_us, 3000), (short_end_us, 1000)]


async def test_changes_at_once_are_one_after_the_other(place: Room) -> None:
    """Proves: of twenty changes on as many connections each is a revision of its own and told with what it replaced, and one counts."""
    merchant_id = str(await place.owner.fetchval("SELECT merchant_id FROM tenants WHERE tenant_id = $1", place.tenant_id))
    by = log.Author.system(place.settings, SystemClock(), "test")

    async def change(day: int) -> None:
        connection = await asyncpg.connect(place.settings.database_url)
        try:
            async with connection.transaction():
                await billing_period.change(connection, SystemClock(), place.tenant_id, merchant_id, None, day, by=by)
        finally:
            await connection.close()

    await asyncio.gather(*(change(day) for day in range(2, 22)))
    statement = "SELECT revision, anchor_day FROM tenant_period_settings WHERE isfinite(effective_from) ORDER BY revision"
    rows = await place.owner.fetch(statement)
    assert [row["revision"] for row in rows] == list(range(1, 21))
    told = await place.owner.fetch("SELECT before, after FROM audit_log WHERE action = 'merchant.change_billing_period' ORDER BY seq")
    days = [1, *(row["anchor_day"] for row in rows)]
    assert [tuple(json.loads(row[side])["anchorDay"] for side in ("before", "after")) for row in told] == list(pairwise(days))
    found = await billing_period.read(place.owner, SystemClock(), place.tenant_id)
    assert found.scheduled is not None
    assert found.scheduled.anchor_day == days[-1]


async def test_a_change_that_is_undone_leaves_nothing(place: Room) -> None:
    """Proves: setting, catalogue version and audit entry are one transaction."""
    merchant_id = str(await place.owner.fetchval("SELECT merchant_id FROM tenants WHERE tenant_id = $1", place.tenant_id))
    by = log.Author.system(place.settings, SystemClock(), "test")
    state = """SELECT (SELECT count(*) FROM tenant_period_settings), (SELECT catalog_version FROM tenants),
        (SELECT count(*) FROM audit_log)"""
    before = await place.owner.fetchrow(state)

    async def change(zone: str | None, day: int | None) -> None:
        async with place.owner.transaction():
            await billing_period.change(place.owner, SystemClock(), place.tenant_id, merchant_id, zone, day, by=by)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await change("UTC", 3)
    for wrong in (("Nowhere", None), (None, 0), (None, 32)):
        with pytest.raises(Problem):
            await change(*wrong)
    assert await place.owner.fetchrow(state) == before


async def test_what_was_set_before_is_in_force_since_ever(place: Room) -> None:
    """Proves: the migration keeps each tenant's time zone and anchor day, from ever on."""
    name = f"older_{secrets.token_hex(4)}"
    await place.owner.execute(f'CREATE DATABASE "{name}"')
    parts = urlsplit(place.settings.database_url)
    # urlunsplit would drop the empty host of a socket's URL.
    older = place.settings.replace(database_url=f"postgresql://{parts.netloc}/{name}" + (f"?{parts.query}" if parts.query else ""))
    owner = await asyncpg.connect(older.database_url)
    try:
        for migration in migrations():
            if migration.name == "period_settings":
                break
            await owner.execute(migration.sql)
            await owner.execute("INSERT INTO schema_migrations (version, name) VALUES ($1, $2)", migration.version, migration.name)
        await owner.execute("INSERT INTO merchants VALUES ('mer_' || repeat('0', 24), 'Old', 'prepaid', now())")
        for mode, zone, day in (("sandbox", "America/New_York", 31), ("live", "Asia/Shanghai", 1)):
            await owner.execute(
                "INSERT INTO tenants (merchant_id, mode, partition_id, unknown_customers, created_at, time_zone, anchor_day) "
                "VALUES ('mer_' || repeat('0', 24), $1, 0, 'create', now(), $2, $3)",
                *(mode, zone, day),
            )
        await migrate(older)
        found = await owner.fetch("SELECT mode, period_settings(tenant_id) AS settings FROM tenants ORDER BY mode DESC")
        assert {row["mode"]: Periods.stored(row["settings"]).settings for row in found} == {
            "sandbox": (Setting("America/New_York", 31),),
            "live": (Setting(),),
        }
    finally:
        await owner.close()
