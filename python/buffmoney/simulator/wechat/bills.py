"""WeChat's daily bills as files: UTF-8 with a byte order mark, CRLF, a backtick before every value, a summary at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from buffmoney.simulator.channel_time import beijing, day_bounds
from buffmoney.simulator.fen import FEE_RATE, yuan
from buffmoney.simulator.merchants import Merchant
from buffmoney.simulator.records import CURRENCY, Order, Refund
from buffmoney.simulator.store import Store
from buffmoney.simulator.wechat.answers import TRADE_TYPES

BillType = Literal["ALL", "SUCCESS", "REFUND"]
FeeSign = Literal["negative", "positive"]

_ALL_HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,"
    "货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,"
    "商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
ALL_COLUMNS = tuple(_ALL_HEADER.split(","))
_REFUND_ONLY = ("微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态", "申请退款金额")
_REFUND_TIMES = ("退款申请时间", "退款成功时间")
SUMMED = {
    "应结订单总金额": "应结订单金额",
    "退款总金额": "退款金额",
    "充值券退款总金额": "充值券退款金额",
    "手续费总金额": "手续费",
    "订单总金额": "订单金额",
    "申请退款总金额": "申请退款金额",
}
_FUND_HEADER = (
    "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),资金变更提交申请人,备注,业务凭证号"
)
FUND_COLUMNS = tuple(_FUND_HEADER.split(","))
FUND_SUMMARY = ("资金流水总笔数", "收入笔数", "收入金额", "支出笔数", "支出金额")


def columns(kind: BillType) -> tuple[str, ...]:
    """The columns of a trade bill."""
    if kind == "SUCCESS":
        return tuple(name for name in ALL_COLUMNS if name not in _REFUND_ONLY)
    if kind == "REFUND":
        at = ALL_COLUMNS.index("代金券金额") + 1
        return ALL_COLUMNS[:at] + _REFUND_TIMES + ALL_COLUMNS[at:]
    return ALL_COLUMNS


@dataclass(frozen=True, slots=True)
class _Event:
    """A payment, or a refund of it, at the time under which the bill has it."""

    at_us: int
    order: Order
    refund: Refund | None


def _events(store: Store, merchant: Merchant, day: date, sub_mchid: str | None, kind: BillType) -> list[_Event]:
    start, end = day_bounds(day)
    where = "o.channel = 'wechat' AND o.collector_id = ?" + (" AND o.sub_mchid = ?" if sub_mchid else "")
    who = (merchant.collector_id, sub_mchid) if sub_mchid else (merchant.collector_id,)
    found: list[_Event] = []
    if kind != "REFUND":
        rows = store.all(f"SELECT o.* FROM orders o WHERE {where} AND paid_at_us >= ? AND paid_at_us < ?", *who, start, end)  # noqa: S608
        orders = [Order(*row) for row in rows]
        found += [_Event(order.paid_at_us or 0, order, None) for order in orders]
    if kind != "SUCCESS":
        rows = store.all(
            f"SELECT r.* FROM refunds r JOIN orders o USING (order_id) WHERE {where} "  # noqa: S608
            "AND r.accepted_at_us >= ? AND r.accepted_at_us < ? AND r.status <> 'CLOSED'",
            *who,
            start,
            end,
        )
        for row in rows:
            refund = Refund(*row)
            order = Order(*(store.one("SELECT * FROM orders WHERE order_id = ?", refund.order_id) or ()))
            found.append(_Event(refund.accepted_at_us, order, refund))
    return sorted(found, key=lambda event: (event.at_us, event.refund is not None, event.order.order_id))


def trade_bill(
    store: Store, merchant: Merchant, day: date, kind: BillType, fee_sign: FeeSign, sub_mchid: str | None = None
) -> bytes | None:
    """The trade bill of a day, None for an empty one. fee_sign: that of fees which come back with refunds."""
    rows = [_row(event, fee_sign) for event in _events(store, merchant, day, sub_mchid, kind)]
    if not rows:
        return None
    names = columns(kind)
    summary = {"总交易单数": f"{len(rows)}.0"}
    summary |= {total: _sum(row[column] for row in rows) for total, column in SUMMED.items()}
    return _file(names, [[row[name] for name in names] for row in rows], tuple(summary), list(summary.values()))


def _row(event: _Event, fee_sign: FeeSign) -> dict[str, str]:
    order, refund = event.order, event.refund
    row = dict.fromkeys((*ALL_COLUMNS, *_REFUND_TIMES), "")
    row |= {
        "交易时间": beijing(event.at_us),
        "公众账号ID": order.app_id,
        "商户号": order.collector_id,
        "特约商户号": order.sub_mchid or "0",
        "微信订单号": order.transaction_id,
        "商户订单号": order.order_no,
        "用户标识": order.payer or "",
        "交易类型": TRADE_TYPES[order.product],
        "交易状态": "SUCCESS",
        "付款银行": "OTHERS",
        "货币种类": CURRENCY,
        "应结订单金额": yuan(order.amount_fen),
        "代金券金额": "0.00",
        "微信退款单号": "0",
        "商户退款单号": "0",
        "退款金额": "0.00",
        "充值券退款金额": "0.00",
        "商品名称": one_line(order.description),
        "商户数据包": one_line(order.attach or ""),
        "手续费": f"{yuan(order.fee_fen)}000",
        "费率": FEE_RATE,
        "订单金额": yuan(order.amount_fen),
        "申请退款金额": "0.00",
    }
    if refund is not None:
        fee = refund.fee_fen if fee_sign == "positive" else -refund.fee_fen
        row |= {
            "交易状态": "REFUND",
            "应结订单金额": "0.00",
            "微信退款单号": refund.refund_id,
            "商户退款单号": refund.refund_no,
            "退款金额": yuan(refund.amount_fen),
            "退款类型": "ORIGINAL",
            "退款状态": refund.status,
            "手续费": f"{yuan(fee)}000",
            "订单金额": "0.00",
            "申请退款金额": yuan(refund.amount_fen),
            "退款申请时间": beijing(refund.accepted_at_us),
            "退款成功时间": beijing(refund.finished_at_us) if refund.status == "SUCCESS" and refund.finished_at_us else "",
        }
    return row


def fund_bill(store: Store, merchant: Merchant, day: date, sub_mchid: str | None = None) -> bytes | None:
    """The fund bill of a day for the basic account, None for an empty one.

    Each payment is two flows, what came in and its fee; a refund is one, less the fee that comes back with it.
    """
    start, end = day_bounds(day)
    rows: list[list[str]] = []
    income = outgo = incomes = outgoes = balance = 0
    for at_us, order, name, flow_id, fen, note in _flows(store, merchant, sub_mchid):
        balance += fen
        if not start <= at_us < end:
            continue
        rows.append(
            [
                beijing(at_us),
                order.transaction_id,
                flow_id,
                name,
                name,
                "收入" if fen >= 0 else "支出",
                yuan(abs(fen)),
                yuan(balance),
                f"{order.collector_id}API" if name == "退款" else "system",
                note,
                f"S{flow_id}",
            ]
        )
        if fen >= 0:
            incomes, income = incomes + 1, income + fen
        else:
            outgoes, outgo = outgoes + 1, outgo - fen
    if not rows:
        return None
    return _file(FUND_COLUMNS, rows, FUND_SUMMARY, [str(len(rows)), str(incomes), yuan(income), str(outgoes), yuan(outgo)])


def _flows(store: Store, merchant: Merchant, sub_mchid: str | None) -> Iterator[tuple[int, Order, str, str, int, str]]:
    """Every movement from the first day on, in order: (time, order, name, number of the flow, fen, note)."""
    found: list[tuple[int, Order, str, str, int, str]] = []
    condition = "channel = 'wechat' AND collector_id = ? AND paid_at_us IS NOT NULL"
    for row in store.all(f"SELECT * FROM orders WHERE {condition}", merchant.collector_id):  # noqa: S608 - our own words
        order = Order(*row)
        if order.paid_at_us is None or (sub_mchid is not None and order.sub_mchid != sub_mchid):
            continue
        number = f"{order.order_id:012d}"
        found.append((order.paid_at_us, order, "交易", f"1{number}", order.amount_fen, f"结算总金额 {yuan(order.amount_fen)} 元"))
        if order.fee_fen:
            found.append((order.paid_at_us, order, "扣除交易手续费", f"2{number}", -order.fee_fen, f"费率 {FEE_RATE}"))
        for part in store.all("SELECT * FROM refunds WHERE order_id = ? AND status = 'SUCCESS'", order.order_id):
            refund = Refund(*part)
            note = f"退款总金额{yuan(refund.amount_fen)}元;含手续费{yuan(refund.fee_fen)}元"
            at_us = refund.finished_at_us or refund.accepted_at_us
            found.append((at_us, order, "退款", f"3{refund.refund_row:012d}", refund.fee_fen - refund.amount_fen, note))
    yield from sorted(found, key=lambda flow: (flow[0], flow[3]))


def _sum(values: Iterator[str]) -> str:
    """A column's sum as the summary prints it: as few decimals as needed, but one at least."""
    total = sum((Decimal(value) for value in values), Decimal(0))
    text = f"{total:f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0') or '0'}"


def _file(names: Sequence[str], rows: Sequence[Sequence[str]], summary_names: Sequence[str], summary: Sequence[str]) -> bytes:
    lines = [",".join(names), *map(_data_line, rows), ",".join(summary_names), _data_line(summary)]
    return ("\ufeff" + "".join(f"{line}\r\n" for line in lines)).encode()


def _data_line(values: Sequence[str]) -> str:
    return ",".join(f"`{value}" for value in values)


def one_line(text: str) -> str:
    """A text that ends neither its value nor its line in a bill."""
    return " ".join(text.replace("`", "'").split())
