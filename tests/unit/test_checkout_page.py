"""The checkout's HTML in every state, on every device, in both languages: well formed, complete, exact, and of others only text."""

from __future__ import annotations

import itertools
import json
import re
import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import html5lib
import msgspec
import pytest
import segno

from buffmoney.collection import checkout_assets, checkout_page
from buffmoney.collection.checkout_page import TEXTS, Notice, render, render_failure, shown_amount, state_of, status_of
from buffmoney.collection.checkout_view import CHANNEL_OF, CheckoutReturn, CheckoutView, Locale, PayChannel, PayProduct
from buffmoney.collection.visitor import Device, Visitor
from tests.checkouts import JSAPI, QR_CONTENT, attempt, view

KEY = "bmret_" + "0" * 64
OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
NOW = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
DEVICES: tuple[Device, ...] = get_args(Device)
LOCALES: tuple[Locale, ...] = get_args(Locale)
PRODUCTS: tuple[PayProduct, ...] = get_args(PayProduct)
VOID = {"meta", "link", "input", "path", "rect", "circle"}


def states() -> dict[str, CheckoutView]:
    """Every state that a top-up can be in, as far as the page tells them apart."""
    plain = view(now=NOW)
    found = {status: view(now=NOW, status=status) for status in ("open", "paid", "expired", "canceled", "credited")}
    found["credited with balance"] = view(now=NOW, status="credited", balance=Decimal("-3.5"))
    found["over before anybody noted it"] = view(now=NOW, expires_at=NOW)
    found["nobody to pay"] = view(now=NOW, channels=())
    found["wechat alone"] = view(now=NOW, channels=("wechat",))
    found["alipay alone"] = view(now=NOW, channels=("alipay",))
    found["under review"] = view(now=NOW, under_review=True)
    for done in (False, True):
        found[f"refunded {done}"] = view(now=NOW, status="credited", returns=(CheckoutReturn(amount=Decimal(100), done=done),))
        found[f"part {done}"] = view(
            now=NOW, status="credited", returns=(CheckoutReturn(amount=Decimal(40), done=done),), under_review=True
        )
        found[f"second {done}"] = view(now=NOW, status="credited", returns=(CheckoutReturn(amount=Decimal(100), extra=True, done=done),))
        found[f"unused {done}"] = view(now=NOW, status="canceled", returns=(CheckoutReturn(amount=Decimal(100), extra=True, done=done),))
    found["no bonus, no way back"] = view(now=NOW, bonus=Decimal(0), return_url=None, sandbox=True)
    for product, status in itertools.product(PRODUCTS, ("created", "pending", "paid", "closed", "failed")):
        found[f"{product} {status}"] = view(now=NOW, attempts=[attempt(product, plain, status=status)])
    for product in PRODUCTS:
        found[f"{product} lapsed"] = view(now=NOW, attempts=[attempt(product, plain, expires_at=NOW)])
        found[f"{product} empty"] = view(now=NOW, attempts=[attempt(product, plain, qr_content=None, redirect_url=None, jsapi=None)])
    return found


STATES = states()


def visitor(device: Device = "desktop", chosen: Locale | None = "en", openid: str | None = OPENID) -> Visitor:
    return Visitor(device, None, chosen, openid)


def shown(one: CheckoutView, who: Visitor | None = None, **more: Any) -> str:
    return render(one, who or visitor(), KEY, **more).decode()


