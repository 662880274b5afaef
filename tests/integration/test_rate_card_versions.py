"""Rate cards as drafts and versions of products: what can be changed, what never, and what is told about it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from buffmoney.base.clock import SystemClock
from buffmoney.pricing import catalog, presets
from tests.product import Merchant, assert_problem, event, moment

CARDS = "/v1/rate-cards"
LINE = {"metric": "tokens_input", "price": "2", "per": "1000"}


def card(*charges: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A rate card's body."""
    return {"name": "card", "currency": "CNY", "charges": list(charges) or [LINE], **fields}


def draft(merchant: Merchant, *charges: dict[str, Any], **fields: Any) -> str:
    """The id of a new draft."""
    return str(merchant.ok("POST", CARDS, card(*charges, draft=True, **fields))["rateCardId"])


def product(merchant: Merchant, code: str) -> str:
    """The id of a new product."""
    return str(merchant.ok("POST", "/v1/products", {"code": code})["productId"])


def publish(merchant: Merchant, card_id: str, **fields: Any) -> dict[str, Any]:
    """A draft published."""
    return merchant.ok("POST", f"{CARDS}/{card_id}/publish", fields)


def engine_catalog(merchant: Merchant) -> dict[str, Any]:
    """What the engine is given for this merchant."""

    async def read() -> bytes:
        connection = await asyncpg.connect(merchant.product.run["databaseUrl"])
        try:
            return await catalog.read(connection, SystemClock(), merchant.tenant_id)
        finally:
            await connection.close()

    found: dict[str, Any] = json.loads(asyncio.run(read()))
    return found


# ---------------------------------------------------------------- drafts and versions


def test_a_draft_prices_nothing_until_it_is_published(merchant: Merchant) -> None:
    """Proves: usage is charged by the published card while a draft is made and edited, and by the draft's last content once it is
    published, as the next version."""
    card_id = draft(merchant)
    assert merchant.usage(event())["charged"] == "1"
    edited = merchant.ok("PUT", f"{CARDS}/{card_id}", card({**LINE, "price": "3"}, name="edited"))
    assert (edited["name"], edited["status"], edited["version"], edited["publishedAt"]) == ("edited", "draft", None, None)
    assert merchant.usage(event())["charged"] == "1"
    done = publish(merchant, card_id)
    assert (done["status"], done["version"], done["effectiveFrom"]) == ("published", 2, done["publishedAt"])
    assert merchant.ok("GET", f"{CARDS}/{card_id}") == done
    assert merchant.usage(event())["charged"] == "3"
    assert [one["version"] for one in merchant.ok("GET", CARDS)["data"]] == [2, 1]


def test_a_published_card_never_changes(merchant: Merchant) -> None:
    """Proves: the API refuses to change, delete or publish it again, and so does the database, also to its owner and for its lines."""
    made = merchant.ok("POST", CARDS, card())
    card_id = made["rateCardId"]
    assert_problem(merchant.call("PUT", f"{CARDS}/{card_id}", card(name="other")), 409, "rate_card_published")
    assert_problem(merchant.call("DELETE", f"{CARDS}/{card_id}"), 409, "rate_card_published")
    assert_problem(merchant.call("POST", f"{CARDS}/{card_id}/publish", {}), 409, "rate_card_published")
    line = "rate_card_charges WHERE rate_card_id = $1"
    for statement in (
        "UPDATE rate_cards SET name = 'other' WHERE rate_card_id = $1",
        "UPDATE rate_cards SET status = 'draft', version = NULL, published_at = NULL WHERE rate_card_id = $1",
        "DELETE FROM rate_cards WHERE rate_card_id = $1",
        "UPDATE rate_card_charges SET price = 1 WHERE rate_card_id = $1",
        f"DELETE FROM {line}",
        "INSERT INTO rate_card_charges (tenant_id, rate_card_id, line, price_id, metric_id, price, per) "
        f"SELECT tenant_id, rate_card_id, 1, nextval('price_ids'), metric_id, 0, 1 FROM {line}",
    ):
        with pytest.raises(asyncpg.RestrictViolationError):
            merchant.product.sql.fetch(statement, card_id)
    assert merchant.ok("GET", f"{CARDS}/{card_id}") == made


