"""Alipay's daily bills: a ZIP of GBK CSVs with `#` lines around the rows and tabs after texts that Excel would take for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from buffmoney.base.clock import to_datetime
from buffmoney.simulator.alipay.gbk_zip import pack
from buffmoney.simulator.channel_time import SHANGHAI, beijing, day_bounds
from buffmoney.simulator.fen import yuan
from buffmoney.simulator.merchants import Merchant
from buffmoney.simulator.records import Order, Refund
from buffmoney.simulator.store import Store

_TRADE_HEADER = (
    "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,"
    "订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,"
    "券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
)
TRADE_COLUMNS = tuple(_TRADE_HEADER.split(","))
_TABBED_NAMES = "支付宝交易号,商户订单号,业务类型,门店编号,门店名称,操作员,终端号,对方账户,商家红包消费金额（元）,退款批次号/请求号"
TABBED = frozenset(_TABBED_NAMES.split(","))
_SUMMARY_HEADER = (
    "门店编号,门店名称,交易订单总笔数,退款订单总笔数,订单金额（元）,商家实收（元）,支付宝优惠（元）,商家优惠（元）,"
    "卡消费金额（元）,服务费（元）,分润（元）,实收净额（元）"
)
SUMMARY_COLUMNS = tuple(_SUMMARY_HEADER.split(","))
_FUND_HEADER = (
    "账务流水号,业务流水号,商户订单号,商品名称,发生时间,对方账号,收入金额（+元）,支出金额（-元）,账户余额（元）,交易渠道,业务类型,备注"
)
FUND_COLUMNS = tuple(_FUND_HEADER.split(","))
_RULE = "-" * 40
_BUYER = "*真(sim***@example.com)"

Event = tuple[int, Order, Refund | None]
"""(time under which the bill has it, order, its refund or None for the payment)"""


def _events(store: Store, merchant: Merchant, until_us: int) -> list[Event]:
    """Payments by their time and refunds by theirs, from the first day until before `until_us`."""
    found: list[Event] = []
    for row in store.all(
        "SELECT * FROM orders WHERE channel = 'alipay' AND collector_id = ? AND paid_at_us < ?", merchant.collector_id, until_us
    ):
        order = Order(*row)
        found.append((order.paid_at_us or 0, order, None))
        for part in store.all(
            "SELECT * FROM refunds WHERE order_id = ? AND status = 'SUCCESS' AND finished_at_us < ?", order.order_id, until_us
        ):
            refund = Refund(*part)
            found.append((refund.finished_at_us or 0, order, refund))
    return sorted(found, key=lambda event: (event[0], event[2] is not None, event[1].order_id))


def trade_bill(store: Store, merchant: Merchant, day: date, now_us: int) -> bytes | None:
    """The business bill of a day as a ZIP, None for an empty day. The summary comes first in it."""
    start, end = day_bounds(day)
    events = [event for event in _events(store, merchant, end) if event[0] >= start]
    if not events:
        return None
    rows = [_trade_row(event) for event in events]
    paid = [order.amount_fen for _, order, refund in events if refund is None]
    back = [refund.amount_fen for _, _, refund in events if refund is not None]
    fees = sum(order.fee_fen for _, order, refund in events if refund is None)
    detail = _file(
        "业务明细",
        merchant,
        day,
        [",".join(TRADE_COLUMNS), *(",".join(row) for row in rows)],
        (
            f"#交易合计：{len(paid)}笔，商家实收共{yuan(sum(paid))}元，商家优惠共0.00元",
            f"#退款合计：{len(back)}笔，商家实收退款共{yuan(-sum(back))}元，商家优惠退款共0.00元",
        ),
        now_us,
    )
    net = sum(paid) - sum(back)
    counts = [str(len(paid)), str(len(back))]
    total = ["合计\t", "\t", *counts, yuan(net), yuan(net), "0.00", "0.00", "0.00", yuan(-fees), "0.00", yuan(net - fees)]
    summary = _file("业务汇总", merchant, day, [",".join(SUMMARY_COLUMNS), ",".join(total)], (), now_us)
    return _zip(merchant, day, "业务明细", summary, detail, now_us)


def _trade_row(event: Event) -> list[str]:
    at_us, order, refund = event
    sign = 1 if refund is None else -1
    amount = yuan(sign * (order.amount_fen if refund is None else refund.amount_fen))
    row = dict.fromkeys(TRADE_COLUMNS, "0.00")
    row |= {
        "支付宝交易号": order.transaction_id,
        "商户订单号": order.order_no,
        "业务类型": "交易" if refund is None else "退款",
        "商品名称": cell(order.description),
        "创建时间": beijing(order.exists_at_us or order.created_at_us),
        "完成时间": beijing(at_us),
        **dict.fromkeys(("门店编号", "门店名称", "操作员", "终端号", "券名称"), ""),
        "对方账户": _BUYER,
        "订单金额（元）": amount,
        "商家实收（元）": amount,
        "退款批次号/请求号": "" if refund is None else refund.refund_no,
        # What the channel keeps is negative, and stays kept when a payment is refunded.
        "服务费（元）": yuan(-order.fee_fen) if refund is None else "0.00",
        "备注": cell(order.description if refund is None else refund.reason or ""),
    }
    return [value + ("\t" if name in TABBED else "") for name, value in row.items()]


def fund_bill(store: Store, merchant: Merchant, day: date, now_us: int) -> bytes | None:
    """The bill of the account's movements of a day as a ZIP, None for an empty day."""
    start, end = day_bounds(day)
    rows: list[str] = []
    balance = income = outgo = incomes = outgoes = 0
    for at_us, order, refund in _events(store, merchant, end):
        flows = [("在线支付", order.amount_fen), ("收费", -order.fee_fen)] if refund is None else [("交易退款", -refund.amount_fen)]
        for kind, fen in flows:
            balance += fen
            if at_us < start or not fen:
                continue
            rows.append(",".join(_fund_row(len(rows), at_us, order, kind, fen, balance)))
            if fen > 0:
                incomes, income = incomes + 1, income + fen
            else:
                outgoes, outgo = outgoes + 1, outgo + fen
    if not rows:
        return None
    totals = (f"#支出合计：{outgoes}笔，共{yuan(outgo)}元", f"#收入合计：{incomes}笔，共{yuan(income)}元")
    detail = _file("账务明细", merchant, day, [",".join(FUND_COLUMNS), *rows], totals, now_us)
    summary_line = f"{incomes},{yuan(income)},{outgoes},{yuan(outgo)},{yuan(income + outgo)}"
    summary = _file("账务汇总", merchant, day, ["收入笔数,收入金额（+元）,支出笔数,支出金额（-元）,总金额（元）", summary_line], (), now_us)
    return _zip(merchant, day, "账务明细", summary, detail, now_us)