def parsed(html: str) -> Any:
    """The document. Fails on the first thing that is not well-formed HTML."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)


def texts_of(html: str) -> str:
    return " ".join(" ".join(parsed(html).itertext()).split())


@pytest.mark.parametrize("name", STATES)
def test_every_page_is_whole(name: str) -> None:
    """Proves, for each state on each device in each language with each notice: well-formed HTML, closed elements, unique ids, one
    heading, one main, a name for everything to press, nothing inline, no script before the page, nothing from elsewhere, small."""
    for device, locale, notice in itertools.product(DEVICES, LOCALES, (None, *get_args(Notice))):
        html = shown(STATES[name], visitor(device, locale), notice=notice, go=True)
        document = parsed(html)
        assert len(html.encode()) < 12_000
        ids = [element.get("id") for element in document.iter() if element.get("id")]
        assert len(ids) == len(set(ids))
        assert len(document.findall(".//h1")) == len(document.findall(".//main")) == 1
        assert document.get("lang") == TEXTS[locale]["html_lang"]
        for control in (*document.iter("button"), *document.iter("a")):
            assert "".join(control.itertext()).strip(), "a control without a name"
        for element in document.iter():
            assert element.tag != "style" and not element.get("style")
            assert not [attribute for attribute in element.attrib if attribute.startswith("on")]
            if element.tag == "script":
                assert element.get("src") and not element.text
                assert element.get("defer") is not None, "a script that keeps the page waiting"
            address = element.get("src") or (element.get("href") if element.tag == "link" else None) or element.get("action")
            assert address is None or address.startswith("/pay/")
        opened = [tag for tag in re.findall(r"<([a-z0-9]+)[ >]", html) if tag not in VOID]
        assert sorted(opened) == sorted(re.findall(r"</([a-z0-9]+)>", html))
        assert "{{" not in html and "None" not in html


def test_texts_are_complete() -> None:
    """Proves: both languages have the same texts with the same places to fill in, none is empty, and each is used."""
    zh, en = TEXTS["zh"], TEXTS["en"]
    assert zh.keys() == en.keys()
    for name in zh:
        assert zh[name].strip() and en[name].strip()
        places = [{field for _, field, _, _ in string.Formatter().parse(language[name]) if field} for language in (zh, en)]
        assert places[0] == places[1], name
    templates = [file.read_text() for file in checkout_assets.FOLDER.iterdir() if file.name.endswith(".html")]
    everything = "\n".join((*templates, Path(checkout_page.__file__).read_text()))
    # Names that are put together from a step, a channel, a product or a notice.
    composed = re.compile(
        r"(choose|nowhere|jsapi|paid|credited|expired|canceled|returning|returned|review|missing|trouble"
        r"|(scan|leave|choose)_(wechat|alipay))_(title|lead|go)"
        r"|(other|scan_label|nowhere_lead)_(wechat|alipay)|pay_(native|precreate|h5|wap|jsapi)"
        r"|notice_(lapsed|unavailable|refused|refused_only|nothing_yet|exhausted)|note_(part|second|unused)_(returning|returned)|wechat|alipay"
    )
    assert [name for name in zh if not re.search(rf"\b{name}\b", everything) and not composed.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("0", "CNY", "¥0.00"),
        ("100", "CNY", "¥100.00"),
        ("1E+3", "CNY", "¥1,000.00"),
        ("1234567.8", "CNY", "¥1,234,567.80"),
        ("0.000000001", "CNY", "¥0.000000001"),
        ("999999999999999999.999999999", "CNY", "¥999,999,999,999,999,999.999999999"),
        ("-0.5", "CNY", "-¥0.50"),
        ("-1234.125", "CNY", "-¥1,234.125"),
        ("12.5", "USD", "USD 12.50"),
        ("1200", "JPY", "JPY 1,200"),
        ("1200.5", "JPY", "JPY 1,200.5"),
        ("30.00", "CNY", "¥30.00"),
    ],
)
def test_amounts_are_exact(amount: str, currency: str, text: str) -> None:
    """Proves: every decimal is shown and none is made up."""
    assert shown_amount(Decimal(amount), currency) == text


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "0.0000000001"])
def test_no_other_amounts(amount: str) -> None:
    """Proves: what is not an amount is not shown as one."""
    with pytest.raises(ValueError, match=r"amount|decimals"):
        shown_amount(Decimal(amount), "CNY")


def test_what_is_got_is_the_sum() -> None:
    """Proves: amount, bonus and their sum stand on the page; without a bonus neither it nor the sum does."""
    words = texts_of(shown(view(now=NOW, amount=Decimal("1000"), bonus=Decimal("0.1"))))
    assert "You pay ¥1,000.00 Bonus +¥0.10 You get ¥1,000.10 Account acme-42 Time left 30 min" in words
    words = texts_of(shown(view(now=NOW, bonus=Decimal(0))))
    assert "You pay ¥100.00 Account" in words and "Bonus" not in words


@pytest.mark.parametrize(
    ("device", "openid", "products"),
    [
        ("desktop", OPENID, ["native", "precreate", "page"]),
        ("mobile", OPENID, ["h5", "wap"]),
        ("wechat", OPENID, ["jsapi"]),
        ("wechat", None, ["native"]),
        ("alipay", None, ["wap"]),
    ],
)
def test_what_each_device_is_offered(device: Device, openid: str | None, products: list[str]) -> None:
    """Proves: each device gets the ways that work on it."""
    document = parsed(shown(view(now=NOW), visitor(device, openid=openid)))
    assert [button.get("value") for button in document.iter("button")] == products
    kept = {field.get("name"): field.get("value") for field in document.iter("input")}
    assert kept == ({"lang": "en", "openid": openid} if openid else {"lang": "en"})


@pytest.mark.parametrize(
    ("device", "openid", "channels", "products"),
    [
        ("desktop", None, ("alipay",), ["precreate", "page"]),
        ("desktop", None, ("wechat",), ["native"]),
        ("mobile", None, ("alipay",), ["wap"]),
        ("mobile", None, ("wechat",), ["h5"]),
        ("wechat", OPENID, ("alipay",), []),
        ("alipay", None, ("wechat",), []),
        ("desktop", None, (), []),
    ],
)
def test_only_what_the_merchant_has_is_offered(
    device: Device, openid: str | None, channels: tuple[PayChannel, ...], products: list[str]
) -> None:
    """Proves: no way to pay leads to a channel that the merchant does not have; where none is left, the page says what to do instead."""
    one = view(now=NOW, channels=channels)
    html = shown(one, visitor(device, openid=openid))
    assert [button.get("value") for button in parsed(html).iter("button")] == products
    words = texts_of(html)
    assert ("This cannot be paid here" in words) == (not products)
    assert ("open this page in your browser" in words) == (not products and device != "desktop")
    other = "WeChat" if channels == ("alipay",) else "Alipay"
    assert not products or f"confirm the payment in {other}" not in words
    # Beside a way that was begun, neither.
    plain = attempt("precreate" if channels == ("alipay",) else "native", one)
    begun = shown(msgspec.structs.replace(one, attempts=[plain]), visitor("desktop"))
    assert {CHANNEL_OF[button.get("value")] for button in parsed(begun).iter("button")} <= set(channels)


WHOLE, PART = CheckoutReturn(amount=Decimal(100)), CheckoutReturn(amount=Decimal("99.99"), done=True)
EXTRA = CheckoutReturn(amount=Decimal(100), extra=True)


@pytest.mark.parametrize(
    ("changes", "status", "words", "paces"),
    [
        ({"status": "open", "under_review": True}, "review", "do not pay again", "slow"),
        ({"status": "expired", "under_review": True}, "review", "do not pay again", "slow"),
        ({"status": "paid", "under_review": True}, "review", "do not pay again", "slow"),
        ({"status": "credited", "under_review": True}, "credited", "Another payment of yours is being checked", ""),
        ({"status": "paid", "returns": (WHOLE,)}, "refunded", "¥100.00 goes back to where you paid from", "slow"),
        ({"status": "credited", "returns": (WHOLE,)}, "refunded", "¥100.00 goes back to where you paid from", "slow"),
        ({"status": "credited", "returns": (PART,)}, "credited", "¥99.99 of it went back to where you paid from", ""),
        ({"status": "credited", "returns": (EXTRA,)}, "credited", "the second payment of ¥100.00 goes back to you", "slow"),
        ({"status": "canceled", "returns": (EXTRA,)}, "canceled", "Your payment of ¥100.00 goes back to you", "slow"),
        ({"status": "open", "returns": (EXTRA,)}, "open", "Your payment of ¥100.00 goes back to you", "slow"),
        ({"status": "credited", "returns": (PART, CheckoutReturn(amount=Decimal("0.01"), done=True))}, "refunded", "went back", ""),
    ],
)
def test_what_has_become_of_a_payment(changes: dict[str, Any], status: str, words: str, paces: str) -> None:
    """Proves: money that is put aside, goes back or has gone is told; nobody is asked to pay again, or promised what is not to come."""
    one = view(now=NOW, balance=Decimal(0), **changes)
    html = shown(one)
    assert status_of(one) == status and f"bm_status={status}&amp;" in html
    assert words in texts_of(html)
    assert parsed(html).find(".//main").get("data-poll") == paces
    assert (parsed(html).find(".//button") is not None) == (status == "open")
    assert ("Bonus" in html) == (status in ("open", "credited")) and ("Balance" in html) == (status == "credited")


def test_a_page_that_is_over_promises_nothing() -> None:
    """Proves: what was to be had on top is not shown where nothing is to come any more."""
    for status in ("expired", "canceled"):
        words = texts_of(shown(view(now=NOW, status=status)))
        assert "Amount ¥100.00" in words and "Bonus" not in words and "¥120.00" not in words


def test_the_words_of_a_refusal() -> None:
    """Proves: a refused way is told alike at once and after a reload, and nobody is sent to another one where there is none."""
    plain = view(now=NOW)
    for product, who, words in (("native", visitor(), "Please choose another."), ("jsapi", visitor("wechat"), "Please try again later")):
        at_once = texts_of(shown(plain, who, notice="refused"))
        after = texts_of(shown(view(now=NOW, attempts=[attempt(product, plain, status="failed")]), who))
        assert words in at_once and words in after


def test_nothing_has_arrived_yet() -> None:
    """Proves: who says to have paid is told that nothing has come so far, and only while that is so."""
    plain = view(now=NOW)
    words = "Nothing has arrived yet."
    begun = view(now=NOW, attempts=[attempt("h5", plain)])
    html = shown(begun, visitor("mobile"))
    asked = [link.get("href") for link in parsed(html).iter("a") if link.get("class") == "secondary"]
    assert asked == [f"/pay/{begun.token}?lang=en&openid={OPENID}&asked=1"] and words not in texts_of(html)
    assert words in texts_of(shown(begun, visitor("mobile"), notice="nothing_yet"))
    for one in (plain, view(now=NOW, status="paid"), view(now=NOW, status="credited"), view(now=NOW, under_review=True)):
        assert words not in texts_of(shown(one, visitor("mobile"), notice="nothing_yet"))


def test_whose_code_it_is() -> None:
    """Proves: a page with a code bears its channel's mark, and beside the code its box has nothing but the quiet zone."""
    marks = set()
    for product in ("native", "precreate"):
        html = shown(view(now=NOW, attempts=[attempt(product, view(now=NOW))]))
        mark = re.search(r'<p class="whose"><svg class="mark"[^>]*><rect[^>]* fill="(#[0-9a-f]{6})"', html)
        drawn = re.search(r'<div class="qr [a-z]+"[^>]*><svg[^>]* viewBox="0 0 ([0-9]+) \1"', html)
        assert mark is not None and drawn is not None
        marks.add(mark[1])
        assert int(drawn[1]) == segno.make(QR_CONTENT[product], error="m", micro=False).symbol_size(border=4)[0]
    assert len(marks) == 2


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("device", DEVICES)
def test_only_what_a_device_can_do_goes_on(device: Device, product: PayProduct) -> None:
    """Proves: an attempt goes on where it can be paid; elsewhere, or once it is over, the page offers what can be."""
    open_step = {"native": "scan", "precreate": "scan", "jsapi": "jsapi"}.get(product, "leave")
    who = visitor(device)
    for status in ("created", "pending", "paid", "closed", "failed"):
        for lapsed in (False, True):
            plain = view(now=NOW)
            expires_at = NOW if lapsed else plain.expires_at
            one = view(now=NOW, attempts=[attempt(product, plain, status=status, expires_at=expires_at)])
            expected = open_step if product in who.offers() and status in ("created", "pending") and not lapsed else "choose"
            main = parsed(shown(one, who)).find(".//main")
            assert main.get("data-step") == expected
            assert main.get("data-poll") == ("fast" if status in ("created", "pending") and not lapsed else "slow")


