"""The whole way in a real browser: a top-up of a real product, paid on the simulator's phone, until its credits are spent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Payer
from tests.product import Merchant, event
from tests.unit.test_return_url import CHECK

CREDITED_MS = 15_000
SHOP = "https://shop.example/wallet"
PAYERS_ADDRESS = {"x-forwarded-for": "124.205.1.9"}
"""as a proxy in front of the edge adds it: WeChat takes no H5 payer from this machine itself"""
BRIDGE = """
window.WeixinJSBridge = {
    async invoke(name, parameters, done) {
        const result = await window.wechatPays(JSON.stringify(parameters));
        done({ err_msg: "get_brand_wcpay_request:" + result });
    },
};
"""


def top_up(merchant: Merchant, amount: str = "100", **fields: str) -> dict[str, str]:
    """A new top-up of the customer `acme`."""
    made: dict[str, str] = merchant.ok("POST", "/v1/top-ups", {"customerExternalId": "acme", "amount": amount, "returnUrl": SHOP, **fields})
    return made


def phone_page(payer: Callable[..., Payer], merchant: Merchant, code: str) -> Page:
    """What the payer's own phone shows after scanning a code."""
    page = payer("phone").page
    page.goto(f"{merchant.product.run['simulatorUrl']}/phone?code={quote(code, safe='')}")
    return page


def press(page: Page, outcome: str) -> None:
    page.locator(f"button[value={outcome}]").click()


def scanned(one: Payer, name: str) -> str:
    """What a camera before the screen reads."""
    expect(one.page.locator(".qr")).to_be_visible()
    with Image.open(one.picture(name)) as picture:
        (code,) = zxingcpp.read_barcodes(picture)
    text: str = code.text
    return text


def assert_credited(page: Page, merchant: Merchant, made: dict[str, str], balance: str) -> None:
    """The page says so, the API agrees, and the way back is signed."""
    expect(page.locator("#heading")).to_have_text("充值成功", timeout=CREDITED_MS)
    expect(page.locator(".balance dd")).to_have_text(f"¥{balance}")
    assert Decimal(merchant.balance()["available"]) == Decimal(balance)
    assert merchant.ok("GET", f"/v1/top-ups/{made['topUpId']}")["status"] == "credited"
    back = page.get_by_role("link", name=re.compile("^返回")).get_attribute("href")
    assert back is not None and back.startswith(SHOP)
    query = dict(parse_qsl(urlsplit(back).query))
    assert (query["bm_top_up_id"], query["bm_status"]) == (made["topUpId"], "credited")
    assert CHECK(query, merchant.ok("GET", "/v1/return-secret")["returnSecret"])
    live = merchant.live
    assert not CHECK(query, live.ok("GET", "/v1/return-secret")["returnSecret"])
    live.close()


@pytest.mark.parametrize(("name", "label"), [("native", "微信支付"), ("precreate", "支付宝")])
def test_scanned_and_spent(payer: Callable[..., Payer], new_merchant: Callable[..., Merchant], name: str, label: str) -> None:
    """Proves: from the code on the screen over the payer's phone to credits with their bonus, which usage then spends."""
    merchant = new_merchant()
    merchant.ok("POST", "/v1/promotions", {"name": "welcome", "buy": "100", "get": "20"})
    made = top_up(merchant)
    one = payer("desktop")
    one.page.goto(made["checkoutUrl"])
    one.page.get_by_role("button", name=re.compile(f"^{label}")).click()
    expect(one.page.locator(".bonus dd")).to_have_text("+¥20.00")
    code = scanned(one, f"product-{name}")
    phone = phone_page(payer, merchant, code)
    press(phone, "wait")
    press(phone, "fail")
    press(phone, "pay")
    assert_credited(one.page, merchant, made, "120.00")
    one.picture(f"product-{name}-credited")
    merchant.usage(event())
    assert Decimal(merchant.balance()["available"]) == 119
    one.page.reload()
    expect(one.page.locator(".balance dd")).to_have_text("¥119.00")


