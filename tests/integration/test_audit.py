"""The audit log as users see it: every change tells who, from what to what, and in which request."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from buffmoney.audit import chain
from buffmoney.edge.app import ROUTES
from tests.product import CARD, Merchant, assert_problem, moment

LOG = "/v1/audit-log"
TOLD = {
    ("POST", "/v1/metrics"),
    ("POST", "/v1/products"),
    ("POST", "/v1/rate-cards"),
    ("PUT", "/v1/rate-cards/{rateCardId}"),
    ("DELETE", "/v1/rate-cards/{rateCardId}"),
    ("POST", "/v1/rate-cards/{rateCardId}/publish"),
    ("PUT", "/v1/customers/{externalId}/rate-card"),
    ("DELETE", "/v1/customers/{externalId}/rate-card"),
    ("PUT", "/v1/top-up-settings"),
    ("POST", "/v1/promotions"),
    ("POST", "/v1/promotions/{promotionId}/end"),
    ("POST", "/v1/top-ups/{topUpId}/cancel"),
    ("POST", "/v1/top-ups/{topUpId}/refunds"),
    ("PUT", "/v1/billing-period"),
    ("POST", "/v1/api-keys"),
    ("POST", "/v1/api-keys/{keyId}/revoke"),
    ("POST", "/v1/api-keys/{keyId}/rotate"),
}
"""operations whose entries the tests below look at, and those of drafts and products in test_rate_card_versions.py, of
customers' own cards in test_customer_prices.py, of what top-ups are sold by in test_top_ups.py, of refunds in test_payments.py,
of billing periods in test_billing_period.py"""
READING = {("POST", "/v1/rate-cards/{rateCardId}/simulate")}
"""operations that are asked with a body and write nothing, as test_simulate.py proves"""
USAGE = {("POST", "/v1/usage-events/void")}
"""operations on usage whose body carries its own identity: who asked, and why, is in the ledger's own rows, as test_voids.py proves"""

SALES = {("POST", "/v1/top-ups")}
"""operations of which there is one for each sale: the row itself tells which key asked, and in which request, as test_top_ups.py proves"""


def entries(merchant: Merchant, **filters: str) -> list[dict[str, Any]]:
    """What the log tells, oldest first."""
    answer = merchant.client().get(LOG, params={"limit": "200", **filters})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found[::-1]


def key_id(merchant: Merchant) -> str:
    """The id of the key that the merchant's requests carry."""
    found = merchant.product.sql.value("SELECT key_id FROM api_keys WHERE prefix = $1", merchant.sandbox_key[:16])
    return str(found)


def test_no_mutation_is_forgotten() -> None:
    """Proves: every operation that changes something other than a wallet or usage is one whose entry is tested here."""
    changing = {
        (route.method, route.path) for route in ROUTES if route.method != "GET" and route.idempotency != "command" and not route.raw
    }
    assert changing - READING - USAGE - SALES == TOLD


