"""The checkout over HTTP, through the real edge: what is answered to whom, with which headers, and what of it can be told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from buffmoney.base.http import Call, Route
from buffmoney.collection import checkout, checkout_assets
from buffmoney.edge import openapi
from buffmoney.edge.app import ROUTES
from tests.checkouts import TopUps, attempt, serving, token_like, view

OPENID = "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
ENGLISH = {"accept-language": "en"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TopUps, httpx.Client]]:
    top_ups = TopUps()
    with serving(top_ups, Path(tmp_path_factory.mktemp("edge"))) as url, httpx.Client(base_url=url, timeout=10) as client:
        yield top_ups, client


@pytest.fixture
def top_ups(served: tuple[TopUps, httpx.Client]) -> Iterator[TopUps]:
    yield served[0]
    served[0].reset()


@pytest.fixture
def client(served: tuple[TopUps, httpx.Client], top_ups: TopUps) -> httpx.Client:
    return served[1]


def assert_page(answer: httpx.Response, status: int) -> None:
    """A page with all its protection, whatever happened."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert {name: answer.headers[name] for name in checkout.PAGE_HEADERS} == dict(checkout.PAGE_HEADERS)
    assert "set-cookie" not in answer.headers


def test_the_policy() -> None:
    """Proves: nothing inline, nothing evaluated, nothing from elsewhere, no frames, no base, forms only to us."""
    rules = dict(rule.split(" ", 1) for rule in checkout.POLICY.split("; "))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("frame-ancestors") == "'none'"
    assert rules.keys() == {"script-src", "style-src", "img-src", "connect-src", "form-action"} and set(rules.values()) == {"'self'"}
    assert checkout.PAGE_HEADERS["referrer-policy"] == "strict-origin"


def test_the_page(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: the page and its head, with any parameters that others add on the way back."""
    shown = top_ups.add()
    for query in ("", "?from=singlemessage&isappinstalled=0", "?charset=utf-8&out_trade_no=1&sign=a%2Bb%3D%3D", "?lang=fr&openid=%3Cb%3E"):
        answer = client.get(f"/pay/{shown.token}{query}", headers=ENGLISH)
        assert_page(answer, 200)
        assert "Choose how to pay" in answer.text
    head = client.head(f"/pay/{shown.token}", headers=ENGLISH)
    assert_page(head, 200)
    assert head.content == b""
    assert int(head.headers["content-length"]) > 2_000


def test_a_wrong_token_tells_nothing(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: unknown, malformed, outdated and misspelt addresses get one and the same page, byte by byte and header by header."""
    old = top_ups.add()
    top_ups.kept.clear()
    paths = [f"/pay/{token}" for token in (token_like(), old.token, "x", "%2e%2e", "a" * 255, "assets", "' OR 1=1 --")]
    paths += ["/pay", "/pay/", f"/pay/{token_like()}/other", "/pay/assets/unknown.css", "/pay/a/b/c/d"]
    answers = [client.get(path, headers=ENGLISH) for path in paths]
    answers.append(client.post(f"/pay/{token_like()}/start", data={"product": "native"}, headers=ENGLISH))
    for answer in answers:
        assert_page(answer, 404)
    assert len({answer.content for answer in answers}) == 1
    own = {"x-request-id", "date"}
    assert len({tuple(sorted((name, value) for name, value in answer.headers.items() if name not in own)) for answer in answers}) == 1
    states = [client.get(f"/pay/{token}/status") for token in (token_like(), old.token, "x")]
    assert [answer.status_code for answer in states] == [404] * 3
    assert len({answer.text.replace(answer.json()["requestId"], "") for answer in states}) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/pay/%FF", 400),
        ("GET", "/pay/%00", 422),
        ("GET", "/pay/" + "a" * 256, 422),
        ("GET", "/pay/" + "a" * 5_000, 414),
        ("GET", "/pay/a?lang=en&lang=zh", 422),
        ("GET", "/pay/a?lang=%00", 422),
        ("GET", "/pay/a?" + "x" * 9_000, 414),
        ("DELETE", "/pay/a", 405),
        ("GET", "/pay/a/start", 405),
    ],
)
def test_malformed_requests_get_the_page_too(client: httpx.Client, method: str, path: str, status: int) -> None:
    """Proves: whatever is wrong beneath /pay is shown as a page."""
    answer = client.request(method, path, headers=ENGLISH)
    assert_page(answer, status)
    assert "Page not found" in answer.text
    assert ("allow" in answer.headers) == (status == 405)


