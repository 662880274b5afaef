"""The daily bills of the stand-ins, read back as a reconciliation would, with their sums checked."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zipfile
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.simulation import AlipayMerchant, Simulation, WechatMerchant

ALL = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,应结订单金额,"
    "代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,"
    "费率备注"
)
SUMMARY = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"


@dataclass
class WechatBill:
    """A parsed bill: rows and summary by column."""

    header: str
    rows: list[dict[str, str]]
    summary: dict[str, str]


def values(line: str) -> list[str]:
    """One data line: the first backtick dropped, split where the next ones are."""
    assert line.startswith("`")
    return line[1:].split(",`")


def parse_wechat(content: bytes) -> WechatBill:
    """A bill by the facts: BOM, CRLF, a header, values after backticks, two lines of summary."""
    assert content.startswith(b"\xef\xbb\xbf")
    assert content.endswith(b"\r\n")
    assert content.count(b"\n") == content.count(b"\r\n")
    lines = content.decode("utf-8-sig").split("\r\n")[:-1]
    header, *data, totals_header, totals = lines
    names = header.split(",")
    rows = [dict(zip(names, values(line), strict=True)) for line in data]
    return WechatBill(header, rows, dict(zip(totals_header.split(","), values(totals), strict=True)))


def ask(merchant: WechatMerchant, day: str, *, kind: str = "tradebill", **query: str) -> httpx.Response:
    """Asks for a bill."""
    target = f"/v3/bill/{kind}?bill_date={day}" + "".join(f"&{name}={value}" for name, value in query.items())
    return merchant.call("GET", target)


def fetch(merchant: WechatMerchant, day: str, *, kind: str = "tradebill", **query: str) -> WechatBill:
    """A bill, its hash checked over what it is unpacked."""
    answer = ask(merchant, day, kind=kind, **query)
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    assert facts["hash_type"] == "SHA1"
    file = merchant.call("GET", facts["download_url"].removeprefix(merchant.simulation.url), check=False)
    assert file.status_code == 200
    assert "wechatpay-signature" not in file.headers
    content = gzip.decompress(file.content) if query.get("tar_type") else file.content
    assert hashlib.sha1(content, usedforsecurity=False).hexdigest() == facts["hash_value"]
    return parse_wechat(content)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@dataclass
class Day:
    """A day of trade: one payment of 10.00 untouched, one of 2.52 refunded in three parts, one of 0.50 closed in its refund."""

    merchant: WechatMerchant
    plain: str
    parted: str
    kept: str
    day: str


@pytest.fixture
def traded(simulation: Simulation) -> Day:
    """That day, and 11:00 of the next one."""
    merchant = simulation.wechat()
    # Not over midnight.
    simulation.next_day(hour=12)
    plain = merchant.paid(1000, description="a,`b\nc", attach="k=v")
    parted = merchant.paid(252)
    for part in ("p1", "p2", "p3"):
        assert merchant.refund(parted, 84, 252, f"{parted}{part}"[-32:]).status_code == 200
    kept = merchant.paid(50)
    simulation.control("refunds", outcome="CLOSED", delaySeconds=0, gapSeconds=0)
    merchant.refund(kept, 50, 50)
    simulation.control("refunds", outcome="SUCCESS", delaySeconds=0, gapSeconds=0)
    merchant.query(kept)
    return Day(merchant, plain, parted, kept, simulation.next_day(hour=11))


def test_the_whole_bill_adds_up(traded: Day) -> None:
    """Proves: 27 columns, one row per payment and refund, summary figures equal to their columns' sums, and fees of 0.6 % given back."""
    bill = fetch(traded.merchant, traded.day, bill_type="ALL", tar_type="GZIP")
    assert bill.header == ALL
    assert ",".join(bill.summary) == SUMMARY
    paid = {row["商户订单号"]: row for row in bill.rows if row["交易状态"] == "SUCCESS"}
    back = [row for row in bill.rows if row["交易状态"] == "REFUND"]
    assert list(paid) == [traded.plain, traded.parted, traded.kept]
    assert [(row["应结订单金额"], row["手续费"], row["费率"]) for row in paid.values()] == [
        ("10.00", "0.06000", "0.60%"), ("2.52", "0.02000", "0.60%"), ("0.50", "0.00000", "0.60%"),
    ]  # fmt: skip
    assert [(row["退款金额"], row["应结订单金额"], row["退款状态"]) for row in back] == [("0.84", "0.00", "SUCCESS")] * 3
    assert sum(Decimal(row["手续费"]) for row in back) == Decimal("-0.02"), "the parts give back the whole fee"
    assert paid[traded.plain]["商品名称"] == "a,'b c"
    assert paid[traded.plain]["商户数据包"] == "k=v"
    row = paid[traded.plain]
    assert (row["特约商户号"], row["设备号"], row["微信退款单号"], row["货币种类"], row["退款金额"]) == ("0", "", "0", "CNY", "0.00")
    assert row["交易时间"].startswith(traded.day)
    assert bill.summary["总交易单数"] == "6.0"
    summed = ("应结订单金额", "退款金额", "充值券退款金额", "手续费", "订单金额", "申请退款金额")
    for total, column in zip(SUMMARY.split(",")[1:], summed, strict=True):
        assert Decimal(bill.summary[total]) == sum(Decimal(row[column]) for row in bill.rows), total
    assert (bill.summary["应结订单总金额"], bill.summary["充值券退款总金额"], bill.summary["退款总金额"]) == ("13.02", "0.0", "2.52")
    assert fetch(traded.merchant, traded.day).rows == bill.rows, "without GZIP, the same"


