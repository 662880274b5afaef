"""What API v3 answers when it refuses: a status and `{"code", "message"}`."""

from __future__ import annotations


class WechatError(Exception):
    """A refusal. code: one of the channel's own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def parameter(message: str) -> WechatError:
    """A field that is missing or malformed."""
    return WechatError(400, "PARAM_ERROR", message)
