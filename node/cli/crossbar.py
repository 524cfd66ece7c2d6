"""The command `crossbar`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from node.cli.devices import told_device
from node.cli.options import Json, checked_sides
from node.cli.reports import INSTALL, is_drawn, kind_of, report_file
from node.cli.session import UsageError, telling
from node.config import DEFAULT_DEVICE
from protocol.errors import ConfigError
from protocol.quantities import duration_s

if TYPE_CHECKING:
    from compute.device import DeviceModel
    from node.cli.characterization.findings import Findings
    from node.cli.characterization.measuring import Characterization, Chip

SIDE_MAX = 1024
"""Of the weights: one block, as a node holds it."""
ROWS_MAX = 4096
AGE_S_MAX = 1e10
"""Three centuries."""

Draw = Callable[["Characterization"], bytes]


def crossbar(
    device: Annotated[
        str | None,
        Option(
            "--device",
            metavar="NAME|FILE.toml",
            help=f"The simulated cell: a name, or a file of what differs from one. Default: {DEFAULT_DEVICE}.",
        ),
    ] = None,
    seed: Annotated[
        int, Option("--seed", metavar="S", min=0, help="Names the chip, the weights and the noise.")
    ] = 1,
    size: Annotated[
        tuple[int, int], Option("--size", metavar="K N", help="Of the random weights.")
    ] = (256, 256),
    tile: Annotated[
        int | None,
        Option(
            "--tile",
            metavar="N",
            help="Cells along each array, 16 to 512. Default: 128, as in a mesh.",
        ),
    ] = None,
    rows: Annotated[
        int, Option("--rows", metavar="M", min=1, max=ROWS_MAX, help="Of the random inputs.")
    ] = 64,
    age: Annotated[
        str, Option("--age", metavar="1h", help="How long ago the arrays were written.")
    ] = "0s",
    report: Annotated[
        Path | None,
        Option(
            "--report",
            metavar="FILE",
            help="Draw what was found: a page (.html) or a picture (.png).",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a kind of simulated cell does to a product.

    Writes random weights into arrays, reads them and multiplies under tolerances from 1e-1 to 1e-6: what cells hold,
    how wrong answers are and are said to be, what that takes. Needs no daemon.
    """
    with telling(as_json):
        chip = _chip(device, seed, size, tile, rows, age)
        draw = None if report is None else _drawing(report)
        with report_file(report) as file:
            found = _found(chip)
            _show(found.findings, as_json)
            if file is not None and draw is not None:
                file.write(draw(found))
        if report is None and not is_drawn():
            print(f"note: --report draws this with matplotlib: {INSTALL}", file=sys.stderr)


def _chip(
    word: str | None, seed: int, size: tuple[int, int], tile: int | None, rows: int, age: str
) -> "Chip":
    from node.cli.characterization.measuring import Chip

    checked_sides(size, SIDE_MAX)
    try:
        age_s = duration_s(age)
    except ConfigError as error:
        raise UsageError(f"--age: {error}") from error
    if age_s > AGE_S_MAX:
        raise UsageError(f"--age {age}: write at most {AGE_S_MAX:g} seconds")
    return Chip(_device(word), seed, size, _tile_side(tile), rows, age_s)


def _tile_side(tile: int | None) -> int:
    from compute.partition import TILE_SIDE, TILE_SIDES

    if tile is None:
        return TILE_SIDE
    if tile not in TILE_SIDES:
        raise UsageError(f"--tile {tile}: write one of {', '.join(map(str, TILE_SIDES))}")
    return tile


def _device(word: str | None) -> "DeviceModel":
    from compute.device import DeviceError
    from compute.presets import device

    try:
        return device(told_device(word) or DEFAULT_DEVICE)
    except DeviceError as error:
        raise UsageError(f"--device: {error}") from error


def _drawing(report: Path) -> Draw:
    """What draws a report of this kind; UsageError where nothing can."""
    if kind_of(report) == ".png":
        from node.cli.characterization.sheet import sheet

        return sheet
    from node.cli.characterization.page import html

    return html


def _found(chip: "Chip") -> "Characterization":
    from node.cli.characterization.measuring import characterize

    told = sys.stderr.isatty()

    def tell(what: str) -> None:
        if told:
            print(f"\r\033[K{what} ", end="", file=sys.stderr, flush=True)

    try:
        return characterize(chip, tell)
    finally:
        if told:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _show(findings: "Findings", as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.encode(findings).decode())
        return
    from node.cli.characterization.words import HEADS, line, summary, title
    from node.cli.tables import pairs
    from node.cli.tables import rows as table

    print(title(findings))
    pairs(summary(findings))
    print()
    table(HEADS, (line(one) for one in findings.products))
