"""One authenticated request of API v3, and what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buffmoney.simulator.merchants import Merchant, SubMerchant
from buffmoney.simulator.records import Order
from buffmoney.simulator.wechat.errors import WechatError, parameter
from buffmoney.simulator.world import World


@dataclass(frozen=True, slots=True)
class Call:
    """path: parameters of the path. base_url: how the merchant reached the simulator, for links back to it."""

    world: World
    merchant: Merchant
    path: dict[str, str]
    query: dict[str, str]
    body: bytes
    base_url: str

    def query_text(self, name: str) -> str:
        """A query parameter that must be there."""
        if not self.query.get(name):
            raise parameter(f"输入源“/query/{name}”为必填项")
        return self.query[name]

    def check_parties(self, given: dict[str, Any], *, partner: bool) -> SubMerchant | None:
        """Checks that the parties which a request names are its sender and its sender's own; the sub-merchant of a partner request."""
        merchant = self.merchant
        if partner != (merchant.mode == "service_provider"):
            raise WechatError(403, "NO_AUTH", "商户号与接口的模式不符")
        if given.get("sp_mchid" if partner else "mchid") != merchant.collector_id:
            raise WechatError(400, "PARAM_ERROR", "请求中的商户号与Http头Authorization中的商户号不一致")
        return self.sub_merchant(given.get("sub_mchid")) if partner else None

    def sub_merchant(self, sub_mchid: object) -> SubMerchant:
        """A sub-merchant of the sender. Raises WechatError."""
        if not isinstance(sub_mchid, str) or not sub_mchid:
            raise parameter("输入源“sub_mchid”为必填项")
        found = self.world.merchants.find_sub(sub_mchid)
        if found is None:
            raise WechatError(400, "MCH_NOT_EXISTS", "子商户号不存在")
        if found.collector_id != self.merchant.collector_id:
            raise WechatError(403, "NO_AUTH", "服务商与子商户没有绑定关系")
        return found


@dataclass(frozen=True, slots=True)
class Reply:
    """A success. content: None for 204."""

    status: int
    content: dict[str, Any] | None


def belongs(order: Order | None, sub: SubMerchant | None) -> bool:
    """Whether an order is visible: of a partner request only its sub-merchant's."""
    return order is not None and order.sub_mchid == (None if sub is None else sub.sub_mchid)
