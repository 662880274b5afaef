"""ZIP files whose members are named in GBK without saying so, as Alipay packs its bills. zipfile can only write UTF-8 names."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from datetime import datetime

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_DEFLATED = 8
_VERSION = 20


def pack(members: Sequence[tuple[str, bytes]], made: datetime) -> bytes:
    """A ZIP of (name, content). made: the time of day that members carry."""
    date = (made.year - 1980) << 9 | made.month << 5 | made.day
    time = made.hour << 11 | made.minute << 5 | made.second // 2
    body, directory = b"", b""
    for text, content in members:
        name = text.encode("gbk")
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = packer.compress(content) + packer.flush()
        sizes = (zlib.crc32(content), len(packed), len(content))
        directory += (
            _CENTRAL.pack(b"PK\x01\x02", _VERSION, _VERSION, 0, _DEFLATED, time, date, *sizes, len(name), 0, 0, 0, 0, 0, len(body)) + name
        )
        body += _LOCAL.pack(b"PK\x03\x04", _VERSION, 0, _DEFLATED, time, date, *sizes, len(name), 0) + name + packed
    count = len(members)
    return body + directory + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
