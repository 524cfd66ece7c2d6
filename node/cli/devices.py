"""Devices on the command line: a name, or a TOML file of one's own."""

import json
import os
from pathlib import Path
from typing import Annotated

from typer import Option

from node.cli.printable import printable
from node.cli.session import UsageError
from sedma.devices import device_text
from sedma.errors import SedmaError

Device = Annotated[
    str | None,
    Option(
        "--device",
        metavar="NAME|FILE.toml",
        help="The simulated cell of rram weights: a name, or a file of what differs from one.",
    ),
]
UNNAMED = "custom"
"""As the daemon calls a device of one's own without a name."""


def told_device(word: str | None) -> str | None:
    """What the daemon is told of the device that a word names; UsageError where its file cannot be read."""
    try:
        return device_text(Path(word) if word is not None and is_file(word) else word)
    except SedmaError as error:
        raise UsageError(f"--device {error.reason}") from error


def is_file(word: str) -> bool:
    """A name has neither a folder nor this ending; what else stands in the current folder is no device."""
    return not word.lstrip().startswith("{") and (os.sep in word or word.endswith(".toml"))


def shown_device(text: str) -> str:
    """Its name alone, for people; a dash where there is none."""
    if not text.lstrip().startswith("{"):
        return text or "-"
    try:
        told = json.loads(text)
    except ValueError:
        return UNNAMED
    return str(printable(told.get("name", UNNAMED))) if isinstance(told, dict) else UNNAMED
