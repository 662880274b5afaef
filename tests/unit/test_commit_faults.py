"""What an exception of the driver means for a group: above all, that nothing doubtful passes for certain."""

import asyncpg
import pytest

from buffmoney.base.errors import DatabaseUnavailable
from buffmoney.metering import commit


def unique_violation(table: str) -> asyncpg.UniqueViolationError:
    failure = asyncpg.UniqueViolationError("duplicate key value violates unique constraint")
    failure.table_name = table
    return failure


@pytest.mark.parametrize(
    ("failure", "meaning"),
    [
        (unique_violation("event_keys_7"), commit.LeaseLost),
        (unique_violation("wallet_commands"), commit.SentBefore),
        (unique_violation("usage_voids"), commit.SentBefore),
        # A second writer: the keys of what it wrote are the last arbiter.
        (unique_violation("postings"), commit.LeaseLost),
        (unique_violation("commits"), commit.LeaseLost),
        (asyncpg.SerializationError("could not serialize"), commit.LeaseLost),
        (ConnectionResetError(), commit.OutcomeUnknown),
        (TimeoutError(), commit.OutcomeUnknown),
        (asyncpg.ConnectionDoesNotExistError("closed in the middle of operation"), commit.OutcomeUnknown),
        (asyncpg.InterfaceError("connection is closed"), commit.OutcomeUnknown),
        (asyncpg.AdminShutdownError("terminating connection"), commit.OutcomeUnknown),
        (DatabaseUnavailable(), commit.OutcomeUnknown),
        (RuntimeError("nobody thought of it"), commit.OutcomeUnknown),
        (asyncpg.DiskFullError("could not extend file"), commit.StorageRefuses),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute COPY FROM"), commit.StorageRefuses),
        (asyncpg.TooManyConnectionsError("too many clients"), commit.StorageRefuses),
        (asyncpg.CheckViolationError("violates check constraint"), commit.GroupRefused),
        (asyncpg.NumericValueOutOfRangeError("numeric field overflow"), commit.GroupRefused),
        (commit.LeaseLost("epoch"), commit.LeaseLost),
    ],
)
def test_meaning(failure: Exception, meaning: type[commit.CommitFault]) -> None:
    assert type(commit.classify(failure)) is meaning
