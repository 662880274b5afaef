"""The simulator's memory: one SQLite database, used by one process and one thread.

Transactions are short and hold no await, so that nobody waits for a lock and every effect is either whole or absent.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any


class StoreInUse(RuntimeError):
    """Another simulator runs on the same data directory."""


class Store:
    """The database in a directory, made when it is new. Raises StoreInUse, OSError."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # It holds private keys, if only of a channel that has no money.
        directory.chmod(0o700)
        self.directory = directory
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as taken:
            os.close(self._lock)
            raise StoreInUse(f"A simulator already runs on {directory}. Stop it, or give this one another --data-dir.") from taken
        self._connection = sqlite3.connect(directory / "simulator.sqlite", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(resources.files(__package__).joinpath("schema.sql").read_text())
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Within another one it is a part of that."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # A COMMIT that fails leaves its transaction open; a full disk may have ended it.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0

    def execute(self, statement: str, *arguments: Any) -> int:
        """Runs a statement; the number of rows that it changed."""
        return self._connection.execute(statement, arguments).rowcount

    def insert(self, table: str, **values: Any) -> int:
        """Adds a row; its number. Raises sqlite3.IntegrityError."""
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        # Table and columns are this package's own words.
        done = self._connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608
        return int(done.lastrowid or 0)

    def one(self, statement: str, *arguments: Any) -> sqlite3.Row | None:
        """The first row, if there is one."""
        row: sqlite3.Row | None = self._connection.execute(statement, arguments).fetchone()
        return row

    def all(self, statement: str, *arguments: Any) -> list[sqlite3.Row]:
        """Every row."""
        return self._connection.execute(statement, arguments).fetchall()

    def value(self, statement: str, *arguments: Any) -> Any:
        """The first field of the first row, None without rows."""
        row = self.one(statement, *arguments)
        return None if row is None else row[0]

    def setting(self, name: str, default: Any) -> Any:
        """What was set, as JSON knows it."""
        text = self.value("SELECT value FROM settings WHERE name = ?", name)
        return default if text is None else json.loads(text)

    def set_setting(self, name: str, value: Any) -> None:
        """Keeps a value that JSON knows."""
        self.execute(
            "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            json.dumps(value),
        )

    def close(self) -> None:
        """Ends it; another process may open the directory from here on."""
        self._connection.close()
        os.close(self._lock)
