"""One attempt to find a way through the NATs of two nodes, by ICE (RFC 8445). Loaded when a path is punched first.

Both sides gather addresses at which they may be reached, tell each other in signed offers over the link that they have
already, and knock at all of each other's at the same time, until a NAT on one side takes the knock from outside for an
answer to the one from within. Neighbours in `nat/`: `candidates.py` judges what is offered, `ice_checks.py` knocks,
`punched.py` is the way once it is found.
"""

import asyncio
import ipaddress
import secrets
import socket
import string
from collections.abc import Iterable, Iterator, Sequence

import ifaddr

from nat.candidates import Budget, CheckRate, Network, tellable
from nat.datagrams import Address
from nat.endpoint import Scope, scope
from nat.ice_checks import Checks
from nat.punched import PunchedPath
from protocol.errors import SedmaError
from protocol.limits import CANDIDATES_MAX
from protocol.paths import Candidate

CONNECT_S = 3.0
"""A pair of NATs between which there is a way has shown it by then; aioice would go on for a minute."""
SOCKETS_MAX = 4
"""Local addresses tried: the ones that lead outside, and where both sides are at one place the other ones."""
USERNAME_CHARS, PASSWORD_CHARS = 8, 32
ICE_CHARS = string.ascii_letters + string.digits
OUTSIDE = ("192.0.2.1", "2001:db8::1")
"""Addresses of nobody: to ask the kernel which of ours leads outside. Nothing is sent."""


class NoWay(SedmaError):
    """This pair of nodes was not punched through; the text says what was tried."""


class IceAttempt:
    """One attempt at one peer: gather, tell the peer, be told of its addresses, connect."""

    def __init__(
        self,
        *,
        dialled: bool,
        rate: CheckRate,
        peer: str,
        servers: Iterable[Address] = (),
        same_site: bool = False,
        hosts: Sequence[str] | None = None,
    ) -> None:
        """`dialled`: we have asked for the attempt, and choose the way (ICE's controlling role).

        `rate` is one for the whole node, and counts for this `peer`. `servers` tell by STUN from where we are seen.
        `same_site`: both sides are seen from outside at one address, so private addresses are told and tried. `hosts`
        are local addresses to use instead of the ones that are found.
        """
        self.username = _random(USERNAME_CHARS)
        self.password = _random(PASSWORD_CHARS)
        self._dialled = dialled
        self._servers = tuple(servers)
        self._same_site = same_site
        self._hosts = hosts
        self._budget = Budget(rate, peer)
        self._checks = Checks(
            self._budget,
            ice_controlling=dialled,
            local_username=self.username,
            local_password=self.password,
        )

    @property
    def troubles(self) -> str:
        """What went wrong on this side, to be added to why there is no way; empty if nothing did."""
        found = [
            f"{what} ({times} times)" if times > 1 else what
            for what, times in self._checks.troubles.items()
        ]
        return f" (here: {', '.join(found)})" if found else ""

    async def gather(self) -> tuple[Candidate, ...]:
        """Where we can be reached, the best first, in 300 ms; NoWay if no local address can be used."""
        hosts = local_hosts(self._same_site) if self._hosts is None else self._hosts
        self._checks.plan(hosts[:SOCKETS_MAX], self._servers)
        told: dict[Address, Candidate] = {}
        gathered = await self._checks.gathered()
        if not self._checks.has_sockets:
            raise NoWay(f"this machine has no address to send from{self.troubles}")
        for one in gathered:
            if self._hosts is not None or tellable(one.host, same_site=self._same_site):
                told.setdefault((one.host, one.port), one)
        return tuple(told.values())[:CANDIDATES_MAX]

    async def connect(
        self, username: str, password: str, candidates: Iterable[Candidate]
    ) -> PunchedPath:
        """The way to the peer that told these; NoWay after 3 s at the latest. The path owns the sockets then."""
        checks = self._checks
        await checks.offered(username, password, candidates)
        try:
            async with asyncio.timeout(CONNECT_S):
                await checks.connect()
        except (TimeoutError, ConnectionError) as wrong:
            await self.close()
            raise NoWay(
                f"no UDP packet came through to the peer in {CONNECT_S:.0f} s: the NATs of both "
                f"sides, or a firewall, leave no direct way{self.troubles}"
            ) from wrong
        except asyncio.CancelledError:
            await self.close()
            raise
        return checks.path(dialled=self._dialled)

    async def close(self) -> None:
        """Give up."""
        await self._checks.close()


def local_hosts(same_site: bool) -> list[str]:
    """Our addresses that lead outside; where both sides are at one place, behind them all others but loopback."""
    hosts = [host for one in OUTSIDE if (host := _source(one))]
    if same_site or not hosts:
        for host, _ in _addresses():
            if host not in hosts and tellable(host, same_site=True):
                hosts.append(host)
    return hosts


def own_networks() -> list[Network]:
    """The private networks that this machine is in."""
    return [
        ipaddress.ip_network(f"{host}/{prefix}", strict=False)
        for host, prefix in _addresses()
        if scope(host) is Scope.PRIVATE
    ]


def _addresses() -> Iterator[tuple[str, int]]:
    """Of this machine, each with the length of its network's prefix."""
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            yield (ip.ip if isinstance(ip.ip, str) else ip.ip[0]), ip.network_prefix


def _source(towards: str) -> str | None:
    """Our address that packets to there would carry."""
    family = socket.AF_INET6 if ":" in towards else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _random(characters: int) -> str:
    return "".join(secrets.choice(ICE_CHARS) for _ in range(characters))
