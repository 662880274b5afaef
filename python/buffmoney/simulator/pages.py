"""What a payer sees: plain HTML in Chinese and English that needs no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from buffmoney.simulator.channel_time import beijing
from buffmoney.simulator.fen import yuan
from buffmoney.simulator.records import Order

REASONS = {
    "unknown_code": ("二维码无效", "Nobody has issued this code."),
    "code_expired": ("二维码已过期", "This code has expired. Ask the merchant for a new one."),
    "code_replaced": ("二维码已失效，请扫描新的二维码", "A newer code has replaced this one."),
    "order_expired": ("订单已过期，不能再付款", "The order has expired and takes no payment any more."),
    "closed": ("订单已关闭", "The merchant has closed this order."),
    "already_paid": ("订单已支付，请勿重复付款", "This order is paid already. You are not charged again."),
    "invalid_signature": ("支付请求的签名无效", "The signature of this payment request is not valid."),
    "bad_request": ("请求无效", "This request cannot be read."),
}
"""why a payment is refused, in Chinese and English"""

_CHANNELS = {"wechat": ("微信支付", "WeChat Pay", "#067a3e"), "alipay": ("支付宝", "Alipay", "#0b57c4")}
_STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;background:#f1f3f5;color:#1c2024;
font:16px/1.5 system-ui,-apple-system,"PingFang SC","Noto Sans SC","Noto Sans CJK SC",sans-serif}
main{max-width:26rem;margin:0 auto;padding:1rem}
.card{background:#fff;border-radius:14px;overflow:hidden;box-shadow:0 1px 3px rgba(0,0,0,.12);margin-bottom:1rem}
.head{background:var(--channel,#3a4250);color:#fff;padding:.8rem 1.1rem;font-weight:600}
.in{padding:1.1rem}
.amount{font-size:2.6rem;font-weight:700;text-align:center;margin:.4rem 0 0;font-variant-numeric:tabular-nums}
.for{text-align:center;color:#4a525b;margin:.1rem 0 1rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:auto 1fr;gap:.35rem .9rem;margin:0;font-size:.875rem;border-top:1px solid #e4e7ea;padding-top:.9rem}
dt{color:#4a525b}dd{margin:0;text-align:right;overflow-wrap:anywhere;text-wrap:balance;font-variant-numeric:tabular-nums}
button,.button{display:block;width:100%;min-height:48px;margin-top:.7rem;padding:.6rem 1rem;border-radius:10px;border:1px solid #8b949e;
background:#fff;color:#1c2024;font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer}
button.pay{background:var(--channel,#3a4250);border-color:transparent;color:#fff;font-size:1.1rem}
button:focus-visible,a:focus-visible,input:focus-visible{outline:3px solid #f2a900;outline-offset:2px}
.note{font-size:.8125rem;color:#4a525b;text-align:center}
.mark{font-size:3rem;line-height:1;text-align:center;margin:.3rem 0}
h1{font-size:1.25rem;text-align:center;margin:.4rem 0}h1 small{display:block;font-size:.9375rem;font-weight:400;color:#4a525b}
input[type=text]{width:100%;min-height:48px;padding:.5rem .7rem;border:1px solid #8b949e;border-radius:10px;font:inherit}
ul{list-style:none;margin:0;padding:0}li a{display:flex;gap:.8rem;justify-content:space-between;padding:.8rem 1.1rem;color:inherit;
text-decoration:none;border-top:1px solid #e4e7ea}li a b{font-variant-numeric:tabular-nums}
li small{display:block;color:#4a525b;overflow-wrap:anywhere;text-wrap:balance}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
# No form-action: it would hold for redirects too, and a payer is sent back to the merchant.


def answer(page: str, status: int = 200) -> Response:
    """A page as a response."""
    return HTMLResponse(page, status, {"content-security-policy": _POLICY, "referrer-policy": "no-referrer", "cache-control": "no-store"})


def _page(title: str, body: str, colour: str = "#3a4250") -> str:
    return (
        '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f'<body style="--channel:{colour}"><main>{body}'
        '<p class="note">模拟支付，不涉及真实资金 <span lang="en">· A simulator: no money moves here</span></p></main></body></html>'
    )


def _both(chinese: str, english: str) -> str:
    return f'{escape(chinese)} <span lang="en">{escape(english)}</span>'


def _details(order: Order, merchant: str) -> str:
    rows = (
        ("商户", "Merchant", merchant),
        ("订单号", "Order", order.order_no),
        ("有效期至", "Valid until", beijing(order.expires_at_us)),
    )
    return "<dl>" + "".join(f"<dt>{_both(zh, en)}</dt><dd>{escape(value)}</dd>" for zh, en, value in rows) + "</dl>"


def payment(order: Order, merchant: str, code: str, *, note: tuple[str, str] | None = None) -> str:
    """The page on which one pays, fails or waits. code: what was scanned. note: what happened last, in Chinese and English."""
    zh, en, colour = _CHANNELS[order.channel]
    said = "" if note is None else f'<p class="for" role="status"><strong>{_both(*note)}</strong></p>'
    body = (
        f'<section class="card"><div class="head">{_both(zh, en)}</div><div class="in">'
        f'<p class="amount">¥{yuan(order.amount_fen)}</p><p class="for">{escape(order.description)}</p>{said}{_details(order, merchant)}'
        f'<form method="post" action="/phone/pay"><input type="hidden" name="code" value="{escape(code)}">'
        f'<button class="pay" name="outcome" value="pay">{_both("确认付款", "Pay")}</button>'
        f'<button name="outcome" value="fail">{_both("付款失败", "Fail")}</button>'
        f'<button name="outcome" value="wait">{_both("稍后再付", "Wait")}</button></form></div></section>'
    )
    return _page(f"{zh} ¥{yuan(order.amount_fen)}", body, colour)


def paid(order: Order, merchant: str, back: str | None) -> str:
    """The page after a payment. back: where the merchant wants the payer to go."""
    zh, _, colour = _CHANNELS[order.channel]
    link = "" if back is None else f'<a class="button" href="{escape(back)}">{_both("返回商家", "Back to the merchant")}</a>'
    body = (
        f'<section class="card"><div class="in"><p class="mark" aria-hidden="true" style="color:{colour}">✓</p>'
        f'<h1>支付成功<small lang="en">Paid</small></h1><p class="amount">¥{yuan(order.amount_fen)}</p>'
        f'<p class="for">{escape(order.description)}</p>{_details(order, merchant)}{link}</div></section>'
    )
    return _page(f"{zh} 支付成功", body, colour)


def refused(reason: str, back: str | None = None) -> str:
    """The page when there is nothing to pay. reason: one of REASONS."""
    zh, en = REASONS[reason]
    return _message(zh, en, back)


def refusal(code: str, message: str) -> str:
    """The page for a request that the channel refuses, with the channel's own code."""
    return _message(message, code, None)


