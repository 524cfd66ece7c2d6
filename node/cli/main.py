"""The command line: `sedma-node`, and `sedma` as its alias.

A command's module is imported only when that command runs: `up` must hand over to the daemon in a tenth of a
second, and none of it may be carried along.
"""

import importlib
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

COMMANDS = {
    "up": "node.cli.up",
    "ticket": "node.cli.mesh",
    "status": "node.cli.mesh",
    "peers": "node.cli.mesh",
    "leave": "node.cli.mesh",
    "put": "node.cli.weights",
    "get": "node.cli.weights",
    "weights": "node.cli.weights",
    "rm": "node.cli.weights",
    "matmul": "node.cli.products",
    "plan": "node.cli.products",
    "explain": "node.cli.explain",
    "doctor": "node.cli.doctor",
    "sweep": "node.cli.sweep",
    "simulate": "node.cli.simulate",
    "crossbar": "node.cli.crossbar",
    "config": "node.cli.config",
    "demo": "node.cli.showing",
}
"""Command to the module that has a function, or for `config` an app, of that name."""


def main() -> None:
    """Run the command that the arguments name."""
    # As after Ctrl-C nothing stays half written.
    signal.signal(signal.SIGTERM, _end)
    first = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    app(first if first in COMMANDS else None)(prog_name="sedma-node")


def app(only: str | None = None) -> typer.Typer:
    """All commands, or just one, which starts faster."""
    whole = typer.Typer(
        help="Pools the memory and the multipliers of many machines, and says how exact each answer is.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    whole.callback()(_options)
    for name in [only] if only else COMMANDS:
        module = importlib.import_module(COMMANDS[name])
        if name == "config":
            whole.add_typer(module.app, name=name)
        else:
            whole.command(name)(getattr(module, name))
    return whole


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("sedma"))
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        # Eager: it is answered before a command is missed.
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say the version and stop."
        ),
    ] = False,
) -> None:
    """Options that stand before a command."""


if __name__ == "__main__":
    main()
