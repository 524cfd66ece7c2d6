"""Sizes, durations and tolerances as people write them: `2GiB`, `512 MiB`, `30s`, `1.5h`, `1e-2`.

Sizes know the powers of 1024 (KiB, MiB, GiB, TiB) and of 1000 (kB, MB, GB, TB); a bare number is in bytes.
Durations know us, ms, s, m, h and d; a bare number is in seconds. What is written here reads back the same.
"""

import math
import re
from typing import Annotated

from msgspec import Meta

from protocol.errors import ConfigError

Tolerance = Annotated[float, Meta(gt=0.0, lt=1.0)]
"""A relative error that an answer may have. From 1 on nought would do for an answer."""

_SIZES: dict[str, float] = {
    "": 1,
    "b": 1,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}
_DURATIONS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_QUANTITY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]{0,3})\s*", re.ASCII)
SIZE_BYTES_MAX = 1 << 60
"""More than any machine has; past it a size is a slip of the pen."""


def size_bytes(text: str) -> int:
    """Bytes in a size such as `2GiB`; ConfigError says what to write instead."""
    value = _scaled(text.lower(), _SIZES)
    if value is None:
        raise ConfigError(
            f'"{text}" is not a size: write a number and kB, MB, KiB, MiB or GiB, as in "2GiB"'
        )
    if value > SIZE_BYTES_MAX:
        raise ConfigError(f'"{text}" is more than {SIZE_BYTES_MAX >> 50} PiB, the largest size')
    return round(value)


def duration_s(text: str) -> float:
    """Seconds in a duration such as `30s`; ConfigError says what to write instead."""
    value = _scaled(text, _DURATIONS)
    if value is None:
        raise ConfigError(
            f'"{text}" is not a duration: write a number and ms, s, m, h or d, as in "30s" or "500ms"'
        )
    return value


def tolerance(text: str) -> float | None:
    """A relative error that a product may have; None for the raw product; ConfigError says what to write instead."""
    if text == "none":
        return None
    try:
        rtol = float(text)
    except ValueError:
        rtol = math.nan
    if not 0.0 < rtol < 1.0:
        raise ConfigError(
            "write a number between 0 and 1 such as 1e-2, or none for the raw product"
        )
    return rtol


def size_text(nbytes: int) -> str:
    """For people to read, in powers of 1024 and three digits or so: `1.95 GiB`."""
    value = float(nbytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 999.5:
            return f"{value:.3g} {unit}"
        if abs(value) < 1024.0:
            return f"{value:.0f} {unit}"
        value /= 1024.0
    return f"{value:.3g} TiB" if value < 999.5 else f"{value:.0f} TiB"


def duration_text(seconds: float) -> str:
    """For people to read: `350 ms`, `12.5 s`, `3m 20s`, `2d 4h`."""
    if seconds < 1.0:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 60.0:
        return f"{int(seconds * 10) / 10:g} s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def _scaled(text: str, units: dict[str, float]) -> float | None:
    match = _QUANTITY.fullmatch(text)
    factor = units.get(match[2]) if match else None
    return float(match[1]) * factor if match and factor is not None else None
