"""The two sides of a path that carries datagrams to one peer: the path, and the connection that runs over it."""

from typing import Protocol

from nat.datagrams import Address


class PathHearer(Protocol):
    """The connection (`nat/quic.py`): it is told what happens on its path."""

    def owns(self, datagram: bytes) -> bool:
        """Whether the peer may have written this datagram, although it came from another address than usual."""

    def heard(self, buffer: bytes, segment: int) -> None:
        """Datagrams of `segment` bytes each, the last may be shorter."""

    def writable(self) -> None:
        """More can be sent again."""

    def answered(self) -> None:
        """The peer has answered a check: the path is there."""

    def lost(self, reason: str) -> None:
        """The path is given up; nothing will come or leave by it any more. The reason is for people."""


class DatagramPath(Protocol):
    """A way to one peer over UDP: `nat/punched.py` is one."""

    @property
    def local(self) -> Address: ...
    @property
    def remote(self) -> Address:
        """Both change when the peer, or our own network, goes elsewhere."""

    def listen(self, hearer: PathHearer) -> None:
        """From now on `hearer` is told; first of all, of what came before."""

    def send(self, datagrams: list[bytes]) -> int:
        """How many have left or are lost; where it is not all, `writable` will be told."""

    def probe(self) -> None:
        """Ask the peer whether it is there; `answered` will be told."""

    def close(self) -> None:
        """Give the path up, and its sockets; `lost` is not told."""
