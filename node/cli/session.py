"""One command's talk with a daemon: how to reach it, how to answer, and the exit code when it goes wrong.

HTTP is loaded when a daemon is first talked to: `up` talks to none.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from node.cli.printable import printable
from sedma.errors import DeadlineExceeded, NoRoom, NotRunning, SedmaError, Unreachable

if TYPE_CHECKING:
    from sedma.transport import Transport

USAGE = 2
INTERRUPTED = 130
"""What shells report of a program that Ctrl-C ended: 128 and the number of SIGINT."""


class UsageError(SedmaError):
    """The command line asks for what cannot be."""

    def __init__(self, reason: str) -> None:
        super().__init__("usage", reason)


class Interrupted(SedmaError):
    """Ctrl-C ended a command that has something to say about it."""

    def __init__(self, reason: str) -> None:
        super().__init__("interrupted", reason)


EXIT_CODES: tuple[tuple[type[SedmaError], int], ...] = (
    (NotRunning, 3),
    (NoRoom, 4),
    (DeadlineExceeded, 5),
    (Unreachable, 6),
    (UsageError, USAGE),
    (Interrupted, INTERRUPTED),
    (SedmaError, 1),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A daemon to ask, and whether people or programs read the answer."""

    transport: "Transport"
    as_json: bool

    def show(
        self, document: Any, for_people: Callable[[Any], None], *, aside: bool = False
    ) -> None:
        """`aside`: on standard error, where standard output carries a matrix."""
        with redirect_stdout(sys.stderr) if aside else nullcontext():
            if self.as_json:
                print(json.dumps(document))
            else:
                for_people(printable(document))


@contextmanager
def session(
    data_dir: Path | None, api: str | None, token_file: Path | None, as_json: bool
) -> Iterator[Session]:
    """Talks to the daemon at `api`, else to the one on `data_dir`; what fails ends the command."""
    from sedma.locate import local_endpoint, named_endpoint
    from sedma.transport import Transport

    with telling(as_json):
        place = data_dir.expanduser().absolute() if data_dir else None
        token = text_in(token_file, "--token-file") if token_file else None
        endpoint = named_endpoint(api, place, token) if api else local_endpoint(place, token)
        try:
            transport = Transport(endpoint)
        except SedmaError as error:
            raise UsageError(f"--api {api}: {error}" if api else str(error)) from error
        try:
            yield Session(transport, as_json)
        finally:
            transport.close()


@contextmanager
def telling(as_json: bool) -> Iterator[None]:
    """What goes wrong within is told on standard error, and ends the command with the code that fits."""
    try:
        yield
    except SedmaError as error:
        fail(error, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not complain at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None


def fail(error: SedmaError, as_json: bool) -> NoReturn:
    """End the command: the reason on standard error, and the exit code of this kind of error."""
    if as_json:
        print(json.dumps(error.as_dict()), file=sys.stderr)
    else:
        print(f"error: {printable(error.reason)}", file=sys.stderr)
        if figures := _figures(error):
            print(f"       {figures}", file=sys.stderr)
        if error.code == "unauthorized":
            print("       here that is --token-file FILE, or --data-dir DIR", file=sys.stderr)
    # The daemon says so of a command line or a file whose sense only it could judge.
    if error.code == "bad_request":
        raise typer.Exit(USAGE)
    raise typer.Exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


def _figures(error: SedmaError) -> str:
    from protocol.quantities import duration_text, size_text

    sizes = (("need", error.need), ("free", error.free), ("nearest fit", error.nearest_fit))
    words = [f"{name} {size_text(size)}" for name, size in sizes if size is not None]
    if error.retry_after_s is not None:
        words.append(f"try again in {duration_text(error.retry_after_s)}")
    if error.node is not None:
        words.append(f"node {error.node}")
    if error.trace is not None:
        words.append(f"task {error.trace}")
    return ", ".join(words)


def text_in(file: Path, option: str) -> str:
    """The text of a file that an option names; UsageError where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"{option}: {file} is no text") from error
    except OSError as error:
        raise UsageError(f"{option}: {file} cannot be read: {error.strerror}") from error
