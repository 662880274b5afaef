"""WeChat Pay v3's signatures and its callbacks' encryption. Every canonical form is made of the very bytes that are sent or were received."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from buffmoney.collection.channels import CredentialsError, rsa

SCHEME = "WECHATPAY2-SHA256-RSA2048"
MAX_SKEW_S = 300
"""an answer or callback signed further away from now, in either direction, is refused"""
PROBE = "WECHATPAY/SIGNTEST/"
"""with this before a signature WeChat tests whether we verify at all: it must be refused"""
PUBLIC_KEY_PREFIX = "PUB_KEY_ID_"
API_KEY_BYTES = 32
NONCE_BYTES = 12

Refusal = Literal["unsigned", "stale", "probe", "unknown_key", "wrong_signature"]


def request_message(method: str, target: bytes, timestamp: str, nonce: str, body: bytes) -> bytes:
    """What a request's signature covers. target: path and query as on the wire. timestamp: seconds. body: empty for GET."""
    return b"%s\n%s\n%s\n%s\n%s\n" % (method.encode(), target, timestamp.encode(), nonce.encode(), body)


def authorization(
    key: RSAPrivateKey, mchid: str, serial: str, method: str, target: bytes, body: bytes, *, timestamp: str, nonce: str
) -> str:
    """The value of the Authorization header. mchid: in service-provider mode the provider's."""
    signature = rsa.sign(key, request_message(method, target, timestamp, nonce, body))
    return f'{SCHEME} mchid="{mchid}",nonce_str="{nonce}",timestamp="{timestamp}",serial_no="{serial}",signature="{signature}"'


def invocation_message(app_id: str, timestamp: str, nonce: str, package: str) -> bytes:
    """What the signature of a JSAPI invocation covers. package: `prepay_id=…`."""
    return f"{app_id}\n{timestamp}\n{nonce}\n{package}\n".encode()


def jsapi_invocation(key: RSAPrivateKey, app_id: str, prepay_id: str, *, timestamp: str, nonce: str) -> dict[str, str]:
    """The parameters of WeixinJSBridge's getBrandWCPayRequest, all of them strings. timestamp: seconds."""
    package = f"prepay_id={prepay_id}"
    return {
        "appId": app_id,
        "timeStamp": timestamp,
        "nonceStr": nonce,
        "package": package,
        "signType": "RSA",
        "paySign": rsa.sign(key, invocation_message(app_id, timestamp, nonce, package)),
    }


def answer_message(timestamp: str, nonce: str, body: bytes) -> bytes:
    """What the signature of an answer or callback covers. body: as received."""
    return b"%s\n%s\n%s\n" % (timestamp.encode(), nonce.encode(), body)


class PlatformKeys:
    """WeChat's public keys by serial. During a switch-over both the old and the new one sign, so several are held."""

    def __init__(self, keys: Iterable[Mapping[str, str]]) -> None:
        """keys: PEM by serial; where two have the same serial, the first counts. Raises CredentialsError."""
        self._keys: dict[str, RSAPublicKey] = {}
        for more in keys:
            for serial, text in more.items():
                self._keys.setdefault(_serial(serial), rsa.public_key(text, "platform_keys"))
        if not self._keys:
            raise CredentialsError("platform_keys is empty: no callback could be verified")

    def refusal(self, headers: Mapping[str, str], body: bytes, now_us: int) -> Refusal | None:
        """Why an answer or callback is not to be believed; None if it is WeChat's. headers: names in lower case. now_us: microseconds."""
        timestamp, nonce, signature, serial = (headers.get(f"wechatpay-{name}") for name in ("timestamp", "nonce", "signature", "serial"))
        if not (timestamp and nonce and signature and serial):
            return "unsigned"
        if signature.startswith(PROBE):
            return "probe"
        # Digits before arithmetic: int() takes much that is no time, and takes long over much of it.
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            return "stale"
        if abs(now_us - int(timestamp) * 1_000_000) > MAX_SKEW_S * 1_000_000:
            return "stale"
        key = self._keys.get(_serial(serial))
        if key is None:
            return "unknown_key"
        return None if rsa.is_signed(key, answer_message(timestamp, nonce, body), signature) else "wrong_signature"


def api_key(text: str) -> bytes:
    """The APIv3 key as bytes. Raises CredentialsError unless it has 32 of them; an empty one would let anybody encrypt."""
    key = text.encode(errors="replace")
    if len(key) != API_KEY_BYTES:
        raise CredentialsError(f"api_v3_key needs {API_KEY_BYTES} characters")
    return key


def decrypt(keys: Iterable[bytes], ciphertext: str, nonce: str, associated_data: str) -> bytes | None:
    """A callback's resource under the first key that fits; None if none does, or if it is not base64, or has another nonce than 12 bytes.

    ciphertext: base64, the tag at its end. associated_data: may be empty.
    """
    try:
        sealed, nonce_bytes, associated = base64.b64decode(ciphertext, validate=True), nonce.encode(), associated_data.encode()
    except (binascii.Error, ValueError):
        return None
    if len(nonce_bytes) != NONCE_BYTES:
        return None
    for key in keys:
        try:
            return AESGCM(key).decrypt(nonce_bytes, sealed, associated)
        except InvalidTag:
            continue
    return None


def _serial(text: str) -> str:
    """Serials of certificates are numbers: neither case nor leading zeros make another one."""
    return text if text.startswith(PUBLIC_KEY_PREFIX) else text.upper().lstrip("0")
