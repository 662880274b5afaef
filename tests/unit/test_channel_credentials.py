"""Proves: sealed credentials open for the tenant, the channel and the key that they were sealed with, and in no other way; keys can be rotated
with overlap; and neither the sealed form, nor an error, nor the settings show a secret."""

from __future__ import annotations

import base64

import pytest

from buffmoney.base.config import Settings, SettingsError
from buffmoney.collection.channels import AlipayCredentials, Credentials, WechatCredentials
from buffmoney.collection.channels.credentials import UnsealError, seal, unseal

SETTINGS = Settings(secret="s" * 32)
WECHAT = WechatCredentials("wx1", "1900000001", "1900000109", None, "SERIAL", "PRIVATE KEY 密", "API KEY", {"PUB_KEY_ID_1": "PUBLIC KEY"})
ALIPAY = AlipayCredentials("2014", "2088", "PRIVATE KEY", ("PUBLIC KEY", "OLD KEY"))
FIRST, SECOND = base64.b64encode(bytes(range(32))).decode(), base64.b64encode(bytes(range(32, 64))).decode()


def with_keys(text: str) -> Settings:
    """Settings as a process reads them."""
    return Settings.from_environment({"BUFFMONEY_SECRET": "s" * 32, "BUFFMONEY_CREDENTIAL_KEYS": text, "BUFFMONEY_DATA_DIR": "/nowhere"})


@pytest.mark.parametrize("credentials", [WECHAT, ALIPAY])
def test_what_is_sealed_opens(credentials: Credentials) -> None:
    key_id, sealed = seal(SETTINGS, 7, credentials)
    assert unseal(SETTINGS, 7, key_id, sealed) == credentials
    assert key_id.startswith("derived-")
    for secret in (b"KEY", b"wx1", b"2088", "密".encode()):
        assert secret not in sealed


def test_no_two_sealed_forms_are_the_same() -> None:
    assert len({seal(SETTINGS, 7, WECHAT)[1] for _ in range(100)}) == 100


def test_another_tenant_does_not_open_them() -> None:
    key_id, sealed = seal(SETTINGS, 7, WECHAT)
    for tenant_id in (0, 6, 8, 7 << 8):
        with pytest.raises(UnsealError, match="another tenant"):
            unseal(SETTINGS, tenant_id, key_id, sealed)


def test_another_channel_does_not_open_them() -> None:
    key_id, sealed = seal(SETTINGS, 7, WECHAT)
    with pytest.raises(UnsealError):
        unseal(SETTINGS, 7, key_id, b"\x02" + sealed[1:])


def test_one_altered_byte_does_not_open() -> None:
    """In every place: the channel, the nonce, the ciphertext, the tag."""
    key_id, sealed = seal(SETTINGS, 7, WECHAT)
    for place in range(len(sealed)):
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(UnsealError) as refused:
            unseal(SETTINGS, 7, key_id, bytes(altered))
        assert "KEY" not in str(refused.value)
    for cut in (b"", sealed[:1], sealed[:12], sealed[:13], sealed[:28], sealed[:-1], sealed + b"\x00"):
        with pytest.raises(UnsealError):
            unseal(SETTINGS, 7, key_id, cut)


def test_another_secret_has_another_key() -> None:
    key_id, sealed = seal(SETTINGS, 7, WECHAT)
    other = Settings(secret="t" * 32)
    with pytest.raises(UnsealError, match="no key"):
        unseal(other, 7, key_id, sealed)
    with pytest.raises(UnsealError):
        unseal(other, 7, other.credential_key[0], sealed)


def test_an_unknown_key_is_named() -> None:
    _, sealed = seal(SETTINGS, 7, WECHAT)
    with pytest.raises(UnsealError, match="'2026-12'"):
        unseal(SETTINGS, 7, "2026-12", sealed)


def test_keys_rotate_with_overlap() -> None:
    """From the derived key to a first one, to a second one in front of it, until the first is dropped."""
    derived = seal(SETTINGS, 7, WECHAT)
    one = with_keys(f"2026-11:{FIRST}")
    first = seal(one, 7, WECHAT)
    assert first[0] == "2026-11"
    two = with_keys(f"2026-12:{SECOND}, 2026-11:{FIRST}")
    second = seal(two, 7, WECHAT)
    assert second[0] == "2026-12"
    for key_id, sealed in (derived, first, second):
        assert unseal(two, 7, key_id, sealed) == WECHAT
    last = with_keys(f"2026-12:{SECOND}")
    assert unseal(last, 7, *second) == WECHAT
    with pytest.raises(UnsealError, match="2026-11"):
        unseal(last, 7, *first)
    # The right id in front of another key is no key either.
    with pytest.raises(UnsealError):
        unseal(with_keys(f"2026-11:{SECOND}"), 7, *first)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11",
        f":{FIRST}",
        f"a b:{FIRST}",
        f"derived-1:{FIRST}",
        f"{'x' * 33}:{FIRST}",
        "a:notbase64!",
        f"a:{FIRST[:-4]}",
        f"a:{FIRST},a:{SECOND}",
        f"a:{FIRST},b",
        "a:" + base64.b64encode(bytes(16)).decode(),
    ],
)
def test_wrong_keys_are_named_by_their_place_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match="BUFFMONEY_CREDENTIAL_KEYS") as refused:
        with_keys(text)
    assert FIRST[:8] not in str(refused.value)
    assert "notbase64" not in str(refused.value)


def test_settings_do_not_show_keys() -> None:
    settings = with_keys(f"a:{FIRST}")
    assert settings.credential_keys == (("a", bytes(range(32))),)
    assert "credential_keys" not in repr(settings)
    assert with_keys("").credential_keys == ()
