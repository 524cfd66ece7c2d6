"""A way between two ends over real UDP sockets on loopback, which loses what it is told to lose."""

import random

from nat.datagram_path import PathHearer
from nat.datagrams import Address, Datagrams, bind


class Wire:
    """One end. `loss` is the part of the datagrams that never leave."""

    def __init__(self, loss: float = 0.0, seed: int = 7, mtu: int | None = None) -> None:
        self.loss, self.mtu = loss, mtu
        self.cut = False
        self.closed = False
        self.probes = 0
        self.sent: list[int] = []
        """Sizes of what has left."""
        self._dice = random.Random(seed)
        self._datagrams = Datagrams(bind("127.0.0.1"), self._came)
        self._hearer: PathHearer | None = None
        self._early: list[tuple[bytes, int]] = []
        self._remote: Address | None = None

    @property
    def local(self) -> Address:
        return self._datagrams.local

    @property
    def remote(self) -> Address:
        assert self._remote is not None
        return self._remote

    def towards(self, other: "Wire") -> None:
        self._remote = other.local

    def listen(self, hearer: PathHearer) -> None:
        self._hearer = hearer
        self._datagrams.on_writable = hearer.writable
        for buffer, segment in self._early:
            hearer.heard(buffer, segment)
        self._early.clear()

    def send(self, datagrams: list[bytes]) -> int:
        if self.closed:
            return len(datagrams)
        self.sent += map(len, datagrams)
        if not (self.loss or self.cut or self.mtu):
            return self._datagrams.send(datagrams, self.remote)
        self._datagrams.send([one for one in datagrams if self._passes(one)], self.remote)
        return len(datagrams)

    def probe(self) -> None:
        """Nobody on this wire answers checks."""
        self.probes += 1

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._datagrams.close()

    def _passes(self, datagram: bytes) -> bool:
        if self.cut or (self.mtu is not None and len(datagram) > self.mtu):
            return False
        return self._dice.random() >= self.loss

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        if self.cut or sender != self._remote:
            return
        if self._hearer is None:
            self._early.append((buffer, segment))
        else:
            self._hearer.heard(buffer, segment)


def wired(loss: float = 0.0, mtu: int | None = None) -> tuple[Wire, Wire]:
    one, other = Wire(loss, seed=7, mtu=mtu), Wire(loss, seed=8, mtu=mtu)
    one.towards(other)
    other.towards(one)
    return one, other