def test_a_line_cannot_move_into_a_published_card(merchant: Merchant) -> None:
    """Proves: a draft's line stays with its draft, and a draft without price ids cannot be called published."""
    published, unpublished = merchant.ok("POST", CARDS, card())["rateCardId"], draft(merchant)
    with pytest.raises(asyncpg.RestrictViolationError):
        merchant.product.sql.fetch(
            "UPDATE rate_card_charges SET rate_card_id = $1, line = 9 WHERE rate_card_id = $2", published, unpublished
        )
    with pytest.raises(asyncpg.RestrictViolationError):
        merchant.product.sql.fetch(
            "UPDATE rate_cards SET status = 'published', version = 99, published_at = now() WHERE rate_card_id = $1", unpublished
        )


def test_a_deleted_draft_is_gone(merchant: Merchant) -> None:
    """Proves: a draft can be deleted, and nothing of it is left."""
    card_id = draft(merchant)
    assert merchant.ok("DELETE", f"{CARDS}/{card_id}") == {"rateCardId": card_id, "deleted": True}
    assert_problem(merchant.call("GET", f"{CARDS}/{card_id}"), 404, "rate_card_not_found")
    assert_problem(merchant.call("DELETE", f"{CARDS}/{card_id}"), 404, "rate_card_not_found")
    assert merchant.product.sql.value("SELECT count(*) FROM rate_card_charges WHERE rate_card_id = $1", card_id) == 0


def test_drafts_use_up_no_price_ids(merchant: Merchant) -> None:
    """Proves: only publishing takes numbers from the sequence that all tenants share."""
    last = "SELECT last_value FROM price_ids"
    before = merchant.product.sql.value(last)
    card_id = draft(merchant, LINE, {"metric": "images", "price": "1"})
    for price in ("1", "2", "3"):
        merchant.ok("PUT", f"{CARDS}/{card_id}", card({**LINE, "price": price}, {"metric": "images", "price": "1"}))
    assert merchant.product.sql.value(last) == before
    publish(merchant, card_id)
    assert merchant.product.sql.value(last) == before + 2


def test_when_a_version_takes_effect(merchant: Merchant) -> None:
    """Proves: publishing goes by its own effectiveFrom, else by the draft's; the past of a published card is closed."""
    later, much_later = moment(3600), moment(7200)
    scheduled = publish(merchant, draft(merchant, effectiveFrom=later))
    assert scheduled["effectiveFrom"] == later
    assert publish(merchant, draft(merchant, effectiveFrom=later), effectiveFrom=much_later)["effectiveFrom"] == much_later
    for body, when in (({"effectiveFrom": moment(-60)}, None), ({}, moment(-60))):
        card_id = draft(merchant, **({} if when is None else {"effectiveFrom": when}))
        problem = assert_problem(merchant.call("POST", f"{CARDS}/{card_id}/publish", body), 422, "invalid_rate_card")
        assert problem["param"] == "effectiveFrom"
        assert merchant.ok("GET", f"{CARDS}/{card_id}")["status"] == "draft"
    assert merchant.usage(event())["charged"] == "1"


def test_a_scheduled_version_is_replaced_at_its_own_moment(merchant: Merchant) -> None:
    """Proves: of two versions with the same start the higher one prices what occurred from that very microsecond on, the other one
    nothing; explanation, list, difference, simulation and verification agree."""
    begins = datetime.now(UTC) + timedelta(seconds=3)
    start, before = (f"{time:%Y-%m-%dT%H:%M:%S.%f}Z" for time in (begins, begins - timedelta(microseconds=1)))
    first = merchant.ok("GET", CARDS)["data"][0]["rateCardId"]
    wrong = publish(merchant, draft(merchant, {**LINE, "price": "200"}, effectiveFrom=start))
    right = publish(merchant, draft(merchant, {**LINE, "price": "3"}, effectiveFrom=start))
    assert (wrong["version"], right["version"], right["effectiveFrom"]) == (2, 3, wrong["effectiveFrom"])
    assert states(merchant) == {3: "scheduled", 2: "replaced", 1: "in_force"}
    assert merchant.ok("GET", f"{CARDS}/{right['rateCardId']}/diff")["against"] == first
    time.sleep(max(0.0, (begins - datetime.now(UTC)).total_seconds()) + 0.05)
    assert states(merchant) == {3: "in_force", 2: "replaced", 1: "past"}
    answer = merchant.usage(event(key="before", occurredAt=before), event(key="at", occurredAt=start), event(key="after"))
    assert [one["charge"] for one in answer["results"]] == ["1", "3", "3"]
    priced = [merchant.ok("GET", f"/v1/usage-events/{key}/charge")["rateCard"]["version"] for key in ("before", "at", "after")]
    assert priced == [1, 3, 3]
    report = merchant.ok("POST", f"{CARDS}/{right['rateCardId']}/simulate", {"from": start})
    assert (report["events"], report["difference"]) == (2, "0")
    assert (merchant.product.verify()["exit"], merchant.product.verify()["differences"]) == (0, [])


