"""Paying in a real browser: what happens on the page while money moves behind it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page, Response, Route, expect

from tests.browser.conftest import CashierServer, Payer
from tests.checkouts import JSAPI, QR_CONTENT, TopUps, attempt, token_like, view

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
HEADING = "#heading"
LIVE_MS = 6_000
"""the script asks every two seconds at first"""
BRIDGE = """
window.calls = [];
window.WeixinJSBridge = { invoke(name, parameters, done) { window.calls.push([name, parameters]); window.done = done; } };
"""
"""what WeChat puts into its pages"""


def mark(page: Page) -> None:
    """Leaves a trace that a reload would wipe away."""
    page.evaluate("window.unreloaded = true")


def assert_live(page: Page) -> None:
    """The page changed without a reload."""
    assert page.evaluate("window.unreloaded === true")


def until(page: Page, condition: str) -> None:
    """Waits for a JavaScript condition. Playwright's own wait asks from inside of the page, where our policy forbids to evaluate a text."""
    deadline = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"never true: {condition}"
        page.wait_for_timeout(20)


@pytest.mark.parametrize(("name", "product"), [("微信支付", "native"), ("支付宝", "precreate")])
def test_scanned_on_a_desktop(payer: Callable[..., Payer], top_ups: TopUps, name: str, product: str) -> None:
    """Proves: from choosing a channel to the new balance on one page, whose code a scanner reads, and which never reloads after that."""
    shown = top_ups.add()
    one = payer("desktop")
    page = one.open(shown.token)
    page.get_by_role("button", name=re.compile(f"^{name}")).click()
    expect(page.get_by_role("img", name=re.compile("二维码，金额 ¥100.00"))).to_be_visible()
    with Image.open(one.picture(f"scanned-{product}")) as picture:
        (code,) = zxingcpp.read_barcodes(picture)
    assert code.text == QR_CONTENT[product]
    expect(page.locator(".whose .mark")).to_be_visible()
    widths = page.evaluate("[...document.querySelectorAll('.qr, .qr svg')].map(one => one.getBoundingClientRect().width)")
    assert widths[1] > widths[0] - 4, "the code fills its box: its own quiet zone is enough"
    mark(page)
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("已收到付款", timeout=LIVE_MS)
    top_ups.change(shown.token, status="credited", balance=Decimal("123.000000001"))
    expect(page.locator(HEADING)).to_have_text("充值成功", timeout=LIVE_MS)
    expect(page.get_by_text("¥123.000000001")).to_be_visible()
    expect(page).to_have_title("充值成功 · Nimbus AI 云图")
    expect(page.locator(HEADING)).to_be_focused()
    assert_live(page)
    back = page.get_by_role("link", name="返回 Nimbus AI 云图").get_attribute("href")
    assert back is not None
    assert back.startswith("https://shop.example/wallet?tab=credits&bm_top_up_id=") and "bm_status=credited" in back
    assert {urlsplit(address).netloc for address in one.requests} == {urlsplit(one.url).netloc}
    asked = len(one.requests)
    page.wait_for_timeout(3_000)
    assert len(one.requests) == asked, "a page that is over still asks"


