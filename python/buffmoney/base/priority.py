"""Who gets a processor first, where PostgreSQL runs on the same machine.

Nobody is slowed down while a processor is idle. When all are busy, a balance must not wait behind bulk writing, nor a batch behind a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import psutil

LOWEST = 19
AFTER_BULK = 12
"""for what commits can wait for a little, but not for ever: beside a busy writer it gets a tenth of a processor"""
BULK = 5
ATTEMPTS = 10
BETWEEN_ATTEMPTS_S = 0.15


def step_back(backend_pid: int, role: str, niceness: int) -> None:
    """Lets others go before a PostgreSQL backend. `niceness` is added to what it has; with LOWEST it gets only what nobody else wants.

    Each backend begins a session of its own, and Linux may share processors out among sessions first ("autogroup", sched(7)): then a
    process's own niceness counts only against its session, that is, not at all, and the session has one of its own. Does nothing
    where the pid is not a backend that serves `role` (the server is on another machine), where it may not, and outside of Linux.
    """
    if sys.platform != "linux" or backend_pid <= 0:
        return
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(backend_pid)
        # PostgreSQL gives its processes titles with the role they serve.
        if process.name() != "postgres" or f" buffmoney_{role} " not in " ".join(process.cmdline()):
            return
        with contextlib.suppress(psutil.Error):
            process.nice(min(process.nice() + niceness, LOWEST))
        if niceness == LOWEST:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(backend_pid, os.SCHED_IDLE, os.sched_param(0))
        _set_session(Path(f"/proc/{backend_pid}/autogroup"), niceness, ATTEMPTS)


def _set_session(group: Path, niceness: int, attempts: int) -> None:
    # Without privileges the kernel takes one such change in a tenth of a second, of all processes together.
    with contextlib.suppress(OSError):
        try:
            group.write_text(str(niceness))
        except BlockingIOError:
            if attempts > 1:
                asyncio.get_running_loop().call_later(BETWEEN_ATTEMPTS_S, _set_session, group, niceness, attempts - 1)