def _fund_row(number: int, at_us: int, order: Order, kind: str, fen: int, balance: int) -> list[str]:
    return [
        f"{at_us}{number:06d}\t",
        f"{order.transaction_id}\t",
        f"{order.order_no}\t",
        cell(order.description),
        beijing(at_us),
        f"{_BUYER}\t",
        yuan(fen) if fen > 0 else "",
        yuan(fen) if fen < 0 else "",
        yuan(balance),
        "支付宝\t",
        f"{kind}\t",
        "",
    ]


def _file(what: str, merchant: Merchant, day: date, lines: Sequence[str], totals: Sequence[str], now_us: int) -> bytes:
    text = [
        f"#支付宝{what}查询",
        f"#账号：[{merchant.collector_id}0156]",
        f"#起始日期：[{day:%Y年%m月%d日} 00:00:00]   终止日期：[{day + timedelta(days=1):%Y年%m月%d日} 00:00:00]",
        f"#{_RULE}{what}列表{_RULE}",
        *lines,
        f"#{_RULE}{what}列表结束{_RULE}",
        *totals,
        f"#导出时间：[{to_datetime(now_us).astimezone(SHANGHAI):%Y年%m月%d日 %H:%M:%S}]",
    ]
    return "".join(f"{line}\r\n" for line in text).encode("gbk", "replace")


def _zip(merchant: Merchant, day: date, what: str, summary: bytes, detail: bytes, now_us: int) -> bytes:
    name = f"{merchant.collector_id}0156_{day:%Y%m%d}_{what}"
    return pack([(f"{name}(汇总).csv", summary), (f"{name}.csv", detail)], to_datetime(now_us).astimezone(SHANGHAI))


def cell(text: str) -> str:
    """A text that ends neither its field nor its line: the files know no quotes."""
    return " ".join(text.replace(",", "，").split())
