"""Who gets a processor first, where PostgreSQL runs on the same machine.

Nobody is slowed down while a processor is idle. When all are busy, a balance must not wait behind bulk writing, nor a batch behind a job.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

LOWEST = 19
BULK = 5


def step_back(backend_pid: int, niceness: int) -> None:
    """Lets others go before a PostgreSQL backend. `niceness` as of nice(2); with LOWEST it gets only what nobody else wants.

    Each backend begins a session of its own, and Linux may share processors out among sessions first ("autogroup", sched(7)): then a
    process's own niceness counts only against its session, that is, not at all, and the session has one of its own. Does nothing
    where the pid is not a backend of ours (the server is on another machine) or where it may not.
    """
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(backend_pid)
        # PostgreSQL gives its processes titles with the role they serve.
        if process.name() != "postgres" or "buffmoney_" not in " ".join(process.cmdline()):
            return
        if process.nice() < niceness:
            process.nice(niceness)
        if niceness == LOWEST:
            os.sched_setscheduler(backend_pid, os.SCHED_IDLE, os.sched_param(0))
        group = Path(f"/proc/{backend_pid}/autogroup")
        if group.exists():
            group.write_text(str(niceness))
