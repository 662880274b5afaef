"""The signed heads of the partitions' commit chains, kept in a file outside the database.

Rows cut off the end of a table leave a shorter chain that is valid in itself. The head in this file says how long the
chain was: a ledger that ends before it, or has another hash there, has lost commits that were answered.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
from pathlib import Path

import msgspec
from blake3 import blake3


class Head(msgspec.Struct, frozen=True):
    """The newest commit of a partition. head and mac are 32 bytes."""

    partition_id: int
    commit_seq: int
    head: bytes
    mac: bytes


class HeadMismatchError(Exception):
    """The ledger is not the one whose head was signed."""


def sign(ledger_key: bytes, partition_id: int, commit_seq: int, head: bytes) -> bytes:
    """Keyed blake3 over partition, sequence (8 bytes little-endian each) and head: 32 bytes, as the engine makes it."""
    return blake3(partition_id.to_bytes(8, "little") + commit_seq.to_bytes(8, "little") + head, key=ledger_key).digest()


def is_signed(ledger_key: bytes, head: Head) -> bool:
    """Whether the signature is ours. A partition without commits has none."""
    if head.commit_seq == 0 and not head.mac:
        return head.head == bytes(32)
    return hmac.compare_digest(sign(ledger_key, head.partition_id, head.commit_seq, head.head), head.mac)


def read(path: Path) -> dict[int, Head]:
    """Heads by partition; empty if the file does not exist. Raises HeadMismatchError for a file that is not one of ours."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        rows = json.loads(text)["heads"]
        found = [Head(int(row["partition"]), int(row["commitSeq"]), bytes.fromhex(row["head"]), bytes.fromhex(row["mac"])) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise HeadMismatchError(f"{path} is not a file of signed heads: {error}") from error
    return {head.partition_id: head for head in found}


def write(path: Path, heads: dict[int, Head]) -> None:
    """Replaces the heads of these partitions, so that a crash leaves either the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Cores of other partitions may share the file: one of them at a time reads, merges and replaces it.
    with path.with_name(f".{path.name}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = read(path)
        for head in heads.values():
            # A core that lost its partition may write last; what its successor has vouched for stays.
            if head.partition_id not in merged or merged[head.partition_id].commit_seq <= head.commit_seq:
                merged[head.partition_id] = head
        _replace(path, merged)


def _replace(path: Path, heads: dict[int, Head]) -> None:
    rows = [
        {"partition": head.partition_id, "commitSeq": head.commit_seq, "head": head.head.hex(), "mac": head.mac.hex()}
        for head in sorted(heads.values(), key=lambda head: head.partition_id)
    ]
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        json.dump({"heads": rows}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(0o600)
    beside.replace(path)
