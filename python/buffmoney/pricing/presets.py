"""Rate cards to start from, as data files in `presets/`: bodies of POST /v1/rate-cards."""

from __future__ import annotations

from importlib import resources

_FOLDER = resources.files("buffmoney.pricing").joinpath("presets")


def names() -> list[str]:
    """The presets there are."""
    return sorted(file.name.removesuffix(".json") for file in _FOLDER.iterdir() if file.name.endswith(".json"))


def text(name: str) -> str:
    """A preset as its file has it. Raises ValueError for a name that is none."""
    if name not in names():
        raise ValueError(f"there is no preset {name}: the presets are {', '.join(names())}")
    return _FOLDER.joinpath(f"{name}.json").read_text(encoding="utf-8")
