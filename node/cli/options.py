"""Options that several commands share, so that they read the same everywhere."""

import re
from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from node.cli.session import UsageError
from protocol.limits import WEIGHTS_NAME_PATTERN


def is_name(word: str) -> bool:
    """Weights may have it."""
    return re.match(WEIGHTS_NAME_PATTERN, word) is not None


def _named(word: str) -> str:
    if not is_name(word):
        raise BadParameter(
            "weights are named by 1 to 64 letters, digits, dots, dashes and underscores,"
            " the first a letter or a digit"
        )
    return word


def checked_sides(size: tuple[int, int], most: int) -> None:
    """UsageError where a `--size` is that of no matrix, or of too large a one."""
    if not all(1 <= side <= most for side in size):
        told = " ".join(map(str, size))
        raise UsageError(f"--size {told}: write two numbers from 1 to {most}")


DataDir = Annotated[
    Path | None,
    Option("--data-dir", metavar="DIR", help="Data directory of the daemon to talk to."),
]
Api = Annotated[
    str | None,
    Option("--api", metavar="URL", envvar="SEDMA_API", help="Address of the daemon to talk to."),
]
TokenFile = Annotated[
    Path | None, Option("--token-file", metavar="FILE", help="File with the daemon's token.")
]
Json = Annotated[bool, Option("--json", help="Answer with one JSON document.")]

Name = Annotated[str, Argument(metavar="NAME", callback=_named, help="Name of the weights.")]
Output = Annotated[
    Path,
    Option("--output", "-o", metavar="FILE", help="The .npy file to write; - is standard output."),
]
Replicas = Annotated[
    int, Option("--replicas", min=1, max=16, metavar="N", help="Copies, each on another node.")
]
Backend = Annotated[
    str | None, Option("--backend", metavar="rram|digital", help="What holds the weights.")
]
Only = Annotated[
    list[str] | None,
    Option("--only", metavar="LABEL", help="Use nodes with this label only; may be repeated."),
]
Avoid = Annotated[
    list[str] | None,
    Option("--avoid", metavar="LABEL", help="Use no node with this label; may be repeated."),
]
