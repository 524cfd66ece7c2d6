"""Reports of commands that measure: a page or a picture, drawn by matplotlib, which is an extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from node.cli.files import output_file
from node.cli.session import UsageError

KINDS = (".html", ".png")
INSTALL = "pip install 'sedma[plots]'"


def is_drawn() -> bool:
    """Whether there is what draws."""
    return find_spec("matplotlib") is not None


def kind_of(report: Path) -> str:
    """One of KINDS; UsageError where the file ends in none of them, or nothing can draw it."""
    if report.suffix not in KINDS:
        raise UsageError(f"--report {report}: write a file that ends in {' or '.join(KINDS)}")
    if not is_drawn():
        raise UsageError(f"--report draws with matplotlib: {INSTALL}")
    return report.suffix


@contextmanager
def report_file(report: Path | None) -> Iterator[BinaryIO | None]:
    """Opened before the work, which may take hours; until it is whole, what stood there stays."""
    if report is None:
        yield None
        return
    with output_file(report) as file:
        yield file