def test_a_moment_that_has_begun_has_one_version_for_good(merchant: Merchant) -> None:
    """Proves: the database refuses a second version at a moment that is not to come any more, whoever asks."""
    first = merchant.ok("GET", CARDS)["data"][0]["rateCardId"]
    card_id = draft(merchant)
    merchant.product.sql.fetch("UPDATE rate_card_charges SET price_id = nextval('price_ids') WHERE rate_card_id = $1", card_id)
    statement = """UPDATE rate_cards SET status = 'published', version = 9, published_at = now(), effective_from =
        (SELECT effective_from FROM rate_cards WHERE rate_card_id = $2) WHERE rate_card_id = $1"""
    with pytest.raises(asyncpg.RestrictViolationError, match="has begun"):
        merchant.product.sql.fetch(statement, card_id, first)


def states(merchant: Merchant) -> dict[int, str]:
    """The state of each version, as the list tells it."""
    return {one["version"]: one["state"] for one in merchant.ok("GET", f"{CARDS}?status=published")["data"]}


def test_any_schedule_reads_the_same_everywhere(merchant: Merchant) -> None:
    """Proves: whatever versions are scheduled at the same moments, for everyone or for some, list, difference and the engine's catalogue
    know of each moment the same version: the highest with the latest start."""
    chance = random.Random(5)
    moments = [moment(3600 * hour) for hour in (1, 2, 3)]
    known: list[tuple[str, str, int, str]] = [("", "", 1, merchant.ok("GET", CARDS)["data"][0]["rateCardId"])]
    for _ in range(14):
        if chance.random() < 0.25:
            publish(merchant, draft(merchant, audience="assigned"))
            continue
        made = publish(merchant, draft(merchant, effectiveFrom=chance.choice(moments)))
        known.append((made["effectiveFrom"], made["publishedAt"], made["version"], made["rateCardId"]))
    found = {one["version"]: one for one in merchant.ok("GET", f"{CARDS}?status=published&limit=200")["data"]}
    catalog_ids = [one["rateCardId"] for one in engine_catalog(merchant)["rateCards"] if one["audience"] == "everyone"]
    assert catalog_ids == [card_id for *_, card_id in sorted(known)]
    assert len({start for start, *_ in known}) < len(known)
    for start, _, version, card_id in known:
        replaced = any(other[0] == start and other[2] > version for other in known)
        assert found[version]["state"] == ("in_force" if version == 1 else "replaced" if replaced else "scheduled")
        before = [one for one in known if one[0] < start]
        expected = max(before, key=lambda one: (one[0], one[2]))[3] if before else None
        assert merchant.ok("GET", f"{CARDS}/{card_id}/diff")["against"] == expected
    assert {one["state"] for one in found.values() if one["audience"] == "assigned"} == {"by_assignment"}


def test_of_many_publishings_at_once_each_gets_its_own_version(merchant: Merchant) -> None:
    """Proves: versions are numbered without gaps or doubles under concurrency, and one draft is published once."""
    drafts = [draft(merchant) for _ in range(6)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda card_id: merchant.call("POST", f"{CARDS}/{card_id}/publish", {}), [*drafts, drafts[0], drafts[0]]))
    done = [answer.json()["version"] for answer in answers if answer.status_code == 200]
    assert sorted(done) == [2, 3, 4, 5, 6, 7]
    assert [answer.json()["code"] for answer in answers if answer.status_code != 200] == ["rate_card_published"] * 2


def test_publishing_again_with_the_same_key_is_the_same_answer(merchant: Merchant) -> None:
    """Proves: a repetition with its Idempotency-Key learns what the first one did."""
    card_id = draft(merchant)
    first = merchant.ok("POST", f"{CARDS}/{card_id}/publish", {}, idempotency_key="publish-1")
    assert merchant.ok("POST", f"{CARDS}/{card_id}/publish", {}, idempotency_key="publish-1") == first


# ---------------------------------------------------------------- products


