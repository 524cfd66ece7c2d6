"""What a station on a host of the laboratory is ordered, and what it tells: one JSON object a line, both ways.

Moments are of the one monotonic clock that all processes of a machine have, so those of two stations can be compared.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from protocol.ids import NodeId
from protocol.paths import PathKind


class Whereabouts(msgspec.Struct, frozen=True):
    """A member, as others know it by its record."""

    node: NodeId
    key: bytes
    addresses: tuple[str, ...]


# -- orders ------------------------------------------------------------------------------------------


class Enter(msgspec.Struct, frozen=True, tag=True):
    """Link to the public members, have relays among them if that is needed, look for the own NAT."""

    publics: tuple[Whereabouts, ...]


class Dial(msgspec.Struct, frozen=True, tag=True):
    """Link to this member, and ask it something as soon as that is possible."""

    peer: Whereabouts


class Know(msgspec.Struct, frozen=True, tag=True):
    """This member exists: it may dial us, and we it."""

    peer: Whereabouts


class Send(msgspec.Struct, frozen=True, tag=True):
    """A call with a body of so many bytes."""

    node: NodeId
    nbytes: int


class Hang(msgspec.Struct, frozen=True, tag=True):
    node: NodeId


Order = Enter | Dial | Know | Send | Hang


# -- what is told ------------------------------------------------------------------------------------


class Open(msgspec.Struct, frozen=True, tag=True):
    """The station listens; first word."""

    own: Whereabouts


class Entered(msgspec.Struct, frozen=True, tag=True):
    """Others reach it there now. Told again when that changes."""

    addresses: tuple[str, ...]
    after_s: float
    """Since the order to enter."""


class Answered(msgspec.Struct, frozen=True, tag=True):
    """The first call after `Dial` was answered."""

    node: NodeId
    dialled_at: float
    at: float
    kind: PathKind | None
    """Of the path by which it was; None: a link that knows no paths."""


class Used(msgspec.Struct, frozen=True, tag=True):
    """The link runs over this path now: it is up, or has moved."""

    node: NodeId
    at: float
    kind: PathKind


class Hopeless(msgspec.Struct, frozen=True, tag=True):
    """No way was found through the NATs of both sides."""

    node: NodeId
    at: float
    reason: str


class Sent(msgspec.Struct, frozen=True, tag=True):
    """A body has arrived, whole, and its call is answered."""

    node: NodeId
    took_s: float
    kind: PathKind | None
    """Of the path in use at the end."""


class Down(msgspec.Struct, frozen=True, tag=True):
    """There is no link to this member any more."""

    node: NodeId
    reason: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """What was ordered for this member came to nothing."""

    node: NodeId
    reason: str


Word = Open | Entered | Answered | Used | Hopeless | Sent | Down | Failed

_T = TypeVar("_T")


def a(kind: type[_T]) -> Callable[[Word], _T | None]:
    """Chooses words of this kind."""
    return lambda word: word if isinstance(word, kind) else None


def line(said: Order | Word) -> bytes:
    return msgspec.json.encode(said) + b"\n"


def read(told: bytes, kind: type[_T]) -> _T:
    return msgspec.json.decode(told, type=kind)
