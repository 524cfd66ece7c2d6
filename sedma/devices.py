"""Devices of one's own on their way to the daemon: TOML files and dictionaries as one line of JSON.

What a device may be, the daemon knows; here is only seen to it that there is something to send.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sedma.errors import SedmaError

DEVICE_CHARS_MAX = 4096
"""Of what is sent; the daemon takes no more."""
FILE_BYTES_MAX = 64 * 1024
"""Of a file: there may be much to explain."""

Device = str | Path | Mapping[str, Any]
"""A name, a TOML file, or what such a file holds: sections with what differs from the device named by `base`."""


def device_text(device: Device | None) -> str | None:
    """What the daemon is told; SedmaError where a file cannot be read, or where it is too much."""
    if isinstance(device, Path):
        return _checked(_json(_read(device), str(device)), str(device))
    if isinstance(device, Mapping):
        return _checked(_json(device, "device"), "device")
    return device if device is None else _checked(device, "device")


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.is_dir():
            raise _bad(f"{path}: is a directory; write the TOML file of a device")
        if not path.exists():
            raise _bad(f"{path}: no such file")
        # Of what never ends (/dev/zero) no more is read than is looked at.
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _bad(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise _bad(f"{path}: is larger than {FILE_BYTES_MAX} bytes: a device is told in fewer")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise _bad(f"{path}: is no text in UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _bad(f"{path}: is not TOML: {error}") from error


def _json(told: Mapping[str, Any], where: str) -> str:
    for key, value in _leaves(told):
        if isinstance(value, float) and not math.isfinite(value):
            raise _bad(f"{where}: {key} is {value}: write a finite number")
    try:
        return json.dumps(told, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        reason = f"{where}: devices are made of names, numbers and lists of them: {error}"
        raise _bad(reason) from error


def _leaves(told: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """What sections and lists hold, with the key that leads there; nothing of a device lies deeper."""
    for section, inside in told.items():
        for key, value in inside.items() if isinstance(inside, Mapping) else [("", inside)]:
            place = f"{section}.{key}" if key else section
            yield from ((place, one) for one in (value if isinstance(value, list) else [value]))


def _checked(text: str, where: str) -> str:
    if not text:
        raise _bad(f"{where}: is empty: write a device's name")
    if len(text) > DEVICE_CHARS_MAX:
        reason = (
            f"{where}: has {len(text)} characters as JSON, and at most {DEVICE_CHARS_MAX} are taken"
        )
        raise _bad(reason)
    return text


def _bad(reason: str) -> SedmaError:
    return SedmaError("bad_request", reason)
