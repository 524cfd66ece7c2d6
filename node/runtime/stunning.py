"""STUN (RFC 8489) on the node's own UDP port and on a second one: answers requests, and sends our own.

Our own requests leave by the main socket, because it is the mapping of this one that others need to know. The second
port answers as well, so that a single public node is enough to notice a mapping that depends on the port. By the second
port also leave the packets that a member wants from a port to which it has sent nothing.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable

from nat import stun
from nat.answering import Answering
from nat.endpoint import Endpoint, plain
from node.runtime.packets import READS_MAX, Packets
from node.runtime.whereabouts import SocketAddress, Whereabouts
from protocol.errors import PeerError

Heard = Callable[[stun.Message], None]
"""Told of answers and of bare indications on the main socket."""


class Stunning:
    """Of one node, beside its `Packets`, in whose counters stands what came, by what became of it."""

    def __init__(self, packets: Packets, alternate: socket.socket, heard: Heard) -> None:
        self._packets = packets
        self._alternate = SideSocket(alternate, self._asked_beside, packets.counters)
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._answering = Answering(self._loop.time(), packets.counters)
        packets.stun = self._arrived

    @property
    def host(self) -> str:
        """Of the main socket, as is its port."""
        return self._packets.host

    @property
    def port(self) -> int:
        return self._packets.port

    @property
    def counters(self) -> Counter[str]:
        """Those of the packets."""
        return self._packets.counters

    def transmit(self, datagram: bytes, to: Endpoint) -> bool:
        """By the main socket; whether it has left."""
        return self._packets.transmit(datagram, *to)

    def knock(self, to: Endpoint, token: bytes, *, alternate: bool) -> bool:
        """Send a bare indication, from the main or the second port; whether it has left."""
        sender = self._alternate if alternate else self
        return sender.transmit(stun.indication(token), to)

    def close(self) -> None:
        self._packets.stun = None
        self._alternate.close()

    # -- within --------------------------------------------------------------------------------------

    def _arrived(self, datagram: bytes, remote: SocketAddress) -> None:
        try:
            message = stun.parse(datagram)
        except PeerError:
            self.counters["stun.nonsense"] += 1
            return
        if message.kind is not stun.Kind.REQUEST:
            self._heard(message)
            return
        self._answer(self._packets.transmit, datagram, message, remote, self._alternate.port)

    def _asked_beside(self, message: stun.Message, datagram: bytes, remote: SocketAddress) -> None:
        if message.kind is stun.Kind.REQUEST:
            self._answer(self._alternate.send, datagram, message, remote, self.port)

    def _answer(
        self,
        send: Callable[[bytes, str, int], bool],
        datagram: bytes,
        message: stun.Message,
        remote: SocketAddress,
        other_port: int,
    ) -> None:
        seen = Endpoint(plain(remote[0]), remote[1])
        now = self._loop.time()
        answer = self._answering.asked(datagram, message, seen, other_port, now)
        if answer is not None:
            send(answer, *seen)


OnMessage = Callable[[stun.Message, bytes, SocketAddress], None]


class SideSocket:
    """A UDP socket that speaks STUN alone. What does not leave at once is lost, and counted in `counters`."""

    def __init__(self, bound: socket.socket, on_message: OnMessage, counters: Counter[str]) -> None:
        self._socket = bound
        self._on_message = on_message
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        v6 = bound.family == socket.AF_INET6
        dual = v6 and not bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        self._whereabouts = Whereabouts(bound.family, dual=dual)
        self._loop.add_reader(bound, self._read)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def transmit(self, datagram: bytes, to: Endpoint) -> bool:
        return self.send(datagram, *to)

    def send(self, datagram: bytes, host: str, port: int) -> bool:
        """Whether it has left."""
        way = self._whereabouts.way(host, port)
        if way is None:
            return False
        try:
            self._socket.sendto(datagram, way)
        except OSError:
            self._counters["stun.not_sent"] += 1
            return False
        return True

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        for _ in range(READS_MAX):
            try:
                datagram, remote = self._socket.recvfrom(stun.MESSAGE_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                # The network's answer to something that we have sent, most often.
                self._counters["stun.refused"] += 1
                continue
            try:
                message = stun.parse(datagram)
            except PeerError:
                self._counters["stun.nonsense"] += 1
                continue
            self._on_message(message, datagram, remote)
            if self._socket.fileno() < 0:
                # Whoever heard it needs no more, and has closed us.
                return
