"""The command `sweep`."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from node.cli.devices import told_device
from node.cli.options import Api, Avoid, DataDir, Only, TokenFile, checked_sides, is_name
from node.cli.reports import kind_of, report_file
from node.cli.session import Interrupted, Session, UsageError, session
from protocol.errors import ConfigError
from protocol.limits import DEADLINE_S_MAX, MATRIX_SIDE_MAX
from protocol.quantities import duration_s, duration_text, size_text, tolerance
from sedma.errors import SedmaError

if TYPE_CHECKING:
    from node.cli.sweeping.chips import Bench, Chip, Product, Reading
    from sedma.client import Client

SIDES = (256, 256)
SEED_MAX = (1 << 62) - 1
SEEDS_MAX = 100_000
AT_ONCE_MAX = 8
Draw = Callable[[list["Reading"], str], bytes]


def sweep(
    name: Annotated[
        str | None,
        Argument(metavar="[NAME]", help="Weights of the mesh to take; else normal ones are drawn."),
    ] = None,
    device: Annotated[
        list[str] | None,
        Option(
            "--device",
            metavar="NAME|FILE.toml",
            help="Kind of cells; may be repeated. Default: the daemon's.",
        ),
    ] = None,
    seeds: Annotated[
        int, Option("--seeds", min=1, max=SEEDS_MAX, metavar="N", help="Chips of each device.")
    ] = 100,
    rtol: Annotated[
        str,
        Option(
            "--rtol", metavar="1e-1,1e-2,none", help="Relative errors allowed; none: raw products."
        ),
    ] = "1e-1,1e-2,none",
    size: Annotated[
        tuple[int, int] | None,
        Option("--size", metavar="K N", help="Of the weights that are drawn; default: 256 256."),
    ] = None,
    rows: Annotated[int, Option("--rows", "-m", min=1, metavar="M", help="Rows of X.")] = 16,
    seed: Annotated[
        int,
        Option(
            "--seed",
            min=0,
            max=SEED_MAX,
            metavar="S",
            help="Of the matrices, and of the first chip.",
        ),
    ] = 0,
    at_once: Annotated[
        int,
        Option(
            "--at-once",
            min=1,
            max=AT_ONCE_MAX,
            metavar="N",
            help="Chips in the mesh at a time; fewer where it has no room.",
        ),
    ] = 4,
    deadline: Annotated[
        str, Option("--deadline", metavar="120s", help="How long a product may take.")
    ] = "120s",
    report: Annotated[
        Path | None,
        Option("--report", metavar="FILE", help="Draw the distributions: .html or .png."),
    ] = None,
    only: Only = None,
    avoid: Avoid = None,
    data_dir: DataDir = None,
    api: Api = None,
    token_file: TokenFile = None,
    as_json: Annotated[
        bool, Option("--json", help="One JSON document a line: each product, then the figures.")
    ] = False,
) -> None:
    """Multiply on many chips, drawn by seed, and see how they differ.

    Chip Monte-Carlo over the mesh: for each seed the weights are put on cells of that device and seed, multiplied
    under each tolerance, held against the exact product, and removed again. A sweep that was killed leaves a few
    names sweep-... behind, which the same sweep takes again, and removes.
    """
    with session(data_dir, api, token_file, as_json) as talk:
        draw = None if report is None else _drawing(report)
        rtols, deadline_s = _rtols(rtol), _deadline_s(deadline)
        devices = list(dict.fromkeys(map(told_device, device or ()))) or [None]
        _check_source(name, size)
        with report_file(report) as page:
            from node.cli.sweeping.chips import Bench, Terms, chips
            from sedma.client import Client

            client = Client(talk.transport)
            product = _product(client, name, size or SIDES, rows, seed)
            source = name or f"{product.sides} normal weights"
            terms = Terms(rtols, deadline_s, tuple(only or ()), tuple(avoid or ()))
            drawn = chips(devices, range(seed, seed + seeds), f"{source} {seed}")
            found = _fly(talk, Bench(client, product, terms), drawn, at_once)
            if page is not None and draw is not None:
                words = f"{source}, {rows} rows of X, {len(drawn)} chips from seed {seed} on"
                page.write(draw(found, words))
            _show(talk, found)


def _fly(talk: Session, bench: "Bench", drawn: list["Chip"], at_once: int) -> list["Reading"]:
    """All readings. What ends them early is raised, once those that there are have been shown."""
    from node.cli.sweeping.flight import fly

    found: list[Reading] = []
    with _progress(len(drawn)) as advance:

        def told(readings: list["Reading"]) -> None:
            found.extend(readings)
            if talk.as_json:
                for one in readings:
                    print(json.dumps({"kind": "product"} | one.as_dict()), flush=True)
            advance()

        cut: SedmaError | None = None
        try:
            fly(bench, drawn, at_once, told)
        except KeyboardInterrupt:
            cut = Interrupted("interrupted")
        except SedmaError as error:
            cut = error
        finally:
            for name in bench.left:
                words = f"{name} could not be removed: see to it with `sedma-node rm {name}`"
                print(words, file=sys.stderr)
    if cut is not None:
        if found:
            _show(talk, found)
            read = len({(one.device, one.seed) for one in found})
            print(f"after {read} of {len(drawn)} chips:", file=sys.stderr)
        raise cut
    return found


def _show(talk: Session, found: list["Reading"]) -> None:
    from node.cli.sweeping.figures import figures

    told = figures(found)
    if talk.as_json:
        for one in told:
            print(json.dumps({"kind": "figures"} | one.as_dict()), flush=True)
        return
    from node.cli.sweeping.words import HEADS, NOTES, SPARE, line
    from node.cli.tables import rows

    rows(HEADS, map(line, told), spare=SPARE)
    print()
    print(NOTES)
    for one in told:
        if one.broken:
            print(f"{one.label}: {one.broken} of {one.chips} answers were further off than stated")


def _product(
    client: "Client", name: str | None, sides: tuple[int, int], rows: int, seed: int
) -> "Product":
    from node.cli.normal import normal_inputs, normal_weights
    from node.cli.sweeping.chips import Product

    if name is None:
        _check_room(sides, rows)
    weights = normal_weights(seed, sides) if name is None else client.get(name)
    _check_room(weights.shape, rows)
    product = Product.of(weights, normal_inputs(seed, rows, weights.shape[0]))
    if not product.exact.any():
        raise UsageError(f"{name}: is zero everywhere, so that no error is relative to anything")
    return product


def _check_room(sides: tuple[int, ...], rows: int) -> None:
    """The matrices and the exact product are held here too, in float32 and in float64."""
    import psutil

    height, width = sides
    need = (4 + 8) * (height * width + rows * height) + 8 * rows * width
    free = psutil.virtual_memory().available
    if need > free:
        told = f"{rows} rows of X and weights of {height} x {width} take {size_text(need)}"
        raise UsageError(
            f"{told} here, and {size_text(free)} are free: fewer --rows or less --size"
        )


def _check_source(name: str | None, size: tuple[int, int] | None) -> None:
    if name is not None and size is not None:
        raise UsageError("--size: say either the NAME of weights, or the size of those to draw")
    if name is not None and not is_name(name):
        raise UsageError(f"{name}: is no name of weights")
    if size is not None:
        checked_sides(size, MATRIX_SIDE_MAX)


def _rtols(text: str) -> tuple[float | None, ...]:
    """Each once, however it was written, in their order."""
    try:
        return tuple(dict.fromkeys(tolerance(word.strip()) for word in text.split(",")))
    except ConfigError as error:
        raise UsageError(
            f"--rtol {text}: write numbers between 0 and 1, or none, with commas: 1e-1,1e-2,none"
        ) from error


def _deadline_s(text: str) -> float:
    try:
        seconds = duration_s(text)
    except ConfigError as error:
        raise UsageError(f"--deadline: {error}") from error
    if not 0.0 < seconds <= DEADLINE_S_MAX:
        longest = duration_text(DEADLINE_S_MAX)
        raise UsageError(f"--deadline {text}: write more than 0s and at most {longest}")
    return seconds


def _drawing(report: Path) -> Draw:
    """What draws a report of this kind; UsageError where nothing can."""
    kind = kind_of(report)
    from node.cli.sweeping import plots

    return plots.html if kind == ".html" else plots.png


@contextmanager
def _progress(chips: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where a person sees it; it is told of each chip that is done."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), "chips", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("chips", total=chips)
        yield lambda: bar.advance(task)
