"""The demo's camera: reads what the checkout draws, whatever it says."""

from __future__ import annotations

import random
import string

import pytest
import segno

from buffmoney import demo_camera
from buffmoney.collection import checkout_page
from buffmoney.collection.visitor import Visitor
from tests.checkouts import QR_CONTENT, attempt, view


@pytest.mark.parametrize("product", ["native", "precreate"])
def test_the_page_is_read(product: str) -> None:
    """Proves: the code on the checkout's page says what the channel gave."""
    shown = view(attempts=[attempt(product, view())])  # type: ignore[arg-type]
    page = checkout_page.render(shown, Visitor("desktop", None), "key").decode()
    assert demo_camera.read(page) == QR_CONTENT[product]


def test_every_size_mask_and_level() -> None:
    """Proves: texts of all lengths are read, under each mask and with each amount of correction; each of these was drawn at least once."""
    chance = random.Random(4)
    seen = set()
    for number in range(64):
        text = "".join(chance.choices(string.ascii_lowercase + "é:/?", k=chance.randint(1, 400)))
        mask, level = number % 8, "lmqh"[number // 8 % 4]
        code = segno.make(text, error=level, mask=mask, micro=False, boost_error=False, mode="byte", encoding="utf-8")
        drawn = code.svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None, dark="#000")
        assert demo_camera.read(f'<div class="qr wechat" role="img">{drawn}</div>') == text
        seen.add((mask, level))
    assert len(seen) == 32


def test_what_is_no_code() -> None:
    """Proves: a page without a code, or with one that holds no bytes, is an error."""
    with pytest.raises(ValueError, match="no code"):
        demo_camera.read(checkout_page.render(view(), Visitor("desktop", None), "key").decode())
    digits = segno.make("0123456789", error="m", micro=False).svg_inline(border=4, omitsize=True, svgclass=None, lineclass=None)
    with pytest.raises(ValueError, match="other than bytes"):
        demo_camera.read(f'<div class="qr">{digits}')
