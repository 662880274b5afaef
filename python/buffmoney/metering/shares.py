"""Which postings carry an event's charge, and how much of it each.

Usage of one wallet in one commit that one grant pays, or none, is one posting, whatever the number of events. Each event names the
posting that its charge begins in. Where a grant ran out, the last event of its posting goes on with the next posting, and perhaps
further: what was begun up to a posting, less what was posted up to it, is what goes on. So the shares add up to every posting and to
every charge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buffmoney.base import money, queries
from buffmoney.ledger.accounts import OVERDRAFT_PART, UNBILLED_PART
from buffmoney.pricing.explain import UnexplainedError

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from buffmoney.base.database import Connection

_SQL = queries.load("buffmoney.metering", "usage.sql")
_MANY = queries.load("buffmoney.metering", "voiding.sql")


@dataclass(frozen=True, slots=True)
class SharedPosting:
    """A usage posting with what goes through it, in nano-units. began: events that name it as theirs."""

    seq: int
    amount: int
    began: int
    carried_in: int
    """of an event that began in a posting before"""
    carried_out: int
    """of an event that goes on with the next posting"""

    @property
    def events(self) -> int:
        """How many events have a share in it."""
        return self.began + (self.carried_in > 0)


def shared(rows: Iterable[tuple[int, int, int, int]]) -> list[SharedPosting]:
    """All usage postings of a wallet in a commit. rows: (seq, amount, events begun in it, sum of their charges), in order.

    Raises UnexplainedError if charges and postings do not add up.
    """
    found: list[SharedPosting] = []
    carried = 0
    for seq, amount, began, charged in rows:
        goes_on = carried + charged - amount
        if goes_on < 0:
            raise UnexplainedError(f"posting {seq} takes {-goes_on} nano-units more than its events were charged")
        found.append(SharedPosting(seq, amount, began, carried, goes_on))
        carried = goes_on
    if carried:
        raise UnexplainedError(f"{carried} nano-units were charged and not posted")
    return found


def shares(postings: Sequence[SharedPosting], seq: int, charge: int, *, goes_on: bool) -> list[tuple[SharedPosting, int]]:
    """The postings of one event with its share of each. seq: where it begins. goes_on: it is the one that the next posting goes on with."""
    rest = iter([posting for posting in postings if posting.seq >= seq])
    first = next(rest, None)
    if first is None or first.seq != seq:
        raise UnexplainedError(f"there is no posting {seq}")
    found = [(first, charge - (first.carried_out if goes_on else 0))]
    left = first.carried_out if goes_on else 0
    while left:
        posting = next(rest)
        # A posting that no event begins in is this event's alone.
        part = posting.carried_in if posting.began else posting.amount
        found.append((posting, part))
        left -= part
    return found


async def postings_of(
    connection: Connection, tenant_id: int, commit_id: int, committed_at: datetime, event: asyncpg.Record
) -> list[tuple[asyncpg.Record, SharedPosting, int]]:
    """The postings that carry an event, as stored, with its share of each. event: account_id, posting_seq, charge, place."""
    seq = event["posting_seq"]
    if not seq:
        return []
    wallet = (tenant_id, event["account_id"], commit_id, committed_at)
    rows = {row["seq"]: row for row in await connection.fetch(_SQL["shared_postings"], *wallet)}
    postings = shared(
        (number, money.to_nano(row["amount"]), row["began"], money.to_nano(row["charged"])) for number, row in sorted(rows.items())
    )
    charge = money.to_nano(event["charge"])
    out = next((posting.carried_out for posting in postings if posting.seq == seq), 0)
    # Whoever goes on has something in both postings, so of those that could, it is the last one.
    goes_on = 0 < out < charge and not await connection.fetchval(_SQL["later_event"], *wallet, seq, money.from_nano(out), event["place"])
    return [(rows[posting.seq], posting, share) for posting, share in shares(postings, seq, charge, goes_on=goes_on)]


Parts = list[tuple[bytes, int]]
"""(grant id of 16 bytes, or what stands for one; nano-units), in the order of paying"""


def _payer(row: asyncpg.Record) -> bytes:
    if row["grant_id"] is not None:
        grant_id: bytes = row["grant_id"].bytes
        return grant_id
    return UNBILLED_PART if row["accrued"] else OVERDRAFT_PART


async def parts_of(connection: Connection, tenant_id: int, events: Sequence[asyncpg.Record]) -> list[Parts]:
    """Which grants paid how much of each event, in a few statements for all of them.

    events: account_id, commit_id, accepted_at, posting_seq, charge, place.
    """
    charged = [event for event in events if event["posting_seq"]]
    if not charged:
        return [[] for _ in events]
    times = {event["commit_id"]: event["accepted_at"] for event in charged}
    accounts = list({event["account_id"] for event in charged})
    rows: defaultdict[tuple[int, int], list[asyncpg.Record]] = defaultdict(list)
    for row in await connection.fetch(_MANY["shared_postings"], tenant_id, list(times), list(times.values()), accounts):
        rows[row["account_id"], row["commit_id"]].append(row)
    flows = {
        wallet: shared((row["seq"], money.to_nano(row["amount"]), row["began"], money.to_nano(row["charged"])) for row in found)
        for wallet, found in rows.items()
    }
    payers = {(*wallet, row["seq"]): _payer(row) for wallet in rows for row in rows[wallet]}
    # Whoever goes on with the next posting has something in both, so of those that could, it is the last one.
    going = {
        (event["commit_id"], event["accepted_at"], *wallet[:1], posting.seq, posting.carried_out)
        for event in charged
        for wallet in [(event["account_id"], event["commit_id"])]
        for posting in flows.get(wallet, [])
        if posting.seq == event["posting_seq"] and 0 < posting.carried_out < money.to_nano(event["charge"])
    }
    last: dict[tuple[int, int, int], str] = {}
    if going:
        commits, accepted, wallets, seqs, out = zip(*going, strict=True)
        found = await connection.fetch(
            _MANY["last_of_posting"], tenant_id, commits, accepted, wallets, seqs, [money.from_nano(amount) for amount in out]
        )
        last = {(row["account_id"], row["commit_id"], row["posting_seq"]): row["place"] for row in found}
    parts: list[Parts] = []
    for event in events:
        account_id, commit_id, seq = event["account_id"], event["commit_id"], event["posting_seq"]
        if not seq:
            parts.append([])
            continue
        goes_on = last.get((account_id, commit_id, seq)) == event["place"]
        carried = shares(flows.get((account_id, commit_id), []), seq, money.to_nano(event["charge"]), goes_on=goes_on)
        parts.append([(payers[account_id, commit_id, posting.seq], share) for posting, share in carried])
    return parts