def test_successes_refunds_and_the_sign_of_fees(simulation: Simulation, traded: Day) -> None:
    success = fetch(traded.merchant, traded.day, bill_type="SUCCESS")
    dropped = {"微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态", "申请退款金额"}
    assert success.header == ",".join(name for name in ALL.split(",") if name not in dropped)
    assert len(success.rows) == 3
    refunds = fetch(traded.merchant, traded.day, bill_type="REFUND", tar_type="GZIP")
    assert refunds.header == ALL.replace("代金券金额,", "代金券金额,退款申请时间,退款成功时间,")
    assert len(refunds.rows) == 3
    assert all(row["退款申请时间"].startswith(traded.day) and row["退款成功时间"] for row in refunds.rows)
    simulation.control("bills", refundFeeSign="positive")
    bill = fetch(traded.merchant, traded.day)
    assert sum(Decimal(row["手续费"]) for row in bill.rows if row["交易状态"] == "REFUND") == Decimal("0.02")
    assert Decimal(bill.summary["手续费总金额"]) == sum(Decimal(row["手续费"]) for row in bill.rows)


def test_funds(traded: Day) -> None:
    """Proves: every flow with a running balance, the summary's counts and sums right, and what is left the net of the trade bill."""
    bill = fetch(traded.merchant, traded.day, kind="fundflowbill", account_type="BASIC")
    assert bill.header == (
        "记账时间,微信支付业务单号,资金流水单号,业务名称,业务类型,收支类型,收支金额(元),账户结余(元),资金变更提交申请人,备注,业务凭证号"
    )
    balance = Decimal(0)
    for row in bill.rows:
        amount = Decimal(row["收支金额(元)"])
        balance += amount if row["收支类型"] == "收入" else -amount
        assert Decimal(row["账户结余(元)"]) == balance
    assert balance == Decimal("13.02") - Decimal("0.08") - Decimal("2.50")
    income = [Decimal(row["收支金额(元)"]) for row in bill.rows if row["收支类型"] == "收入"]
    outgo = [Decimal(row["收支金额(元)"]) for row in bill.rows if row["收支类型"] == "支出"]
    assert [bill.summary[name] for name in ("资金流水总笔数", "收入笔数", "收入金额", "支出笔数", "支出金额")] == [
        str(len(bill.rows)), str(len(income)), str(sum(income)), str(len(outgo)), str(sum(outgo)),
    ]  # fmt: skip
    for account in ("OPERATION", "FEES"):
        refused(ask(traded.merchant, traded.day, kind="fundflowbill", account_type=account), 400, "NO_STATEMENT_EXIST")