def test_products(merchant: Merchant) -> None:
    """Proves: every tenant has the default one; others have a code of their own and versions counted by themselves."""
    default = merchant.ok("GET", "/v1/products")["data"][0]
    assert (default["code"], default["name"]) == ("default", "default")
    made = merchant.ok("POST", "/v1/products", {"code": "studio", "name": "Image studio"})
    assert merchant.ok("GET", f"/v1/products/{made['productId']}") == made
    assert [one["code"] for one in merchant.ok("GET", "/v1/products")["data"]] == ["default", "studio"]
    assert_problem(merchant.call("POST", "/v1/products", {"code": "studio"}), 409, "product_exists")
    for body in ({"code": "Studio"}, {"code": ""}, {"code": "x" * 65}, {"code": "x", "name": "a\nb"}, {"code": "x", "name": "n" * 256}):
        assert_problem(merchant.call("POST", "/v1/products", body), 422, "invalid_product")
    first = merchant.ok("POST", CARDS, card({"metric": "images", "price": "1"}, productId=made["productId"]))
    # The first version of a product prices the past, as the first card of a merchant does.
    assert (first["productId"], first["version"], first["effectiveFrom"]) == (made["productId"], 1, None)
    assert merchant.ok("POST", CARDS, card())["version"] == 2
    for other in ("prod_" + "0" * 24, "x"):
        assert_problem(merchant.call("GET", f"/v1/products/{other}"), 404, "product_not_found")
        assert_problem(merchant.call("POST", CARDS, card(productId=other)), 404, "product_not_found")


def test_a_metric_is_priced_by_one_product(merchant: Merchant) -> None:
    """Proves: a draft may say anything, but publishing it is refused with both products named, and leaves no trace."""
    studio = product(merchant, "studio")
    card_id = draft(merchant, {"metric": "images", "price": "1"}, LINE, productId=studio)
    problem = assert_problem(merchant.call("POST", f"{CARDS}/{card_id}/publish", {}), 422, "invalid_rate_card")
    assert (problem["param"], problem["products"]) == ("charges[1].metric", ["default", "studio"])
    assert "default" in str(problem["detail"]) and "studio" in str(problem["detail"])
    # The refused one did not take images for itself.
    merchant.ok("POST", CARDS, card({"metric": "images", "price": "1"}))
    merchant.ok("PUT", f"{CARDS}/{card_id}", card({"metric": "agent_runs", "price": "1"}))
    assert publish(merchant, card_id)["version"] == 1


def test_a_draft_can_change_its_product(merchant: Merchant) -> None:
    """Proves: a draft stays with its product unless another is named."""
    studio = product(merchant, "studio")
    card_id = draft(merchant, {"metric": "images", "price": "1"}, productId=studio)
    assert merchant.ok("PUT", f"{CARDS}/{card_id}", card())["productId"] == studio
    default = merchant.ok("GET", "/v1/products")["data"][0]["productId"]
    assert merchant.ok("PUT", f"{CARDS}/{card_id}", card(productId=default))["productId"] == default


# ---------------------------------------------------------------- lists and differences


def test_list_filters(merchant: Merchant) -> None:
    """Proves: cards of one product and of one status; a cursor belongs to its filters."""
    studio = product(merchant, "studio")
    ours = [draft(merchant, productId=studio) for _ in range(3)]
    draft(merchant)

    def ids(**query: str) -> list[str]:
        return [one["rateCardId"] for one in merchant.client().get(CARDS, params=query).json()["data"]]

    assert ids(productId=studio) == ids(productId=studio, status="draft") == ours[::-1]
    assert len(ids(status="draft")) == 4
    assert len(ids(status="published")) == 1
    assert ids(productId=studio, status="published") == []
    page = merchant.client().get(CARDS, params={"productId": studio, "limit": "2"}).json()
    assert ids(productId=studio, limit="2", cursor=page["nextCursor"]) == ours[:1]
    for query in ({}, {"status": "draft"}, {"productId": studio, "status": "draft"}):
        answer = merchant.client().get(CARDS, params={**query, "cursor": page["nextCursor"]})
        assert_problem(answer, 400, "invalid_cursor")
    assert_problem(merchant.client().get(CARDS, params={"status": "other"}), 422, "invalid_parameter")


