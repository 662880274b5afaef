"""The camera of the demo's payer: reads the QR code from the very page that shows it.

A drawing is exact, so nothing has to be found, straightened or corrected: what is left of a camera's work is the way from squares to text
of ISO/IEC 18004, for codes that hold bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from segno import consts

QUIET_ZONE = 4
_DRAWING = re.compile(r'class="qr[^>]*><svg[^>]* viewBox="0 0 (\d+) \1"[^>]*><path[^>]* d="([^"]+)"')
_STROKE = re.compile(r"([Mmh])(-?[0-9.]+)(?: (-?[0-9.]+))?")
_BYTES = 0b0100
_MASKS: tuple[Callable[[int, int], bool], ...] = (
    lambda row, column: (row + column) % 2 == 0,
    lambda row, column: row % 2 == 0,
    lambda row, column: column % 3 == 0,
    lambda row, column: (row + column) % 3 == 0,
    lambda row, column: (row // 2 + column // 3) % 2 == 0,
    lambda row, column: row * column % 2 + row * column % 3 == 0,
    lambda row, column: (row * column % 2 + row * column % 3) % 2 == 0,
    lambda row, column: ((row + column) % 2 + row * column % 3) % 2 == 0,
)


def read(page: str) -> str:
    """What the code on a page says. Raises ValueError if there is none, or none that holds bytes."""
    drawing = _DRAWING.search(page)
    if drawing is None:
        raise ValueError("there is no code on the page")
    squares = _squares(int(drawing[1]), drawing[2])
    version = (len(squares) - 17) // 4
    # The first five squares beneath the upper left corner say how much is there to correct errors, and which mask lies over the rest.
    level, mask = divmod(_number(iter(squares[8]), 5) ^ 0b10101, 8)
    codewords = _codewords(squares, version, mask)
    kinds: Sequence[consts.EC] = consts.ECC[version][level]  # type: ignore[index]
    blocks = [bytearray(kind.num_data) for kind in kinds for _ in range(kind.num_blocks)]
    for place in range(max(map(len, blocks))):
        for block in blocks:
            if place < len(block):
                block[place] = next(codewords)
    bits = (bool(byte >> shift & 1) for block in blocks for byte in block for shift in range(7, -1, -1))
    if _number(bits, 4) != _BYTES:
        raise ValueError("the code holds something other than bytes")
    length = _number(bits, 8 if version < 10 else 16)
    return bytes(_number(bits, 8) for _ in range(length)).decode()


def _squares(size: int, path: str) -> list[list[bool]]:
    """True for black, without the quiet zone. path: lines of one square's width, through the middle of a row."""
    squares = [[False] * size for _ in range(size)]
    x, y = 0.0, 0.0
    for kind, first, second in _STROKE.findall(path):
        if kind == "h":
            squares[int(y)][int(x) : int(x) + int(first)] = [True] * int(first)
            x += int(first)
        else:
            x, y = (float(first), float(second)) if kind == "M" else (x + float(first), y + float(second))
    return [row[QUIET_ZONE:-QUIET_ZONE] for row in squares[QUIET_ZONE:-QUIET_ZONE]]


def _codewords(squares: list[list[bool]], version: int, mask: int) -> Iterator[int]:
    """Bytes in the sequence in which they lie: in pairs of columns from the right, up and down by turns, around everything else."""
    last = len(squares) - 1

    def bits() -> Iterator[bool]:
        for turn, right in enumerate((*range(last, 6, -2), 5, 3, 1)):
            for row in range(last, -1, -1) if turn % 2 == 0 else range(last + 1):
                for column in (right, right - 1):
                    if _is_data(row, column, last + 1, version):
                        yield squares[row][column] != _MASKS[mask](row, column)

    found = bits()
    while True:
        yield _number(found, 8)


def _is_data(row: int, column: int, size: int, version: int) -> bool:
    """Whether a square is neither of the patterns that cameras look for nor says what the code is like."""
    top, left, bottom, right = row < 9, column < 9, row >= size - 8, column >= size - 8
    if (top and left) or (top and right) or (bottom and left) or 6 in (row, column):
        return False
    if version >= 7 and ((row < 6 and column >= size - 11) or (column < 6 and row >= size - 11)):
        return False
    centres = consts.ALIGNMENT_POS[version - 2] if version > 1 else ()
    corners = ((6, 6), (6, size - 7), (size - 7, 6))
    return not any(abs(row - y) <= 2 and abs(column - x) <= 2 for y in centres for x in centres if (y, x) not in corners)


def _number(bits: Iterator[bool], length: int) -> int:
    return int("".join("01"[bit] for bit in islice(bits, length)), 2)
