"""Accounts at the channels from the command line: sealed, listed without secrets, rotated with overlap, retired, told in the audit log."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.product import Merchant, Product, assert_problem


def pem(*, private: bool) -> str:
    """A fresh key."""
    key = rsa.generate_private_key(65537, 2048)
    if private:
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def wechat(**changes: Any) -> dict[str, Any]:
    """Credentials as the file has them."""
    return {
        "type": "wechat",
        "app_id": "wx0000000000000001",
        "mchid": "1900000001",
        "sub_mchid": None,
        "sub_app_id": None,
        "merchant_serial": "5157F09EFDC096DE15EBE81A47057A7200000000",
        "merchant_private_key": pem(private=True),
        "api_v3_key": "never-shown-never-shown-never-00",
        "platform_keys": {"PUB_KEY_ID_1": pem(private=False)},
        **changes,
    }


def written(path: Path, credentials: dict[str, Any]) -> str:
    path.write_text(json.dumps(credentials))
    return str(path)


def test_an_account_from_its_first_day_to_its_last(product: Product, merchant: Merchant, tmp_path: Path) -> None:
    """Proves: an account is added once, rotated to its own merchant's credentials only, retired; its secrets are nowhere to be read.
    Without an account no top-up can be made in live mode, and its checkout offers only the channels that there are."""
    live = merchant.live
    body = {"customerExternalId": "acme", "amount": "100"}
    assert_problem(live.call("POST", "/v1/top-ups", body), 422, "channel_not_configured")
    first = written(tmp_path / "first.json", wechat())
    add = ("channels", "add", "--merchant", merchant.merchant_id, "--credentials", first, "--json")
    account = json.loads(product.cli(*add).stdout)["channelAccountId"]
    checkout = httpx.get(live.ok("POST", "/v1/top-ups", body)["checkoutUrl"], trust_env=False).text
    assert re.findall(r'name="product" value="([a-z0-9]+)"', checkout) == ["native"]
    again = product.cli(*add, check=False)
    assert again.returncode == 1 and "[invalid_channel_account]" in again.stderr
    second = written(tmp_path / "second.json", wechat())
    rotate = ("channels", "rotate", account, "--overlap", "60", "--json", "--credentials")
    assert json.loads(product.cli(*rotate, second).stdout) == {"channelAccountId": account, "version": 2}
    stranger = product.cli(*rotate, written(tmp_path / "other.json", wechat(mchid="1900000002")), check=False)
    assert stranger.returncode == 1 and "another merchant" in stranger.stderr
    product.cli("channels", "retire", account)
    (listed,) = json.loads(product.cli("channels", "list", "--merchant", merchant.merchant_id, "--json").stdout)["channelAccounts"]
    assert (listed["channelAccountId"], listed["collectorId"], listed["version"]) == (account, "1900000001", 2)
    assert listed["retiredAt"] is not None
    assert_problem(live.call("POST", "/v1/top-ups", body), 422, "channel_not_configured")
    log = live.ok("GET", "/v1/audit-log?limit=50")["data"]
    told = [one["action"] for one in log if one["objectKind"] == "channel_account"]
    assert told == ["channel_account.retire", "channel_account.rotate", "channel_account.create"]
    rows = product.sql.fetch("SELECT c::text FROM channel_credentials c WHERE channel_account_id = $1", account)
    assert len(rows) == 2
    for text in (json.dumps(log), json.dumps(listed), *(row[0] for row in rows)):
        assert "never-shown" not in text and "PRIVATE KEY" not in text
    live.close()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"type": "wechat"}', json.dumps({"type": "alipay", "app_id": "1"}), json.dumps(wechat(api_v3_key="short-secret"))],
)
def test_credentials_that_open_nothing(product: Product, merchant: Merchant, tmp_path: Path, content: str) -> None:
    """Proves: one clear error, which shows nothing of the file, and nothing is stored."""
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(wechat(api_v3_key="short-secret")) if content == "short key" else content)
    refused = product.cli("channels", "add", "--merchant", merchant.merchant_id, "--credentials", str(path), check=False)
    assert refused.returncode == 1
    assert "[invalid_channel_account]" in refused.stderr
    assert "secret" not in refused.stderr and "Traceback" not in refused.stderr
    assert product.sql.value("SELECT count(*) FROM channel_accounts WHERE tenant_id = $1", merchant.live.tenant_id) == 0
