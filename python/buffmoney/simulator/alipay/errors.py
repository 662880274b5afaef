"""What the gateway answers when it refuses: a code of its own, and a sub_code that says which rule."""

from __future__ import annotations

MESSAGES = {
    "10000": "Success",
    "20000": "Service Currently Unavailable",
    "20001": "Insufficient Token Permissions",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40004": "Business Failed",
    "40006": "Insufficient Permissions",
}


class AlipayError(Exception):
    """A refusal."""

    def __init__(self, code: str, sub_code: str, sub_msg: str) -> None:
        super().__init__(f"{code} {sub_code}: {sub_msg}")
        self.code = code
        self.sub_code = sub_code
        self.sub_msg = sub_msg

    @property
    def content(self) -> dict[str, str]:
        """The inner object of the answer."""
        return {"code": self.code, "msg": MESSAGES.get(self.code, "Error"), "sub_code": self.sub_code, "sub_msg": self.sub_msg}


def business(sub_code: str, sub_msg: str) -> AlipayError:
    """A rule of the trade's own: 40004 and a sub_code that begins with ACQ."""
    return AlipayError("40004", f"ACQ.{sub_code}", sub_msg)