@pytest.mark.parametrize(
    ("status", "pace", "refresh"),
    [("open", "slow", 0), ("paid", "fast", 1), ("credited", "", 0), ("expired", "slow", 0), ("canceled", "", 0)],
)
def test_how_often_it_asks(status: str, pace: str, refresh: int) -> None:
    """Proves: the page asks while something can happen; a browser without scripts is sent again, and to the same page, while paying."""
    one = view(now=NOW, status=status)
    html = shown(one)
    assert parsed(html).find(".//main").get("data-poll") == pace
    assert html.count(f'<noscript><meta http-equiv="refresh" content="5;url=/pay/{one.token}?lang=en&amp;openid={OPENID}">') == refresh


def test_the_last_attempt_counts() -> None:
    """Proves: after a switch the new attempt is shown, with the other channel beside it."""
    plain = view(now=NOW)
    one = view(now=NOW, attempts=[attempt("native", plain, status="closed"), attempt("precreate", plain)])
    words = texts_of(shown(one))
    assert "Scan with Alipay" in words and "Pay with WeChat instead" in words and "Log in to Alipay on this computer" in words
    assert "Pay with Alipay instead" not in words


def test_the_parameters_for_wechat() -> None:
    """Proves: WeChat's parameters survive the way through an attribute."""
    one = view(now=NOW, attempts=[attempt("jsapi", view(now=NOW))])
    button = parsed(shown(one, visitor("wechat"))).find(".//*[@id='jsapi']")
    assert json.loads(button.get("data-parameters")) == JSAPI


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "{{ 7 * 7 }}{% for x in y %}{merchant}{0}%s",
    "</title></noscript></main><h1>other</h1>",
    "javascript:alert(1)",
    "&lt;b&gt; \u202eevil\u2066 \x00\x1b[0m",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_text(text: str) -> None:
    """Proves: a merchant's name, a customer's id, a token and what a channel sent add no element and no attribute, wherever they stand."""
    clean = re.sub("[\x00-\x1f\u202e\u2066]", "", text)
    for one in STATES.values():
        for device in DEVICES:
            calm = shown(one, visitor(device))
            attempts = [
                msgspec.structs.replace(
                    each, redirect_url=each.redirect_url and f"https://cashier.example/?{text}", jsapi=each.jsapi and {text: text}
                )
                for each in one.attempts
            ]
            hostile = msgspec.structs.replace(one, merchant_name=text, customer=text, token=text, attempts=attempts)
            document = parsed(shown(hostile, visitor(device)))
            tags = [element.tag for element in document.iter()]
            # With attempts, an address spoiled in this way is none, and the page offers to begin again.
            assert attempts or tags == [element.tag for element in parsed(calm).iter()]
            assert tags.count("script") == 1 and "img" not in tags and tags.count("h1") == 1
            assert not [name for element in document.iter() for name in element.attrib if name.startswith("on")]
            assert "".join(document.find(".//header//bdi").itertext()) == clean
            assert {element.get("action") for element in document.iter("form")} <= {f"/pay/{quote(text, safe='')}/start"}


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "//evil.example", "/local", "ftp://a/b", ""]
)
def test_no_link_but_http(url: str) -> None:
    """Proves: neither the merchant's way back nor the channel's way on can be anything but a web address."""
    plain = view(now=NOW)
    one = view(now=NOW, return_url=url, attempts=[attempt("page", plain, redirect_url=url)])
    document = parsed(shown(one))
    assert document.find(".//main").get("data-step") == "choose"
    assert [link.get("href") for link in document.iter("a")] == [f"/pay/{one.token}?lang=zh&openid={OPENID}"]


