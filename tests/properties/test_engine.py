"""Proves: the Rust engine does with every workload what the plain-Python oracle says, and writes it down truthfully."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import islice
from typing import Any

import blake3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.oracle import Usage
from tests.properties.model_run import ModelRun
from tests.properties.partition import LEDGER_KEY, Partition
from tests.workload import Batch, PassTime, Workload

CARD_MET, CARDS_PRICING, MATCHING = oracle.card_met, oracle.cards_pricing, oracle.matching_charge
SEEDS = st.integers(0, 2**40)
BILLINGS = ("prepaid", "pay-as-you-go", "overdraft")
RUNS = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@RUNS
@given(seed=SEEDS, group_size=st.integers(1, 9), billing=st.sampled_from(BILLINGS))
def test_outcomes_charges_balances_and_grants_equal_the_oracle(seed: int, group_size: int, billing: str) -> None:
    """Proves: outcome, code and charge of every event, every command's answer, and every wallet and grant equal the oracle's."""
    run = ModelRun(billing=billing, group_size=group_size)
    run.feed(Workload(seed).steps(60))


@RUNS
@given(seed=SEEDS)
def test_unknown_customers_are_refused_by_setting(seed: int) -> None:
    """Proves: with unknown_customers=refuse the engine and the oracle refuse the same events."""
    run = ModelRun(unknown_customers="refuse")
    run.feed(Workload(seed).steps(40))


@RUNS
@given(seed=SEEDS)
def test_a_memory_of_almost_nothing_changes_nothing(seed: int) -> None:
    """Proves: wallets that are evicted and loaded again, and keys that are looked up each time, give the same results."""
    run = ModelRun(max_wallets=2, recent_keys=64, group_size=1)
    run.feed(Workload(seed, customers=60).steps(80))


def test_a_core_that_begins_knows_every_key() -> None:
    """Proves: nothing is left to the uniqueness of an index, which the open table of keys does not have."""
    for seed in range(3):
        run = ModelRun(max_wallets=2, recent_keys=64, group_size=3)
        workload = Workload(seed, customers=60)
        run.feed(workload.steps(200))
        run.partition.restart(with_filters=seed % 2 == 0)
        run.feed(workload.steps(200))
        assert run.partition.violations == 0
        assert run.partition.engine.wallets < len(run.model.wallets), "some wallets have left memory"


@RUNS
@given(seed=SEEDS, restarts=st.lists(st.booleans(), max_size=3))
def test_many_small_tables_of_keys_change_nothing(seed: int, restarts: list[bool]) -> None:
    """Proves: an event is taken once over all tables of keys, with the filters of their spans and without memory for them."""
    run = ModelRun(max_wallets=20, recent_keys=16, keys_per_table=20, group_size=3)
    workload = Workload(seed)
    run.feed(workload.steps(40))
    for with_filters in restarts:
        run.partition.restart(with_filters=with_filters)
        run.feed(workload.steps(30))
    keys = [key[1:] for key in run.partition.tables.keyed["event_keys"]]
    assert len(set(keys)) == len(keys) == len(run.partition.tables.usage_events)
    assert run.partition.filters or run.partition.newest or len(keys) < 20


@RUNS
@given(seed=SEEDS, sizes=st.tuples(st.integers(1, 3), st.integers(4, 40)))
def test_any_grouping_gives_the_same_balances(seed: int, sizes: tuple[int, int]) -> None:
    """Proves: how messages are gathered into groups changes neither an answer nor a wallet."""
    runs = [ModelRun(group_size=size) for size in sizes]
    for run in runs:
        run.feed(Workload(seed).steps(50))
    assert runs[0].answers == runs[1].answers
    assert runs[0].wallets() == runs[1].wallets()


@RUNS
@given(seed=SEEDS)
def test_events_and_postings_agree(seed: int) -> None:
    """Proves: in every commit and wallet the events' charges sum to the usage postings, and every event names a posting of its own."""
    run = ModelRun()
    run.feed(Workload(seed).steps(60))
    tables = run.partition.tables
    events: dict[tuple[int, int], int] = defaultdict(int)
    postings: dict[tuple[int, int], int] = defaultdict(int)
    for row in tables.usage_events:
        events[row["account_id"], row["commit_id"]] += row["charge"]
        posting = tables.keyed["postings"].get((row["tenant_id"], row["account_id"], row["posting_seq"]))
        if row["charge"] == 0:
            assert row["posting_seq"] == 0
        else:
            assert posting is not None
            assert posting["commit_id"] == row["commit_id"]
    for row in tables.of("postings"):
        if row["kind"] == 2:
            postings[row["account_id"], row["commit_id"]] += row["amount"]
    assert {key: amount for key, amount in events.items() if amount} == dict(postings)
    assert len(tables.usage_events) == len(tables.keyed["event_keys"]) == len(run.model.known)


