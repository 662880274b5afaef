"""The secret in a checkout's address: whoever has it may see the top-up and pay it, nobody else can find it."""

from __future__ import annotations

import re

from blake3 import blake3

_FORM = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_CONTEXT = "buffmoney v1 checkout token"


def hashed(token: str) -> bytes | None:
    """The 32 bytes that are stored in the token's place; None for a text that cannot be a token.

    A plain hash is enough for 256 bits that nobody without the key can work out (`top_ups.token_of`): there is nothing to guess.
    """
    if _FORM.fullmatch(token) is None:
        return None
    return blake3(token.encode(), derive_key_context=_CONTEXT).digest()
