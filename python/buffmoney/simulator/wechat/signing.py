"""Signatures of API v3: checked on requests, made on answers and callbacks."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from buffmoney.simulator import keys
from buffmoney.simulator.keys import PlatformKey, Signing
from buffmoney.simulator.merchants import Merchant, Merchants
from buffmoney.simulator.wechat.errors import WechatError

SCHEME = "WECHATPAY2-SHA256-RSA2048"
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
SKEW_S = 300
_FIELD = re.compile(r'\s*(mchid|nonce_str|timestamp|serial_no|signature)="([^"]*)"\s*')
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Target:
    """What a signature covers of a request besides its time and nonce. path: with its query, exactly as it was sent."""

    method: str
    path: str
    body: bytes


def authorize(header: str | None, target: Target, merchants: Merchants, now_s: int) -> Merchant:
    """The merchant that signed a request. Raises WechatError: 401 SIGN_ERROR, or 400 for a merchant that does not exist."""
    fields = _parse(header)
    if not _SECONDS.fullmatch(fields["timestamp"]) or abs(now_s - int(fields["timestamp"])) > SKEW_S:
        raise WechatError(401, "SIGN_ERROR", "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")
    merchant = merchants.find("wechat", fields["mchid"])
    if merchant is None:
        raise WechatError(400, "MCH_NOT_EXISTS", "商户号不存在")
    if fields["serial_no"].upper() != merchant.serial:
        raise WechatError(401, "SIGN_ERROR", "商户证书序列号有误")
    head = f"{target.method}\n{target.path}\n{fields['timestamp']}\n{fields['nonce_str']}\n".encode()
    if not fields["nonce_str"] or not keys.verify(merchant.public_key, head + target.body + b"\n", fields["signature"]):
        raise WechatError(401, "SIGN_ERROR", "错误的签名，导致验签失败")
    return merchant


def _parse(header: str | None) -> dict[str, str]:
    scheme, _, rest = (header or "").partition(" ")
    if scheme != SCHEME:
        raise WechatError(401, "SIGN_ERROR", "Http头缺少Authorization，或认证类型有误")
    fields: dict[str, str] = {}
    for part in rest.split(","):
        match = _FIELD.fullmatch(part)
        if match is None or match[1] in fields:
            raise WechatError(401, "SIGN_ERROR", "Http头Authorization值格式错误")
        fields[match[1]] = match[2]
    if len(fields) != 5:
        raise WechatError(401, "SIGN_ERROR", "Http头Authorization值缺少字段")
    return fields


def signed_headers(key: PlatformKey, now_s: int, body: bytes, signing: Signing = "genuine") -> dict[str, str]:
    """The headers under which a merchant takes an answer or a callback for WeChat's; `signing` for those it must not take."""
    nonce = secrets.token_hex(16)
    headers = {"Wechatpay-Timestamp": str(now_s), "Wechatpay-Nonce": nonce, "Wechatpay-Serial": key.key_id}
    if signing == "unsigned":
        return headers
    message = f"{now_s}\n{nonce}\n".encode() + body + b"\n"
    if signing == "forged":
        # The right length and alphabet, by the right key, of something else.
        message = b"forged" + message
    signature = keys.sign(key.private, message)
    if signing == "probe":
        signature = PROBE_PREFIX + signature[len(PROBE_PREFIX) :]
    return {**headers, "Wechatpay-Signature": signature, "Wechatpay-Signature-Type": SCHEME}


def jsapi_message(app_id: str, timestamp: str, nonce: str, package: str) -> bytes:
    """What a page inside WeChat has signed when it asks for payment."""
    return f"{app_id}\n{timestamp}\n{nonce}\n{package}\n".encode()
