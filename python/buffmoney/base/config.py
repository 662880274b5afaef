"""Settings, all from the environment; on a machine where `buffmoney up` runs, the gaps are filled from its data directory."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from blake3 import blake3

Role = Literal["edge", "core", "worker"]
ROLES: tuple[Role, ...] = ("edge", "core", "worker")

MINIMUM_SECRET_CHARACTERS = 32
RUN_FILE = "run.json"
DERIVED_KEY = "derived-"
"""what the ids of keys that derive from the secret begin with, and those of no other"""
LIVE_DOMAINS = ("weixin.qq.com", "alipay.com", "alipaydev.com")
"""of the payment channels: what is there is never a simulator"""
SECRET_FILE = "secret"  # noqa: S105 - the name of the file, not what is in it


_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


class SettingsError(ValueError):
    """A setting is missing or not valid. The message names it."""


def default_data_dir() -> Path:
    """Where `up` keeps its data unless told otherwise.

    Root gets a directory outside of its home, because PostgreSQL refuses to run as root and its own user cannot see into /root.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/buffmoney")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "buffmoney"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a process needs to know. Times end in _s, sizes in _bytes."""

    database_url: str = field(default="", repr=False)
    """of the owner of the schema; the roles' URLs derive from it"""
    redis_url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)
    """at least 32 characters; API keys, the ledger's signature and the roles' passwords derive from it"""
    credential_keys: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """id and 32 bytes of each key for payment credentials: the first seals, all unseal; without any, one derives from the secret"""
    data_dir: Path = Path()
    host: str = "127.0.0.1"
    port: int = 8000
    max_inflight_batches: int = 64
    answer_timeout_s: float = 10.0
    max_body_bytes: int = 2 * 1024 * 1024
    body_timeout_s: float = 10.0
    simulator_url: str = ""
    """where sandbox tenants pay: the address of `buffmoney simulator`, without a slash at its end; empty for nowhere"""
    heads_file: Path | None = None
    lease_s: float = 3.0
    max_wallets: int = 1_000_000
    seen_batches: int = 500_000
    """batches that Redis knows again, at least; at most twice as many"""
    keys_per_table: int = 1 << 18
    """event keys are stored in tables of at least so many"""
    key_filter_bytes: int = 1 << 28
    """memory that a partition takes at once for filters of such tables: four bytes for each key, then two, then one, then old tables are
    looked into for every event"""
    group_events: int = 20_000
    unsafe_async_commit: bool = False
    public_base: str = ""
    """scheme and host at which others reach the edges, for callbacks and checkouts; empty: host and port"""
    platform_fee_bps: int = 0
    """what we take of a payment, in hundredths of a percent"""
    access_log: bool = False
    """one line for every request; without it only failures of ours are logged, and the metrics count the rest"""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Reads the variables, then what `up` wrote into the data directory for what they leave open. Raises SettingsError."""
        env = os.environ if environment is None else environment
        data_dir = Path(env.get("BUFFMONEY_DATA_DIR") or default_data_dir()).expanduser().absolute()
        run = read_run_file(data_dir)
        heads_file = env.get("BUFFMONEY_HEADS_FILE")
        settings = cls(
            database_url=env.get("DATABASE_URL") or str(run.get("databaseUrl", "")),
            redis_url=env.get("REDIS_URL") or str(run.get("redisUrl", "")),
            secret=env.get("BUFFMONEY_SECRET") or read_secret(data_dir),
            credential_keys=_named_keys(env, "BUFFMONEY_CREDENTIAL_KEYS"),
            data_dir=data_dir,
            host=env.get("BUFFMONEY_HOST") or str(run.get("host") or "127.0.0.1"),
            port=_integer(env, "BUFFMONEY_PORT", int(str(run.get("port", 8000))), 1, 65_535),
            max_inflight_batches=_integer(env, "BUFFMONEY_MAX_INFLIGHT_BATCHES", 64, 1, 10_000),
            answer_timeout_s=_seconds(env, "BUFFMONEY_ANSWER_TIMEOUT_S", 10.0),
            max_body_bytes=_integer(env, "BUFFMONEY_MAX_BODY_BYTES", 2 * 1024 * 1024, 1_024, 1 << 30),
            body_timeout_s=_seconds(env, "BUFFMONEY_BODY_TIMEOUT_S", 10.0),
            simulator_url=_simulator_url(env, str(run.get("simulatorUrl") or "")),
            heads_file=Path(heads_file) if heads_file else data_dir / "heads.json",
            lease_s=_seconds(env, "BUFFMONEY_LEASE_S", 3.0),
            max_wallets=_integer(env, "BUFFMONEY_MAX_WALLETS", 1_000_000, 1, 1 << 31),
            seen_batches=_integer(env, "BUFFMONEY_SEEN_BATCHES", 500_000, 1, 1 << 31),
            keys_per_table=_integer(env, "BUFFMONEY_KEYS_PER_TABLE", 1 << 18, 1_000, 1 << 24),
            key_filter_bytes=_integer(env, "BUFFMONEY_KEY_FILTER_BYTES", 1 << 28, 0, 1 << 40),
            group_events=_integer(env, "BUFFMONEY_GROUP_EVENTS", 20_000, 500, 1_000_000),
            unsafe_async_commit=env.get("BUFFMONEY_UNSAFE_ASYNC_COMMIT") == "1",
            public_base=_url(env, "BUFFMONEY_PUBLIC_URL", ""),
            platform_fee_bps=_integer(env, "BUFFMONEY_PLATFORM_FEE_BPS", 0, 0, 10_000),
            access_log=env.get("BUFFMONEY_ACCESS_LOG") == "1",
        )
        if settings.secret and len(settings.secret) < MINIMUM_SECRET_CHARACTERS:
            raise SettingsError(f"BUFFMONEY_SECRET needs at least {MINIMUM_SECRET_CHARACTERS} characters")
        return settings

    def complete(self) -> Self:
        """Itself, if a process can run with it. Raises SettingsError naming what is missing and where it would come from."""
        for name, value in (("DATABASE_URL", self.database_url), ("REDIS_URL", self.redis_url), ("BUFFMONEY_SECRET", self.secret)):
            if not value:
                raise SettingsError(
                    f"{name} is not set, and no `buffmoney up` has left it in {self.data_dir}. "
                    f"Start `buffmoney up`, or set {name} (and BUFFMONEY_DATA_DIR if the data lie elsewhere)."
                )
        return self

    def replace(self, **changes: object) -> Self:
        """A copy with changes."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, from the secret. Different purposes have nothing to do with one another."""
        if len(self.secret) < MINIMUM_SECRET_CHARACTERS:
            raise SettingsError(f"BUFFMONEY_SECRET needs at least {MINIMUM_SECRET_CHARACTERS} characters")
        return blake3(self.secret.encode(), derive_key_context=f"buffmoney v1 {purpose}").digest()

    @property
    def public_url(self) -> str:
        """Where others reach the edges, without a slash at its end."""
        return self.public_base or f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def api_key_pepper(self) -> bytes:
        """32 bytes under which API keys are hashed."""
        return self.derive("api key pepper")

    @property
    def ledger_key(self) -> bytes:
        """32 bytes under which the ledger's heads are signed."""
        return self.derive("ledger head signature")

    @property
    def audit_key(self) -> bytes:
        """32 bytes under which the audit log's heads are signed."""
        return self.derive("audit head signature")

    @property
    def cash_key(self) -> bytes:
        """32 bytes under which the cash book's heads are signed."""
        return self.derive("cash head signature")

    @property
    def credential_key(self) -> tuple[str, bytes]:
        """Id and 32 bytes of the key that seals payment credentials where BUFFMONEY_CREDENTIAL_KEYS names none.

        The id is of the key: with another secret it is another one, so what cannot be unsealed any more is told from what was altered.
        """
        key = self.derive("channel credentials")
        return DERIVED_KEY + blake3(key, derive_key_context="buffmoney v1 key id").hexdigest()[:16], key

    def role_password(self, role: Role) -> str:
        """The database password of a role, 64 hexadecimal digits."""
        return self.derive(f"database role {role}").hex()

    @property
    def superuser_password(self) -> str:
        """The password of the embedded PostgreSQL's superuser."""
        return self.derive("embedded database superuser").hex()

    def role_url(self, role: Role) -> str:
        """DATABASE_URL with the role's user and password in place of the owner's."""
        return with_user(self.database_url, f"buffmoney_{role}", self.role_password(role))


