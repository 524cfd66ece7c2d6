"""Reads scenarios: those that come with the program by their names, others from files.

All that is wrong with a file is told at once, each with its place and what to write instead.
"""

import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import msgspec

from node.simulation.mixing import mixed
from node.simulation.scenario import Scenario
from node.spelling import hint, nearest
from protocol.errors import ConfigError

ENDING = ".toml"
MISSING = "Object missing required field "
"""As msgspec complains."""
MIXED = "mixed"
"""The one that the seed draws."""


def names() -> list[str]:
    """Of the scenarios that come with the program."""
    files = [file.name for file in _shelf().iterdir() if file.name.endswith(ENDING)]
    return sorted([MIXED, *(name.removesuffix(ENDING) for name in files)])


def load(word: str, seed: int) -> Scenario:
    """A scenario by its name, or from a file; ConfigError says what is wrong with it or what names there are."""
    path = Path(word)
    if word == MIXED:
        return mixed(seed)
    if word.endswith(ENDING) or path.parent != Path():
        try:
            return parse(path.read_text(encoding="utf-8"), word)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{word}: is not TOML: {error}") from error
        except OSError as error:
            raise ConfigError(f"{word}: cannot be read: {error.strerror}") from error
    if word not in names():
        near = nearest(word, names(), cutoff=0.5)
        meant = f" (did you mean {near}?)" if near else ""
        raise ConfigError(
            f"{word}: no such scenario{meant}: write {', '.join(names())} or a file, as in my{ENDING}"
        )
    return parse((_shelf() / f"{word}{ENDING}").read_text(encoding="utf-8"), word)


def parse(text: str, name: str) -> Scenario:
    """`name` stands in complaints."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from error
    complaints = list(_strangers(tables, Scenario, ""))
    if not complaints:
        try:
            return msgspec.convert(tables, Scenario)
        except msgspec.ValidationError as error:
            complaints.append(_placed(str(error)))
    raise ConfigError("\n".join(f"{name}: {complaint}" for complaint in complaints))


def _shelf() -> Any:
    return resources.files("node.simulation") / "scenarios"


def _strangers(table: dict[str, Any], struct: type[msgspec.Struct], place: str) -> Iterator[str]:
    """Keys that nobody knows, all of them."""
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key, value in table.items():
        if key not in fields:
            yield f"{place}{key}: no such key{hint(key, fields)}"
        elif inner := _struct_in(fields[key].type):
            for entry in value if isinstance(value, list) else [value]:
                if isinstance(entry, dict):
                    yield from _strangers(entry, inner, f"{place}{key}.")


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a type is, or is a tuple of."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next(filter(None, map(_struct_in, get_args(kind))), None)


def _placed(error: str) -> str:
    """`Expected ... - at `$.network.loss`` with its place in front and, of words, those that can stand there."""
    said, _, place = error.partition(" - at `$.")
    place = place.rstrip("`")
    if said.startswith("Invalid enum value"):
        said += f"; write {' or '.join(map(repr, get_args(_type_at(place))))}"
    if said.startswith(MISSING):
        said = f"write {said.removeprefix(MISSING).strip('`')}, which has no default"
    said = said[0].lower() + said[1:]
    return f"{place}: {said}" if place else said


def _type_at(place: str) -> Any:
    """Of a field, as in `faults.stops[0].how`."""
    kind: Any = Scenario
    for name in place.split("."):
        struct = _struct_in(kind)
        assert struct is not None
        key = name.partition("[")[0]
        kind = next(field.type for field in msgspec.structs.fields(struct) if field.name == key)
    return kind
