"""One HTTP exchange with a channel: what was prepared goes out byte for byte, and what comes back is bounded in size and time.

Whatever goes wrong on the way is ChannelUnavailable: the request may have arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
import msgspec

from buffmoney import __version__
from buffmoney.collection.channels import ChannelUnavailable

LARGEST_ANSWER_BYTES = 1 << 20
LARGEST_BILL_BYTES = 256 << 20
USER_AGENT = f"BuffMoney/{__version__}"


class Answer(msgspec.Struct, frozen=True):
    """What came back. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def prepare(http: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> httpx.Request:
    """A request that nothing adds to: no cookies, parameters or default headers of the client, whose time-outs it has.

    Its `url.raw_path` is what goes over the wire, so that it can be signed. Raises ChannelUnavailable for an address that is none.
    """
    try:
        return httpx.Request(
            method,
            url,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers},
            content=body,
            extensions={"timeout": http.timeout.as_dict()},
        )
    except httpx.InvalidURL:
        raise ChannelUnavailable("the address is none") from None


async def exchange(
    http: httpx.AsyncClient, request: httpx.Request, deadline_s: float, *, limit_bytes: int = LARGEST_ANSWER_BYTES, raw: bool = False
) -> Answer:
    """Sends a request and takes the whole answer, whatever its status; redirects are not followed.

    deadline_s: for all of it, since a time-out between two bytes never ends an answer that drips. raw: the body as it is on the wire,
    even if the answer says that it is compressed. Raises ChannelUnavailable.
    """
    received = bytearray()
    try:
        async with asyncio.timeout(deadline_s):
            response = await http.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                async for part in response.aiter_raw() if raw else response.aiter_bytes():
                    received += part
                    if len(received) > limit_bytes:
                        raise ChannelUnavailable(f"the answer has more than {limit_bytes} bytes")
            finally:
                await response.aclose()
    except TimeoutError:
        raise ChannelUnavailable(f"no whole answer within {deadline_s:g} s") from None
    except (httpx.HTTPError, OSError) as error:
        # Its kind says enough; its text may have the address, and with Alipay the signed parameters are in that.
        raise ChannelUnavailable(f"no answer: {type(error).__name__}") from None
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, bytes(received))
