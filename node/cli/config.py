"""Commands about the settings: config show, config check."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from node.cli.options import Json
from node.cli.session import UsageError, telling
from node.cli.settings import FIELDS, resolve
from node.config import Resolved
from protocol.errors import ConfigError

app = typer.Typer(help="Show the settings, or check a file of them.", no_args_is_help=True)

File = Annotated[Path | None, Option("--config", metavar="FILE", help="Settings to read.")]


@app.command()
def show(
    config: File = None,
    data_dir: Annotated[
        Path | None, Option("--data-dir", metavar="DIR", help="Where the node keeps its state.")
    ] = None,
    origin: Annotated[bool, Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Json = False,
) -> None:
    """The settings that `up` would take here."""
    with telling(as_json):
        resolved = _resolved(config, data_dir)
        if as_json:
            print(json.dumps(_document(resolved) if origin else _values(resolved)))
        else:
            _print(resolved, origin)


@app.command()
def check(
    file: Annotated[Path, Argument(metavar="FILE", help="Settings to read.")],
    as_json: Json = False,
) -> None:
    """Whether a file of settings can be read, and what is wrong with it."""
    with telling(as_json):
        _resolved(file, None)
        print(json.dumps({"file": str(file), "ok": True}) if as_json else f"{file}: fine")


def _resolved(config: Path | None, data_dir: Path | None) -> Resolved:
    flags = {"node.data_dir": None if data_dir is None else str(data_dir)}
    try:
        return resolve(flags, os.environ, config)
    except ConfigError as error:
        raise UsageError(str(error)) from error


def _value(resolved: Resolved, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(resolved.settings, section), name)


def _values(resolved: Resolved) -> dict[str, dict[str, Any]]:
    """section -> key -> value, as in the file."""
    tables: dict[str, dict[str, Any]] = {}
    for key in FIELDS:
        section, name = key.split(".")
        tables.setdefault(section, {})[name] = _value(resolved, key)
    return tables


def _document(resolved: Resolved) -> dict[str, dict[str, Any]]:
    """section.key -> value and origin."""
    return {
        key: {"value": _value(resolved, key), "origin": resolved.origins[key]} for key in FIELDS
    }


def _print(resolved: Resolved, origin: bool) -> None:
    """As a file of settings would say it, origins as comments."""
    section = ""
    for key in FIELDS:
        begins, name = key.split(".")
        if begins != section:
            print(f"{os.linesep if section else ''}[{begins}]")
            section = begins
        value = _value(resolved, key)
        line = f"# {name} =" if value is None else f"{name} = {json.dumps(value)}"
        print(f"{line:<40} # {resolved.origins[key]}" if origin else line)