def test_the_difference_of_two_cards(merchant: Merchant) -> None:
    """Proves: by default a card is compared with the version that it follows; otherwise with any other, in the direction asked for."""
    first = merchant.ok("GET", CARDS)["data"][0]["rateCardId"]
    new = draft(merchant, LINE, {"metric": "images", "model": "package", "price": "100", "per": "500", "match": {"pack": "500"}})
    found = merchant.ok("GET", f"{CARDS}/{new}/diff")
    package = {"metric": "images", "model": "package", "match": {"pack": "500"}, "price": "100", "per": "500", "blocks": "period"}
    assert (found["against"], found["added"]) == (first, [package])
    assert [line["metric"] for line in found["removed"]] == ["tokens_output"]
    (changed,) = found["changed"]
    assert (changed["metric"], changed["before"]["price"], changed["after"]["price"]) == ("tokens_input", "1", "2")
    assert found["fields"] == [{"field": "name", "before": "standard", "after": "card"}]
    assert found["text"].splitlines() == [
        "~ name: standard → card",
        "+ images (pack=500): 100 CNY for each 500 or part of them in a period",
        "- tokens_output: 4 CNY per 1000",
        "~ tokens_input: 1 CNY per 1000 → 2 CNY per 1000",
        "! images (pack=500) begins to count at zero: no version before counts this metric with this match, and what the running period "
        "has used so far is not in it.",
    ]
    done = publish(merchant, new)
    since = {"field": "effectiveFrom", "before": None, "after": done["effectiveFrom"]}
    dated = merchant.ok("GET", f"{CARDS}/{new}/diff")
    assert dated["fields"] == [*found["fields"], since]
    assert {**found, "fields": dated["fields"], "text": dated["text"]} == dated
    assert f"~ in force from: ever → {done['effectiveFrom']}" in dated["text"]
    assert merchant.ok("GET", f"{CARDS}/{first}/diff?against={new}")["removed"] == [package]
    alone = merchant.ok("GET", f"{CARDS}/{first}/diff")
    assert (alone["against"], len(alone["added"])) == (None, 2)
    problem = assert_problem(merchant.call("GET", f"{CARDS}/{new}/diff?against=rc_{'0' * 24}"), 404, "rate_card_not_found")
    assert problem["param"] == "against"


def test_a_draft_is_compared_with_what_it_will_take_the_place_of(merchant: Merchant) -> None:
    """Proves: neither a customer's private card nor a version that comes into force later is what a draft for everyone follows, and all
    that differs of the cards themselves is told."""
    first = merchant.ok("GET", CARDS)["data"][0]["rateCardId"]
    private = publish(merchant, draft(merchant, {**LINE, "price": "9"}, audience="assigned"))
    later = publish(merchant, draft(merchant, {**LINE, "price": "8"}, effectiveFrom=moment(3600)))
    against = {card_id: merchant.ok("GET", f"{CARDS}/{card_id}/diff")["against"] for card_id in (private["rateCardId"], draft(merchant))}
    assert set(against.values()) == {first}
    after_it = draft(merchant, effectiveFrom=moment(7200))
    assert merchant.ok("GET", f"{CARDS}/{after_it}/diff")["against"] == later["rateCardId"]
    other = draft(merchant, currency="USD", audience="assigned", name="other", productId=product(merchant, "studio"))
    found = merchant.ok("GET", f"{CARDS}/{other}/diff?against={first}")
    fields = {one["field"]: (one["before"], one["after"]) for one in found["fields"]}
    assert fields.pop("productId")[0].startswith("prod_")
    assert fields == {"name": ("standard", "other"), "currency": ("CNY", "USD"), "audience": ("everyone", "assigned")}
    assert "~ product: default → studio\n~ currency: CNY → USD\n~ audience: everyone → assigned" in found["text"]


