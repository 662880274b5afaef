"""Proves: where customers pay after, what they owe unbilled is what their usage and holds accrued, less what was taken back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffmoney import _core
from tests import oracle
from tests.oracle import Card, Charge, Usage, nano
from tests.properties.model_run import TENANT_ID, ModelRun
from tests.properties.partition import Partition
from tests.properties.test_engine import RUNS, SEEDS, check_chains
from tests.workload import Batch, Capture, ChangeCard, GiveGrant, PassTime, PlaceHold, Release, Void, Workload

USAGE, VOID = 2, 7


def rows_by_account(partition: Partition, table: str) -> dict[int, list[dict[str, Any]]]:
    """In key order."""
    found: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in partition.tables.usage_events if table == "usage_events" else partition.tables.of(table):
        found[row["account_id"]].append(row)
    return found


def check_accruals(partition: Partition) -> int:
    """Of every customer, from the rows alone. Gives how much was accrued by usage, in nano-units."""
    events, voids = rows_by_account(partition, "usage_events"), rows_by_account(partition, "usage_voids")
    accrued_by_usage = 0
    for account, postings in rows_by_account(partition, "postings").items():
        used = [row for row in postings if row["kind"] == USAGE]
        from_wallet = sum(row["amount"] for row in used if row["debit_account_id"] == account)
        from_unbilled = sum(row["amount"] for row in used if row["debit_account_id"] == -account)
        assert sum(row["charge"] for row in events[account]) == from_wallet + from_unbilled
        given_back = sum(row["amount"] for row in postings if row["kind"] == VOID)
        assert sum(row["charge"] for row in voids[account]) == given_back
        accrued = sum(row["amount"] for row in postings if row["debit_account_id"] == -account)
        lowered = sum(row["amount"] for row in postings if row["credit_account_id"] == -account)
        assert postings[-1]["unbilled_after"] == accrued - lowered
        assert all(row["balance_after"] >= 0 and row["unbilled_after"] >= 0 and row["held_after"] >= 0 for row in postings)
        # Nothing is owed for what the wallet could have paid.
        assert all(row["balance_after"] == 0 for row in postings if row["debit_account_id"] == -account)
        accrued_by_usage += from_unbilled
    return accrued_by_usage


@RUNS
@given(seed=SEEDS, group_size=st.integers(1, 9), restarts=st.sets(st.integers(0, 70), max_size=5))
def test_what_is_owed_is_what_accrued(seed: int, group_size: int, restarts: set[int]) -> None:
    """Proves: charges are postings from wallet and unbilled, no wallet falls below zero, and what is owed is what accrued less what was
    taken back; over restarts, undone groups, voids, holds and limits."""
    run = ModelRun(billing="pay-as-you-go", group_size=group_size, max_wallets=2, recent_keys=64)
    for number, step in enumerate(Workload(seed, customers=4, correct=True).steps(70)):
        run.feed([step])
        if number in restarts:
            run.partition.restart(with_filters=number % 2 == 0)
    check_accruals(run.partition)
    check_chains(run.partition)


def test_the_workloads_do_accrue() -> None:
    """Proves: the runs above are not blind."""
    accrued, owing_for_holds = 0, 0
    for seed in range(8):
        run = ModelRun(billing="pay-as-you-go")
        run.feed(Workload(seed, customers=4, correct=True).steps(70))
        accrued += check_accruals(run.partition)
        owing_for_holds += sum(row["kind"] in (3, 5, 8) and row["unbilled_after"] > 0 for row in run.partition.tables.of("postings"))
    assert accrued > 0
    assert owing_for_holds > 0


def test_an_oracle_that_takes_wallets_below_zero_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves: the comparison sees whether a wallet accrues."""
    monkeypatch.setattr(oracle.Tenant, "accrues", property(lambda _: False))
    with pytest.raises(AssertionError):
        ModelRun(billing="pay-as-you-go").feed(Workload(1).steps(60))


@RUNS
@given(seed=SEEDS, group_size=st.integers(1, 9), before=st.integers(5, 60))
def test_overdraft_from_before_is_kept_apart(seed: int, group_size: int, before: int) -> None:
    """Proves: wallets that a merchant's customers had overdrawn stay verifiable and go on, and whatever they use from then on accrues."""
    run = ModelRun(billing="overdraft", group_size=group_size, max_wallets=2)
    for number, step in enumerate(Workload(seed, customers=3, correct=True).steps(70)):
        if number == before:
            lowest = {name: min(0, wallet.available) for name, wallet in run.model.wallets.items()}
            run.model.bill("pay-as-you-go")
            run.publish()
        run.feed([step])
        if number > before:
            for name, wallet in run.model.wallets.items():
                assert wallet.available >= lowest.get(name, 0), "only what was overdraft before may be below zero"
    check_chains(run.partition)


def test_a_restart_between_all_steps_of_a_hold() -> None:
    """Proves: what a hold took beyond the grants is owed while it is open and after its capture, and not after its release or its end; and
    a core that has forgotten everything goes on with it."""
    run = ModelRun(billing="pay-as-you-go", group_size=1)
    event = Usage("acme", "key", "images", nano("7"), run.now_us)
    steps = [
        ChangeCard(Card("one", (Charge("images", "1"),))),
        GiveGrant("acme", "a" * 32, nano("10"), "paid", 0, None),
        *(PlaceHold("acme", letter * 32, nano("6"), 1_000) for letter in "bcde"),
        Capture("b" * 32, "1" * 32, nano("4")),
        Capture("c" * 32, "2" * 32, nano("5")),
        Release("d" * 32, "3" * 32),
        Batch((event, replace(event, key="other"))),
        PassTime(1_000_000, True),
        Void(("key",), "4" * 32),
    ]
    owed = []
    for step in steps:
        run.feed([step])
        run.partition.restart()
        owed.append([unbilled // 10**9 for _, _, unbilled, _ in run.wallets().values()])
    # 10 granted. Holds of 6: 0, 2, 6 and 6 beyond. b gives 2 back to the grant, c gives 1 of its 2 back, d its 6; usage of 14 finds 2.
    assert owed == [[], [0], [0], [2], [8], [14], [14], [13], [7], [19], [13], [8]]
    packed = run.partition.engine.balance(TENANT_ID, "acme")
    assert packed is None, "memory is empty after a restart"
    check_accruals(run.partition)


def test_balances_of_another_layout_are_not_read() -> None:
    """Proves: a packed wallet from before there was anything unbilled is not taken for one of now."""
    run = ModelRun(billing="pay-as-you-go", group_size=1)
    run.feed([ChangeCard(Card("one", (Charge("images", "1"),))), Batch((Usage("acme", "key", "images", nano("7"), run.now_us),))])
    packed = run.partition.engine.balance(TENANT_ID, "acme")
    assert packed is not None
    assert b'"available":"0","held":"0","unbilled":"7"' in _core.render_balance(packed)
    with pytest.raises(ValueError, match="not a packed wallet"):
        _core.render_balance(b"\x01" + packed[1:44] + packed[60:])