def test_other_paths_stay_json(client: httpx.Client) -> None:
    """Proves: outside of /pay nothing changed."""
    for path in ("/", "/payments", "/v1/pay", "//pay"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path


def test_a_start_leads_back_to_the_page(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: a start answers with a redirect to a GET, keeps language and openid, and passes on who pays from where."""
    shown = top_ups.add()
    answer = client.post(f"/pay/{shown.token}/start", data={"product": "native"}, headers={"x-forwarded-for": "10.9.8.7, 203.0.113.9"})
    assert answer.status_code == 303 and answer.content == b""
    assert answer.headers["location"] == f"/pay/{shown.token}?go=1"
    assert answer.headers["referrer-policy"] == "strict-origin" and answer.headers["cache-control"] == "no-store"
    answer = client.post(f"/pay/{shown.token}/start", data={"product": "jsapi", "openid": OPENID, "lang": "en"})
    assert answer.headers["location"] == f"/pay/{shown.token}?lang=en&openid={OPENID}&go=1"
    assert top_ups.started == [("wechat", "native", "203.0.113.9", None), ("wechat", "jsapi", "127.0.0.1", OPENID)]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 422),
        (b"product=bitcoin", "application/x-www-form-urlencoded", 422),
        (b"product=jsapi", "application/x-www-form-urlencoded", 422),
        (b"product=jsapi&openid=%00", "application/x-www-form-urlencoded", 422),
        (b"product=%ff", "application/x-www-form-urlencoded", 422),
        (b"product=\xff", "application/x-www-form-urlencoded", 422),
        (b"a=1&" * 50 + b"product=native", "application/x-www-form-urlencoded", 422),
        (b"x=" + b"a" * 5_000 + b"&product=native", "application/x-www-form-urlencoded", 413),
        (b'{"product":"native"}', "application/json", 415),
        (b"product=native", "text/plain", 415),
    ],
)
def test_no_other_forms(client: httpx.Client, top_ups: TopUps, content: bytes, kind: str, status: int) -> None:
    """Proves: a form that is not ours starts nothing."""
    shown = top_ups.add()
    answer = client.post(f"/pay/{shown.token}/start", content=content, headers={"content-type": kind, **ENGLISH})
    assert_page(answer, status)
    assert top_ups.started == []


@pytest.mark.parametrize(("code", "status", "words"), [("redis_unavailable", 503, "did not answer"), ("forbidden", 403, "not available")])
def test_a_start_that_fails(client: httpx.Client, top_ups: TopUps, code: str, status: int, words: str) -> None:
    """Proves: the page says what happened, with the problem's status; once the top-up is over, it leads to what it became."""
    shown = top_ups.add()
    top_ups.refuse = code
    answer = client.post(f"/pay/{shown.token}/start", data={"product": "native"}, headers=ENGLISH)
    assert_page(answer, status)
    assert words in answer.text and "Choose how to pay" in answer.text
    top_ups.change(shown.token, status="paid")
    answer = client.post(f"/pay/{shown.token}/start", data={"product": "native"}, headers=ENGLISH)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/pay/{shown.token}")
    top_ups.refuse = None
    top_ups.started.clear()
    top_ups.change(shown.token, status="open", under_review=True)
    answer = client.post(f"/pay/{shown.token}/start", data={"product": "native"}, headers=ENGLISH)
    assert (answer.status_code, answer.headers["location"], top_ups.started) == (303, f"/pay/{shown.token}", [])


def test_who_says_to_have_paid_is_answered(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: the page's own link leads to its answer, and the channel was asked before."""
    plain = view()
    one = top_ups.put(view(token=plain.token, attempts=[attempt("page", plain)]))
    assert "Nothing has arrived yet." not in client.get(f"/pay/{one.token}", headers=ENGLISH).text
    answer = client.get(f"/pay/{one.token}?asked=1", headers=ENGLISH)
    assert_page(answer, 200)
    assert "Nothing has arrived yet." in answer.text and top_ups.polls[one.token] == 2


def test_the_state(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: the script learns the page's own state, which changes when the page does."""
    shown = top_ups.add()
    path = f"/pay/{shown.token}"
    before = client.get(f"{path}/status")
    assert before.headers["content-type"] == "application/json" and before.headers["cache-control"] == "no-store"
    assert before.json()["status"] == "open" and 1_790 < before.json()["secondsLeft"] <= 1_800
    assert f'data-state="{before.json()["state"]}"' in client.get(path).text
    client.post(f"{path}/start", data={"product": "native"})
    after = client.get(f"{path}/status").json()
    assert after["state"] != before.json()["state"]
    assert f'data-state="{after["state"]}"' in client.get(path).text


def test_the_channel_is_asked_only_while_it_can_tell(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: a page asks the channel when a payment may have come, and not when none was begun or all is over."""
    asked = []
    plain = view()
    for one in (
        plain,
        view(status="credited"),
        view(status="expired"),
        view(attempts=[attempt("native", plain, status="closed")]),
        view(status="paid"),
        view(attempts=[attempt("native", plain)]),
    ):
        top_ups.put(one)
        assert_page(client.get(f"/pay/{one.token}"), 200)
        asked.append(top_ups.polls.get(one.token, 0))
    assert asked == [0, 0, 0, 0, 1, 1]


def test_trouble_is_a_page(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: a database that is away gives a page with a reference and when to come again."""
    shown = top_ups.add()
    top_ups.broken = True
    answer = client.get(f"/pay/{shown.token}", headers=ENGLISH)
    assert_page(answer, 503)
    assert answer.headers["x-request-id"] in answer.text
    assert answer.headers["retry-after"] == "1"


def test_what_is_known_is_shown_if_asking_fails(client: httpx.Client, top_ups: TopUps) -> None:
    """Proves: a channel that cannot be asked does not take the page away."""
    plain = view()
    one = top_ups.put(view(token=plain.token, attempts=[attempt("native", plain)]))
    top_ups.silent = True
    answer = client.get(f"/pay/{one.token}", headers=ENGLISH)
    assert_page(answer, 200)
    assert "Scan with WeChat" in answer.text


def test_assets(client: httpx.Client) -> None:
    """Proves: files are kept for good under their own name, and under no other."""
    for asset in checkout_assets.ASSETS.values():
        answer = client.get(checkout_assets.PREFIX + asset.name)
        assert (answer.status_code, answer.content) == (200, asset.content)
        assert answer.headers["content-type"] == asset.content_type
        assert answer.headers.get_list("cache-control") == ["public, max-age=31536000, immutable"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        stem, _, ending = asset.name.split(".")
        outdated = client.get(f"{checkout_assets.PREFIX}{stem}.0000000000000000.{ending}")
        assert outdated.content == asset.content and outdated.headers.get_list("cache-control") == ["no-store"]


def test_left_out_of_openapi(client: httpx.Client) -> None:
    """Proves: pages are no part of the API's description."""
    assert list(client.get("/api/openapi").json()["paths"]) == ["/v1/return-secret"]
    for route in checkout.routes(TopUps()):
        assert route.documented != route.path.startswith("/pay/") and route.documented != route.public
    described = openapi.document(tuple(route for route in ROUTES if route.documented))["paths"]
    assert described and not [path for path in described if path.startswith("/pay")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.4.4", "", "8.8.4.4"),
        ("8.8.4.4", "1.2.3.4", "8.8.4.4"),
        ("10.0.0.2", "6.6.6.6, 8.8.8.8", "8.8.8.8"),
        ("127.0.0.1", "2001:4860:4860::8888", "2001:4860:4860::8888"),
        ("::1", "8.8.4.4", "8.8.4.4"),
        ("10.0.0.2", "", "10.0.0.2"),
        ("10.0.0.2", "8.8.8.8, unknown", "10.0.0.2"),
        ("", "8.8.8.8", ""),
    ],
)
def test_where_a_request_comes_from(peer: str, forwarded: str, address: str) -> None:
    """Proves: only a proxy on a private address is believed, and of what it sends only what it saw itself."""
    route: Any = Route(method="GET", path="/", handler=checkout.asset, summary="", tag="", answer=bytes)
    call = Call(None, route, "", {}, headers={b"x-forwarded-for": forwarded.encode()}, peer=peer)  # type: ignore[arg-type]
    assert call.client_ip() == address