def _message(chinese: str, english: str, back: str | None) -> str:
    link = "" if back is None else f'<a class="button" href="{escape(back)}">{_both("返回商家", "Back to the merchant")}</a>'
    body = (
        '<section class="card"><div class="in"><p class="mark" aria-hidden="true">!</p>'
        f'<h1>{escape(chinese)}<small lang="en">{escape(english)}</small></h1>{link}'
        f'<a class="button" href="/phone">{_both("回到手机", "Back to the phone")}</a></div></section>'
    )
    return _page(chinese, body)


def index(waiting: Sequence[tuple[Order, str, str]]) -> str:
    """The phone without a code: a field to put one in, and what could be paid now as (order, merchant's name, code)."""
    rows = "".join(
        f'<li><a href="/phone?code={escape(quote(code, safe=""))}"><span>{escape(order.description)}'
        f"<small>{escape(_CHANNELS[order.channel][0])} · {escape(merchant)} · {beijing(order.created_at_us)[11:]}</small>"
        f"<small>{escape(order.order_no)}</small></span>"
        f"<b>¥{yuan(order.amount_fen)}</b></a></li>"
        for order, merchant, code in waiting
    )
    empty = f'<p class="note" style="padding:0 1rem 1rem">{_both("没有待付款的订单", "No order is waiting for payment.")}</p>'
    body = (
        f'<section class="card"><div class="head">{_both("手机", "The phone")}</div><div class="in"><form method="get" action="/phone">'
        f'<label for="code">{_both("扫到的内容", "What the QR code says")}</label>'
        '<input type="text" id="code" name="code" required autocomplete="off" placeholder="weixin://wxpay/… · https://qr.alipay.com/…">'
        f'<button class="pay">{_both("打开", "Open")}</button></form></div></section>'
        f'<section class="card"><div class="in"><h1>待付款<small lang="en">Waiting for payment</small></h1></div>'
        f"{f'<ul>{rows}</ul>' if rows else empty}</section>"
    )
    return _page("模拟手机 Phone", body)
