"""WeChat's callbacks: what they hold, and how each attempt is encrypted and signed anew."""

from __future__ import annotations

import json
from typing import Any

from buffmoney.simulator import keys
from buffmoney.simulator.channel_time import rfc3339
from buffmoney.simulator.keys import PlatformKey, Signing
from buffmoney.simulator.records import Order, Refund
from buffmoney.simulator.wechat import answers
from buffmoney.simulator.wechat.signing import signed_headers

RETRIES_S = (15, 15, 30, 180, 600, 1_200, 1_800, 1_800, 1_800, 3_600, 10_800, 10_800, 10_800, 21_600, 21_600)
"""waits after each attempt that was not taken: 15 repetitions"""

_SUMMARIES = {"SUCCESS": "退款成功", "CLOSED": "退款关闭", "ABNORMAL": "退款异常"}


def content(order: Order, refund: Refund | None) -> dict[str, Any]:
    """What is kept of a callback: its event, its summary, and its resource in the clear."""
    alteration = order.alteration
    if refund is None:
        return {
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "original_type": "transaction",
            "resource": answers.transaction(order, state="SUCCESS", alteration=alteration),
        }
    total = alteration.get("amountFen", order.amount_fen)
    parties = answers.parties(order, alteration)
    resource: dict[str, Any] = {
        **{name: value for name, value in parties.items() if name.endswith("mchid")},
        "transaction_id": order.transaction_id,
        "out_trade_no": order.order_no,
        "refund_id": refund.refund_id,
        "out_refund_no": refund.refund_no,
        "refund_status": refund.status,
        "user_received_account": "支付用户零钱",
        "amount": {"total": total, "refund": refund.amount_fen, "payer_total": total, "payer_refund": refund.amount_fen},
    }
    if refund.status == "SUCCESS" and refund.finished_at_us is not None:
        resource["success_time"] = rfc3339(refund.finished_at_us)
    return {
        "event_type": f"REFUND.{refund.status}",
        "summary": _SUMMARIES[refund.status],
        "original_type": "refund",
        "resource": resource,
    }


def request(
    notice_id: str, kept: dict[str, Any], created_at_us: int, api_v3_key: str, key: PlatformKey, now_s: int, signing: Signing
) -> tuple[dict[str, str], bytes]:
    """One attempt as (headers, body)."""
    plaintext = json.dumps(kept["resource"], ensure_ascii=False, separators=(",", ":")).encode()
    # The associated data may be empty as well as not, so merchants get to see both.
    associated = kept["original_type"] if kept["original_type"] == "transaction" else ""
    nonce, ciphertext = keys.encrypt(api_v3_key, plaintext, associated)
    body = json.dumps(
        {
            "id": notice_id,
            "create_time": rfc3339(created_at_us),
            "resource_type": "encrypt-resource",
            "event_type": kept["event_type"],
            "summary": kept["summary"],
            "resource": {
                "original_type": kept["original_type"],
                "algorithm": "AEAD_AES_256_GCM",
                "ciphertext": ciphertext,
                "associated_data": associated,
                "nonce": nonce,
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "*/*",
        "User-Agent": "Mozilla/4.0",
        **signed_headers(key, now_s, body, signing),
    }
    return headers, body


def taken(status: int) -> bool:
    """Whether a merchant's answer ends the repetitions: its status alone, whatever its body."""
    return status in (200, 204)