@pytest.mark.parametrize(
    ("device", "label"), [("phone", "微信支付"), ("phone", "支付宝"), ("alipay", "支付宝"), ("desktop", "在本机登录支付宝付款")]
)
def test_led_to_the_channel_and_back(payer: Callable[..., Payer], new_merchant: Callable[..., Merchant], device: str, label: str) -> None:
    """Proves: H5, wap and page pay lead to the channel's own page, which leads back to the checkout, which tells the result."""
    merchant = new_merchant()
    made = top_up(merchant)
    one = payer(device, extra_http_headers=PAYERS_ADDRESS)
    one.page.goto(made["checkoutUrl"])
    one.page.get_by_role("button", name=re.compile(f"^{label}")).click()
    one.page.wait_for_url(f"{merchant.product.run['simulatorUrl']}/**")
    press(one.page, "pay")
    one.page.wait_for_url(f"{made['checkoutUrl']}*")
    assert_credited(one.page, merchant, made, "100.00")


def test_paid_inside_wechat(payer: Callable[..., Payer], new_merchant: Callable[..., Merchant]) -> None:
    """Proves: WeChat takes the parameters as we signed them; after a payer's no the same page goes on to a yes."""
    merchant = new_merchant()
    made = top_up(merchant)
    one = payer("wechat")
    outcomes = ["wait", "pay"]

    def wechat_pays(parameters: str) -> str:
        url = f"{merchant.product.run['simulatorUrl']}/phone/jsapi"
        answer = httpx.post(url, json={**json.loads(parameters), "outcome": outcomes.pop(0)}, trust_env=False).json()
        return str(answer["err_msg"]).partition(":")[2]

    one.page.expose_function("wechatPays", wechat_pays)
    one.page.add_init_script(BRIDGE)
    one.page.goto(f"{made['checkoutUrl']}?openid=oUpF8uMuAJO_M2pxb1Q9zNjWeS6o")
    one.page.get_by_role("button", name=re.compile("^微信支付")).click()
    expect(one.page.locator(".notice")).to_have_text("付款没有完成，可以重新支付。")
    one.page.locator("#jsapi").click()
    assert_credited(one.page, merchant, made, "100.00")
    assert outcomes == []


def test_the_other_channel_after_all(payer: Callable[..., Payer], new_merchant: Callable[..., Merchant]) -> None:
    """Proves: whoever changes channel leaves nothing behind that could still be paid."""
    merchant = new_merchant()
    made = top_up(merchant, "30")
    one = payer("desktop")
    one.page.goto(made["checkoutUrl"])
    one.page.get_by_role("button", name=re.compile("^微信支付")).click()
    first = scanned(one, "product-switch-1")
    one.page.get_by_role("button", name="改用支付宝").click()
    expect(one.page.locator("#heading")).to_have_text("用支付宝扫码支付")
    second = scanned(one, "product-switch-2")
    refused = httpx.get(f"{merchant.product.run['simulatorUrl']}/phone", params={"code": first}, trust_env=False)
    assert refused.status_code == 409
    press(phone_page(payer, merchant, second), "pay")
    assert_credited(one.page, merchant, made, "30.00")


def test_cancelled_meanwhile(payer: Callable[..., Payer], new_merchant: Callable[..., Merchant]) -> None:
    """Proves: a page that shows a code learns that the merchant has cancelled."""
    merchant = new_merchant()
    made = top_up(merchant)
    one = payer("desktop")
    one.page.goto(made["checkoutUrl"])
    one.page.get_by_role("button", name=re.compile("^微信支付")).click()
    scanned(one, "product-cancelled")
    merchant.ok("POST", f"/v1/top-ups/{made['topUpId']}/cancel", {})
    expect(one.page.locator("#heading")).to_have_text("充值已取消", timeout=CREDITED_MS)


def test_foreign_and_missing_tokens_look_alike(new_merchant: Callable[..., Merchant]) -> None:
    """Proves: of a token nothing can be learnt but by who has it; an API key changes nothing."""
    merchant = new_merchant()
    path = urlsplit(top_up(merchant)["checkoutUrl"]).path
    wrong = path[:-1] + ("A" if path[-1] != "A" else "B")
    answers = [merchant.client().get(wrong), merchant.live.client().get(wrong), httpx.get(merchant.product.url + wrong, trust_env=False)]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