def test_when_a_wechat_bill_is_there(simulation: Simulation) -> None:
    """Proves: not for today, not before ten, not for an empty day, not beyond three months; its address dies and is its asker's alone."""
    merchant, other = simulation.wechat(), simulation.wechat()
    merchant.paid(100)
    today = f"{simulation.now():%Y-%m-%d}"
    refused(ask(merchant, today), 400, "PARAM_ERROR")
    day = simulation.next_day(hour=9)
    refused(ask(merchant, day), 400, "STATEMENT_CREATING")
    simulation.control("clock", advanceSeconds=3_601)
    refused(ask(other, day), 400, "NO_STATEMENT_EXIST")
    for query in ({"bill_type": "X"}, {"tar_type": "ZIP"}):
        refused(ask(merchant, day, **query), 400, "PARAM_ERROR")
    for wrong in ("2026-13-01", "20260101", ""):
        refused(ask(merchant, wrong), 400, "PARAM_ERROR")
    path = ask(merchant, day).json()["download_url"].removeprefix(simulation.url)
    assert merchant.call("GET", path, check=False).status_code == 200
    refused(other.call("GET", path), 404, "RESOURCE_NOT_EXISTS")
    assert simulation.http.get(simulation.url + path, headers={"Accept": "*/*"}).status_code == 401
    simulation.control("clock", advanceSeconds=301)
    refused(merchant.call("GET", path), 404, "RESOURCE_NOT_EXISTS")
    simulation.control("clock", advanceSeconds=93 * 86_400)
    refused(ask(merchant, day), 400, "PARAM_ERROR")


def test_the_library_fetches_a_bill(traded: Day) -> None:
    library = traded.merchant.library()
    status, text = library.trade_bill(traded.day)
    assert status == 200, text
    url = re.search(r'"download_url":"([^"]+)"', text)
    assert url is not None
    status, content = library.download_bill(url[1])
    assert len(parse_wechat(gzip.decompress(content)).rows) == 6


def test_a_service_providers_bill_is_by_sub_merchant(simulation: Simulation) -> None:
    provider = simulation.wechat(mode="service_provider")
    sub = provider.facts["subMchid"]
    two = simulation.http.post(f"{simulation.url}/onboarding/wechat", json={"mode": "service_provider", "mchid": provider.mchid}).json()
    for sub_mchid, fen in ((sub, 100), (two["subMchid"], 200)):
        parties = {"sp_appid": provider.facts["appId"], "sp_mchid": provider.mchid, "sub_mchid": sub_mchid}
        body = provider.order(fen=fen, appid=None, mchid=None, **parties)
        simulation.pay(provider.call("POST", "/v3/pay/partner/transactions/native", body).json()["code_url"])
    day = simulation.next_day()
    assert [(row["特约商户号"], row["订单金额"]) for row in fetch(provider, day).rows] == [(sub, "1.00"), (two["subMchid"], "2.00")]
    assert [row["订单金额"] for row in fetch(provider, day, sub_mchid=sub).rows] == ["1.00"]
    funds = fetch(provider, day, kind="sub-merchant-fundflowbill", account_type="BASIC", sub_mchid=two["subMchid"])
    assert [row["收支金额(元)"] for row in funds.rows] == ["2.00", "0.01"]


# ---- Alipay


def parse_alipay(content: bytes) -> tuple[list[str], list[dict[str, str]], list[str]]:
    """(lines before, rows, lines after) of one GBK member."""
    lines = content.decode("gbk").splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    last = max(number for number, line in enumerate(lines) if not line.startswith("#"))
    rows = list(csv.DictReader(io.StringIO("\n".join(lines[first : last + 1]))))
    return lines[:first], [{name: value.rstrip("\t") for name, value in row.items()} for row in rows], lines[last + 1 :]


