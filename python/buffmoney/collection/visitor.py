"""Who looks at the checkout: the kind of device, the language, and inside WeChat the payer's openid, if the merchant passed it on."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from buffmoney.collection.checkout_view import Locale, PayProduct

Device = Literal["desktop", "mobile", "wechat", "alipay"]

_OPENID = re.compile(r"[A-Za-z0-9_-]{6,128}", re.ASCII)
_PHONE = re.compile(r"Android|iPhone|iPad|iPod|Harmony|Mobile|Phone")
_QUALITY = re.compile(r"q=(0(?:\.[0-9]{1,3})?|1(?:\.0{1,3})?)", re.ASCII)


class Visitor(msgspec.Struct, frozen=True):
    """One request's. chosen: the language, if the visitor or the merchant's link asked for one, and not only the browser."""

    device: Device
    preferred: Locale | None
    chosen: Locale | None = None
    openid: str | None = None

    def language(self, locale: Locale | None = None) -> Locale:
        """What to speak. locale: the top-up's own."""
        return self.chosen or locale or self.preferred or "zh"

    def kept(self) -> tuple[tuple[str, str], ...]:
        """The query parameters that the next page needs to know the same visitor."""
        given = (("lang", self.chosen), ("openid", self.openid))
        return tuple((name, value) for name, value in given if value is not None)

    def offers(self) -> tuple[PayProduct, ...]:
        """The ways to pay from here, the best first.

        WeChat's own payment needs the openid that the payer has with the merchant's account. Without it a code is left, to be scanned with
        another phone: WeChat opens neither its H5 payment nor Alipay inside itself.
        """
        if self.device == "wechat":
            return ("jsapi",) if self.openid else ("native",)
        if self.device == "alipay":
            return ("wap",)
        return ("h5", "wap") if self.device == "mobile" else ("native", "precreate", "page")


def visitor(user_agent: str, accept_language: str, lang: str | None = None, openid: str | None = None) -> Visitor:
    """From two headers and two query parameters. What is not understood counts as absent."""
    chosen = _locale(lang or "")
    return Visitor(
        device_of(user_agent),
        preferred_of(accept_language),
        chosen,
        openid if openid and _OPENID.fullmatch(openid) else None,
    )


def device_of(user_agent: str) -> Device:
    """The kind of device. Apps come first: their user agents name the phone's browser, too."""
    if "MicroMessenger" in user_agent:
        return "wechat"
    if "AlipayClient" in user_agent:
        return "alipay"
    return "mobile" if _PHONE.search(user_agent) else "desktop"


def preferred_of(accept_language: str) -> Locale | None:
    """The language of an Accept-Language header that we speak and that weighs most; the first of equals."""
    best: Locale | None = None
    weight = 0.0
    for part in accept_language[:1_000].split(","):
        tag, _, parameters = part.strip().partition(";")
        locale = _locale(tag)
        quality = _QUALITY.fullmatch(parameters.strip())
        # Weights of languages are no money.
        weighs = float(quality[1]) if quality else 1.0 if not parameters else 0.0
        if locale is not None and weighs > weight:
            best, weight = locale, weighs
    return best


def _locale(tag: str) -> Locale | None:
    language = tag.strip().lower().partition("-")[0]
    return "zh" if language == "zh" else "en" if language == "en" else None
