"""How a child process is started: with its own process group, never outliving its parent, and, for the servers, not as root."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SERVER_ACCOUNT = "buffmoney"
"""the system account that the embedded servers run as when `up` runs as root"""

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a server runs as. sees_all: it keeps the one capability it needs to reach its files through directories closed to it."""

    name: str
    uid: int
    gid: int
    sees_all: bool = False


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def preparation(account: Account | None, death_signal: int = signal.SIGKILL, niceness: int = 0) -> Callable[[], None]:
    """What runs in the child between fork and exec.

    Lowers its priority by `niceness`, changes to `account`, and has the kernel send `death_signal` to the child when its parent is
    gone, so that no child survives a kill -9 of the supervisor. The signal is asked for last because a change of user cancels it.
    """
    libc = _libc()
    parent = os.getpid()

    def prepare() -> None:
        if niceness:
            os.nice(niceness)
        if account is not None:
            if account.sees_all and libc is not None:
                libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
                # PostgreSQL asks access(2) about its programs, which leaves capabilities out of account unless this bit is set.
                libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
            os.setgroups([])
            os.setgid(account.gid)
            os.setuid(account.uid)
            if account.sees_all and libc is not None:
                mask = 1 << _CAP_DAC_OVERRIDE
                header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
                data = (_CapabilityData * 2)(_CapabilityData(mask, mask, mask), _CapabilityData(0, 0, 0))
                libc.capset(ctypes.byref(header), data)
                libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)
        if libc is not None:
            libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    return prepare


def server_account(*paths: Path) -> Account | None:
    """Whom the embedded servers run as: None (ourselves) unless we are root, because PostgreSQL refuses to run as root.

    paths: directories that the server must reach. If an owner other than root is found on one, it stays the owner.
    """
    if os.geteuid() != 0:
        return None
    entry = _entry(paths)
    closed = not all(_reachable(path, entry.pw_uid, entry.pw_gid) for path in paths)
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, sees_all=closed)


def _entry(paths: tuple[Path, ...]) -> pwd.struct_passwd:
    for path in paths:
        if path.exists() and path.stat().st_uid != 0:
            try:
                return pwd.getpwuid(path.stat().st_uid)
            except KeyError:
                continue
    try:
        return pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        pass
    if shutil.which("useradd"):
        subprocess.run(
            ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SERVER_ACCOUNT],
            check=False,
            capture_output=True,
        )
    try:
        return pwd.getpwnam(SERVER_ACCOUNT)
    except KeyError:
        return pwd.getpwnam("nobody")


def _reachable(path: Path, uid: int, gid: int) -> bool:
    for directory in (path, *path.parents):
        if not directory.exists():
            continue
        status = directory.stat()
        bit = 0o100 if status.st_uid == uid else 0o010 if status.st_gid == gid else 0o001
        if directory.is_dir() and not status.st_mode & bit:
            return False
    return True
