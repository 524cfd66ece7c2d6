"""What can go wrong, as the daemon tells it: a code from a closed list, a sentence, and figures where they help."""

from collections.abc import Mapping
from typing import Any


class SedmaError(Exception):
    """A request that failed.

    `code` is the daemon's (`no_room`, `not_found`, ...); `need`, `free` and `nearest_fit` are in bytes.
    """

    def __init__(
        self,
        code: str,
        reason: str,
        *,
        need: int | None = None,
        free: int | None = None,
        nearest_fit: int | None = None,
        retry_after_s: float | None = None,
        node: str | None = None,
        trace: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.need = need
        self.free = free
        self.nearest_fit = nearest_fit
        self.retry_after_s = retry_after_s
        self.node = node
        self.trace = trace

    def as_dict(self) -> dict[str, Any]:
        """What is known of it, as the daemon would write it in JSON."""
        return {key: value for key, value in vars(self).items() if value is not None}


class NotRunning(SedmaError):
    """There is no daemon on this machine to talk to; `sedma-node up` starts one."""


class Unreachable(SedmaError):
    """The daemon at the address given does not answer, or what answers is no daemon."""


class NoRoom(SedmaError):
    """The mesh cannot hold that; `need`, `free` and `nearest_fit` say what it could."""


class DeadlineExceeded(SedmaError):
    """The answer did not come in the time that it was given."""


_KINDS: dict[str, type[SedmaError]] = {
    "not_running": NotRunning,
    "unreachable": Unreachable,
    "no_room": NoRoom,
    "deadline": DeadlineExceeded,
}
_FIGURES = ("need", "free", "nearest_fit", "retry_after_s", "node", "trace")


def error_of(document: Mapping[str, Any]) -> SedmaError:
    """The error that a daemon told in JSON, as the class that fits its code."""
    code = str(document.get("code", "internal"))
    kind = _KINDS.get(code, SedmaError)
    figures = {key: document[key] for key in _FIGURES if document.get(key) is not None}
    return kind(code, str(document.get("reason", "the daemon gave no reason")), **figures)
