"""Sealing: merchants' payment credentials as they lie in the database, AES-256-GCM under a key that does not.

The tenant and the channel are authenticated with them, so a row copied to another tenant does not open. Each sealed text goes with the
id of its key: the first of BUFFMONEY_CREDENTIAL_KEYS seals, all of them unseal, and so does the key that derives from the secret. To
rotate, put a new key first, seal everything anew (`buffmoney channels reseal`), then drop the old one.
"""

from __future__ import annotations

import secrets

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from buffmoney.base.config import Settings
from buffmoney.collection.channels import Channel, Credentials, WechatCredentials

NONCE_BYTES = 12

_CHANNELS: dict[bytes, Channel] = {b"\x01": "wechat", b"\x02": "alipay"}
_MARKS = {channel: mark for mark, channel in _CHANNELS.items()}


class UnsealError(Exception):
    """Sealed credentials that do not open: an unknown key, or altered, or another tenant's. Shows nothing of them."""


def seal(settings: Settings, tenant_id: int, credentials: Credentials) -> tuple[str, bytes]:
    """The id of the key, and what may be stored: a byte for the channel, the nonce, and the ciphertext with its tag."""
    channel: Channel = "wechat" if isinstance(credentials, WechatCredentials) else "alipay"
    key_id, key = _first_key(settings)
    nonce = secrets.token_bytes(NONCE_BYTES)
    sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(credentials), _associated(tenant_id, channel))
    return key_id, _MARKS[channel] + nonce + sealed


def sealing_key(settings: Settings) -> str:
    """The id of the key that seals."""
    return _first_key(settings)[0]


def _first_key(settings: Settings) -> tuple[str, bytes]:
    return settings.credential_keys[0] if settings.credential_keys else settings.credential_key


def unseal(settings: Settings, tenant_id: int, key_id: str, sealed: bytes) -> Credentials:
    """What was sealed for this tenant under this key. Raises UnsealError."""
    key = dict((*settings.credential_keys, settings.credential_key)).get(key_id)
    if key is None:
        raise UnsealError(f"there is no key {key_id!r}: see BUFFMONEY_CREDENTIAL_KEYS")
    channel = _CHANNELS.get(sealed[:1])
    if channel is None:
        raise UnsealError("these are no sealed credentials")
    nonce, ciphertext = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
    try:
        opened: Credentials = msgspec.json.decode(AESGCM(key).decrypt(nonce, ciphertext, _associated(tenant_id, channel)), type=Credentials)
    except (InvalidTag, ValueError, msgspec.DecodeError):
        # Not chained: a decoder's error may quote what it read.
        raise UnsealError("the sealed credentials were altered, or are another tenant's") from None
    return opened


def _associated(tenant_id: int, channel: Channel) -> bytes:
    return tenant_id.to_bytes(8, "big") + channel.encode()