def test_states_differ() -> None:
    """Proves: the state's text changes with what the page shows, and with nothing else."""
    plain = view(now=NOW)
    later = msgspec.structs.replace(plain, now=NOW + timedelta(minutes=1))
    assert state_of(plain) == state_of(later)
    pending = msgspec.structs.replace(plain, attempts=[attempt("h5", plain, expires_at=NOW + timedelta(minutes=5))])
    different = [
        plain,
        pending,
        msgspec.structs.replace(pending, now=NOW + timedelta(minutes=5)),
        msgspec.structs.replace(pending, attempts=[attempt("h5", plain, status="failed")]),
        msgspec.structs.replace(plain, now=plain.expires_at),
        msgspec.structs.replace(plain, status="paid"),
        msgspec.structs.replace(plain, status="credited"),
        msgspec.structs.replace(plain, status="credited", balance=Decimal(1)),
        msgspec.structs.replace(plain, status="canceled"),
        msgspec.structs.replace(plain, channels=("alipay",)),
        msgspec.structs.replace(plain, under_review=True),
        msgspec.structs.replace(plain, status="credited", under_review=True),
        *(msgspec.structs.replace(plain, status="credited", returns=(one,)) for one in (WHOLE, PART, EXTRA)),
    ]
    assert len({state_of(one) for one in different}) == len(different)


