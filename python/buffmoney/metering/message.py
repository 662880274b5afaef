"""The inbox's wire format, as far as the core itself must read it. Everything per event is read in Rust.

A message is version, kind, flags and a zero (one byte each), the tenant (u64), the message's id (16 bytes), the list its reply
goes to (u16 length), 16 bytes by which a batch of usage is known again, then a usage section or a command. All integers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from buffmoney.base import ids

VERSION = 3
USAGE = 1
COMMAND = 2
REDELIVERED = 1
"""flag: the edge has sent this before and heard nothing"""

_HEADER = struct.Struct("<BBBBQ16sH")
_MARK_BYTES = 16
_REPLY_EVENT_BYTES = 19
_ACCEPTED = 0
_DUPLICATE = 1


class MalformedMessageError(ValueError):
    """Not a message of this version."""


@dataclass(slots=True)
class Incoming:
    """A message in the core's hands."""

    raw: bytes
    kind: int
    tenant_id: int
    message_id: bytes
    reply_to: bytes
    redelivered: bool
    original_charges: dict[int, int] = field(default_factory=dict)
    """index of an event -> its charge in nano-units, for events that an earlier delivery of this message got accepted"""

    alias: bytes = b""
    """16 bytes under which the engine gets a message whose reply is to be restored; nobody waits for that id"""

    @property
    def engine_id(self) -> bytes:
        """The id under which the engine knows this message."""
        return self.alias or self.message_id

    def engine_bytes(self) -> bytes:
        """What the engine gets."""
        if not self.original_charges:
            return self.raw
        if not self.alias:
            self.alias = ids.new_bytes()
        return self.raw[:12] + self.alias + self.raw[28:]

    def marked_redelivered(self) -> bytes:
        """The same message, marked for whoever gets it next."""
        return self.raw[:2] + bytes([self.raw[2] | REDELIVERED]) + self.raw[3:]


def read(raw: bytes) -> Incoming:
    """Reads a message's header. Raises MalformedMessageError."""
    try:
        version, kind, flags, _, tenant_id, message_id, length = _HEADER.unpack_from(raw)
    except struct.error as error:
        raise MalformedMessageError(f"{len(raw)} bytes are no message") from error
    if version != VERSION or kind not in (USAGE, COMMAND) or len(raw) < _HEADER.size + length + _MARK_BYTES:
        raise MalformedMessageError(f"version {version}, kind {kind}, {len(raw)} bytes")
    reply_to = raw[_HEADER.size : _HEADER.size + length]
    return Incoming(raw, kind, tenant_id, message_id, reply_to, bool(flags & REDELIVERED))


def restore_acceptances(reply: bytes, message_id: bytes, charges: dict[int, int]) -> bytes:
    """A usage reply in which the duplicates named by `charges` (index -> nano-units) are accepted events again.

    The reply is the answer to a repetition; what its first delivery got accepted shows there as a duplicate.
    """
    restored = bytearray(message_id + reply[16:])
    (count,) = struct.unpack_from("<H", reply, 17)
    for at in range(19, 19 + count * _REPLY_EVENT_BYTES, _REPLY_EVENT_BYTES):
        (index,) = struct.unpack_from("<H", reply, at)
        charge = charges.get(index)
        if charge is not None and reply[at + 2] == _DUPLICATE:
            restored[at + 2] = _ACCEPTED
            restored[at + 3 : at + 19] = charge.to_bytes(16, "little", signed=True)
    return bytes(restored)