def test_a_difference_tells_which_counters_begin_at_zero(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: where a counting line gets another match, or a line begins to count, it says so in words; not where the counter goes on, nor
    where an earlier version had it."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    tiers = [{"upTo": "10", "price": "2"}, {"upTo": None, "price": "1"}]
    tiered = {"metric": "tokens_input", "model": "graduated", "tiers": tiers, "match": {"model": "a"}}
    runs = {"metric": "agent_runs", "price": "1"}
    publish(merchant, draft(merchant, tiered, runs))
    moved = {**tiered, "match": {"model": "a", "region": "cn"}}
    second = publish(merchant, draft(merchant, moved, {**runs, "minimumPerPeriod": "5"}))
    found = merchant.ok("GET", f"{CARDS}/{second['rateCardId']}/diff")
    assert found["newCounters"] == [
        {"metric": "tokens_input", "match": {"model": "a", "region": "cn"}},
        {"metric": "agent_runs", "match": {}},
    ]
    assert "! tokens_input (model=a, region=cn) begins to count at zero: " in found["text"]
    same = draft(merchant, {**moved, "tiers": tiers[1:]}, {**runs, "minimumPerPeriod": "6"})
    assert merchant.ok("GET", f"{CARDS}/{same}/diff")["newCounters"] == []
    assert merchant.ok("GET", f"{CARDS}/{draft(merchant, tiered)}/diff")["newCounters"] == []
    studio = draft(merchant, moved, productId=product(merchant, "studio"))
    assert len(merchant.ok("GET", f"{CARDS}/{studio}/diff?against={second['rateCardId']}")["newCounters"]) == 1


# ---------------------------------------------------------------- models


def test_every_model_is_kept_and_handed_to_the_engine(merchant: Merchant) -> None:
    """Proves: lines come back with the fields of their models; the engine's catalogue has a model, percentage or minimum only where a
    line has one, has drafts nowhere, and is one that today's engine can load."""
    lines = [
        {"metric": "images", "model": "per_unit", "match": {}, "price": "0.2", "per": "1", "minimum": "0.000000001"},
        {"metric": "images", "model": "package", "match": {"pack": "500"}, "price": "100", "per": "500", "blocks": "event"},
        {"metric": "images", "model": "package", "match": {"pack": "9"}, "price": "3", "per": "9", "blocks": "period"},
        {"metric": "agent_runs", "model": "flat", "match": {}, "price": "0.5"},
        {"metric": "storage_gb", "model": "markup", "match": {}, "cost": "3.5", "per": "1", "percent": "12.123456789", "minimum": "1"},
    ]
    made = merchant.ok("POST", CARDS, card(*lines))
    assert made["charges"] == lines
    assert merchant.ok("GET", f"{CARDS}/{made['rateCardId']}")["charges"] == lines
    draft(merchant)
    first, second = engine_catalog(merchant)["rateCards"]
    assert second["rateCardId"] == made["rateCardId"]
    assert first["productId"] == second["productId"] == made["productId"]
    assert [set(line) for line in first["charges"]] == [{"priceId", "metricId", "match", "price", "per"}] * 2
    kept = [{name: value for name, value in line.items() if name not in ("priceId", "metricId", "counterId")} for line in second["charges"]]
    assert ["counterId" in line for line in second["charges"]] == [line.get("blocks") == "period" for line in lines]
    assert kept == [
        {"match": {}, "price": "0.2", "per": "1", "minimum": "0.000000001"},
        {"match": {"pack": "500"}, "model": "package", "price": "100", "per": "500"},
        {"match": {"pack": "9"}, "model": "package", "price": "3", "per": "9", "blocks": "period"},
        {"match": {}, "model": "flat", "price": "0.5", "per": "1"},
        {"match": {}, "model": "markup", "price": "3.5", "per": "1", "percent": "12.123456789", "minimum": "1"},
    ]


def tiers(*ends: str | None, **fields: Any) -> dict[str, Any]:
    """Tiers that end there, each at a price of 1."""
    return {"tiers": [{"upTo": end, "price": "1", **fields} for end in ends]}


BAD_TIERS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "missing_field", "tiers"),
    (tiers(), "invalid_rate_card", "tiers"),
    (tiers(*map(str, range(1, 101)), None), "invalid_rate_card", "tiers"),
    (tiers("5"), "invalid_rate_card", "tiers[0].upTo"),
    (tiers("5", "7"), "invalid_rate_card", "tiers[1].upTo"),
    (tiers(None, None), "invalid_rate_card", "tiers[0].upTo"),
    (tiers("5", "5", None), "invalid_rate_card", "tiers[1].upTo"),
    (tiers("5", "4", None), "invalid_rate_card", "tiers[1].upTo"),
    (tiers("0", None), "invalid_price", "tiers[0].upTo"),
    (tiers("-5", None), "invalid_price", "tiers[0].upTo"),
    (tiers("1e3", None), "invalid_price", "tiers[0].upTo"),
    (tiers("1.0000000001", None), "invalid_price", "tiers[0].upTo"),
    (tiers(None, price="-1"), "invalid_price", "tiers[0].price"),
    (tiers(None, price="NaN"), "invalid_price", "tiers[0].price"),
    (tiers(None, per="0"), "invalid_price", "tiers[0].per"),
    ({**tiers(None), "price": "1"}, "invalid_rate_card", "price"),
    ({**tiers(None), "per": "1"}, "invalid_rate_card", "per"),
    ({**tiers(None), "allowance": "0"}, "invalid_price", "allowance"),
    ({**tiers(None), "allowance": "-3"}, "invalid_price", "allowance"),
    ({"model": "flat", "price": "1", "allowance": "3"}, "invalid_rate_card", "allowance"),
    ({"model": "package", "price": "1", "per": "5", **tiers(None)}, "invalid_rate_card", "tiers"),
]
"""fields of a graduated line, the code and the place of the one error it gets"""


