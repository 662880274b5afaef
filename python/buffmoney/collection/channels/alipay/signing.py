"""Alipay's signatures: over sorted parameters of requests and callbacks, and over the raw text inside of an answer.

An answer is `{"alipay_…_response":{…},"sign":"…"}`, and the signature covers the object's bytes as they stand there: escapes, spaces and
the order of its fields included. So they are cut out of what was received, never written anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from buffmoney.collection.channels import CredentialsError, rsa

MOST_FIELDS = 200
"""of a callback; real ones have about thirty"""

_NOT_SIGNED = ("sign", "sign_type")
# A string with its quotes, a bracket, a separator, or a stretch of anything else, between white space. Strings first, so that no brace in
# one counts.
_TOKEN = re.compile(rb'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+)[ \t\r\n]*', re.DOTALL)
_PLAIN_STRING = re.compile(rb'"((?:[^"\\]|\\/)*)"')


def request_message(parameters: Mapping[str, str]) -> bytes:
    """What a request's signature covers: every parameter but `sign` and empty ones, sorted, undecorated."""
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters) if name != "sign" and parameters[name]).encode()


def signed(key: RSAPrivateKey, parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that have a value, and their signature."""
    signature = rsa.sign(key, request_message(parameters))
    return {**{name: value for name, value in parameters.items() if value}, "sign": signature}


def encoded(parameters: Mapping[str, str]) -> str:
    """Parameters as a query string or form, UTF-8."""
    return urlencode(parameters)


def public_keys(texts: Iterable[Sequence[str]]) -> list[RSAPublicKey]:
    """Alipay's keys, any of which may have signed. Raises CredentialsError if there is none."""
    keys = [rsa.public_key(text, "alipay_public_keys") for several in texts for text in dict.fromkeys(several)]
    if not keys:
        raise CredentialsError("alipay_public_keys is empty: no callback could be verified")
    return keys


def read_form(body: bytes) -> dict[str, str] | None:
    """A callback's fields, decoded once, blank ones kept; None if it is empty, no UTF-8 form, or names a field twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, encoding="utf-8", errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        return None
    fields = dict(pairs)
    return fields if pairs and len(fields) == len(pairs) else None


def form_messages(fields: Mapping[str, str]) -> tuple[bytes, bytes]:
    """What a callback's signature may cover: all fields but `sign` and `sign_type`, or, for some products, `sign_type` as well."""
    with_type = sorted((name, value) for name, value in fields.items() if name != "sign")
    without_type = [(name, value) for name, value in with_type if name not in _NOT_SIGNED]
    return _joined(without_type), _joined(with_type)


def is_form_signed(keys: Iterable[RSAPublicKey], fields: Mapping[str, str]) -> bool:
    """Whether one of the keys signed these fields."""
    messages = form_messages(fields)
    return any(rsa.is_signed(key, message, fields["sign"]) for key in keys for message in messages)


def is_answer_signed(keys: Iterable[RSAPublicKey], content: bytes, signature: str) -> bool:
    """Whether one of the keys signed these bytes."""
    return any(rsa.is_signed(key, content, signature) for key in keys)


def cut_answer(body: bytes, method: str) -> tuple[bytes, str] | None:
    """The signed object's bytes and the signature of an answer to `method`; None if there are not exactly one of each.

    A gateway that does not know the method says `error_response` in place of `alipay_…_response`.
    """
    members = top_members(body)
    if members is None:
        return None
    names = (f"{method.replace('.', '_')}_response".encode(), b"error_response")
    found = [members[name] for name in names if name in members]
    signature = _PLAIN_STRING.fullmatch(members.get(b"sign", b""))
    if len(found) != 1 or not found[0].startswith(b"{") or signature is None:
        return None
    try:
        return found[0], signature[1].replace(b"\\/", b"/").decode("ascii")
    except UnicodeDecodeError:
        return None


def top_members(body: bytes) -> dict[bytes, bytes] | None:
    """The members of a JSON object as the bytes they are written in, by the bytes of their names.

    None if its brackets, strings and separators are not those of one object, or if it has a name twice: which of the two
    was signed would be a guess. What is inside of a member is matched, not read.
    """
    tokens = _tokens(body)
    if len(tokens) < 2 or tokens[0][2] != b"{":
        return None
    members: dict[bytes, bytes] = {}
    if tokens[1][2] == b"}":
        return members if len(tokens) == 2 else None
    at = 1
    while at + 3 < len(tokens):
        name, first = tokens[at][2], at + 2
        after = _value_end(tokens, first)
        if not name.startswith(b'"') or tokens[at + 1][2] != b":" or name[1:-1] in members or after is None or after == len(tokens):
            return None
        members[name[1:-1]] = body[tokens[first][0] : tokens[after - 1][1]]
        if tokens[after][2] == b"}":
            return members if after == len(tokens) - 1 else None
        if tokens[after][2] != b",":
            return None
        at = after + 1
    return None


def _tokens(body: bytes) -> list[tuple[int, int, bytes]]:
    """Start, end and bytes of each token; empty if anything but white space is between them."""
    tokens = []
    position = 0
    while position < len(body):
        found = _TOKEN.match(body, position)
        if found is None:
            return []
        tokens.append((found.start(1), found.end(1), found[1]))
        position = found.end()
    return tokens


def _value_end(tokens: Sequence[tuple[int, int, bytes]], at: int) -> int | None:
    """The index after the value that begins at `at`; None if its brackets do not match."""
    open_brackets = bytearray()
    while at < len(tokens):
        token = tokens[at][2]
        if token in (b"{", b"["):
            open_brackets += token
        elif token in (b"}", b"]"):
            if not open_brackets or open_brackets.pop() != (123 if token == b"}" else 91):
                return None
        elif token in (b",", b":") and not open_brackets:
            return None
        at += 1
        if not open_brackets:
            return at
    return None


def _joined(pairs: Iterable[tuple[str, str]]) -> bytes:
    return "&".join(f"{name}={value}" for name, value in pairs).encode()
