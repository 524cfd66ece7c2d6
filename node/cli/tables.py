"""Tables and lists that read well in a terminal, in a pipe and without colour."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

PIPED_COLUMNS = 400
"""Nothing is cut off or wrapped for a program that reads our lines."""
GAP = 2
"""Between two columns."""


def rows(
    heads: Sequence[str],
    lines: Iterable[Sequence[str]],
    *,
    wrap_last: bool = False,
    spare: Sequence[str] = (),
) -> None:
    """A table; a head that ends in `>` stands over figures, which are set to the right.

    `wrap_last`: in a terminal the last column goes on in the next line, where others are cut off.
    `spare`: heads of columns that are left out where a terminal is too narrow for all, the first ones first.
    """
    width = None if sys.stdout.isatty() else PIPED_COLUMNS
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    lines = [tuple(line) for line in lines]
    heads, lines = fitting(heads, lines, spare, console.width)
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
    console.print(table)


def fitting(
    heads: Sequence[str],
    lines: Sequence[Sequence[str]],
    spare: Sequence[str],
    columns: int,
) -> tuple[Sequence[str], list[Sequence[str]]]:
    """Without so many of the spare columns that the rest goes into this width, if it can."""
    widths = {
        head: max([len(head.removesuffix(">")), *(len(line[at]) for line in lines)])
        for at, head in enumerate(heads)
    }
    kept = dict.fromkeys(heads)
    for head in spare:
        if sum(widths[one] + GAP for one in kept) - GAP <= columns:
            break
        del kept[head]
    places = [at for at, head in enumerate(heads) if head in kept]
    return list(kept), [[line[at] for at in places] for line in lines]


def pairs(lines: Iterable[tuple[str, str]]) -> None:
    """One fact a line, aligned."""
    lines = list(lines)
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")