@pytest.mark.parametrize("as_draft", [False, True])
@pytest.mark.parametrize(
    ("charges", "code", "param"),
    [
        ([{"metric": "images", "model": "tiered", "price": "1"}], "invalid_rate_card", "charges[0].model"),
        ([{"metric": "images", "model": "flat", "price": "1", "per": "2"}], "invalid_rate_card", "charges[0].per"),
        ([{"metric": "images", "model": "package", "price": "1"}], "missing_field", "charges[0].per"),
        ([{"metric": "images", "price": "1", "blocks": "period"}], "invalid_rate_card", "charges[0].blocks"),
        ([{"metric": "images", "model": "package", "price": "1", "per": "5", "blocks": "month"}], "invalid_rate_card", "charges[0].blocks"),
        ([{"metric": "images", "model": "package", "price": "1", "per": "5", "minimum": "2"}], "invalid_rate_card", "charges[0].minimum"),
        ([{"metric": "images", "model": "package", "price": "0", "per": "5"}], "invalid_price", "charges[0].price"),
        ([{"metric": "images"}], "missing_field", "charges[0].price"),
        ([LINE, {"metric": "images", "model": "markup", "cost": "1", "percent": "20%"}], "invalid_price", "charges[1].percent"),
        ([{"metric": "images", "price": "1", "minimum": "0"}], "invalid_price", "charges[0].minimum"),
        ([{"metric": "images", "price": "-1"}], "invalid_price", "charges[0].price"),
        ([{"metric": "images", "price": None}], "invalid_body", None),
        *(([{"metric": "images", "model": "graduated", **fields}], code, f"charges[0].{place}") for fields, code, place in BAD_TIERS),
        ([{"metric": "unheard_of", "price": "1"}], "unknown_metric", "charges[0].metric"),
        ([{"metric": "images", "price": "1", "match": {"n": str(n)}} for n in range(10_001)], "invalid_rate_card", "charges"),
    ],
)
def test_bad_lines(merchant: Merchant, charges: list[dict[str, Any]], code: str, param: str | None, as_draft: bool) -> None:
    """Proves: each fault has one clear error with its place, for drafts as well, and nothing is stored."""
    before = merchant.ok("GET", CARDS)
    problem = assert_problem(merchant.call("POST", CARDS, card(*charges, draft=as_draft)), 422, code)
    assert param is None or problem["param"] == param
    assert merchant.ok("GET", CARDS) == before


def test_an_ambiguous_draft_is_refused_at_publishing(merchant: Merchant) -> None:
    """Proves: a draft may be unfinished; publishing names both lines."""
    card_id = draft(merchant, LINE, {**LINE, "match": {"model": "a"}}, {**LINE, "match": {"region": "cn"}})
    problem = assert_problem(merchant.call("POST", f"{CARDS}/{card_id}/publish", {}), 422, "invalid_rate_card")
    assert problem["lines"] == [1, 2]
    merchant.ok("PUT", f"{CARDS}/{card_id}", card())
    publish(merchant, card_id)


def test_ten_thousand_lines(merchant: Merchant) -> None:
    """Proves: the largest card there may be, with tiers in every line, is published, comes back, and prices; one line more gets one clear
    sentence, and so does a body beyond the limit of rate cards, which is four times that of others."""
    tiers = [{"upTo": "1000000", "price": "1", "per": "1000"}, {"upTo": "50000000", "price": "0.8", "per": "1000"}]
    lines = [
        {"metric": "tokens_input", "match": {"model": f"provider/model-{number}-with-a-name-of-some-length"}, "model": "graduated"}
        | {"tiers": [*tiers, {"upTo": None, "price": str(number), "per": "1000"}], "allowance": "1000"}
        for number in range(10_000)
    ]
    made = publish(merchant, draft(merchant, *lines))
    assert len(json.dumps(lines)) > 2 * 1024 * 1024
    assert [line["tiers"][2]["price"] for line in made["charges"]] == [str(number) for number in range(10_000)]
    priced = event(quantity="50002000", dimensions={"model": lines[77]["match"]["model"]})
    merchant.grant("100000")
    # 1,000 × 1 + 49,000 × 0.8 + 1 × 77, beyond the allowance
    assert merchant.usage(priced)["charged"] == "40277"
    for body in (card(*lines, lines[0]), card(*lines, lines[0], draft=True)):
        problem = assert_problem(merchant.call("POST", CARDS, body), 422, "invalid_rate_card")
        assert (problem["param"], problem["detail"]) == ("charges", "A rate card has at most 10,000 lines; this one has 10,001.")
    for path, size, allowed in ((CARDS, 8, True), (CARDS, 9, False), ("/v1/metrics", 3, False)):
        answer = merchant.call("POST", path, {"name": "x" * (size * 1024 * 1024 - 100)})
        assert_problem(answer, *((422, "missing_field") if allowed else (413, "body_too_large")))