def test_a_new_merchant_begins_its_log(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: both tenants begin with their own creation and their first key, by the account that ran the command, in one request."""
    merchant = new_merchant(billing="pay-as-you-go", card=None)
    account = pwd.getpwuid(os.getuid()).pw_name
    requests = set()
    for one, mode in ((merchant, "sandbox"), (merchant.live, "live")):
        made, key = entries(one)
        assert [entry["sequence"] for entry in (made, key)] == [1, 2]
        assert {(entry["actorKind"], entry["actor"]) for entry in (made, key)} == {("command_line", account)}
        assert (made["action"], made["objectKind"], made["objectId"]) == ("merchant.create", "merchant", merchant.merchant_id)
        assert made["before"] is None
        after = made["after"]
        assert (after["mode"], after["billing"], after["currency"], after["unknownCustomers"]) == (mode, "pay-as-you-go", "CNY", "create")
        assert after["metrics"] == ["tokens_input", "tokens_output", "images", "agent_runs", "storage_gb"]
        assert (key["action"], key["objectId"], key["before"]) == ("api_key.create", key_id(one), None)
        assert (key["after"]["prefix"], key["after"]["name"]) == (one.sandbox_key[:16], "first key")
        requests |= {made["requestId"], key["requestId"]}
    assert len(requests) == 1
    merchant.live.close()


def test_each_mutation_writes_one_entry(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: metrics, rate cards and keys tell their action, actor, request, and what was before and after; reading tells nothing."""
    merchant = new_merchant(card=None)
    actor = key_id(merchant)
    answers = [
        merchant.call("POST", "/v1/metrics", {"code": "pages", "unit": "page"}),
        merchant.call("POST", "/v1/rate-cards", CARD),
        merchant.call("POST", "/v1/api-keys", {"name": "second"}),
    ]
    metric, card, second = (answer.json() for answer in answers)
    answers.append(merchant.call("POST", f"/v1/api-keys/{second['keyId']}/rotate", {"overlapSeconds": 60}))
    third = answers[-1].json()
    answers.append(merchant.call("POST", f"/v1/api-keys/{third['keyId']}/revoke"))
    revoked = answers[-1].json()
    assert all(answer.is_success for answer in answers), [answer.text for answer in answers]
    for path in ("/v1/metrics", "/v1/rate-cards", "/v1/api-keys", LOG):
        merchant.ok("GET", path)

    told = entries(merchant)[2:]
    assert [entry["action"] for entry in told] == [
        *("metric.create", "rate_card.create", "api_key.create"),
        *("api_key.create", "api_key.rotate", "api_key.revoke"),
    ]
    assert [entry["sequence"] for entry in told] == [3, 4, 5, 6, 7, 8]
    assert {(entry["actorKind"], entry["actor"]) for entry in told} == {("api_key", actor)}
    rotation = answers[3].headers["X-Request-Id"]
    assert [entry["requestId"] for entry in told] == [
        *(answer.headers["X-Request-Id"] for answer in answers[:3]),
        *(rotation, rotation, answers[4].headers["X-Request-Id"]),
    ]
    assert [entry["objectId"] for entry in told] == [
        *("pages", card["rateCardId"], second["keyId"]),
        *(third["keyId"], second["keyId"], third["keyId"]),
    ]
    assert [entry["before"] for entry in told[:4]] == [None] * 4
    assert [entry["after"] for entry in told[:2]] == [metric, card]
    listed = {key["keyId"]: key for key in merchant.ok("GET", "/v1/api-keys")["data"]}
    made, replacing, rotated, ended = told[2:]
    assert (made["after"]["name"], made["after"]["expiresAt"]) == ("second", None)
    assert replacing["after"]["replaces"] == second["keyId"]
    assert rotated["before"] == made["after"]
    assert rotated["after"] == {**made["after"], "expiresAt": listed[second["keyId"]]["expiresAt"], "replacedBy": third["keyId"]}
    assert ended["before"] == {name: value for name, value in replacing["after"].items() if name != "replaces"}
    assert ended["after"] == {**ended["before"], "revokedAt": revoked["revokedAt"]}


def test_what_changes_nothing_writes_nothing(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a repetition, a second revocation and every refusal leave the log as it was."""
    merchant = new_merchant(card=None)
    key = merchant.ok("POST", "/v1/api-keys", {"name": "x"}, idempotency_key="k")
    merchant.ok("POST", "/v1/metrics", {"code": "pages"})
    merchant.ok("POST", f"/v1/api-keys/{key['keyId']}/revoke")
    before = entries(merchant)
    assert len(before) == 5
    assert merchant.ok("POST", "/v1/api-keys", {"name": "x"}, idempotency_key="k") == key
    merchant.ok("POST", f"/v1/api-keys/{key['keyId']}/revoke")
    for path, body in (
        ("/v1/metrics", {"code": "pages"}),
        ("/v1/metrics", {"code": "Pages"}),
        ("/v1/rate-cards", {**CARD, "currency": "USD"}),
        ("/v1/rate-cards", {**CARD, "charges": [{"metric": "unheard_of", "price": "1"}]}),
        ("/v1/api-keys", {"name": "a\u0001"}),
        (f"/v1/api-keys/{key['keyId']}/rotate", {}),
    ):
        assert not merchant.call("POST", path, body).is_success
    assert entries(merchant) == before


def test_no_secret_gets_in(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: neither a key nor its hash can be found in the log, not even a key that a client wrote into a name."""
    merchant = new_merchant()
    second = merchant.ok("POST", "/v1/api-keys", {"name": f"was {merchant.live_key}"})
    match = {"model": merchant.sandbox_key, merchant.sandbox_key + "A": "x", merchant.sandbox_key + "B": "y"}
    merchant.ok("POST", "/v1/rate-cards", {**CARD, "charges": [{"metric": "images", "price": "1", "match": match}]})
    text = merchant.client().get(LOG).text
    stored = merchant.product.sql.value("SELECT string_agg(a::text, ' ') FROM audit_log a WHERE tenant_id = $1", merchant.tenant_id)
    hashes = merchant.product.sql.fetch("SELECT encode(key_hash, 'hex') AS hash FROM api_keys WHERE tenant_id = $1", merchant.tenant_id)
    for secret in (merchant.sandbox_key, merchant.live_key, second["key"], *(row["hash"] for row in hashes)):
        assert secret[16:] not in text
        assert secret[16:] not in stored
    assert f"was {merchant.live_key[:16]}…" in text
    assert json.loads(merchant.product.cli("audit", "verify", "--json", check=False).stdout)["ok"]


def test_pages_and_filters(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: pages come newest first without a gap, filters are exact and combine, a cursor belongs to its filters and its tenant."""
    merchant, other = new_merchant(), new_merchant()
    for number in range(5):
        merchant.ok("POST", "/v1/metrics", {"code": f"metric_{number}"})
    everything = entries(merchant)
    assert [entry["sequence"] for entry in everything] == list(range(1, 9))

    client, paged, cursor = merchant.client(), [], None
    while True:
        params = {"limit": "2", "action": "metric.create", **({"cursor": cursor} if cursor else {})}
        answer = client.get(LOG, params=params).json()
        assert 1 <= len(answer["data"]) <= 2
        paged += answer["data"]
        if answer["nextCursor"] is None:
            break
        cursor = answer["nextCursor"]
    assert paged == [entry for entry in everything if entry["action"] == "metric.create"][::-1]
    for wrong in ({"action": "metric.create", "cursor": cursor + "A"}, {"cursor": cursor}, {"action": "api_key.create", "cursor": cursor}):
        assert_problem(client.get(LOG, params=wrong), 400, "invalid_cursor")
    assert_problem(other.client().get(LOG, params={"action": "metric.create", "cursor": cursor}), 400, "invalid_cursor")

    assert [entry["objectId"] for entry in entries(merchant, objectId="metric_3")] == ["metric_3"]
    assert [entry["sequence"] for entry in entries(merchant, actor=key_id(merchant))] == list(range(3, 9))
    assert entries(merchant, actor=key_id(other)) == []
    assert [entry["sequence"] for entry in entries(merchant, **{"from": everything[4]["at"], "to": everything[6]["at"]})] == [5, 6]
    assert entries(merchant, **{"from": moment(3600)}) == []
    assert entries(merchant, actor=key_id(merchant), action="rate_card.create", to=moment(60)) == everything[2:3]
    for params in ({"action": "metric.destroy"}, {"limit": "0"}, {"limit": "201"}, {"from": "soon"}, {"sequence": "1"}):
        assert_problem(client.get(LOG, params=params), 422)
    assert_problem(client.get(LOG, params={"from": moment(0), "to": moment(-1)}), 422, "invalid_parameter")
    assert {entry["sequence"] for entry in entries(other)} == {1, 2, 3}


def test_a_page_of_long_entries_ends_early(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: with rate cards of thousands of lines a page is short, its cursor goes on, and nothing is left out."""
    merchant = new_merchant(card=None)
    lines = [{"metric": "images", "price": "1", "match": {"model": f"{n}-" + "x" * 60}} for n in range(4_000)]
    for _ in range(3):
        merchant.ok("POST", "/v1/rate-cards", {**CARD, "charges": lines})
    found: list[int] = []
    answer = merchant.ok("GET", LOG)
    assert len(answer["data"]) < 5
    while True:
        found += [entry["sequence"] for entry in answer["data"]]
        if answer["nextCursor"] is None:
            break
        answer = merchant.ok("GET", f"{LOG}?cursor={answer['nextCursor']}")
    assert found == [5, 4, 3, 2, 1]


def test_the_chain_can_be_followed_from_outside(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: what the API lists is enough to derive every hash again."""
    merchant = new_merchant()
    merchant.ok("POST", "/v1/metrics", {"code": "pages", "unit": "页"})
    before = chain.START
    for entry in entries(merchant):
        before = chain.chained(
            before,
            chain.Entry(
                tenant_id=merchant.tenant_id,
                seq=entry["sequence"],
                at=datetime.fromisoformat(entry["at"]),
                actor_kind=entry["actorKind"],
                actor=entry["actor"],
                action=entry["action"],
                object_kind=entry["objectKind"],
                object_id=entry["objectId"],
                before=None if entry["before"] is None else chain.canonical(entry["before"]),
                after=None if entry["after"] is None else chain.canonical(entry["after"]),
                request_id=entry["requestId"],
            ),
        )
        assert before.hex() == entry["chainHash"]


def test_the_command_line_writes_and_lists(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: keys made, rotated and revoked by command are told with the account; `audit list` filters as the API does."""
    merchant = new_merchant(card=None)
    cli, account = merchant.product.cli, pwd.getpwuid(os.getuid()).pw_name
    of = ("--merchant", merchant.merchant_id)
    made = json.loads(cli("keys", "create", *of, "--name", "by hand", "--json", LOGNAME="somebody_else").stdout)
    rotated = json.loads(cli("keys", "rotate", made["keyId"], "--json").stdout)
    cli("keys", "revoke", made["keyId"])
    told = entries(merchant)[2:]
    assert [(entry["action"], entry["objectId"]) for entry in told] == [
        ("api_key.create", made["keyId"]),
        ("api_key.create", rotated["keyId"]),
        ("api_key.rotate", made["keyId"]),
        ("api_key.revoke", made["keyId"]),
    ]
    assert {(entry["actorKind"], entry["actor"]) for entry in told} == {("command_line", account)}
    assert json.loads(cli("audit", "list", *of, "--json").stdout)["entries"] == entries(merchant)[::-1]
    listed = cli("audit", "list", *of, "--action", "api_key.revoke", "--limit", "1").stdout
    assert listed.split()[2:6] == ["api_key.revoke", made["keyId"], "command_line", account]
    assert cli("audit", "list", *of, "--object", "nothing").stdout == "No entry.\n"
    for wrong in (("--action", "x"), ("--limit", "0"), ("--from", "soon"), ("--merchant", "mer_" + "0" * 24)):
        assert cli("audit", "list", *of[: 0 if wrong[0] == "--merchant" else 2], *wrong, check=False).returncode == 1


@pytest.mark.parametrize("key", ["x", "bm_test_nobody"])
def test_nobody_reads_it_without_a_key(merchant: Merchant, key: str) -> None:
    """Proves: the log is closed to those without a key."""
    assert_problem(merchant.call("GET", LOG, authorization=f"Bearer {key}"), 401)
