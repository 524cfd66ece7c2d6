"""What can go wrong between nodes and users, in one place.

Three kinds: a peer sent nonsense (`PeerError`), the user asked for something impossible (`ConfigError`,
`TaskError`), we broke our own rule (`assert`). The first two descend from `SedmaError`.
"""

from enum import StrEnum

import msgspec

from protocol.digests import Seconds


class ErrorCode(StrEnum):
    """The closed list of reasons a request fails; the HTTP status follows from it."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    OVERLOADED = "overloaded"
    NO_ROOM = "no_room"
    DEADLINE = "deadline"
    UNAVAILABLE = "unavailable"
    CANCELLED = "cancelled"
    WRONG_MESH = "wrong_mesh"
    TICKET_EXPIRED = "ticket_expired"
    TICKET_USED_UP = "ticket_used_up"
    TICKET_INVALID = "ticket_invalid"
    VERSION_MISMATCH = "version_mismatch"
    INTERNAL = "internal"


class SedmaError(Exception):
    """Anything that a person or a peer can be told."""


class PeerError(SedmaError):
    """A peer broke the protocol: drop it, count it, lower its score."""


class ConfigError(SedmaError):
    """The settings ask for something impossible; the text says what to write instead."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A failed request as it travels: between nodes in ERR frames, to clients as JSON."""

    code: ErrorCode
    reason: str
    need: int | None = None
    """Bytes asked for."""
    free: int | None = None
    """Bytes there are."""
    nearest_fit: int | None = None
    """The largest payload in bytes that would fit now."""
    retry_after_s: Seconds | None = None
    node: str | None = None
    trace: str | None = None


class TaskError(SedmaError):
    """A request that cannot be answered, with what the asker needs to know to do better."""

    def __init__(
        self,
        code: ErrorCode,
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
        self.info = ErrorInfo(
            code=code,
            reason=reason,
            need=need,
            free=free,
            nearest_fit=nearest_fit,
            retry_after_s=retry_after_s,
            node=node,
            trace=trace,
        )

    @property
    def code(self) -> ErrorCode:
        return self.info.code

    @classmethod
    def of(cls, info: ErrorInfo) -> "TaskError":
        """The same error on this side of the wire."""
        return cls(**{name: getattr(info, name) for name in info.__struct_fields__})
