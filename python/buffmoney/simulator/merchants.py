"""Who collects here. Anybody may become a merchant with a public key: there is no money to protect."""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import rsa

from buffmoney.simulator.keys import Channel, read_public
from buffmoney.simulator.store import Store

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Merchant:
    """A WeChat merchant or service provider (collector_id is its mchid), or an Alipay seller."""

    channel: Channel
    collector_id: str
    mode: str
    app_id: str
    name: str
    serial: str | None
    api_v3_key: str | None
    refundable_fen: int | None
    public_key: rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class SubMerchant:
    """Whom a service provider collects for."""

    sub_mchid: str
    collector_id: str
    sub_app_id: str
    name: str


def digits(count: int) -> str:
    """Random digits, the first of them not 0."""
    return secrets.choice("123456789") + "".join(secrets.choice(string.digits) for _ in range(count - 1))


class Merchants:
    """All of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._public: dict[tuple[str, str], rsa.RSAPublicKey] = {}

    def onboard(self, channel: Channel, public_pem: object, mode: str, name: str) -> Merchant:
        """A new merchant. Raises ValueError for a key that is none."""
        read_public(public_pem)
        wechat = channel == "wechat"
        collector_id = "19" + digits(8) if wechat else "2088" + digits(12)
        with self._store.transaction():
            self._store.insert(
                "merchants",
                channel=channel,
                collector_id=collector_id,
                mode=mode,
                app_id="wx" + secrets.token_hex(8) if wechat else "2021" + digits(12),
                name=name,
                serial=secrets.token_hex(20).upper() if wechat else None,
                public_pem=public_pem,
                api_v3_key="".join(secrets.choice(_LETTERS) for _ in range(32)) if wechat else None,
            )
        made = self.find(channel, collector_id)
        assert made is not None
        return made

    def add_sub_merchant(self, collector_id: str, name: str) -> SubMerchant:
        """One more whom a service provider collects for."""
        made = SubMerchant("16" + digits(8), collector_id, "wx" + secrets.token_hex(8), name)
        with self._store.transaction():
            self._store.insert(
                "sub_merchants", sub_mchid=made.sub_mchid, collector_id=collector_id, sub_app_id=made.sub_app_id, name=made.name
            )
        return made

    def find(self, channel: Channel, collector_id: str) -> Merchant | None:
        """By mchid or seller id."""
        return self._read("channel = ? AND collector_id = ?", channel, collector_id)

    def find_app(self, app_id: str) -> Merchant | None:
        """By app id."""
        return self._read("app_id = ?", app_id)

    def find_sub(self, sub_mchid: str) -> SubMerchant | None:
        """By sub_mchid."""
        row = self._store.one("SELECT sub_mchid, collector_id, sub_app_id, name FROM sub_merchants WHERE sub_mchid = ?", sub_mchid)
        return None if row is None else SubMerchant(*row)

    def limit_refunds(self, channel: Channel, collector_id: str, fen: int | None) -> bool:
        """Sets what a merchant has left for refunds, None for enough. False if there is no such merchant."""
        with self._store.transaction():
            return bool(
                self._store.execute(
                    "UPDATE merchants SET refundable_fen = ? WHERE channel = ? AND collector_id = ?", fen, channel, collector_id
                )
            )

    def _read(self, condition: str, *arguments: str) -> Merchant | None:
        row = self._store.one(f"SELECT * FROM merchants WHERE {condition}", *arguments)  # noqa: S608 - our own words
        if row is None:
            return None
        name = (row["channel"], row["collector_id"])
        if name not in self._public:
            self._public[name] = read_public(row["public_pem"])
        return Merchant(
            row["channel"],
            row["collector_id"],
            row["mode"],
            row["app_id"],
            row["name"],
            row["serial"],
            row["api_v3_key"],
            row["refundable_fen"],
            self._public[name],
        )
