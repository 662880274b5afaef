"""Failures on demand: the next requests to a path get an error, no answer, a broken connection, or an answer with a wrong signature."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from buffmoney.simulator.store import Store

KINDS = ("timeout", "reset", "sign_error")


@dataclass(frozen=True, slots=True)
class Fault:
    """kind: an HTTP status in digits, `timeout`, `reset` or `sign_error`. after: the request takes effect before its answer is spoilt.

    code, message: the channel's error in place of SYSTEM_ERROR. seconds: how long a `timeout` says nothing.
    """

    fault_id: int
    path: str
    method: str | None
    kind: str
    code: str | None
    message: str | None
    after: int
    seconds: float
    times_left: int

    @property
    def status(self) -> int | None:
        """The HTTP status to answer with, None for other kinds."""
        return int(self.kind) if self.kind.isdigit() else None

    def hits(self, path: str, method: str | None) -> bool:
        """Whether a request is meant. A path with `*` is a pattern, another one a beginning."""
        if self.method is not None and self.method != method:
            return False
        return fnmatchcase(path, self.path) if "*" in self.path else path.startswith(self.path)


class Faults:
    """The failures that are still to come. They survive a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._some = bool(store.value("SELECT count(*) FROM faults WHERE times_left > 0"))

    def add(
        self, path: str, kind: str, *, times: int, method: str | None, code: str | None, message: str | None, after: bool, seconds: float
    ) -> None:
        """One more. times: how many requests it hits."""
        with self._store.transaction():
            self._store.insert(
                "faults",
                path=path,
                method=method,
                kind=kind,
                code=code,
                message=message,
                after=int(after),
                seconds=seconds,
                times_left=times,
            )
        self._some = True

    def clear(self) -> None:
        """No more failures."""
        with self._store.transaction():
            self._store.execute("DELETE FROM faults")
        self._some = False

    def listed(self) -> list[Fault]:
        """Those that have hits left, the first one first."""
        rows = self._store.all("SELECT * FROM faults WHERE times_left > 0 ORDER BY fault_id")
        return [Fault(*row) for row in rows]

    def take(self, path: str, method: str | None) -> Fault | None:
        """The failure that a request gets, counted."""
        if not self._some:
            return None
        for fault in self.listed():
            if fault.hits(path, method):
                with self._store.transaction():
                    self._store.execute("UPDATE faults SET times_left = times_left - 1 WHERE fault_id = ?", fault.fault_id)
                return fault
        return None
