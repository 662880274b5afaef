"""RSA2: signatures over sorted `k=v` pairs, checked on requests, made on answers, callbacks and returns."""

from __future__ import annotations

from collections.abc import Mapping

from buffmoney.simulator import keys
from buffmoney.simulator.keys import PlatformKey
from buffmoney.simulator.merchants import Merchant


def request_is_genuine(merchant: Merchant, fields: Mapping[str, str]) -> bool:
    """Whether a merchant signed these parameters: all but `sign` and empty ones, `sign_type` included."""
    message = _joined({name: value for name, value in fields.items() if name != "sign" and value})
    return keys.verify(merchant.public_key, message, fields.get("sign", ""))


def signed_without_type(fields: Mapping[str, str], key: PlatformKey) -> str:
    """The signature of a callback or a return: over all fields but `sign` and `sign_type`, blank ones included."""
    return keys.sign(key.private, _joined({name: value for name, value in fields.items() if name not in ("sign", "sign_type")}))


def signed_content(content: str, key: PlatformKey) -> str:
    """The signature of an answer: over its inner object exactly as it stands in the text."""
    return keys.sign(key.private, content.encode())


def _joined(fields: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={fields[name]}" for name in sorted(fields)).encode()