def with_user(url: str, user: str, password: str) -> str:
    """A PostgreSQL URL with other credentials."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"))


def read_run_file(data_dir: Path) -> dict[str, object]:
    """What a running `up` says of itself; empty if there is none or it may not be read."""
    try:
        content = json.loads((data_dir / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_secret(data_dir: Path) -> str:
    """The secret that `up` made in its data directory; empty if there is none or it may not be read."""
    try:
        return (data_dir / SECRET_FILE).read_text().strip()
    except OSError:
        return ""


def make_secret(data_dir: Path) -> str:
    """The secret of a data directory, made once, readable by its owner alone."""
    path = data_dir / SECRET_FILE
    existing = read_secret(data_dir)
    if existing:
        return existing
    made = secrets.token_hex(32)
    # Written aside and renamed, so that a crash leaves either no secret or a whole one.
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(made + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    return made


def _integer(env: Mapping[str, str], name: str, default: int, lowest: int, highest: int) -> int:
    text = env.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or not lowest <= int(text) <= highest:
        raise SettingsError(f"{name} must be a whole number from {lowest} to {highest}, not {text!r}")
    return int(text)


def _url(env: Mapping[str, str], name: str, default: str) -> str:
    text = (env.get(name) or default).rstrip("/")
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        valid = valid and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SettingsError(f"{name} must be an address such as http://127.0.0.1:8800, not {text!r}")
    return text


def _simulator_url(env: Mapping[str, str], default: str) -> str:
    url = _url(env, "BUFFMONEY_SIMULATOR_URL", default)
    host = urlsplit(url).hostname or ""
    if any(host == live or host.endswith(f".{live}") for live in LIVE_DOMAINS):
        raise SettingsError(f"BUFFMONEY_SIMULATOR_URL must not be a channel itself: {host} would take sandbox orders for real ones")
    return url


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 3_600:
        raise SettingsError(f"{name} must be a number of seconds, at most 3600, not {text!r}")
    return value


def _named_keys(env: Mapping[str, str], name: str) -> tuple[tuple[str, bytes], ...]:
    """`id:base64,id:base64`: ids of letters, digits, `_` and `-`, keys of 32 bytes. What is wrong is named by its place, never shown."""
    keys: dict[str, bytes] = {}
    for place, part in enumerate((env.get(name) or "").split(","), 1):
        if not part.strip():
            continue
        key_id, _, text = part.strip().partition(":")
        try:
            key = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if _KEY_ID.fullmatch(key_id) is None or key_id.startswith(DERIVED_KEY) or key_id in keys or len(key) != 32:
            raise SettingsError(f"{name} is id:key,id:key with ids of their own and keys of 32 bytes in base64; the {place}. is not")
        keys[key_id] = key
    return tuple(keys.items())
