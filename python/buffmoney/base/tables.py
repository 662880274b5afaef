"""Tables for people. Nothing in them is cut off, however narrow the terminal is and wherever the output goes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 1_000
"""of output that is no terminal: a row stays in one line"""
NARROWEST_TEXT = 12
SEPARATION = 3
"""between two columns"""


def show(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, figures: int = 0, title: str | None = None, console: Console | None = None
) -> None:
    """Prints a table. figures: how many of its columns are numbers, from the right; these stay whole, and where they do not fit the
    terminal its lines are longer than it is. Text that does not fit goes on in the next line."""
    console = console or Console()
    lines = [tuple(row) for row in rows]
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    texts = len(headings) - figures
    needed = texts * (NARROWEST_TEXT + SEPARATION)
    for place, heading in enumerate(headings):
        if place < texts:
            table.add_column(heading, overflow="fold")
        else:
            longest = max(map(cell_len, (heading, *(line[place] for line in lines))))
            table.add_column(heading, justify="right", no_wrap=True, min_width=longest)
            needed += longest + SEPARATION
    for line in lines:
        # Text, so that what people have named things is never taken for markup.
        table.add_row(*map(Text, line))
    width = PIPED_WIDTH
    if console.is_terminal:
        width = max(console.width, needed) if figures else console.width
    Console(file=console.file, width=width, highlight=False, force_terminal=console.is_terminal).print(table)
