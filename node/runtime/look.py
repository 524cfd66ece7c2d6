"""One look at our NAT in one family of addresses: carries out what `nat/probe.py` decides, on sockets and a timer."""

import asyncio
import random
import socket
from collections.abc import Callable
from functools import partial
from typing import assert_never

from nat import stun
from nat.behaviour import Behaviour
from nat.knocks import AskKnock
from nat.probe import MAIN, Effect, Learnt, Probe, Server
from nat.questions import Transmit
from node.runtime.stunning import SideSocket, Stunning
from node.runtime.whereabouts import SocketAddress

Ask = Callable[[AskKnock, "Look"], None]
"""Asks a member over its link; `knock_ended` tells how that ended."""


class Look:
    """Runs from `begin` until there is nothing more to find out, or until `close`."""

    def __init__(
        self,
        servers: tuple[Server, ...],
        stunning: Stunning,
        dice: random.Random,
        *,
        ask: Ask,
        learnt: Callable[[Behaviour], None],
    ) -> None:
        self._probe = Probe(servers, stunning.port, dice)
        self._family = socket.AF_INET6 if servers[0].at.is_v6 else socket.AF_INET
        self._stunning = stunning
        self._ask = ask
        self._learnt = learnt
        self._loop = asyncio.get_running_loop()
        self._side: dict[int, SideSocket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def begin(self) -> None:
        self._feed(self._probe.begin(self._loop.time()))

    def heard(self, number: int, message: stun.Message) -> None:
        """By the socket of this number; 0 is the node's own."""
        if not self._closed:
            self._feed(self._probe.heard(number, message, self._loop.time()))

    def knock_ended(self, token: bytes, *, sent: bool) -> None:
        if not self._closed:
            tell = self._probe.knock_sent if sent else self._probe.knock_failed
            self._feed(tell(token, self._loop.time()))

    def close(self) -> None:
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for side in self._side.values():
            side.close()
        self._side.clear()

    # -- within --------------------------------------------------------------------------------------

    def _feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            if self._closed:
                return
            match effect:
                case Transmit():
                    self._transmit(effect)
                case AskKnock():
                    self._ask(effect, self)
                case Learnt():
                    self._learnt(effect.behaviour)
                case _:
                    assert_never(effect)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            return
        if self._probe.over:
            self.close()
        elif (deadline := self._probe.deadline) is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._feed(self._probe.tick(self._loop.time()))

    def _transmit(self, effect: Transmit) -> None:
        if effect.socket == MAIN:
            self._stunning.transmit(effect.datagram, effect.to)
            return
        side = self._side.get(effect.socket) or self._open(effect.socket)
        if side is not None:
            side.transmit(effect.datagram, effect.to)

    def _open(self, number: int) -> SideSocket | None:
        """None where the machine has none left: then the question stays without an answer, as if it were lost."""
        counters = self._stunning.counters
        try:
            opened = _opened(self._family)
        except OSError:
            counters["stun.no_socket"] += 1
            return None
        side = self._side[number] = SideSocket(opened, partial(self._came, number), counters)
        return side

    def _came(
        self, number: int, message: stun.Message, datagram: bytes, remote: SocketAddress
    ) -> None:
        self.heard(number, message)


def _opened(family: socket.AddressFamily) -> socket.socket:
    """Bound to any port. OSError when no file descriptor or no port is left."""
    one = socket.socket(family, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        one.bind(("", 0))
    except OSError:
        one.close()
        raise
    return one
