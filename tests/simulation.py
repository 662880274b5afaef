"""`buffmoney simulator` as a child process for tests, merchants that sign by hand or with independent libraries, and a listener."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.product import COMMAND

SHANGHAI = timezone(timedelta(hours=8))
_PEM = serialization.Encoding.PEM


class Simulation:
    """One simulator with a data directory of its own. It keeps its port over restarts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=30, trust_env=False)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.directory.parent / f"{self.directory.name}.log"

    def start(self, *arguments: str) -> Simulation:
        """Starts it and waits until it answers."""
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        if not self.port:
            from tests.product import free_port

            self.port = free_port()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [COMMAND, "simulator", "--port", str(self.port), "--data-dir", str(self.directory), *arguments],
                env={name: value for name, value in os.environ.items() if not name.startswith("BUFFMONEY_")},
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        deadline = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, "the simulator does not answer"
            try:
                if self.http.get(f"{self.url}/healthz").status_code == 200:
                    return self
            except httpx.HTTPError:
                time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM, then wait."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(10)
        self.process = None
        return code

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def control(self, what: str, *, method: str | None = None, expected: int = 200, **body: Any) -> dict[str, Any]:
        """A request to /control. Without members in the body it is a GET."""
        content = json.dumps(body).encode() if body or method == "POST" else None
        verb = method or ("POST" if body else "GET")
        answer = self.http.request(verb, f"{self.url}/control/{what}", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == expected, f"{answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    def as_new(self) -> None:
        """Every lever back to where it was, but for the clock and the keys."""
        self.control("callbacks", mode="normal")
        self.control("refunds", outcome="SUCCESS", delaySeconds=0, gapSeconds=0)
        self.control("bills", refundFeeSign="negative")
        self.control("faults", method="DELETE")

    def phone(self, code: str, outcome: str = "pay") -> httpx.Response:
        """What the payer does."""
        return self.http.post(f"{self.url}/phone/pay", json={"code": code, "outcome": outcome})

    def pay(self, code: str) -> dict[str, Any]:
        """A payment that must succeed."""
        answer = self.phone(code)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        assert found["status"] == "paid", found
        return found

    def now(self) -> datetime:
        """The simulated time."""
        return datetime.fromisoformat(self.control("clock")["now"])

    def next_day(self, hour: int = 11) -> str:
        """Moves the clock to an hour of the next day in Shanghai; the day that has ended, as bills name it."""
        now = self.now()
        then = (now + timedelta(days=1)).replace(hour=hour, minute=0, second=0)
        self.control("clock", advanceSeconds=(then - now).total_seconds())
        return f"{now:%Y-%m-%d}"

    def callbacks(self, order_no: str) -> list[dict[str, Any]]:
        """An order's callbacks, the first one first."""
        found: list[dict[str, Any]] = self.control(f"callbacks?orderNo={order_no}")["callbacks"]
        return found[::-1]

    # ---- merchants

    def wechat(self, *, mode: str = "direct", listener: Listener | None = None, **more: Any) -> WechatMerchant:
        """A new merchant of WeChat's, or a service provider."""
        key = more.pop("key", None) or new_key()
        answer = self.http.post(
            f"{self.url}/onboarding/wechat", json={"merchantPublicKey": public_pem(key), "mode": mode, "name": "测试商户", **more}
        )
        assert answer.status_code == 201, answer.text
        return WechatMerchant(self, key, answer.json(), listener.url("/wechat") if listener else "http://127.0.0.1:9/none")

    def alipay(self, *, listener: Listener | None = None) -> AlipayMerchant:
        """A new seller of Alipay's."""
        key = new_key()
        answer = self.http.post(f"{self.url}/onboarding/alipay", json={"appPublicKey": public_pem(key), "name": "测试商户"})
        assert answer.status_code == 201, answer.text
        return AlipayMerchant(self, key, answer.json(), listener.url("/alipay") if listener else "http://127.0.0.1:9/none")


_KEYS: list[rsa.RSAPrivateKey] = []


def new_key() -> rsa.RSAPrivateKey:
    """One of a few keys of this run: making one takes long, and nothing here depends on two merchants' being different."""
    if len(_KEYS) < 3:
        _KEYS.append(rsa.generate_private_key(65_537, 2_048))
        return _KEYS[-1]
    return secrets.choice(_KEYS)


def public_pem(key: rsa.RSAPrivateKey) -> str:
    """The public half."""
    return key.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def private_pem(key: rsa.RSAPrivateKey) -> str:
    """The private half, as the libraries take it."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def signed(key: rsa.RSAPrivateKey, message: str) -> str:
    """SHA-256 with RSA, base64."""
    return base64.b64encode(key.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def is_signed(pem: str, message: bytes, signature: str) -> bool:
    """Whether a signature in base64 is right."""
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    try:
        key.verify(base64.b64decode(signature), message, padding.PKCS1v15(), hashes.SHA256())
    except Exception:
        return False
    return True


def new_number(prefix: str = "o") -> str:
    """An order number that both channels take."""
    return f"{prefix}{secrets.token_hex(10)}"


@dataclass
class WechatMerchant:
    """A merchant that signs by hand. facts: what onboarding gave it."""

    simulation: Simulation
    key: rsa.RSAPrivateKey
    facts: dict[str, Any]
    notify_url: str

    @property
    def mchid(self) -> str:
        """Its number."""
        return str(self.facts["mchid"])

    def authorization(self, method: str, target: str, body: bytes, *, skew_s: int = 0, **changes: str) -> str:
        """The header. changes: fields to be replaced after signing."""
        timestamp, nonce = str(int(time.time()) + skew_s), secrets.token_hex(16)
        signature = signed(self.key, f"{method}\n{target}\n{timestamp}\n{nonce}\n{body.decode()}\n")
        fields = {
            "mchid": self.mchid,
            "nonce_str": nonce,
            "timestamp": timestamp,
            "serial_no": self.facts["merchantSerial"],
            "signature": signature,
            **changes,
        }
        return "WECHATPAY2-SHA256-RSA2048 " + ",".join(f'{name}="{value}"' for name, value in fields.items())

    def call(self, method: str, target: str, body: Any = None, *, check: bool = True, **headers: str) -> httpx.Response:
        """A signed request, and the answer's signature checked."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        named = {
            "Authorization": self.authorization(method, target, content),
            "Accept": "application/json",
            "User-Agent": "tests",
            **({"Content-Type": "application/json"} if content else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        answer = self.simulation.http.request(method, self.simulation.url + target, content=content, headers=named)
        if check:
            assert self.is_genuine(answer.headers, answer.content), "the answer's signature is wrong"
            assert answer.headers["request-id"]
        return answer

    def is_genuine(self, headers: Any, body: bytes) -> bool:
        """Whether an answer or a callback is WeChat's, by any key in use."""
        keys = {one["platformKeyId"]: one["platformPublicKey"] for one in self.simulation.control("keys")["wechat"]}
        pem = keys.get(headers["wechatpay-serial"])
        message = f"{headers['wechatpay-timestamp']}\n{headers['wechatpay-nonce']}\n".encode() + body + b"\n"
        fresh = abs(time.time() - int(headers["wechatpay-timestamp"])) <= 300
        return pem is not None and fresh and is_signed(pem, message, headers.get("wechatpay-signature", ""))

    def order(self, number: str | None = None, fen: int = 100, **changes: Any) -> dict[str, Any]:
        """The body of an order. A change to None leaves the field out."""
        body = {
            "appid": self.facts["appId"],
            "mchid": self.mchid,
            "description": "模拟充值",
            "out_trade_no": number or new_number(),
            "notify_url": self.notify_url,
            "amount": {"total": fen, "currency": "CNY"},
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    def create(self, number: str | None = None, fen: int = 100, product: str = "native", **changes: Any) -> tuple[str, str]:
        """A new order: its number and what the payer gets."""
        body = self.order(number, fen, **changes)
        answer = self.call("POST", f"/v3/pay/transactions/{product}", body)
        assert answer.status_code == 200, answer.text
        return body["out_trade_no"], next(iter(answer.json().values()))

    def paid(self, fen: int = 100, **changes: Any) -> str:
        """The number of a new order that is paid."""
        number, code = self.create(fen=fen, **changes)
        self.simulation.pay(code)
        return number

    def query(self, number: str) -> httpx.Response:
        """An order by its number."""
        return self.call("GET", f"/v3/pay/transactions/out-trade-no/{number}?mchid={self.mchid}")

    def close(self, number: str) -> httpx.Response:
        """Closes an order."""
        return self.call("POST", f"/v3/pay/transactions/out-trade-no/{number}/close", {"mchid": self.mchid})

    def refund(self, number: str, fen: int, total: int, refund_no: str | None = None, **changes: Any) -> httpx.Response:
        """Asks for a refund."""
        body = {
            "out_trade_no": number,
            "out_refund_no": refund_no or new_number("r"),
            "reason": "测试退款",
            "notify_url": self.notify_url,
            "amount": {"refund": fen, "total": total, "currency": "CNY"},
            **changes,
        }
        return self.call("POST", "/v3/refund/domestic/refunds", {name: value for name, value in body.items() if value is not None})

    def library(self, **more: Any) -> Any:
        """The independent library, pointed at the simulator."""
        from wechatpayv3 import WeChatPay, WeChatPayType

        made = WeChatPay(
            wechatpay_type=WeChatPayType.NATIVE,
            mchid=self.mchid,
            private_key=private_pem(self.key),
            cert_serial_no=self.facts["merchantSerial"],
            apiv3_key=self.facts["apiV3Key"],
            appid=self.facts["appId"],
            notify_url=self.notify_url,
            public_key=self.facts["platformPublicKey"],
            public_key_id=self.facts["platformKeyId"],
            **more,
        )
        made._core._gate_way = self.simulation.url
        return made


@dataclass
class AlipayMerchant:
    """A seller that signs by hand. facts: what onboarding gave it."""

    simulation: Simulation
    key: rsa.RSAPrivateKey
    facts: dict[str, Any]
    notify_url: str

    def parameters(self, method: str, business: dict[str, Any], **changes: str) -> dict[str, str]:
        """Signed public parameters. A change to "" leaves one out of the signature as well as empty."""
        fields = {
            "app_id": self.facts["appId"],
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": f"{datetime.now(SHANGHAI):%Y-%m-%d %H:%M:%S}",
            "version": "1.0",
            "biz_content": json.dumps(business, ensure_ascii=False),
            **changes,
        }
        if "sign" not in fields:
            fields["sign"] = signed(self.key, "&".join(f"{name}={fields[name]}" for name in sorted(fields) if fields[name]))
        return fields

    def call(self, method: str, business: dict[str, Any], **changes: str) -> dict[str, Any]:
        """A signed request; the inner object of its answer, whose signature is checked over the text as it came."""
        answer = self.simulation.http.post(f"{self.simulation.url}/gateway.do", data=self.parameters(method, business, **changes))
        assert answer.status_code == 200, answer.text
        name = method.replace(".", "_") + "_response"
        inner = answer.text[len(f'{{"{name}":') : answer.text.rindex(',"sign":')]
        content: dict[str, Any] = answer.json()
        assert any(is_signed(pem, inner.encode(), content["sign"]) for pem in self.public_keys()), "the answer's signature is wrong"
        found: dict[str, Any] = content[name]
        return found

    def public_keys(self) -> list[str]:
        """Alipay's keys in use."""
        return [one["platformPublicKey"] for one in self.simulation.control("keys")["alipay"]]

    def address(self, product: str, business: dict[str, Any], **changes: str) -> str:
        """The signed address of page pay or wap pay."""
        return f"{self.simulation.url}/gateway.do?{urlencode(self.parameters(f'alipay.trade.{product}.pay', business, **changes))}"

    def order(self, number: str | None = None, amount: str = "1.00", **changes: Any) -> dict[str, Any]:
        """biz_content of an order. A change to None leaves the field out."""
        body = {"out_trade_no": number or new_number(), "total_amount": amount, "subject": "模拟充值", **changes}
        return {name: value for name, value in body.items() if value is not None}

    def create(self, number: str | None = None, amount: str = "1.00", **changes: Any) -> tuple[str, str]:
        """A new order by QR: its number and code."""
        business = self.order(number, amount, **changes)
        found = self.call("alipay.trade.precreate", business, notify_url=self.notify_url)
        assert found["code"] == "10000", found
        return business["out_trade_no"], found["qr_code"]

    def paid(self, amount: str = "1.00") -> str:
        """The number of a new order that is paid."""
        number, code = self.create(amount=amount)
        self.simulation.pay(code)
        return number

    def query(self, number: str) -> dict[str, Any]:
        """An order by its number."""
        return self.call("alipay.trade.query", {"out_trade_no": number})

    def refund(self, number: str, amount: str, request_no: str | None = None) -> dict[str, Any]:
        """Asks for a refund."""
        business = {"out_trade_no": number, "refund_amount": amount}
        return self.call("alipay.trade.refund", business if request_no is None else {**business, "out_request_no": request_no})

    def library(self) -> Any:
        """The independent library, pointed at the simulator."""
        from alipay import AliPay

        made = AliPay(
            appid=self.facts["appId"],
            app_notify_url=self.notify_url,
            app_private_key_string=private_pem(self.key),
            alipay_public_key_string=self.facts["alipayPublicKey"],
            sign_type="RSA2",
        )
        made._gateway = f"{self.simulation.url}/gateway.do"
        return made


@dataclass
class Received:
    """One request that the listener got. headers: lower-case names."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A simulator that is killed breaks its connections off.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@dataclass
class Listener:
    """A merchant's endpoint: keeps what comes and answers as told. answers: used up from the front; then `answer`, (status, body)."""

    answer: tuple[int, bytes] = (200, b"success")
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body of an answer are two writes: the second must not wait for the first one's acknowledgement.
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:
                    # Its sender was killed amid it.
                    self.close_connection = True
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                listener.received.append(Received(time.time(), self.path, headers, body))
                status, content = listener.answers.pop(0) if listener.answers else listener.answer
                if listener.wait_s:
                    time.sleep(listener.wait_s)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def url(self, path: str) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}{path}"

    def wait(self, count: int, timeout_s: float = 10) -> Sequence[Received]:
        """What came, once it is at least so much."""
        wait_for(lambda: len(self.received) >= count, timeout_s, lambda: f"{len(self.received)} of {count} came")
        return self.received

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def wait_for(condition: Callable[[], bool], timeout_s: float = 10, said: Callable[[], str] = lambda: "it did not happen in time") -> None:
    """Waits for something that happens by itself."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.02)
