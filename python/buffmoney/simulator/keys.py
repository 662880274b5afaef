"""RSA keys: how the stand-ins sign, how they check a merchant, and the channels' own keys with their rotation.

SHA-256 with RSA and PKCS#1 v1.5, base64, at both channels; AES-256-GCM for what WeChat encrypts.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from buffmoney.base.clock import to_datetime
from buffmoney.simulator.channel_time import SECOND_US
from buffmoney.simulator.store import Store

Channel = Literal["wechat", "alipay"]
KeyKind = Literal["public_key", "certificate"]
Signing = Literal["genuine", "probe", "forged", "unsigned"]
"""how a callback is signed; all but the first must be refused"""

KEY_BITS = 2_048
OVERLAP_S = 86_400.0


def new_private_key() -> rsa.RSAPrivateKey:
    """A fresh key. Takes a tenth of a second and more."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)


def public_pem(key: rsa.RSAPublicKey) -> str:
    """SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def read_public(pem: object) -> rsa.RSAPublicKey:
    """A merchant's public key. Raises ValueError unless it is RSA of at least 2048 bits in PEM."""
    if not isinstance(pem, str):
        raise ValueError("The public key must be a PEM text.")
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as failure:
        raise ValueError("The public key cannot be read: give SubjectPublicKeyInfo in PEM.") from failure
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_BITS:
        raise ValueError("The public key must be RSA of at least 2048 bits.")
    return key


def sign(key: rsa.RSAPrivateKey, message: bytes) -> str:
    """The signature of a message, in base64."""
    return base64.b64encode(key.sign(message, padding.PKCS1v15(), hashes.SHA256())).decode()


def verify(key: rsa.RSAPublicKey, message: bytes, signature: str) -> bool:
    """Whether a signature in base64 is this key's of this message."""
    try:
        key.verify(base64.b64decode(signature, validate=True), message, padding.PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def encrypt(api_v3_key: str, plaintext: bytes, associated_data: str) -> tuple[str, str]:
    """AES-256-GCM as in WeChat's callbacks: (nonce of 12 characters, ciphertext and tag in base64)."""
    nonce = secrets.token_hex(6)
    sealed = AESGCM(api_v3_key.encode()).encrypt(nonce.encode(), plaintext, associated_data.encode())
    return nonce, base64.b64encode(sealed).decode()


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """A key of a channel. key_id: `PUB_KEY_ID_…`, or the serial of its certificate; Alipay's never leaves the simulator."""

    key_id: str
    kind: KeyKind
    private: rsa.RSAPrivateKey
    certificate_pem: str | None
    created_at_us: int
    retires_at_us: int | None

    @property
    def public_pem(self) -> str:
        """What merchants verify with."""
        return public_pem(self.private.public_key())


def _certificate(key: rsa.RSAPrivateKey, now_us: int) -> tuple[str, str]:
    """A certificate of five years as (serial in hexadecimal, PEM). It is signed by itself: no merchant has WeChat's root at hand."""
    serial = secrets.randbits(158) | 1 << 158
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "BuffMoney simulator, in place of Tenpay.com")])
    start = to_datetime(now_us)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + timedelta(days=5 * 365))
        .sign(key, hashes.SHA256())
    )
    return f"{serial:040X}", certificate.public_bytes(serialization.Encoding.PEM).decode()


class Keyring:
    """The channels' keys. Each channel has one, and two during a switch-over, when both are in use by turns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[Channel, list[PlatformKey]] = {"wechat": [], "alipay": []}
        self._turns = 0
        for row in store.all("SELECT * FROM platform_keys ORDER BY created_at_us, rowid"):
            private = serialization.load_pem_private_key(row["private_pem"].encode(), None)
            assert isinstance(private, rsa.RSAPrivateKey)
            key = PlatformKey(row["key_id"], row["kind"], private, row["certificate_pem"], row["created_at_us"], row["retires_at_us"])
            self._keys[row["channel"]].append(key)

    def make_first(self, now_us: int) -> None:
        """Sees to it that each channel has a key. WeChat begins with a public key, as it does with new merchants today."""
        for channel in self._keys:
            if not self._keys[channel]:
                self.add(channel, "public_key", new_private_key(), now_us, 0.0)

    def add(self, channel: Channel, kind: KeyKind, private: rsa.RSAPrivateKey, now_us: int, overlap_s: float) -> PlatformKey:
        """A new key in use from now on; those before it go on for `overlap_s`."""
        serial, certificate = _certificate(private, now_us) if kind == "certificate" else (None, None)
        key_id = serial or ("PUB_KEY_ID_01" if channel == "wechat" else "ALIPAY_KEY_") + secrets.token_hex(15).upper()
        retires = now_us + round(overlap_s * SECOND_US)
        pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
        with self._store.transaction():
            self._store.execute(
                "UPDATE platform_keys SET retires_at_us = min(coalesce(retires_at_us, ?), ?) WHERE channel = ?", retires, retires, channel
            )
            self._store.insert(
                "platform_keys",
                key_id=key_id,
                channel=channel,
                kind=kind,
                private_pem=pem,
                certificate_pem=certificate,
                created_at_us=now_us,
            )
        made = PlatformKey(key_id, kind, private, certificate, now_us, None)
        self._keys[channel] = [_retiring(key, retires) for key in self._keys[channel]] + [made]
        return made

    def active(self, channel: Channel, now_us: int) -> list[PlatformKey]:
        """The keys in use, the newest first. Never empty."""
        return [key for key in reversed(self._keys[channel]) if key.retires_at_us is None or now_us < key.retires_at_us]

    def for_answer(self, channel: Channel, now_us: int, wanted: str | None = None) -> PlatformKey:
        """The key for an answer: the one that the merchant named, else by turns."""
        active = self.active(channel, now_us)
        for key in active:
            if key.key_id == wanted:
                return key
        self._turns += 1
        return active[self._turns % len(active)]

    def for_callback(self, channel: Channel, now_us: int, turn: int) -> PlatformKey:
        """The key for a callback, by turns: the next callback and the next attempt of the same one get the next key."""
        active = self.active(channel, now_us)
        return active[turn % len(active)]


def _retiring(key: PlatformKey, at_us: int) -> PlatformKey:
    when = at_us if key.retires_at_us is None else min(key.retires_at_us, at_us)
    return PlatformKey(key.key_id, key.kind, key.private, key.certificate_pem, key.created_at_us, when)
