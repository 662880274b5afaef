"""The checkout's style, script and icon, under names that change with their content, so that browsers may keep them for good."""

from __future__ import annotations

from importlib import resources

import msgspec
from blake3 import blake3

FOLDER = resources.files("buffmoney.collection").joinpath("pages")
PREFIX = "/pay/assets/"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


class Asset(msgspec.Struct, frozen=True):
    """A file as it is served. name: with the hash in it."""

    name: str
    content_type: str
    content: bytes


def _load(file: str) -> Asset:
    content = FOLDER.joinpath(file).read_bytes()
    stem, dot, ending = file.rpartition(".")
    return Asset(f"{stem}.{blake3(content).hexdigest()[:16]}{dot}{ending}", _TYPES[dot + ending], content)


ASSETS = {file: _load(file) for file in ("checkout.css", "checkout.js", "icon.svg")}
"""by the names that templates use"""


def address(file: str) -> str:
    """Where a page finds a file."""
    return PREFIX + ASSETS[file].name


def find(name: str) -> tuple[Asset, bool] | None:
    """The file of a name, and whether that is its content for good; None if there is no such file.

    While a new version is rolled out, one edge's page may ask another for a file with another hash. It gets the file that is there,
    which is better than none, but must not keep it under that name.
    """
    stem, _, rest = name.partition(".")
    ending = rest.rpartition(".")[2]
    asset = ASSETS.get(f"{stem}.{ending}")
    return None if asset is None else (asset, asset.name == name)
