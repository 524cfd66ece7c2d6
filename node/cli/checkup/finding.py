"""One thing that `doctor` looked at: how it is, what was found, what that means, and what to do."""

from collections.abc import Iterable
from typing import Literal

import msgspec

State = Literal["ok", "warning", "problem"]
SEVERITY: tuple[State, ...] = ("ok", "warning", "problem")


class Finding(msgspec.Struct, frozen=True):
    check: str
    state: State
    found: str
    means: str = ""
    fix: str = ""


def ok(check: str, found: str, means: str = "", fix: str = "") -> Finding:
    return Finding(check, "ok", found, means, fix)


def warning(check: str, found: str, means: str, fix: str = "") -> Finding:
    """It works, but not as well as it could; `fix` is empty where nothing can be done from here."""
    return Finding(check, "warning", found, means, fix)


def problem(check: str, found: str, means: str, fix: str) -> Finding:
    """Something does not work, or soon will not."""
    return Finding(check, "problem", found, means, fix)


def worst(findings: Iterable[Finding]) -> State:
    return max((one.state for one in findings), key=SEVERITY.index, default="ok")