def test_the_code_is_read_in_the_dark(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: dark colours leave the code black on white."""
    shown = view()
    top_ups.put(view(token=shown.token, attempts=[attempt("native", shown)]))
    one = payer("desktop", color_scheme="dark")
    one.open(shown.token)
    with Image.open(one.picture("dark-native")) as picture:
        (code,) = zxingcpp.read_barcodes(picture)
    assert code.text == QR_CONTENT["native"]


@pytest.mark.parametrize(
    ("device", "name", "product"), [("phone", "微信支付", "h5"), ("phone", "支付宝", "wap"), ("alipay", "支付宝", "wap")]
)
def test_led_to_the_cashier(
    payer: Callable[..., Payer], top_ups: TopUps, cashier: CashierServer, device: str, name: str, product: str
) -> None:
    """Proves: a phone goes straight on to the channel, which learns our origin and not the address; the way back does not pay again."""
    shown = top_ups.add()
    one = payer(device)
    page = one.open(shown.token)
    page.get_by_role("button", name=re.compile(f"^{name}")).click()
    page.wait_for_url(f"{cashier.url}/{product}?order=1")
    assert cashier.visits == [(f"/{product}?order=1", f"{one.url}/")]
    page.go_back()
    expect(page.get_by_role("link", name="我已完成付款")).to_be_visible()
    assert page.url == f"{one.url}/pay/{shown.token}"
    assert len(cashier.visits) == 1 and len(top_ups.started) == 1
    mark(page)
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("已收到付款", timeout=LIVE_MS)
    assert_live(page)


def test_paid_inside_wechat(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: WeChat's own payment gets exactly its parameters, a cancelled one can be repeated, and its word alone changes nothing."""
    shown = top_ups.add()
    one = payer("wechat")
    one.page.add_init_script(BRIDGE)
    page = one.open(shown.token, f"?openid={OPENID}")
    assert page.get_by_role("button").count() == 1
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    until(page, "window.calls !== undefined && window.calls.length === 1")
    assert top_ups.started[0][1:] == ("jsapi", "127.0.0.1", OPENID)
    assert page.evaluate("window.calls[0]") == ["getBrandWCPayRequest", JSAPI]
    page.evaluate("window.done({err_msg: 'get_brand_wcpay_request:cancel'})")
    expect(page.locator(".notice")).to_have_text("付款没有完成，可以重新支付。")
    one.picture("canceled-in-wechat")
    page.get_by_role("button", name="支付 ¥100.00").click()
    page.evaluate("window.done({err_msg: 'get_brand_wcpay_request:ok'})")
    page.wait_for_timeout(500)
    expect(page.locator(HEADING)).to_have_text("微信支付")
    mark(page)
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("已收到付款", timeout=LIVE_MS)
    assert_live(page)
    assert len(top_ups.started) == 1


def test_wechat_whose_bridge_comes_late(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: a page that is faster than WeChat waits for its bridge."""
    shown = top_ups.add()
    page = payer("wechat").open(shown.token, f"?openid={OPENID}")
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    expect(page.locator("#jsapi")).to_be_visible()
    page.evaluate(f"{BRIDGE}; document.dispatchEvent(new Event('WeixinJSBridgeReady'))")
    assert page.evaluate("window.calls") == [["getBrandWCPayRequest", JSAPI]]


def test_without_scripts(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: choosing, the amount, a code that a scanner reads, and the result need no script."""
    shown = top_ups.add()
    one = payer("desktop", java_script_enabled=False)
    page = one.open(shown.token)
    expect(page.locator(".amount")).to_have_text("¥100.00")
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    expect(page.get_by_role("img", name=re.compile("二维码，金额 ¥100.00"))).to_be_visible()
    expect(page.locator(".amount")).to_have_text("¥100.00")
    with Image.open(one.picture("scriptless-native")) as picture:
        (code,) = zxingcpp.read_barcodes(picture)
    assert code.text == QR_CONTENT["native"]
    assert not any(address.endswith(".js") for address in one.requests)
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("已收到付款", timeout=8_000)
    top_ups.change(shown.token, status="credited", balance=Decimal("120"))
    expect(page.locator(HEADING)).to_have_text("充值成功", timeout=8_000)


def test_without_scripts_on_a_phone(payer: Callable[..., Payer], top_ups: TopUps, cashier: CashierServer) -> None:
    """Proves: where the script would go on by itself, a link does it, and the channel learns our origin from it, too."""
    shown = top_ups.add()
    one = payer("phone", java_script_enabled=False)
    page = one.open(shown.token)
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    page.get_by_role("link", name="打开微信支付 ¥100.00").click()
    page.wait_for_url(f"{cashier.url}/h5?order=1")
    assert cashier.visits == [("/h5?order=1", f"{one.url}/")]


def test_without_scripts_inside_wechat(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: WeChat's own payment, which is nothing but a script, shows no dead button without one, but leads to a code."""
    shown = top_ups.add()
    one = payer("wechat", java_script_enabled=False)
    page = one.open(shown.token, f"?openid={OPENID}")
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    expect(page.locator("#jsapi")).to_be_hidden()
    one.picture("jsapi-without-scripts-wechat")
    page.get_by_role("button", name="显示二维码，用另一部手机扫码").click()
    expect(page.get_by_role("img", name=re.compile("二维码"))).to_be_visible()
    assert [product for _, product, _, _ in top_ups.started] == ["jsapi", "native"]


def test_who_says_to_have_paid(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: "I have paid" is answered, also if nothing has come, and the page goes on looking until it has."""
    shown = view()
    top_ups.put(view(token=shown.token, attempts=[attempt("h5", shown)]))
    one = payer("phone")
    page = one.open(shown.token)
    page.get_by_role("link", name="我已完成付款").click()
    expect(page.get_by_role("alert")).to_have_text("尚未收到付款，本页会继续查询。")
    one.picture("asked-phone")
    mark(page)
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("已收到付款", timeout=LIVE_MS)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert_live(page)


def test_put_aside_while_somebody_looks(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: a page that shows a code takes it away when a payment was put aside."""
    shown = view()
    top_ups.put(view(token=shown.token, attempts=[attempt("native", shown)]))
    page = payer("desktop").open(shown.token)
    expect(page.locator(".qr")).to_be_visible()
    mark(page)
    top_ups.change(shown.token, attempts=[], under_review=True)
    expect(page.locator(HEADING)).to_have_text("付款正在人工核对", timeout=LIVE_MS)
    assert page.get_by_role("button").count() == 0
    assert_live(page)


def test_first_paint_without_the_script(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: the page is whole on the screen while its script has not come, and all of it is less than 50 kB."""
    shown = top_ups.add()
    one = payer("phone")
    held: list[Route] = []
    answers: list[Response] = []
    one.page.route("**/*.js", lambda route: held.append(route))
    one.page.on("response", lambda answer: answers.append(answer))
    one.page.goto(f"{one.url}/pay/{shown.token}", wait_until="commit")
    expect(one.page.get_by_role("button", name=re.compile("^微信支付"))).to_be_visible()
    until(one.page, "performance.getEntriesByName('first-contentful-paint').length === 1")
    assert len(held) == 1, "the script is held back"
    held[0].continue_()
    expect(one.page.locator("#left")).to_have_text(re.compile("[0-9]+:[0-9]{2}"))
    one.page.wait_for_load_state("networkidle")
    sizes = {urlsplit(answer.url).path.rpartition(".")[2][:4]: len(answer.body()) for answer in answers}
    assert len(sizes) == len(answers) >= 3
    assert sum(sizes.values()) < 30_000, sizes


def test_the_time_runs_out(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: the countdown counts, warns aloud once, and ends in the expired page by itself, with the way back."""
    now = datetime.now(UTC)
    shown = top_ups.add(expires_at=now + timedelta(seconds=8))
    page = payer("phone").open(shown.token)
    mark(page)
    expect(page.locator("#left")).to_have_text(re.compile("0:0[1-7]"))
    expect(page.locator("#live")).to_have_text("剩余支付时间一分钟。")
    expect(page.locator(HEADING)).to_have_text("支付页面已过期", timeout=12_000)
    assert_live(page)
    assert "bm_status=expired" in str(page.get_by_role("link", name="返回 Nimbus AI 云图").get_attribute("href"))
    # Paid at the last moment: the channel said so after the page had given up.
    top_ups.change(shown.token, status="credited", balance=Decimal("120"), expires_at=now + timedelta(minutes=5))
    expect(page.locator(HEADING)).to_have_text("充值成功", timeout=14_000)


def test_a_lapsed_payment_is_repeated(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: a payment that was not made in time says so without a reload, and the next one works."""
    shown = top_ups.add()
    page = payer("desktop", locale="en-GB").open(shown.token)
    page.get_by_role("button", name=re.compile("^Alipay")).click()
    expect(page.locator(".qr")).to_be_visible()
    mark(page)
    top_ups.change(shown.token, attempts=[attempt("precreate", shown, expires_at=shown.now)])
    expect(page.get_by_role("alert")).to_have_text("The last payment was not finished in time. Please choose again.", timeout=LIVE_MS)
    assert_live(page)
    page.get_by_role("button", name=re.compile("^WeChat Pay")).click()
    expect(page.locator(HEADING)).to_have_text("Scan with WeChat")
    page.get_by_role("button", name="Pay with Alipay instead").click()
    expect(page.locator(HEADING)).to_have_text("Scan with Alipay")
    assert [product for _, product, _, _ in top_ups.started] == ["precreate", "native", "precreate"]


@pytest.mark.parametrize(("code", "words"), [("database_unavailable", "支付服务暂时没有响应"), ("forbidden", "这种支付方式目前不可用")])
def test_a_start_that_fails(payer: Callable[..., Payer], top_ups: TopUps, code: str, words: str) -> None:
    """Proves: a channel that does not answer or refuses leaves a page that says so, from which the payer can try again."""
    shown = top_ups.add()
    top_ups.refuse = code
    one = payer("desktop")
    page = one.open(shown.token)
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    expect(page.get_by_role("alert")).to_contain_text(words)
    one.picture(f"start-{code}")
    # The browser reports the answer's status, which is meant.
    assert len(one.problems) == 1 and "Failed to load resource" in one.problems.pop()
    top_ups.refuse = None
    page.get_by_role("button", name=re.compile("^微信支付")).click()
    expect(page.locator(".qr")).to_be_visible()


def test_the_connection_is_lost_and_comes_back(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: the page says when it cannot ask, and goes on by itself when it can."""
    shown = view()
    top_ups.put(view(token=shown.token, attempts=[attempt("native", shown)]))
    one = payer("desktop")
    page = one.open(shown.token)
    page.context.set_offline(True)
    expect(page.locator("#lost")).to_be_visible(timeout=12_000)
    page.context.set_offline(False)
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("已收到付款", timeout=14_000)
    expect(page.locator("#lost")).to_be_hidden()
    one.problems[:] = [words for words in one.problems if "ERR_INTERNET_DISCONNECTED" not in words]


def test_a_forgotten_window_rests(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: after an hour without anything new the page stops asking, and asks again as soon as somebody looks at it."""
    shown = top_ups.add()
    one = payer("desktop")
    one.page.clock.install()
    page = one.open(shown.token)

    def asked_after(seconds: int) -> int:
        before = len(one.requests)
        page.clock.fast_forward(seconds * 1_000)
        page.wait_for_load_state("networkidle")
        page.clock.run_for(100)
        return len(one.requests) - before

    assert asked_after(15) > 0
    asked_after(3_700)
    assert asked_after(60) == 0
    # It asks at once, perhaps before anybody could begin to count.
    with page.expect_request(f"**/pay/{shown.token}/status*"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_with_the_keyboard_alone(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: everything is reached in the order of reading, shows where the focus is, and Enter pays."""
    shown = top_ups.add()
    page = payer("desktop", locale="en-GB").open(shown.token)
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.innerText.trim().split('\\n')[0]"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert reached == ["中文", "WeChat Pay", "Alipay", "Log in to Alipay on this computer", "Leave without paying"]
    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".qr")).to_be_visible()


def test_nothing_moves_if_that_is_asked_for(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: with reduced motion no animation runs; without it one does, so the test can see."""
    shown = view()
    top_ups.put(view(token=shown.token, attempts=[attempt("native", shown)]))
    moving = {}
    for motion in ("reduce", "no-preference"):
        page = payer("desktop", reduced_motion=motion).open(shown.token)
        moving[motion] = page.evaluate("document.getAnimations().length")
    assert moving == {"reduce": 0, "no-preference": 1}


def test_the_policy_holds(payer: Callable[..., Payer], top_ups: TopUps, cashier: CashierServer) -> None:
    """Proves: a script that got into the page does not run, nothing is fetched from elsewhere, and nobody can frame the page."""
    shown = top_ups.add()
    one = payer("desktop")
    page = one.open(shown.token)
    page.evaluate(
        """url => {
        const script = document.createElement("script");
        script.textContent = "window.ran = true";
        document.body.append(script);
        const picture = document.createElement("img");
        picture.src = url + "/picture";
        document.body.append(picture);
    }""",
        cashier.url,
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.ran") is None
    assert cashier.visits == []
    assert len(one.problems) >= 2 and all("Content Security Policy" in words for words in one.problems)
    one.problems.clear()
    page.goto(cashier.url)
    page.evaluate(
        """url => new Promise(done => {
        const frame = document.createElement("iframe");
        frame.src = url;
        frame.onload = done;
        document.body.append(frame);
    })""",
        f"{one.url}/pay/{shown.token}",
    )
    framed = [frame for frame in page.frames if frame.url.startswith(one.url)]
    assert all(frame.locator(HEADING).count() == 0 for frame in framed)
    assert any("frame-ancestors" in words for words in one.problems)
    one.problems.clear()


def test_hostile_names_stay_text(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: names full of markup and direction marks are shown as the text they are."""
    hostile = """<img src=x onerror="window.ran=1">'"&{{7*7}}\u202e"""
    shown = top_ups.add(merchant_name=hostile, customer=hostile, return_url="javascript:window.ran=1")
    one = payer("phone")
    page = one.open(shown.token)
    expect(page.locator(".merchant bdi")).to_have_text(hostile.rstrip("\u202e"))
    expect(page.locator("dd bdi")).to_have_text(hostile.rstrip("\u202e"))
    assert page.locator("img").count() == 0 and page.get_by_text("暂不支付").count() == 0
    one.picture("hostile-phone")
    assert page.evaluate("window.ran") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_wrong_address(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: a wrong token gets a calm page, and a page whose token ends learns it."""
    one = payer("phone")
    page = one.open(token_like())
    expect(page.locator(HEADING)).to_have_text("没有找到这个页面")
    one.picture("missing-phone")
    shown = view()
    top_ups.put(view(token=shown.token, attempts=[attempt("h5", shown)]))
    one.open(shown.token)
    top_ups.kept.clear()
    expect(page.locator(HEADING)).to_have_text("没有找到这个页面", timeout=LIVE_MS)
    assert one.problems and all("404" in words for words in one.problems), json.dumps(one.problems)
    one.problems.clear()


def test_in_trouble(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: a failure of ours is a page with a reference for support."""
    shown = top_ups.add()
    top_ups.broken = True
    one = payer("desktop", locale="en-GB")
    page = one.open(shown.token)
    expect(page.locator(HEADING)).to_have_text("This page cannot be shown right now")
    expect(page.locator("code")).to_have_text(re.compile("^req_[0-9a-f]{32}$"))
    one.picture("trouble-desktop")
    one.problems.clear()


def test_the_language_is_kept(payer: Callable[..., Payer], top_ups: TopUps) -> None:
    """Proves: the language that the payer chose stays through a payment."""
    shown = top_ups.add(locale="zh")
    page = payer("desktop", locale="en-GB").open(shown.token)
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    page.get_by_role("link", name="English").click()
    page.get_by_role("button", name=re.compile("^WeChat Pay")).click()
    expect(page.locator(HEADING)).to_have_text("Scan with WeChat")
    top_ups.pay(shown.token)
    expect(page.locator(HEADING)).to_have_text("Payment received", timeout=LIVE_MS)