def download(merchant: AlipayMerchant, day: str, kind: str = "trade") -> dict[str, bytes]:
    """The members of a bill's ZIP by name, in its order."""
    found = merchant.call("alipay.data.dataservice.bill.downloadurl.query", {"bill_type": kind, "bill_date": day})
    assert found["code"] == "10000", found
    answer = merchant.simulation.http.get(found["bill_download_url"])
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content), metadata_encoding="gbk") as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_alipays_trade_bill(simulation: Simulation) -> None:
    """Proves: a ZIP with GBK names, the summary first, `#` lines around 25 columns, negative refunds, totals that are the rows' sums."""
    merchant = simulation.alipay()
    simulation.next_day(hour=12)
    one = merchant.paid("10.00")
    two = merchant.paid("2.52")
    merchant.refund(two, "0.84", "back-1")
    merchant.refund(two, "1.68", "back-2")
    day = simulation.next_day(hour=9)
    members = download(merchant, day)
    assert [("汇总" in name) for name in members] == [True, False]
    detail = next(content for name, content in members.items() if "汇总" not in name)
    before, rows, after = parse_alipay(detail)
    assert before[0] == "#支付宝业务明细查询"
    assert merchant.facts["sellerId"] in before[1]
    assert len(rows[0]) == 25
    found = [(row["商户订单号"], row["业务类型"], row["订单金额（元）"], row["服务费（元）"], row["退款批次号/请求号"]) for row in rows]
    assert found == [
        (one, "交易", "10.00", "-0.06", ""), (two, "交易", "2.52", "-0.02", ""), (two, "退款", "-0.84", "0.00", "back-1"),
        (two, "退款", "-1.68", "0.00", "back-2"),
    ]  # fmt: skip
    assert rows[1]["支付宝交易号"] == rows[2]["支付宝交易号"] == merchant.query(two)["trade_no"]
    assert all(row["完成时间"].startswith(day) for row in rows)
    totals = "\n".join(after)
    assert "#交易合计：2笔，商家实收共12.52元，商家优惠共0.00元" in totals
    assert "#退款合计：2笔，商家实收退款共-2.52元，商家优惠退款共0.00元" in totals
    _, (summary,), _ = parse_alipay(next(iter(members.values())))
    names = ("交易订单总笔数", "退款订单总笔数", "商家实收（元）", "服务费（元）", "实收净额（元）")
    assert [summary[name] for name in names] == ["2", "2", "10.00", "-0.08", "9.92"]


def test_alipays_fund_bill(simulation: Simulation) -> None:
    merchant = simulation.alipay()
    number = merchant.paid("10.00")
    simulation.next_day(hour=12)
    merchant.refund(number, "4.00", "back")
    day = simulation.next_day(hour=12)
    members = download(merchant, day, "signcustomer")
    _, rows, after = parse_alipay(next(content for name, content in members.items() if "汇总" not in name))
    (row,) = rows
    names = ("商户订单号", "收入金额（+元）", "支出金额（-元）", "账户余额（元）", "业务类型")
    assert [row[name] for name in names] == [number, "", "-4.00", "5.94", "交易退款"]
    assert any("支出合计：1笔，共-4.00元" in line for line in after)


def test_when_an_alipay_bill_is_there(simulation: Simulation) -> None:
    """Proves: not before nine, not for an empty day; the address needs no signature and dies after thirty seconds."""
    merchant = simulation.alipay()
    merchant.paid("1.00")
    method = "alipay.data.dataservice.bill.downloadurl.query"

    def code(day: Any, kind: Any = "trade") -> str:
        return str(merchant.call(method, {"bill_type": kind, "bill_date": day}).get("sub_code", "ok"))

    assert code(f"{simulation.now():%Y-%m-%d}") == "isp.bill_not_exist"
    day = simulation.next_day(hour=8)
    assert code(day) == "isp.bill_not_exist"
    simulation.control("clock", advanceSeconds=3_601)
    assert code(day) == "ok"
    assert code("2020-01-01") == "isp.bill_not_exist"
    assert code(day, "other") == "ACQ.INVALID_PARAMETER"
    assert code("2020-13-01") == "ACQ.INVALID_PARAMETER"
    assert code(None) == "ACQ.INVALID_PARAMETER"
    url = merchant.call(method, {"bill_type": "trade", "bill_date": day})["bill_download_url"]
    simulation.control("clock", advanceSeconds=31)
    assert simulation.http.get(url).status_code == 404
