"""A path until it is attached to a link: on the side that opened it nothing comes yet, on the other one word."""

import asyncio
from collections.abc import Callable

from nat.records import RecordKind
from node.runtime.paths.end import PathEnd
from protocol import codec
from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.paths import Attach, PathKind

ATTACH_S = 5.0
"""Whoever has not said it by then is cut off."""

Attaching = Callable[[PathEnd, NodeId, Attach], None]
"""Takes over the end, or closes it with a reason. PeerError if what was said cannot be."""


class Unattached:
    """Owns an end that we have opened, until it carries a link: nothing may come before that."""

    received = 0

    def heard(self, end: PathEnd, received: int) -> None:
        """What begins is judged by its kind."""

    def record(self, end: PathEnd, kind: RecordKind, number: int, payload: bytes) -> None:
        raise PeerError(f"{kind.name} came on a path that is attached to nothing")

    def get_buffer(self, hint: int) -> memoryview:
        raise PeerError("bytes of a stream came on a path that is attached to nothing")

    def buffer_updated(self, nbytes: int) -> None:
        raise AssertionError("there is no buffer to write to")

    def data_ended(self, end: PathEnd) -> None:
        """Nothing has come."""

    def paused(self, end: PathEnd) -> None:
        """Nothing is sent yet."""

    def resumed(self, end: PathEnd) -> None:
        """Nothing is sent yet."""

    def broke(self, end: PathEnd, wrong: PeerError) -> None:
        end.abort()

    def path_lost(self, end: PathEnd, reason: str, *, refused: bool) -> None:
        """Whoever opened it finds it closed."""


class Arrival(Unattached):
    """Owns an end that the other side has opened. `peer` is proven; `kind` is what we know of how the path runs."""

    def __init__(
        self,
        peer: NodeId,
        kind: PathKind,
        attaching: Attaching,
        on_settled: Callable[["Arrival"], object] = lambda arrival: None,
    ) -> None:
        """`on_settled` is told once it carries a link, or is gone; it may be told twice."""
        self.end = PathEnd(self, kind)
        self._peer = peer
        self._attaching = attaching
        self._on_settled = on_settled
        self._timer = asyncio.get_running_loop().call_later(ATTACH_S, self._late)

    def record(self, end: PathEnd, kind: RecordKind, number: int, payload: bytes) -> None:
        self._timer.cancel()
        if kind is not RecordKind.ATTACH:
            super().record(end, kind, number, payload)
        self._attaching(end, self._peer, codec.decode(Attach, payload))
        if end.owner is not self:
            self._on_settled(self)

    def path_lost(self, end: PathEnd, reason: str, *, refused: bool) -> None:
        self._timer.cancel()
        self._on_settled(self)

    def _late(self) -> None:
        self.end.abort()