def test_time_left_is_rounded_up() -> None:
    """Proves: no second is shown as gone that is not."""
    one = view(now=NOW, expires_at=NOW + timedelta(seconds=60, microseconds=1))
    assert checkout_page.seconds_left(one) == 61
    assert "Time left 2 min" in texts_of(shown(one))
    assert checkout_page.seconds_left(view(now=NOW, expires_at=NOW - timedelta(days=1))) == 0


@pytest.mark.parametrize("locale", LOCALES)
def test_failures(locale: Locale) -> None:
    """Proves: refusals look all the same and tell nothing; a failure of ours has a reference."""
    assert {render_failure(locale, status, f"req_{status}") for status in (400, 404, 405, 414, 422)} == {
        render_failure(locale, 404, "req_1")
    }
    for status in (408, 429, 500, 503):
        html = render_failure(locale, status, f"req_{status}").decode()
        assert f"req_{status}" in texts_of(html)
    assert len(render_failure(locale, 404, "")) < 2_000


def test_everything_together_is_small() -> None:
    """Proves: page, style, script and icon are less than 50 kB without the code, and by far."""
    largest = max(len(shown(one, visitor(device))) for one in STATES.values() for device in DEVICES if not _has_code(one))
    assert largest + sum(len(asset.content) for asset in checkout_assets.ASSETS.values()) < 30_000


def _has_code(one: CheckoutView) -> bool:
    return any(each.qr_content for each in one.attempts)


def test_assets() -> None:
    """Proves: names follow content, load nothing from elsewhere, and an outdated name gets the file without keeping it."""
    for file, asset in checkout_assets.ASSETS.items():
        assert checkout_assets.find(asset.name) == (asset, True)
        stem, _, ending = file.partition(".")
        assert re.fullmatch(rf"{stem}\.[0-9a-f]{{16}}\.{ending}", asset.name)
        assert checkout_assets.find(f"{stem}.0123456789abcdef.{ending}") == (asset, False)
        text = asset.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|innerHTML|eval\(|document\.cookie|localStorage", text)
    for name in ("", "x", "checkout", "checkout.html", "checkout.css.map", "../checkout.html", "en.json"):
        assert checkout_assets.find(name) is None


def test_every_product_has_its_channel() -> None:
    """Proves: the table of products is whole."""
    assert set(CHANNEL_OF) == set(PRODUCTS)
