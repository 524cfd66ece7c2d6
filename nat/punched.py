"""The way to a peer once it is punched: which socket and which address, and what becomes of it as NATs forget.

What the peer sends may come from another address all at once, for its router has rebooted or has forgotten it. Whoever
has seen packets of the connection can write such a datagram, and so it is handed on, but nothing is sent to the new
address until it has answered a check, which only the peer can. Of ways that both ends know to work, the dialler
chooses, and the other end follows it.

Beside QUIC others may send packets of their own here, as membership does its probes. Nobody acknowledges those, and
each is proven by itself: `on_packet` says whether the peer has written it.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, assert_never

from nat.candidates import Budget
from nat.datagram_path import PathHearer
from nat.datagrams import Address, Datagrams
from nat.path_keeper import KeeperEffect, PathDead, PathKeeper, SendCheck

FIRST_OF_QUIC = 0x40
"""The first byte of a datagram of QUIC is at least this, of STUN at most 3 (RFC 9443)."""
RECHECK_S = 0.1
"""Between two checks of an address that is new to us."""
EARLY_MAX = 64
"""Buffers kept that the peer has sent before anybody listens: it may be done some milliseconds before us."""
KNOWN_MAX = 16
"""Ways that are remembered to have answered; at a further one, all are forgotten but the one that is taken."""
SETTLE_S = 5.0
"""After which sockets are closed over which the peer has not come."""

OnAnswer = Callable[[], None]


class Way(NamedTuple):
    socket: Datagrams
    remote: Address


class PunchedPath:
    """Carries datagrams to and from one peer; see `nat.datagram_path.DatagramPath`."""

    def __init__(
        self,
        way: Way,
        known: set[Way],
        budget: Budget,
        ask: Callable[[Way, OnAnswer], None],
        *,
        dialled: bool,
    ) -> None:
        """`known`: ways that have answered. `ask` sends a check, and tells of its answer."""
        self.on_packet: Callable[[bytes], bool] | None = None
        """Takes each datagram that is neither QUIC nor STUN; whether the peer, and nobody else, has written it."""
        self.on_closed: Callable[[], None] | None = None
        self.on_settled: Callable[[Datagrams], None] | None = None
        self._way = way
        self._known = known
        self._budget = budget
        self._ask = ask
        self._dialled = dialled
        self._loop = asyncio.get_running_loop()
        self._keeper = PathKeeper(asks=dialled, now=self._loop.time())
        self._hearer: PathHearer | None = None
        self._early: list[tuple[bytes, int]] = []
        self._checked_at: dict[Way, float] = {}
        self._closed = False
        self._timer = self._loop.call_at(self._deadline(), self._tick)
        self._settling = self._loop.call_later(SETTLE_S, self._settle)
        self._attach(way.socket)
        self._check(way)

    # -- what the connection above calls -------------------------------------------------------------

    @property
    def local(self) -> Address:
        return self._way.socket.local

    @property
    def remote(self) -> Address:
        return self._way.remote

    def listen(self, hearer: PathHearer) -> None:
        self._hearer = hearer
        early, self._early = self._early, []
        for buffer, segment in early:
            hearer.heard(buffer, segment)

    def send(self, datagrams: list[bytes]) -> int:
        if self._closed or not datagrams:
            return len(datagrams)
        self._feed(self._keeper.sent(self._loop.time()))
        return self._way.socket.send(datagrams, self._way.remote)

    def keepalive(self, interval_s: float) -> None:
        """Speak at least so often: the mapping is known to live for longer."""
        if self._closed:
            return
        self._timer.cancel()
        self._feed(self._keeper.keepalive(interval_s, self._loop.time()))
        self._rearm()

    def probe(self) -> None:
        if not self._closed:
            self._check(self._way)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._settling.cancel()
        # By then the peer was there, though while others kept the path busy nobody may have asked for long.
        self._budget.verified(self._way.remote[0], self._loop.time())
        if self.on_closed is not None:
            self.on_closed()

    # -- what the sockets tell -----------------------------------------------------------------------

    def came(self, way: Way, buffer: bytes, segment: int) -> None:
        """Datagrams of QUIC, from anywhere."""
        if self._closed:
            return
        if way != self._way and way not in self._known and not self._owns(buffer[:segment]):
            return
        self._follow(way)
        if self._hearer is not None:
            self._hearer.heard(buffer, segment)
        elif len(self._early) < EARLY_MAX:
            self._early.append((buffer, segment))

    def packet_came(self, way: Way, datagram: bytes) -> None:
        """Neither QUIC nor STUN, from anywhere."""
        if not self._closed and self.on_packet is not None and self.on_packet(datagram):
            self._follow(way)

    def asked(self, way: Way) -> None:
        """The peer has sent a check; it is answered already."""
        if self._closed:
            return
        if way == self._way:
            self._feed(self._keeper.asked(self._loop.time()))
        elif way not in self._known:
            self._check(way)

    # -- within --------------------------------------------------------------------------------------

    def _owns(self, datagram: bytes) -> bool:
        """Whether the peer may have written this, wherever it came from."""
        return self._hearer is not None and self._hearer.owns(datagram)

    def _follow(self, way: Way) -> None:
        """What the peer may have written came by this way: the path goes there, too, once that is proven."""
        if way in self._known and way != self._way and not self._dialled:
            self._move(way)
        if way == self._way:
            self._feed(self._keeper.heard(self._loop.time()))
        elif way not in self._known:
            self._check(way)

    def _check(self, way: Way) -> None:
        now = self._loop.time()
        if now - self._checked_at.get(way, -RECHECK_S) < RECHECK_S:
            return
        if way in self._known or self._budget.may_send(way.remote[0], now):
            self._checked_at = {
                one: at for one, at in self._checked_at.items() if now - at < RECHECK_S
            }
            self._checked_at[way] = now
            self._ask(way, lambda: self._answered(way))

    def _answered(self, way: Way) -> None:
        if self._closed:
            return
        self._budget.verified(way.remote[0], self._loop.time())
        if way == self._way:
            if self._hearer is not None:
                self._hearer.answered()
        elif way not in self._known:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known.add(way)
            self._move(way)
        self._feed(self._keeper.heard(self._loop.time()))

    def _move(self, way: Way) -> None:
        self._way = way
        self._attach(way.socket)

    def _attach(self, socket: Datagrams) -> None:
        socket.on_writable = self._writable

    def _writable(self) -> None:
        if self._hearer is not None:
            self._hearer.writable()

    def _settle(self) -> None:
        if self.on_settled is not None:
            self.on_settled(self._way.socket)
        self._known = {way for way in self._known if way.socket is self._way.socket}

    def _feed(self, effects: list[KeeperEffect]) -> None:
        for effect in effects:
            match effect:
                case SendCheck():
                    self._check(self._way)
                case PathDead():
                    if self._hearer is not None:
                        self._hearer.lost(f"the peer was silent for {effect.silent_s:.0f} s")
                    self.close()
                case _:
                    assert_never(effect)

    def _tick(self) -> None:
        self._feed(self._keeper.tick(self._loop.time()))
        self._rearm()

    def _rearm(self) -> None:
        if not self._closed:
            self._timer = self._loop.call_at(self._deadline(), self._tick)

    def _deadline(self) -> float:
        """The keeper has one until it has given up, and then the path is closed."""
        deadline = self._keeper.deadline
        assert deadline is not None
        return deadline
