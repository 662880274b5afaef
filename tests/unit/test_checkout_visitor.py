"""Devices by user agent, languages by preference."""

from __future__ import annotations

import pytest

from buffmoney.collection.visitor import Visitor, device_of, preferred_of, visitor

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
SAFARI = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile Safari/537.36"
HARMONY = "Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (CHROME, "desktop"),
        (SAFARI, "desktop"),
        ("", "desktop"),
        ("curl/8.5.0", "desktop"),
        (f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1", "mobile"),
        (ANDROID, "mobile"),
        (HARMONY, "mobile"),
        (f"{IPHONE} Mobile/15E148 MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/zh_CN", "wechat"),
        (f"{ANDROID} MMWEBID/123 MicroMessenger/8.0.50.2701(0x2800325B) WeChat/arm64 Weixin NetType/WIFI", "wechat"),
        (f"{CHROME} MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090b13)", "wechat"),
        (f"{IPHONE} Mobile/15E148 Ariver/1.0.11 AliApp(AP/10.6.0.6000) AlipayClient/10.6.0.6000 Language/zh-Hans", "alipay"),
    ],
)
def test_devices(agent: str, device: str) -> None:
    """Proves: apps are known before the phones that they run on."""
    assert device_of(agent) == device


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", None),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("en;q=0.1, zh;q=0.2", "zh"),
        ("fr, de;q=0.9", None),
        ("fr, en;q=0.4, zh-TW;q=0.3", "en"),
        ("zh;q=0, en;q=0.001", "en"),
        ("ZH-hans", "zh"),
        ("*", None),
        ("en;q=nan, zh;q=0.1", "zh"),
        ("en;q=1e9,zh;q=0.5", "zh"),
        ("english", None),
        ("," * 5_000 + "en", None),
    ],
)
def test_languages(header: str, language: str | None) -> None:
    """Proves: the heaviest language that we speak, the first of equals, and no guess from what is malformed."""
    assert preferred_of(header) == language


def test_whose_word_counts() -> None:
    """Proves: the visitor's own choice, then the merchant's, then the browser's, then Chinese."""
    assert Visitor("desktop", "en", "zh").language("en") == "zh"
    assert Visitor("desktop", "zh").language("en") == "en"
    assert Visitor("desktop", "en").language() == "en"
    assert Visitor("desktop", None).language() == "zh"


@pytest.mark.parametrize("openid", ["", "short", "a b c d e f", "<script>", "x" * 129, "oUpF8uMuAJO\n"])
def test_openids(openid: str) -> None:
    """Proves: what cannot be an openid is none."""
    assert visitor("", "", None, openid).openid is None
    assert visitor("", "", "fr", "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o").kept() == (("openid", "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"),)
