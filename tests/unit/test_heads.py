"""A signed head vouches for a partition, its sequence and its hash, and for nothing else; the file never forgets a partition."""

from pathlib import Path

import pytest

from buffmoney.ledger import heads

KEY = bytes(range(32))


def head(partition_id: int, commit_seq: int) -> heads.Head:
    digest = bytes([commit_seq % 256]) * 32
    return heads.Head(partition_id, commit_seq, digest, heads.sign(KEY, partition_id, commit_seq, digest))


def test_any_change_breaks_the_signature() -> None:
    good = head(3, 7)
    assert heads.is_signed(KEY, good)
    assert not heads.is_signed(bytes(32), good)
    for other in (
        heads.Head(2, 7, good.head, good.mac),
        heads.Head(3, 8, good.head, good.mac),
        heads.Head(3, 7, bytes(32), good.mac),
        heads.Head(3, 7, good.head, b""),
    ):
        assert not heads.is_signed(KEY, other)


def test_a_partition_without_commits_needs_no_signature() -> None:
    assert heads.is_signed(KEY, heads.Head(0, 0, bytes(32), b""))
    assert not heads.is_signed(KEY, heads.Head(0, 0, b"\x01" * 32, b""))


def test_partitions_share_the_file(tmp_path: Path) -> None:
    path = tmp_path / "below" / "heads.json"
    assert heads.read(path) == {}
    heads.write(path, {0: head(0, 5)})
    heads.write(path, {1: head(1, 9)})
    heads.write(path, {0: head(0, 6)})
    heads.write(path, {0: head(0, 4)})
    assert heads.read(path) == {0: head(0, 6), 1: head(1, 9)}
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"heads": [{"partition": 0}]}', '{"heads": [{"partition": 0, "commitSeq": 1, "head": "zz", "mac": ""}]}']
)
def test_another_file_is_refused_and_not_replaced(tmp_path: Path, text: str) -> None:
    path = tmp_path / "heads.json"
    path.write_text(text)
    with pytest.raises(heads.HeadMismatchError):
        heads.write(path, {0: head(0, 1)})
    assert path.read_text() == text
