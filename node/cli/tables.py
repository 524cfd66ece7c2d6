"""Tables and lists that read well in a terminal, in a pipe and without colour."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

PIPED_COLUMNS = 400
"""Nothing is cut off or wrapped for a program that reads our lines."""


def rows(heads: Sequence[str], lines: Iterable[Sequence[str]], *, wrap_last: bool = False) -> None:
    """A table; a head that ends in `>` stands over figures, which are set to the right.

    `wrap_last`: in a terminal the last column goes on in the next line, where others are cut off.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        right = head.endswith(">")
        wraps = wrap_last and len(table.columns) == len(heads) - 1
        table.add_column(
            head.removesuffix(">"),
            justify="right" if right else "left",
            no_wrap=not wraps,
            overflow="fold" if wraps else "ellipsis",
        )
    for line in lines:
        table.add_row(*line)
    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    Console(width=width, highlight=False, markup=False, emoji=False).print(table)


def pairs(lines: Iterable[tuple[str, str]]) -> None:
    """One fact a line, aligned."""
    lines = list(lines)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")
