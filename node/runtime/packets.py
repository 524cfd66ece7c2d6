"""Packets over UDP, on the number of the port on which links are accepted.

A peer that none of them reaches, for it is behind a NAT, has a link all the same, and packets take a detour along that:
through the hole that the link has punched, or within the link. They open by the same keys, wherever they come in.

Nothing here waits and nothing is queued: what the kernel does not take at once is lost, as it may be on any way.
What goes wrong is counted by kind, and nobody is answered. Whether a packet arrived is for its sender to find out.
"""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from node.runtime.sealing import PAYLOAD_BYTES_MAX, Dropped, Sealing, Why
from node.runtime.tcp_link import EVERYWHERE
from node.runtime.whereabouts import Detour, SocketAddress, Whereabouts
from protocol.codec import decode_packet, encode_packet
from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.limits import PACKET_BYTES_MAX
from protocol.members import Packet

READS_MAX = 64
"""Packets read in one turn of the loop: the links beside them wait no longer than a millisecond."""

RECEIVE_BUFFER_BYTES = 1 << 20
"""Asked of the kernel, which may give less: what comes while the loop is held up for seconds shall not be lost."""

STUN_BELOW = b"\4"
"""A datagram that begins with a lesser byte is STUN (RFC 9443); sealed packets begin with 0x0A."""

ERRORS = {
    errno.ECONNREFUSED: "refused",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.EMSGSIZE: "too_large",
    errno.EAGAIN: "buffer_full",
    errno.ENOBUFS: "buffer_full",
}
"""What the kernel says, as it is counted; all else is `failed`."""


class Hearer(Protocol):
    """Who is told what comes in."""

    def packet(self, peer: NodeId, packet: Packet) -> None:
        """`peer` has sealed it."""

    def packet_dropped(self, why: str) -> None: ...


class Packets:
    """The UDP side of one node. `counters` has what came, what went, and what became of the rest, by kind."""

    def __init__(self, bound: socket.socket, sealing: Sealing, hearer: Hearer) -> None:
        self.counters: Counter[str] = Counter()
        self.stun: Callable[[bytes, SocketAddress], None] | None = None
        """Who is told of STUN messages, which come to the same port."""
        self.detour: Callable[[NodeId, bytes, bool], Detour | None] | None = None
        """Sends a packet along the link with a peer that none from this port reaches: through a hole, if that was
        punched, and there another way, too, if the third argument is true. How it went; None if there is no such link.
        """
        self._socket = bound
        self._sealing = sealing
        self._hearer = hearer
        self._loop = asyncio.get_running_loop()
        self._whereabouts = Whereabouts(bound.family, dual=_is_dual(bound))
        self._loop.add_reader(bound, self._read)

    @property
    def host(self) -> str:
        """The address that it is bound to; the unspecified one where that is any."""
        return str(self._socket.getsockname()[0])

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def send(self, peer: NodeId, addresses: tuple[str, ...], packet: Packet) -> None:
        """To where the peer was last heard from, else to some of the addresses that it has told."""
        payload = encode_packet(packet)
        if len(payload) > PAYLOAD_BYTES_MAX:
            self.counters["send.too_large"] += 1
            return
        try:
            datagram = self._sealing.seal(peer, payload)
        except PeerError:
            datagram = None
        if datagram is None:
            self.counters["send.no_key"] += 1
            return
        if (detour := self._take_detour(peer, datagram)) is not None:
            self.counters[f"sent_{detour}"] += 1
            if detour is Detour.PUNCHED:
                self.counters["sent_bytes"] += len(datagram)
            return
        ways = self._whereabouts.ways(peer, addresses)
        if not ways:
            self.counters["send.no_way"] += 1
        for way in ways:
            self._transmit(datagram, way)

    def arrived(self, datagram: bytes, detour: Detour) -> NodeId | None:
        """Who has sealed what came so, as it does not say where our port finds its sender; None if it is dropped."""
        self.counters[f"received_{detour}"] += 1
        if detour is Detour.PUNCHED:
            self.counters["received_bytes"] += len(datagram)
        return self._open(datagram, detour)

    def transmit(self, datagram: bytes, host: str, port: int) -> bool:
        """As it is, to this IP address; whether it has left. It has not where this socket does not lead there."""
        way = self._whereabouts.way(host, port)
        return way is not None and self._transmit(datagram, way)

    async def close(self) -> None:
        """Hear nothing more. What was sent has left: it waits for nobody."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        await self._whereabouts.close()

    # -- within --------------------------------------------------------------------------------------

    def _take_detour(self, peer: NodeId, datagram: bytes) -> Detour | None:
        if self.detour is None or self._whereabouts.is_heard(peer):
            return None
        return self.detour(peer, datagram, self._whereabouts.doubts_hole(peer))

    def _transmit(self, datagram: bytes, way: SocketAddress) -> bool:
        try:
            self._socket.sendto(datagram, way)
        except OSError as wrong:
            self.counters[f"send.{ERRORS.get(wrong.errno or 0, 'failed')}"] += 1
            return False
        self.counters["sent"] += 1
        self.counters["sent_bytes"] += len(datagram)
        return True

    def _read(self) -> None:
        for _ in range(READS_MAX):
            try:
                # One byte more than any packet has: a longer one shows, and is cut off.
                datagram, remote = self._socket.recvfrom(PACKET_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError as wrong:
                # The network's answer to something that we have sent, most often.
                self.counters[f"receive.{ERRORS.get(wrong.errno or 0, 'failed')}"] += 1
                continue
            self.counters["received"] += 1
            self.counters["received_bytes"] += len(datagram)
            if datagram[:1] < STUN_BELOW and self.stun is not None and datagram:
                self.stun(datagram, remote)
            else:
                self._open(datagram, remote)

    def _open(self, datagram: bytes, came: SocketAddress | Detour) -> NodeId | None:
        """Who has sealed it; None if it is dropped."""
        try:
            peer, payload, newest = self._sealing.open(datagram, self._loop.time())
            packet = _decoded(payload)
        except Dropped as dropped:
            self.counters[f"dropped.{dropped.why}"] += 1
            self._hearer.packet_dropped(dropped.why)
            return None
        # An older one that was held up on its way does not say where the peer is now.
        if newest:
            if isinstance(came, Detour):
                self._whereabouts.heard_by(came, peer)
            else:
                self._whereabouts.heard(peer, came)
        self._hearer.packet(peer, packet)
        return peer


async def bind(host: str, port: int) -> socket.socket:
    """A UDP socket where links on this host and port (0: any free one) would be accepted; OSError if it cannot be."""
    if host not in EVERYWHERE:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
    else:
        dual = socket.has_dualstack_ipv6()
        family, kind, protocol = socket.AF_INET6 if dual else socket.AF_INET, socket.SOCK_DGRAM, 0
        address = ("", port)
    bound = socket.socket(family, kind, protocol)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host not in EVERYWHERE))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        bound.setblocking(False)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def _is_dual(bound: socket.socket) -> bool:
    if bound.family != socket.AF_INET6:
        return False
    return not bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def _decoded(payload: bytes) -> Packet:
    try:
        return decode_packet(payload)
    except PeerError as wrong:
        raise Dropped(Why.NONSENSE) from wrong