@RUNS
@given(seed=SEEDS)
def test_the_chains_can_be_derived_again(seed: int) -> None:
    """Proves: sequences have no gaps, balances follow from amounts, and every hash and signature is what plain Python computes."""
    run = ModelRun()
    run.feed(Workload(seed).steps(50))
    check_chains(run.partition)


def _le(value: int, size: int = 8) -> bytes:
    return value.to_bytes(size, "little", signed=True)


def unbilled(row: dict[str, Any]) -> bytes:
    """What is hashed of an unbilled amount: nothing of zero, so that rows from before there was one keep their hashes."""
    return b"u" + _le(row["unbilled_after"], 16) if row["unbilled_after"] else b""


def void_hash(row: dict[str, Any]) -> bytes:
    """The hash of a void, as the digest of its commit has it after the postings."""
    hasher = blake3.blake3()
    texts = [row[name] for name in ("idempotency_key", "voided_by", "reason", "dimensions", "parts", "replaced_by")]
    for text in texts:
        packed = text.encode() if isinstance(text, str) else text
        hasher.update((0xFFFFFFFF if packed is None else len(packed)).to_bytes(4, "little") + (packed or b""))
    before = row["counter_before"]
    hasher.update(bytes.fromhex("ffffffff") if before is None else (16).to_bytes(4, "little") + _le(before, 16))
    hasher.update(_le(row["replaced_fingerprint"] or 0))
    numbers = ("tenant_id", "account_id", "commit_id", "voided_at", "event_commit_id", "event_posting_seq", "posting_seq")
    for name in (*numbers, "metric_id", "price_id", "occurred_at"):
        hasher.update(_le(row[name]))
    for name in ("key_hash", "command_id", "set_id"):
        hasher.update(row[name] or bytes(16))
    for name in ("quantity", "charge", "balance_after"):
        hasher.update(_le(row[name], 16))
    hasher.update(unbilled(row))
    return hasher.digest()


def check_chains(partition: Partition) -> None:
    """Re-derives wallets' chains and the chain of commits from the rows alone."""
    effects = {1: (1, 0), 2: (-1, 0), 3: (-1, 1), 4: (0, -1), 5: (1, -1), 6: (-1, 0), 7: (1, 0), 8: (1, -1), 11: (-1, 0)}
    chains: dict[int, tuple[int, bytes, int, int, int]] = defaultdict(lambda: (0, bytes(32), 0, 0, 0))
    by_commit: dict[int, list[bytes]] = defaultdict(list)
    for row in partition.tables.of("postings"):
        seq, before, balance, held, owed = chains[row["account_id"]]
        available, on_hold = effects[row["kind"]]
        if -row["account_id"] in (row["debit_account_id"], row["credit_account_id"]):
            # What is owed is an asset: it grows where a wallet would have fallen.
            owed -= available * row["amount"]
        else:
            balance += available * row["amount"]
        held += on_hold * row["amount"]
        assert (row["seq"], row["balance_after"], row["held_after"], row["unbilled_after"]) == (seq + 1, balance, held, owed)
        grants = row["grants_after"]
        hasher = blake3.blake3(before + _le(row["tenant_id"]) + _le(row["account_id"]) + _le(row["seq"]) + bytes([row["kind"]]))
        hasher.update(_le(row["debit_account_id"]) + _le(row["credit_account_id"]))
        hasher.update(_le(row["amount"], 16) + _le(row["balance_after"], 16) + _le(row["held_after"], 16))
        hasher.update((row["grant_id"] or bytes(16)) + (row["reference"] or bytes(16)))
        hasher.update(_le(row["commit_id"]) + _le(row["posted_at"]))
        hasher.update((0xFFFFFFFF if grants is None else len(grants)).to_bytes(4, "little") + (grants or b"") + unbilled(row))
        assert hasher.digest() == row["chain_hash"]
        chains[row["account_id"]] = (row["seq"], row["chain_hash"], balance, held, owed)
        by_commit[row["commit_id"]].append(row["chain_hash"])
    for row in partition.tables.of("usage_voids"):
        by_commit[row["commit_id"]].append(void_hash(row))
    head = bytes(32)
    mac = b""
    for number, row in enumerate(partition.tables.of("commits"), start=1):
        assert row["commit_seq"] == number
        digest = bytes(32)
        for chain_hash in by_commit[row["commit_id"]]:
            digest = blake3.blake3(digest + chain_hash).digest()
        assert digest == row["digest"]
        charged = sum(event["charge"] for event in partition.tables.usage_events if event["commit_id"] == row["commit_id"])
        assert row["charged"] == charged
        numbers = (row["partition_id"], number, row["epoch"], row["committed_at"], row["events"], row["postings"])
        messages = row["messages"]
        body = b"".join(map(_le, numbers)) + _le(charged, 16) + digest + len(messages).to_bytes(8, "little") + messages
        head = blake3.blake3(head + body).digest()
        assert head == row["head"]
        mac = blake3.blake3(_le(row["partition_id"]) + _le(number) + head, key=LEDGER_KEY).digest()
    if mac:
        assert partition.head == (head, mac)


