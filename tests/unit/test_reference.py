"""The reference at /api/docs, as HTML: whole, correct, linked, and loading nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from functools import cache
from typing import Any
from xml.etree.ElementTree import Element  # the type of what html5lib makes

import html5lib
import pytest

from buffmoney.edge import openapi, reference
from tests.api_changes import current

DOCUMENT = current()
REFERENCE = reference.Reference(DOCUMENT, openapi.examples())
PAGES = {address: REFERENCE.page(address) for address in REFERENCE.addresses}
OPERATIONS = [(method.upper(), path, words) for path, item in DOCUMENT["paths"].items() for method, words in item.items()]


@cache
def parsed(address: str) -> Element:
    """A page as browsers read it. Raises html5lib's error for anything that is not valid."""
    found: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(PAGES[address])
    return found


def text_of(element: Element) -> str:
    return "".join(element.itertext())


@pytest.mark.parametrize("address", REFERENCE.addresses)
def test_a_page_loads_nothing(address: str) -> None:
    """Proves: the HTML is valid, names no other file or host but in links, and its policy allows its own style and script alone."""
    root = parsed(address)
    for element in root.iter():
        assert element.get("src") is None and element.get("style") is None
        assert not [name for name in element.keys() if name.startswith("on")]  # noqa: SIM118  # an Element is no mapping
        href = element.get("href", "#")
        assert href.startswith(("#", "/api/")) or (element.tag == "link" and href.startswith("data:"))
    policy = reference.HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy and "self" not in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (block,) = root.iter(tag)
        digest = base64.b64encode(hashlib.sha256(text_of(block).encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert "url(" not in text_of(next(root.iter("style"))) and "@import" not in text_of(next(root.iter("style")))


def test_every_link_leads_somewhere() -> None:
    """Proves: each link is to the document or to a page that there is, at a place that it has."""
    places = {address: {element.get("id") for element in parsed(address).iter() if element.get("id")} for address in PAGES}
    for address in PAGES:
        for link in parsed(address).iter("a"):
            page, _, place = link.get("href", "").partition("#")
            page = page or address
            assert page in PAGES or page == "/api/openapi", page
            assert not place or place in places[page], (page, place)


def test_everything_is_there() -> None:
    """Proves: every operation has one place with its words, fields, example and codes, and every error code one row."""
    for method, path, words in OPERATIONS:
        slug = words["tags"][0].lower().replace(" ", "-")
        (article,) = (one for one in parsed(f"/api/docs/{slug}").iter("article") if one.get("id") == words["operationId"])
        text = text_of(article)
        assert words["summary"] in text and f"{method} {path}" in re.sub(r"\s+", " ", text)
        for content in (words.get("requestBody", {"content": {}})["content"], words["responses"][min(words["responses"])]["content"]):
            for one in content.values():
                name = one["schema"]["$ref"].rpartition("/")[2]
                names = {text_of(code) for code in article.iter("code") if code.get("class") == "name"}
                assert set(DOCUMENT["components"]["schemas"][name].get("properties", {})) <= names, name
        told = {text_of(code) for link in article.iter("a") for code in link.iter("code")}
        assert {code for code in DOCUMENT["components"]["examples"] if f'"{code}"' in json.dumps(words["responses"])} <= told
    rows = [text_of(next(row.iter("code"))) for row in parsed("/api/docs/errors").iter("tr") if row.get("id")]
    assert rows == sorted(DOCUMENT["components"]["examples"])


def test_examples_are_commands() -> None:
    """Proves: what is to be copied is the recorded request as one command of the shell, whatever stands in it."""
    awkward = openapi.Example({"externalId": "a/b c"}, {"limit": "2", "kind": "a&b"}, "it's", {"name": "it's $HOME `x` 元"}, None)
    words = shlex.split(reference.curl("POST", "/v1/customers/{externalId}/grants", awkward).replace("\\\n", " "))
    assert words[:2] == ["curl", "$BUFFMONEY_URL/v1/customers/a%2Fb%20c/grants?limit=2&kind=a%26b"]
    assert json.loads(words[words.index("-d") + 1]) == awkward.body
    for method, path, found in OPERATIONS:
        example: Any = openapi.examples()[found["operationId"]]
        command = shlex.split(reference.curl(method, path, example).replace("\\\n", " "))
        assert command[0] == "curl" and (method in command or method in ("GET", "POST"))
        assert ("-d" in command) == (example.body is not None)
        # curl sends POST where there is a body, and GET where there is none.
        assert method != "POST" or example.body is not None
        assert method != "GET" or example.body is None


def test_nothing_is_taken_for_markup() -> None:
    """Proves: words of the document and of examples are shown as they are."""
    document = json.loads(json.dumps(DOCUMENT))
    words = document["paths"]["/v1/customers"]["get"]
    words["summary"], words["description"] = "<b>List</b>", "`<i>` & **<u>**"
    recorded = {**openapi.examples(), "listCustomers": openapi.Example({}, {}, None, None, {"</script><img src=x>": "<b>"})}
    page = reference.Reference(document, recorded).page("/api/docs/customers").decode()
    for harmful in ("<b>", "<i>", "<u>", "<img"):
        assert harmful not in page
    assert "<code>&lt;i&gt;</code> &amp; <strong>&lt;u&gt;</strong>" in page
