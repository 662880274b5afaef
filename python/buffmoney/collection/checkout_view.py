"""What the hosted checkout shows, and what it asks of the top-ups behind it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

import msgspec

from buffmoney.base.http import Services

PayChannel = Literal["wechat", "alipay"]
PayProduct = Literal["native", "jsapi", "h5", "page", "wap", "precreate"]
Locale = Literal["zh", "en"]

CHANNEL_OF: dict[PayProduct, PayChannel] = {
    "native": "wechat",
    "jsapi": "wechat",
    "h5": "wechat",
    "precreate": "alipay",
    "page": "alipay",
    "wap": "alipay",
}
"""the channel that a product belongs to"""


class CheckoutAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One payment order of the top-up. `qr_content`, `redirect_url` or `jsapi` is how the payer goes on; the others are None.

    expires_at: when that way ends, aware UTC; never after the top-up does.
    """

    channel: PayChannel
    product: PayProduct
    status: Literal["created", "pending", "paid", "closed", "failed"]
    expires_at: datetime
    qr_content: str | None = None
    redirect_url: str | None = None
    jsapi: dict[str, str] | None = None


class CheckoutReturn(msgspec.Struct, frozen=True, kw_only=True):
    """Money that goes back to the payer, or has gone.

    extra: of a payment that bought nothing; otherwise it is the payment that was credited, or a part of it. done: it is paid out.
    """

    amount: Decimal
    extra: bool = False
    done: bool = False


class CheckoutView(msgspec.Struct, frozen=True, kw_only=True):
    """A top-up as its payer sees it. Times are aware UTC, `now` by the tenant's own clock.

    amount: what is paid. bonus: what is given on top, 0 for none. balance: the wallet's, once credited. attempts: the oldest first,
    without those whose payment was put aside. channels: at which the merchant collects. returns: the oldest first. under_review: a
    payment came that people have to decide about. return_url: the merchant's, as it gave it, without a signed result.
    """

    tenant_id: int
    top_up_id: str
    token: str
    merchant_name: str
    customer: str
    amount: Decimal
    bonus: Decimal
    currency: str
    status: Literal["open", "paid", "credited", "expired", "canceled"]
    expires_at: datetime
    now: datetime
    attempts: list[CheckoutAttempt]
    channels: tuple[PayChannel, ...]
    returns: tuple[CheckoutReturn, ...] = ()
    under_review: bool = False
    return_url: str | None = None
    balance: Decimal | None = None
    locale: Locale | None = None
    sandbox: bool = False


class Checkout(Protocol):
    """The top-ups, as far as their page needs them. Tokens come from the address: any text, checked by nobody yet."""

    async def view(self, services: Services, token: str, /) -> CheckoutView | None:
        """The top-up of a token; None if there is none, or not any more."""
        ...

    async def start(
        self,
        services: Services,
        token: str,
        channel: PayChannel,
        product: PayProduct,
        client_ip: str | None,
        openid: str | None,
        /,
    ) -> object:
        """Makes a payment order that the payer can go on with, or gives the open one of this product again.

        Afterwards `view` has it as its last attempt. Raises Problem: not_found for an unknown token; a retryable one if the channel did not
        answer; another if it, or the top-up's state, does not allow this. What it returns is not looked at.
        """
        ...

    async def poll(self, services: Services, token: str, /) -> CheckoutView | None:
        """As `view`, after asking the channel about open attempts unless that was done a moment ago. Raises Problem."""
        ...
