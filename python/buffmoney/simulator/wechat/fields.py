"""Reading a request's JSON as strictly as the channel does: types, lengths, character sets, no null."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from buffmoney.simulator.records import CURRENCY
from buffmoney.simulator.wechat.errors import parameter

ORDER_NO = re.compile(r"[0-9A-Za-z_\-*]{6,32}", re.ASCII)
REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}", re.ASCII)
LARGEST_FEN = 10_000_000_000


class Fields:
    """One JSON object of a request; `name` is where it stands in the body, for messages."""

    def __init__(self, content: dict[str, Any], name: str = "") -> None:
        self.content = content
        self._name = name

    @classmethod
    def parse(cls, body: bytes) -> Fields:
        """A request's body. Raises WechatError PARAM_ERROR."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            raise parameter("请求体不是合法的JSON") from None
        if not isinstance(content, dict):
            raise parameter("请求体必须是JSON对象")
        _refuse_null(content)
        return cls(content)

    def text(self, name: str, longest: int) -> str:
        """A text that must be there and not be empty. longest: in characters."""
        found = self.text_or_none(name, longest)
        if not found:
            raise parameter(f"输入源“/body/{self._name}{name}”为必填项")
        return found

    def text_or_none(self, name: str, longest: int) -> str | None:
        """A text, None without one."""
        found = self.content.get(name)
        if found is None:
            return None
        if not isinstance(found, str) or len(found) > longest:
            raise parameter(f"输入源“/body/{self._name}{name}”必须是不超过{longest}个字符的字符串")
        return found

    def inner(self, name: str) -> Fields:
        """An object that must be there."""
        found = self.content.get(name)
        if not isinstance(found, dict):
            raise parameter(f"输入源“/body/{self._name}{name}”为必填项")
        return Fields(found, f"{self._name}{name}/")

    def fen(self, name: str) -> int:
        """A whole number of fen, at least 1. A decimal, a text or a boolean is none."""
        found = self.content.get(name)
        if type(found) is not int or not 1 <= found <= LARGEST_FEN:
            raise parameter(f"输入源“/body/{self._name}{name}”必须是大于等于1的整数")
        return found

    def currency(self, *, required: bool) -> None:
        """Checks that the currency is CNY."""
        if (required or "currency" in self.content) and self.content.get("currency", CURRENCY) != CURRENCY:
            raise parameter(f"输入源“/body/{self._name}currency”只支持CNY")
        if required and "currency" not in self.content:
            raise parameter(f"输入源“/body/{self._name}currency”为必填项")

    def order_no(self) -> str:
        """out_trade_no."""
        found = self.text("out_trade_no", 32)
        if ORDER_NO.fullmatch(found) is None:
            raise parameter("输入源“/body/out_trade_no”格式错误")
        return found

    def notify_url(self, *, required: bool) -> str | None:
        """An address without a query string. The channel wants https; here http is taken too, since callbacks stay on this machine."""
        found = self.text("notify_url", 255) if required else self.text_or_none("notify_url", 255)
        if found is None:
            return None
        try:
            parts = urlsplit(found)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and "?" not in found
        except ValueError:
            valid = False
        if not valid:
            raise parameter("notify_url必须是不带参数的完整地址")
        return found


def _refuse_null(content: Any) -> None:
    values = content.values() if isinstance(content, dict) else content
    for value in values:
        if value is None:
            raise parameter("请求体中不能有null")
        if isinstance(value, dict | list):
            _refuse_null(value)
