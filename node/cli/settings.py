"""Gathers the settings: flags over environment over file over default, and says where each value came from.

Every value is checked by itself, so that a complaint names the key, where it was written, the value and the
bound. All complaints are told at once.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Meta

from node.config import Resolved, Settings
from node.spelling import hint, nearest
from protocol.errors import ConfigError
from sedma.places import default_data_dir

FILE_NAME = "sedma-node.toml"
"""Read from the data directory where neither `--config` nor `SEDMA_CONFIG` names another file."""

DEFAULT = "default"

FLAGS = {
    "node.name": "--name",
    "node.labels": "--label",
    "node.data_dir": "--data-dir",
    "share.memory": "--memory",
    "share.disk": "--disk",
    "share.cpus": "--cpus",
    "mesh.listen": "--listen",
    "mesh.advertise": "--advertise",
    "api.listen": "--api",
    "log.level": "--log-level",
    "log.format": "--log-format",
}
"""Keys that `up` has a flag for."""

SECTIONS: dict[str, type[msgspec.Struct]] = {
    section.name: section.type for section in msgspec.structs.fields(Settings)
}

FIELDS: dict[str, msgspec.structs.FieldInfo] = {
    f"{section}.{field.name}": field
    for section, struct in SECTIONS.items()
    for field in msgspec.structs.fields(struct)
}
"""`section.key` to its type and default."""


@dataclass(frozen=True, slots=True)
class _Given:
    key: str
    value: Any
    origin: str


def variable_of(key: str) -> str:
    """`gossip.interval_ms` is `SEDMA_GOSSIP_INTERVAL_MS` in the environment."""
    return "SEDMA_" + key.replace(".", "_").upper()


def resolve(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] = os.environ,
    config: Path | None = None,
    join: str | None = None,
) -> Resolved:
    """The settings of one start; `flags` maps `section.key` to a value, None where it was not given.

    ConfigError tells every key that cannot be, and what to write instead.
    """
    complaints: list[str] = []
    louder = [
        *_from_environment(environment, complaints),
        *(_Given(k, value, f"flag {FLAGS[k]}") for k, value in flags.items() if value is not None),
    ]
    here = _data_dir(louder) or default_data_dir(environment)
    file = config or _file_named(environment, here)
    quieter = list(_from_file(file, complaints)) if file else []
    if file == here / FILE_NAME and _data_dir(quieter):
        complaints.append(f"node.data_dir: cannot stand in {file}, which lies in that directory")
    settings, origins = _merged([*quieter, *louder], complaints)
    data_dir = _data_dir([*quieter, *louder]) or here
    return Resolved(settings=settings, origins=origins, data_dir=str(data_dir), join=join)


def _data_dir(given: list[_Given]) -> Path | None:
    named = [str(one.value) for one in given if one.key == "node.data_dir"]
    return Path(named[-1]).expanduser().absolute() if named else None


def _merged(ascending: list[_Given], complaints: list[str]) -> tuple[Settings, dict[str, str]]:
    """Later ones win, but all of them must be possible."""
    values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    origins = dict.fromkeys(FIELDS, DEFAULT)
    for given in ascending:
        section, key = given.key.split(".")
        try:
            values[section][key] = _checked(section, key, given.value)
        except ConfigError as error:
            complaints.append(f"{given.key} = {_shown(given.value)} ({given.origin}): {error}")
        origins[given.key] = given.origin
    if complaints:
        raise ConfigError("\n".join(complaints))
    return msgspec.convert(values, Settings), origins


def _file_named(environment: Mapping[str, str], data_dir: Path) -> Path | None:
    if named := environment.get("SEDMA_CONFIG"):
        return Path(named)
    beside = data_dir / FILE_NAME
    return beside if beside.is_file() else None


def _from_environment(environment: Mapping[str, str], complaints: list[str]) -> Iterator[_Given]:
    """A variable that nearly names a key is a slip; any other is somebody else's (SEDMA_SERVICE_HOST)."""
    keys = {variable_of(key): key for key in FIELDS}
    for name, text in sorted(environment.items()):
        if not name.startswith("SEDMA_") or not text:
            continue
        if key := keys.get(name):
            yield _Given(key, _from_text(key, text), f"environment {name}")
        elif name == "SEDMA_DATA_DIR" and not environment.get(variable_of("node.data_dir")):
            yield _Given("node.data_dir", text, f"environment {name}")
        elif near := nearest(name, keys, cutoff=0.9):
            complaints.append(f"{name}: no such variable (did you mean {near}?)")


def _from_text(key: str, text: str) -> Any:
    """Variables are text: lists are written with commas, numbers, true and false as they are."""
    default = FIELDS[key].default
    if isinstance(default, tuple):
        return tuple(word.strip() for word in text.split(",") if word.strip())
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(text.lower(), text)
    for kind in (int, float):
        if kind in _members(FIELDS[key].type):
            try:
                return kind(text)
            except ValueError:
                return text
    return text


def _from_file(file: Path, complaints: list[str]) -> Iterator[_Given]:
    import tomllib  # up mostly reads no file

    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    for section, table in tables.items():
        if not isinstance(table, dict) and (meant := _sections_of(section)):
            complaints.append(
                f"{section} = {_shown(table)} (file {file}): stands in no section:"
                f" write it under [{meant[0]}] (did you mean {meant[0]}.{section}?)"
            )
        elif section not in SECTIONS:
            complaints.append(f"{section}: no such section{hint(section, SECTIONS)}")
        elif not isinstance(table, dict):
            complaints.append(f"{section} = {_shown(table)} (file {file}): write [{section}]")
        else:
            for key, value in table.items():
                if f"{section}.{key}" in FIELDS:
                    yield _Given(f"{section}.{key}", value, f"file {file}")
                else:
                    complaints.append(f"{section}.{key}: no such key{_hint_key(section, key)}")


def _checked(section: str, key: str, value: Any) -> Any:
    """The value as the struct takes it; ConfigError names the bound."""
    try:
        return getattr(msgspec.convert({key: value}, SECTIONS[section]), key)
    except msgspec.ValidationError as error:
        bound = str(error).split(" - at ")[0]
        if bound.startswith("Invalid enum value"):
            choices = get_args(FIELDS[f"{section}.{key}"].type)
            raise ConfigError(f"write {' or '.join(map(_shown, choices))}") from error
        raise ConfigError(bound[0].lower() + bound[1:] + _example(f"{section}.{key}")) from error


def _example(key: str) -> str:
    members = list(_members(FIELDS[key].type))
    is_list = any(get_origin(member) is tuple for member in members)
    for member in members:
        if isinstance(member, Meta) and member.examples:
            example = member.examples[0]
            return f"; write for example {_shown([example] if is_list else example)}"
    return "; write true or false" if bool in members else ""


def _members(kind: Any) -> Iterator[Any]:
    """A type with all that it is made of."""
    yield kind
    for inner in (*get_args(kind), *getattr(kind, "__metadata__", ())):
        yield from _members(inner)


def _hint_key(section: str, key: str) -> str:
    known = [field.name for field in msgspec.structs.fields(SECTIONS[section])]
    elsewhere = _sections_of(key)
    return hint(key, known) if not elsewhere else f" (did you mean {elsewhere[0]}.{key}?)"


def _sections_of(key: str) -> list[str]:
    return [name.removesuffix(f".{key}") for name in FIELDS if name.endswith(f".{key}")]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return repr(value)
    return msgspec.json.encode(value, enc_hook=str).decode()
