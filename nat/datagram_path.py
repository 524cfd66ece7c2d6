"""What lies between a way that carries datagrams to one peer, and the connection that speaks over it."""

from typing import Protocol

from nat.datagrams import Address


class PathHearer(Protocol):
    """Who is told what happens on a path."""

    def owns(self, datagram: bytes) -> bool:
        """Whether this one, which came from somewhere else, may have been written by the peer all the same."""

    def heard(self, buffer: bytes, segment: int) -> None:
        """Datagrams of `segment` bytes each, the last may be shorter."""

    def writable(self) -> None:
        """More can be sent again."""

    def answered(self) -> None:
        """The peer has answered a check: the path is there."""

    def lost(self, reason: str) -> None: ...


class DatagramPath(Protocol):
    """A way to one peer over UDP: `nat/punched.py` is one."""

    @property
    def local(self) -> Address: ...
    @property
    def remote(self) -> Address: ...
    def listen(self, hearer: PathHearer) -> None: ...
    def send(self, datagrams: list[bytes]) -> int:
        """How many have left or are lost; where it is not all, `writable` will be told."""

    def probe(self) -> None:
        """Ask the peer whether it is there; `answered` will be told."""

    def close(self) -> None: ...
