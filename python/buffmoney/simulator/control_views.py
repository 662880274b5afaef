"""How onboarding and control show things: JSON in camelCase, amounts in yuan, times as WeChat writes them."""

from __future__ import annotations

from typing import Any

from buffmoney.simulator.announcing import Behaviour
from buffmoney.simulator.channel_time import rfc3339
from buffmoney.simulator.faults import Fault
from buffmoney.simulator.fen import yuan
from buffmoney.simulator.keys import PlatformKey
from buffmoney.simulator.phone import code_text
from buffmoney.simulator.records import Order, Refund
from buffmoney.simulator.world import World

LISTED = 1_000


def behaviour(found: Behaviour) -> dict[str, Any]:
    """How callbacks go."""
    return {"mode": found.mode, "times": found.times, "delaySeconds": found.delay_s, "speed": found.speed}


def callbacks(world: World, order_no: str | None) -> list[dict[str, Any]]:
    """The newest callbacks, all or of one order number, with every request that was made for them."""
    rows = world.store.all(
        "SELECT n.*, o.order_no FROM notices n JOIN orders o USING (order_id) WHERE ? IS NULL OR o.order_no = ? ORDER BY n.seq DESC LIMIT ?",
        order_no,
        order_no,
        LISTED,
    )
    found = []
    for row in rows:
        deliveries = world.store.all("SELECT * FROM deliveries WHERE seq = ? ORDER BY delivery_id", row["seq"])
        found.append(
            {
                "noticeId": row["notice_id"],
                "channel": row["channel"],
                "collectorId": row["collector_id"],
                "orderNo": row["order_no"],
                "kind": row["kind"],
                "url": row["url"],
                "mode": row["mode"],
                "state": row["state"],
                "attempts": row["attempts"],
                "createdAt": rfc3339(row["created_at_us"]),
                "nextAt": None if row["next_at_us"] is None else rfc3339(row["next_at_us"]),
                "deliveries": [
                    {
                        "at": rfc3339(one["at_us"]),
                        "kind": one["kind"],
                        "keyId": one["key_id"],
                        "status": one["status"],
                        "answer": one["answer"],
                        "tookMs": one["took_ms"],
                        "accepted": bool(one["accepted"]),
                    }
                    for one in deliveries
                ],
            }
        )
    return found


def fault(found: Fault) -> dict[str, Any]:
    """A failure to come."""
    return {
        "path": found.path,
        "method": found.method,
        "status": found.status or found.kind,
        "code": found.code,
        "when": "after" if found.after else "before",
        "timesLeft": found.times_left,
    }


def key(found: PlatformKey) -> dict[str, Any]:
    """A channel's key, without its private half."""
    return {
        "platformKeyId": found.key_id,
        "kind": found.kind,
        "platformPublicKey": found.public_pem,
        "platformCertificate": found.certificate_pem,
        "retiresAt": None if found.retires_at_us is None else rfc3339(found.retires_at_us),
    }


def order(world: World, found: Order, base_url: str) -> dict[str, Any]:
    """The truth about an order."""
    token = world.orders.code_of(found)
    return {
        "orderNo": found.order_no,
        "channel": found.channel,
        "product": found.product,
        "collectorId": found.collector_id,
        "subMchid": found.sub_mchid,
        "appId": found.app_id,
        "amount": yuan(found.amount_fen),
        "fee": yuan(found.fee_fen),
        "refunded": yuan(found.refunded_fen),
        "state": found.state,
        "exists": found.channel == "wechat" or found.exists_at_us is not None,
        "transactionId": found.transaction_id,
        "payer": found.payer,
        "notifyUrl": found.notify_url,
        "createdAt": rfc3339(found.created_at_us),
        "expiresAt": rfc3339(found.expires_at_us),
        "paidAt": None if found.paid_at_us is None else rfc3339(found.paid_at_us),
        "code": None if token is None else code_text(found, token, base_url),
        "altered": found.alteration,
        "refuseRefunds": found.refund_refusal,
        "refunds": [refund(one) for one in world.refunds.of_order(found)],
    }


def refund(found: Refund) -> dict[str, Any]:
    """A refund."""
    return {
        "refundNo": found.refund_no,
        "refundId": found.refund_id,
        "amount": yuan(found.amount_fen),
        "feeReturned": yuan(found.fee_fen),
        "status": found.status,
        "acceptedAt": rfc3339(found.accepted_at_us),
        "finishedAt": None if found.finished_at_us is None else rfc3339(found.finished_at_us),
    }
