"""The way back to the merchant: what a merchant computes from the documentation alone agrees, and only for what we said."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from buffmoney.base.config import Settings
from buffmoney.collection import checkout_token, return_url, top_ups
from tests.product import ROOT

SETTINGS = Settings(secret="a secret of the tests, long enough to derive keys")
NOW = datetime.now(UTC).replace(microsecond=999_999)
SECONDS = int(NOW.timestamp())


def signed(url: str, **changes: object) -> str | None:
    plain = {"top_up_id": "tu_1", "status": "credited", "amount": Decimal("100.00"), "currency": "CNY", "now": NOW}
    return return_url.signed(url, return_url.secret(SETTINGS, 7), **{**plain, **changes})  # type: ignore[arg-type]


def documented() -> Callable[[dict[str, str], str], bool]:
    """The function that the README gives to merchants."""
    (code,) = re.findall(r"```python\n(import hashlib.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    function: Callable[[dict[str, str], str], bool] = names["is_from_buffmoney"]
    return function


CHECK = documented()


def accepts(url: str, secret: str) -> bool:
    """What a merchant does, by the documentation."""
    return CHECK(dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)), secret)


def test_a_merchant_can_check_it() -> None:
    """Proves: the documented computation accepts it under the tenant's own secret, and under no other's."""
    url = signed("https://shop.example/wallet?tab=credits&x=%E4%BD%A0+a%20b&empty=&flag#part")
    assert url is not None
    assert url.startswith(
        "https://shop.example/wallet?tab=credits&x=%E4%BD%A0+a%20b&empty=&flag&bm_top_up_id=tu_1&bm_status=credited&bm_amount=100&"
    )
    assert url.endswith("#part") and f"&bm_time={SECONDS}&" in url
    assert accepts(url, return_url.secret(SETTINGS, 7))
    assert not accepts(url, return_url.secret(SETTINGS, 8))
    late = signed("https://shop.example/", now=NOW - timedelta(hours=2))
    assert late is not None and not accepts(late, return_url.secret(SETTINGS, 7))


@pytest.mark.parametrize(
    ("before", "after"),
    [("=credited", "=paid"), ("=tu_1", "=tu_2"), ("amount=100", "amount=1000"), ("=CNY", "=USD"), (f"={SECONDS}", f"={SECONDS + 1}")],
)
def test_an_altered_one_is_refused(before: str, after: str) -> None:
    """Proves: every part of the result is signed."""
    url = signed("https://shop.example/?a=1")
    assert url is not None and before in url
    assert not accepts(url.replace(before, after), return_url.secret(SETTINGS, 7))


def test_nobody_signs_beforehand() -> None:
    """Proves: parameters of our names in the merchant's URL are replaced, however they are written."""
    url = signed("https://shop.example/?bm_status=credited&a=1&b%6D_signature=00&bm_time=1", status="open")
    assert url is not None
    names = [name for name, _ in parse_qsl(urlsplit(url).query)]
    assert names == ["a", *return_url.PARAMETERS]
    assert accepts(url, return_url.secret(SETTINGS, 7))


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "//shop.example/",
        "/wallet",
        "https://",
        "https:shop.example",
        "https://user@shop.example/",
        "https://shop.example\\@evil.example/",
        " https://shop.example/",
        "https://shop.example/\n",
        "ht\ttps://shop.example/",
        "https://[shop.example/",
        "data:text/html,hello",
    ],
)
def test_not_an_address_to_go_to(url: str) -> None:
    """Proves: a browser is only sent to web addresses that every browser reads the same way."""
    assert not return_url.is_safe(url)
    assert signed(url) is None


def test_secrets_are_each_tenants_own() -> None:
    """Proves: the same secret every time, another for each tenant and installation."""
    others = {return_url.secret(SETTINGS, tenant) for tenant in range(-2, 50)} | {return_url.secret(Settings(secret="x" * 32), 7)}
    assert len(others) == 53
    assert return_url.secret(SETTINGS, 7) == return_url.secret(Settings(secret=SETTINGS.secret), 7)


def test_tokens() -> None:
    """Proves: each top-up of each tenant and installation has its own, stored as a hash; what cannot be a token has none."""
    installations = (SETTINGS, Settings(secret="x" * 32))
    made = {top_ups.token_of(one, tenant, f"tu_{number}") for one in installations for tenant in range(5) for number in range(100)}
    assert len(made) == len({checkout_token.hashed(token) for token in made}) == 1_000
    assert all(len(token) == 43 for token in made)
    for text in ("", "x" * 42, "x" * 44, "x" * 42 + "é", "x" * 42 + "\n", "../" + "x" * 40, "x" * 42 + "٣"):
        assert checkout_token.hashed(text) is None
