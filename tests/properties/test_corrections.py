"""Proves: voids and amendments do what the plain-Python oracle says, whatever comes before, between and after them."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import Card, Charge, Usage
from tests.properties.copies import rows as rows_of
from tests.properties.model_run import TENANT_ID, ModelRun
from tests.properties.partition import payer_of
from tests.properties.test_engine import BILLINGS, RUNS, SEEDS, check_chains
from tests.workload import Amend, Batch, ChangeCard, Void, Workload

USAGE, VOID = 2, 7


@RUNS
@given(seed=SEEDS, group_size=st.integers(1, 9), billing=st.sampled_from(BILLINGS))
def test_corrections_equal_the_oracle(seed: int, group_size: int, billing: str) -> None:
    """Proves: answers, wallets, grants and sums equal the oracle's, with usage, grants, holds and expiry in between."""
    run = ModelRun(billing=billing, group_size=group_size)
    run.feed(Workload(seed, customers=3, correct=True).steps(70))
    tables = run.partition.tables
    sums = [0, 0, 0]
    for sign, rows in ((1, tables.usage_events), (-1, tables.of("usage_voids"))):
        for row in rows:
            for place, amount in enumerate((1, row["quantity"], row["charge"])):
                sums[place] += sign * amount
    assert tuple(sums) == run.model.usage()


@RUNS
@given(seed=SEEDS)
def test_no_grant_gets_back_more_than_it_paid(seed: int) -> None:
    """Proves: every void gives back its event's charge in postings of its own, and no payer ever gets more than it paid for usage."""
    run = ModelRun(billing="pay-as-you-go", group_size=3)
    run.feed(Workload(seed, customers=3, correct=True).steps(70))
    postings = run.partition.tables.of("postings")
    returned: defaultdict[bytes, int] = defaultdict(int)
    paid: defaultdict[tuple[int, bytes], int] = defaultdict(int)
    for row in postings:
        paid_by = payer_of(row) if row["kind"] == USAGE else payer_of({**row, "debit_account_id": row["credit_account_id"]})
        payer = (row["account_id"], paid_by)
        if row["kind"] == USAGE:
            paid[payer] += row["amount"]
        if row["kind"] == VOID:
            paid[payer] -= row["amount"]
            returned[row["reference"]] += row["amount"]
            assert paid[payer] >= 0
    voids = run.partition.tables.of("usage_voids")
    assert {row["key_hash"]: row["charge"] for row in voids if row["charge"]} == dict(returned)
    for row in voids:
        assert (row["posting_seq"] == 0) == (row["charge"] == 0)
    check_chains(run.partition)


@RUNS
@given(seed=SEEDS, restarts=st.sets(st.integers(0, 80), max_size=6))
def test_restarts_and_failed_groups_change_nothing(seed: int, restarts: set[int]) -> None:
    """Proves: an engine that is started anew, that forgets nearly everything, or whose groups were undone, voids nothing twice."""
    run = ModelRun(max_wallets=2, recent_keys=64, group_size=2)
    for number, step in enumerate(Workload(seed, customers=5, correct=True).steps(80)):
        run.feed([step])
        engine = run.partition.engine
        if number in restarts:
            run.partition.restart(with_filters=number % 2 == 0)
        if isinstance(step, (Void, Amend)):
            # Applied once more under another name, and undone, as when a commit fails: a void that was not committed was none.
            other = Void(step.keys, "f" * 32, step.set_id) if isinstance(step, Void) else Amend(step.key, "f" * 32, step.event)
            message, _ = run.message(other)
            del run.commands["f" * 32]
            run.partition.apply([message], run.now_us)
            engine.rollback()
    run.compare()


@RUNS
@given(seed=SEEDS, group_size=st.integers(2, 6))
def test_a_counter_is_written_when_it_has_moved(seed: int, group_size: int) -> None:
    """Proves: an amendment that was refused, or a void with an event of the same quantity, leaves no row of a counter that stood still."""
    run = ModelRun(billing="prepaid", group_size=group_size)
    run.feed(Workload(seed, correct=True).steps(80))
    last: dict[tuple[int, int], dict[int, int]] = {}
    for row in run.partition.tables.of("usage_counter_quantities"):
        used = last.setdefault((row["account_id"], row["period_start"]), {})
        said = dict(zip(row["counter_ids"], row["quantities"], strict=True))
        moved = {counter for counter, quantity in said.items() if quantity != used.get(counter, 0)}
        assert moved
        used.update(said)
        # A row says what has moved, or all that is not zero.
        assert said.keys() == (moved | {counter for counter, quantity in used.items() if quantity} if row["whole"] else moved)
    check_chains(run.partition)


def test_a_void_that_another_group_stored_is_found_by_its_key() -> None:
    """Proves: if memory has forgotten a void that is on its way, the primary key of usage_voids finds it, and the answer is the first."""
    run = ModelRun(billing="pay-as-you-go", group_size=1)
    run.feed([ChangeCard(Card("one", (Charge("images", "1"),))), Batch((Usage("acme", "key", "images", 10**9, run.now_us),))])
    first, second = (run.message(Void(("key",), letter * 32))[0] for letter in "ab")
    tables = run.partition.tables
    group = run.partition.apply([first], run.now_us)
    writes = [(table, columns, bytes(stream)) for table, columns, stream in group.copies]
    # What is read for the second was read before the first was stored.
    needs = run.partition.engine.needs([second])
    assert needs.nothing, "the void is remembered while its group is open"
    run.partition.engine.rollback()
    run.partition.load(run.partition.engine.needs([second]))
    for table, columns, stream in writes:
        if table == "usage_voids":
            [void] = rows_of(table, columns, stream)
            tables.keyed[table][TENANT_ID, void["key_hash"]] = void
    [reply] = run.partition.run([second], run.now_us)
    assert run.partition.violations == 1
    assert b'"alreadyVoided":true' in reply
    assert len(tables.of("usage_voids", TENANT_ID)) == 1