# ---------------------------------------------------------------- the audit log, the command line, the presets


def test_every_change_is_told(merchant: Merchant) -> None:
    """Proves: making, editing, publishing and deleting write an entry with before and after; what is refused or changes nothing, none."""
    studio = product(merchant, "studio")
    card_id = draft(merchant)
    made = merchant.ok("GET", f"{CARDS}/{card_id}")
    for _ in range(2):
        edited = merchant.ok("PUT", f"{CARDS}/{card_id}", card(name="edited"))
    done = publish(merchant, card_id)
    merchant.call("POST", f"{CARDS}/{card_id}/publish", {})
    gone = draft(merchant)
    merchant.ok("DELETE", f"{CARDS}/{gone}")

    def told(object_id: str) -> list[tuple[str, Any, Any]]:
        entries = merchant.client().get("/v1/audit-log", params={"objectId": object_id}).json()["data"]
        return [(one["action"], one["before"], one["after"]) for one in reversed(entries)]

    assert told(card_id) == [
        ("rate_card.create", None, made),
        ("rate_card.update", made, edited),
        ("rate_card.publish", edited, done),
    ]
    assert [(action, after is None) for action, _, after in told(gone)] == [("rate_card.create", False), ("rate_card.delete", True)]
    assert [action for action, _, _ in told(studio)] == ["product.create"]


def test_the_command_line(merchant: Merchant, tmp_path: Path) -> None:
    """Proves: from a preset to a published card by commands alone, as tables and as JSON."""

    def run(*arguments: str) -> str:
        return merchant.product.cli("rate-cards", *arguments, BUFFMONEY_API_KEY=merchant.sandbox_key).stdout

    file = tmp_path / "card.json"
    run("init", "--preset", "images", "--file", str(file))
    assert file.read_text() == run("init", "--preset", "images") == presets.text("images")
    again = merchant.product.cli("rate-cards", "init", "--preset", "storage", "--file", str(file), check=False)
    assert (again.returncode, file.read_text()) == (1, presets.text("images"))

    made = json.loads(run("create", "--file", str(file), "--draft", "--json"))
    card_id = made["rateCardId"]
    assert made["status"] == "draft"
    listed = run("list", "--status", "draft")
    assert card_id in listed and "Image packs" in listed and "default" in listed
    assert "+ images (pack=1800): 300 CNY for each 1800 or part of them in a period" in run("diff", card_id)
    shown = run("show", card_id)
    assert "a draft" in shown
    (row,) = [line.split() for line in shown.splitlines() if "pack=1800" in line]
    assert row == ["1", "images", "pack=1800", "package", "300", "1800", "period"]
    assert "version 2" in run("publish", card_id)
    assert json.loads(run("list", "--status", "published", "--json"))["rateCards"][0]["rateCardId"] == card_id
    refused = merchant.product.cli("rate-cards", "publish", card_id, check=False, BUFFMONEY_API_KEY=merchant.sandbox_key)
    assert (refused.returncode, "[rate_card_published]" in refused.stderr) == (1, True)


@pytest.mark.parametrize("name", presets.names())
def test_presets_can_be_published(new_merchant: Callable[..., Merchant], name: str) -> None:
    """Proves: every preset is a valid card, taken as it is."""
    body = json.loads(presets.text(name))
    # What is charged at a period's end cannot be paid before.
    made = new_merchant(card=None, billing="pay-as-you-go").ok("POST", CARDS, body)
    assert (made["status"], len(made["charges"])) == ("published", len(body["charges"]))


def test_the_product_s_own_example_is_a_preset() -> None:
    """Proves: ¥100 buy 500 images and ¥300 buy 1,800 (test_blocks.py uses them up)."""
    packs = {line["per"]: line["price"] for line in json.loads(presets.text("images"))["charges"] if line.get("model") == "package"}
    assert packs == {"500": "100", "1800": "300"}
    assert presets.names() == ["agent_runs", "image_credits", "images", "storage", "tiers", "tokens", "volume"]
    with pytest.raises(ValueError, match="agent_runs, image_credits, images, storage, tiers, tokens, volume"):
        presets.text("../cards")