@RUNS
@given(seed=SEEDS)
def test_a_rolled_back_group_leaves_no_trace(seed: int) -> None:
    """Proves: apply → rollback → apply gives the same bytes, also when a second group stood on the first, and so does another engine."""
    first, second = ModelRun(group_size=5), ModelRun(group_size=5)
    for run in (first, second):
        run.feed(Workload(seed).steps(30))
    later = Workload(seed + 1)
    later.now_us = first.now_us
    batches = [step for step in later.steps(60) if not isinstance(step, PassTime) and isinstance(step, Batch)]
    now_us = first.now_us
    messages = [first.message(batch)[0] for batch in batches if any(isinstance(entry, Usage) for entry in batch.entries)]
    half = len(messages) // 2
    seen = []
    for attempt in range(3):
        partition = second.partition if attempt == 2 else first.partition
        groups = [partition.apply(messages[:half], now_us), partition.apply(messages[half:], now_us)]
        seen.append(
            [
                (
                    [(*copied[:2], bytes(copied[2])) for copied in group.copies],
                    group.replies,
                    group.head,
                    group.head_mac,
                    group.commit_id,
                    group.charged,
                )
                for group in groups
            ]
        )
        assert partition.engine.open_groups == 2
        partition.engine.rollback()
        assert partition.engine.open_groups == 0
    assert seen[0] == seen[1] == seen[2]
    groups = [first.partition.apply(messages[:half], now_us), first.partition.apply(messages[half:], now_us)]
    for group in groups:
        first.partition.commit(group)
    check_chains(first.partition)


def test_the_comparison_can_fail() -> None:
    """Proves: the harness is not blind. An oracle that is told another price disagrees at once."""
    run = ModelRun(billing="pay-as-you-go")
    workload = Workload(1)
    run.feed(workload.steps(0))
    run.model.cards = [replace(card, charges=()) for card in run.model.cards]
    with pytest.raises(AssertionError):
        run.feed(islice(workload.steps(60), 2, None))


@pytest.mark.parametrize("blind_to", ["assignments", "currencies", "audience"])
def test_an_oracle_without_customers_prices_disagrees(blind_to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proves: the workloads are not blind to customers' own cards, to currencies, nor to cards that are not for everyone."""
    if blind_to == "assignments":
        monkeypatch.setattr(oracle, "card_met", lambda cards, _assignments, customer, when: CARD_MET(cards, [], customer, when))
    elif blind_to == "audience":

        def for_everyone(cards: list[oracle.Card], metric: str) -> list[oracle.Card]:
            return [replace(card, audience="everyone") for card in CARDS_PRICING(cards, metric)]

        monkeypatch.setattr(oracle, "cards_pricing", for_everyone)
    else:
        monkeypatch.setattr(oracle, "matching_charge", lambda card, metric, dimensions, _currency: MATCHING(card, metric, dimensions))
    failed = 0
    for seed in range(8):
        try:
            ModelRun(billing="pay-as-you-go").feed(Workload(seed).steps(80))
        except AssertionError:
            failed += 1
    assert failed
