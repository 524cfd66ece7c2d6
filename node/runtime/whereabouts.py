"""Where packets to a peer go: where it was last heard from, else wherever it says that it is.

An address from which a peer's newest packet came is proven, also through a NAT that nobody knows of. As long as it
answers nothing else is tried; once it has left us without a word for a while its recorded addresses are tried beside
it, for it may have moved. Names are looked up beside the loop, and until they are known they lead nowhere.
"""

import asyncio
import socket
from collections import OrderedDict
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address

from node.config import host_port
from protocol.errors import ConfigError
from protocol.ids import NodeId
from protocol.limits import PEERS_MAX

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

TRIED_MAX = 4
"""Addresses to which one packet goes: a machine has more interfaces than others can reach."""

UNANSWERED_MAX = 2
"""Packets that a proven address, or a hole, may leave without a word before other ways are tried beside it."""

ALONE_EACH = 4
"""Of so many packets for a hole in doubt one takes that alone: where it comes, the other way was only faster."""

NAMES_MAX = 1024
NAME_FRESH_S = 600.0
NAME_RETRY_S = 60.0
LOOKUPS_MAX = 8
"""At once; who comes then is looked up with a later packet."""


class Detour(StrEnum):
    """How a packet travels where it does not go from our port to the peer's, as it is counted."""

    LINK = "by_link"
    PUNCHED = "punched"
    """By itself, from and to the sockets between which a link has punched its way."""


class _Path:
    __slots__ = ("address", "unanswered")

    def __init__(self, address: SocketAddress) -> None:
        self.address = address
        self.unanswered = 0


class Whereabouts:
    """For one socket of this family; to one of IPv6 that is `dual`, IPv4 addresses lead too."""

    def __init__(self, family: socket.AddressFamily, *, dual: bool) -> None:
        self._v6 = family == socket.AF_INET6
        self._dual = dual
        self._loop = asyncio.get_running_loop()
        self._heard: OrderedDict[NodeId, _Path] = OrderedDict()
        self._unheard: OrderedDict[NodeId, int] = OrderedDict()
        """Packets on detours to each peer since it was heard through a hole. Who was heard from last at the end."""
        self._names: OrderedDict[str, tuple[tuple[str, ...], float]] = OrderedDict()
        """Host to its IP addresses, and until when they are believed."""
        self._lookups: dict[str, asyncio.Task[None]] = {}

    def heard(self, peer: NodeId, address: SocketAddress) -> None:
        """Its newest packet came from there."""
        path = self._heard.get(peer)
        if path is None:
            self._heard[peer] = _Path(address)
            if len(self._heard) > PEERS_MAX:
                self._heard.popitem(last=False)
            return
        path.address, path.unanswered = address, 0
        self._heard.move_to_end(peer)

    def heard_by(self, detour: Detour, peer: NodeId) -> None:
        """Its newest packet came so. One by the link shows that the peer has its doubts about a hole, or has none."""
        unheard = max(self._unheard.get(peer, 0), UNANSWERED_MAX)
        self._unheard[peer] = 0 if detour is Detour.PUNCHED else unheard
        self._unheard.move_to_end(peer)
        if len(self._unheard) > PEERS_MAX:
            self._unheard.popitem(last=False)

    def doubts_hole(self, peer: NodeId) -> bool:
        """One more packet takes a detour; whether a hole alone is not to be relied on."""
        unheard = self._unheard.get(peer)
        if unheard is None:
            return True
        self._unheard[peer] = unheard + 1
        return unheard >= UNANSWERED_MAX and unheard % ALONE_EACH != 0

    def is_heard(self, peer: NodeId) -> bool:
        """It answers where it was last heard from, as far as we know."""
        path = self._heard.get(peer)
        return path is not None and path.unanswered < UNANSWERED_MAX

    def ways(self, peer: NodeId, recorded: tuple[str, ...]) -> list[SocketAddress]:
        """Where a packet to it goes now; none if no way is known."""
        path = self._heard.get(peer)
        if path is None:
            return self._recorded(recorded)[:TRIED_MAX]
        path.unanswered += 1
        if path.unanswered <= UNANSWERED_MAX:
            return [path.address]
        others = self._recorded(recorded)
        return [path.address, *(one for one in others if one != path.address)][:TRIED_MAX]

    def way(self, ip: str, port: int) -> SocketAddress | None:
        """As this socket takes it; None where it does not lead."""
        if ":" in ip:
            return (ip, port, 0, 0) if self._v6 else None
        if self._v6:
            return (f"::ffff:{ip}", port, 0, 0) if self._dual else None
        return (ip, port)

    async def close(self) -> None:
        """Wait for nobody's address any more."""
        lookups = list(self._lookups.values())
        for lookup in lookups:
            lookup.cancel()
        if lookups:
            await asyncio.wait(lookups)

    # -- within --------------------------------------------------------------------------------------

    def _recorded(self, addresses: tuple[str, ...]) -> list[SocketAddress]:
        found: list[SocketAddress] = []
        for address in addresses:
            parts = _parts(address)
            if parts is None:
                continue
            host, port, is_literal = parts
            for ip in (host,) if is_literal else self._known(host):
                if (way := self.way(ip, port)) is not None and way not in found:
                    found.append(way)
        return found

    def _known(self, host: str) -> tuple[str, ...]:
        """What a name was last found to mean; asks anew when that is long ago."""
        known, until = self._names.get(host, ((), 0.0))
        is_due = self._loop.time() >= until and host not in self._lookups
        if is_due and len(self._lookups) < LOOKUPS_MAX:
            self._lookups[host] = self._loop.create_task(self._look_up(host))
        return known

    async def _look_up(self, host: str) -> None:
        try:
            found = await self._loop.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
            told = dict.fromkeys(str(address[0]) for *_, address in found)
            known, lasts_s = tuple(told)[:TRIED_MAX], NAME_FRESH_S
        except (OSError, ValueError):
            # No such name, or nobody to ask: dialling the same address tells people of it.
            known, lasts_s = self._names.get(host, ((), 0.0))[0], NAME_RETRY_S
        finally:
            del self._lookups[host]
        self._names[host] = (known, self._loop.time() + lasts_s)
        self._names.move_to_end(host)
        if len(self._names) > NAMES_MAX:
            self._names.popitem(last=False)


@lru_cache(maxsize=4096)
def _parts(address: str) -> tuple[str, int, bool] | None:
    """(host, port, whether the host is an IP address); None for what is no address."""
    try:
        host, port = host_port(address)
    except ConfigError:
        return None
    if port == 0:
        return None
    try:
        return str(ip_address(host)), port, True
    except ValueError:
        return host, port, False
