"""Proves that settings are checked where they come in, and that what derives from the secret is stable and separate."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from buffmoney.base.config import Settings, SettingsError, make_secret, with_user

SECRET = "s" * 32


def environment(directory: Path, **more: str) -> dict[str, str]:
    return {"BUFFMONEY_DATA_DIR": str(directory), "DATABASE_URL": "postgresql://o:p@h/d", "REDIS_URL": "redis://h", **more}


@pytest.mark.parametrize(
    ("name", "value"),
    [("BUFFMONEY_PORT", "0"), ("BUFFMONEY_PORT", "８０"), ("BUFFMONEY_PORT", "x"), ("BUFFMONEY_LEASE_S", "nan"), ("BUFFMONEY_LEASE_S", "0"),
     ("BUFFMONEY_MAX_BODY_BYTES", "-1"), ("BUFFMONEY_SECRET", "short")],
)  # fmt: skip
def test_wrong_values_are_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(environment(tmp_path, **{name: value}))


def test_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="BUFFMONEY_SECRET"):
        Settings.from_environment(environment(tmp_path)).complete()


def test_gaps_are_filled_from_the_data_directory(tmp_path: Path) -> None:
    secret = make_secret(tmp_path)
    assert make_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    (tmp_path / "run.json").write_text(
        json.dumps({"databaseUrl": "postgresql://a", "redisUrl": "redis://b", "port": 8123, "host": "127.0.0.2"})
    )
    settings = Settings.from_environment({"BUFFMONEY_DATA_DIR": str(tmp_path)}).complete()
    assert (settings.database_url, settings.redis_url, settings.secret) == ("postgresql://a", "redis://b", secret)
    assert (settings.host, settings.port) == ("127.0.0.2", 8123)
    assert Settings.from_environment(environment(tmp_path)).database_url == "postgresql://o:p@h/d"


def test_what_derives_is_stable_and_separate() -> None:
    settings = Settings(secret=SECRET, database_url="postgresql://owner:pw@db.example:5433/buffmoney?sslmode=require")
    derived = [
        settings.api_key_pepper,
        settings.ledger_key,
        settings.audit_key,
        settings.cash_key,
        *(bytes.fromhex(settings.role_password(role)) for role in ("edge", "core", "worker")),
    ]
    assert len(set(derived)) == 7
    assert all(len(key) == 32 for key in derived)
    assert Settings(secret=SECRET).ledger_key == settings.ledger_key
    assert Settings(secret=SECRET + "x").ledger_key != settings.ledger_key
    url = settings.role_url("edge")
    assert url == f"postgresql://buffmoney_edge:{settings.role_password('edge')}@db.example:5433/buffmoney?sslmode=require"
    assert with_user("postgresql://o:p@/d?host=/run/pg&port=1", "u", "q@/") == "postgresql://u:q%40%2F@/d?host=/run/pg&port=1"


def test_the_simulators_address_is_checked(tmp_path: Path) -> None:
    """Proves: an address without a host is refused, and one of a channel itself; a slash at its end is dropped, and `up` leaves its own in
    run.json."""
    channels = ("https://api.mch.weixin.qq.com", "https://API2.mch.weixin.qq.com:443/x", "https://openapi.alipay.com", "https://alipay.com")
    for wrong in ("127.0.0.1:8800", "ftp://127.0.0.1", "http://", "http://a:99999", "http://a/?b", *channels):
        with pytest.raises(SettingsError, match="BUFFMONEY_SIMULATOR_URL"):
            Settings.from_environment(environment(tmp_path, BUFFMONEY_SIMULATOR_URL=wrong))
    given = Settings.from_environment(environment(tmp_path, BUFFMONEY_SIMULATOR_URL="http://127.0.0.1:8800/"))
    assert given.simulator_url == "http://127.0.0.1:8800"
    assert Settings.from_environment(environment(tmp_path)).simulator_url == ""
    (tmp_path / "run.json").write_text(json.dumps({"simulatorUrl": "http://127.0.0.1:1234"}))
    assert Settings.from_environment(environment(tmp_path)).simulator_url == "http://127.0.0.1:1234"
