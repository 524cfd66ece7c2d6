"""Addresses as IP and port, and how far each of them leads.

`ipaddress.is_global` is of no use here: it is false for the ranges of documentation, in which laboratories and examples
live, and tells nothing of what a false means. We ask only what a NAT asks: who can have the same address elsewhere?
"""

import ipaddress
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple


class Endpoint(NamedTuple):
    """Where packets go: an IP address, in its usual spelling, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_v6 else f"{self.host}:{self.port}"

    @property
    def is_v6(self) -> bool:
        return ":" in self.host


class Scope(StrEnum):
    """How far an address leads."""

    NOBODY = "nobody"
    """To no host in particular: unspecified, multicast, broadcast, reserved, translated, or no address at all."""
    LOOPBACK = "loopback"
    LINK = "link"
    """Link-local: it means nothing without an interface."""
    PRIVATE = "private"
    """One host in this network, and another in the next; a carrier's shared addresses too (RFC 6598)."""
    GLOBAL = "global"
    """The same host for everybody."""


PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "192.0.0.0/24",
            "198.18.0.0/15",
            "fc00::/7",
        ),
    )
)
"""RFC 1918, RFC 6598, RFC 4193; 192.0.0.0/24 has a host that speaks IPv4 over IPv6 (RFC 7335), and 198.18.0.0/15, meant
for measurements (RFC 2544), programs that lead all traffic through a tunnel give to their end of it.
"""
NOBODYS = tuple(map(ipaddress.ip_network, ("0.0.0.0/8", "240.0.0.0/4")))
UNICAST_V6 = ipaddress.ip_network("2000::/3")
"""All of IPv6 where a host can be reached from everywhere; the rest translates, or is nobody's (RFC 4291)."""
CUSTOMER_BITS = 64
"""Of an IPv6 address: what is behind them a single host may have to itself (RFC 7421)."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def scope(host: str) -> Scope:
    """Of this IP address; of anything else NOBODY."""
    try:
        address = _host_behind(ipaddress.ip_address(host))
    except ValueError:
        return Scope.NOBODY
    if address.is_unspecified or address.is_multicast or any(address in one for one in NOBODYS):
        return Scope.NOBODY
    if address.is_loopback:
        return Scope.LOOPBACK
    if address.is_link_local:
        return Scope.LINK
    if any(address in one for one in PRIVATE):
        return Scope.PRIVATE
    return Scope.GLOBAL if address.version == 4 or address in UNICAST_V6 else Scope.NOBODY


def customer(host: str) -> str:
    """What one limit counts for: an IPv4 address, or a whole /64 of IPv6. ValueError if it is no IP address."""
    # Done for each packet of a flood: `ipaddress.ip_network` takes five times as long.
    address = _host_behind(ipaddress.ip_address(host))
    return str(address) if address.version == 4 else address.packed[: CUSTOMER_BITS // 8].hex()


@lru_cache(maxsize=4096)
def plain(host: str) -> str:
    """As others know it: without an interface, and IPv4 as IPv4 also where an IPv6 socket tells of it."""
    host = host.partition("%")[0]
    try:
        return str(_unmapped(ipaddress.ip_address(host)))
    except ValueError:
        return host


def endpoint_of(address: str) -> Endpoint | None:
    """`host:port` with an IP address for a host; None for a name, another kind of way, or nonsense."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        spelled = str(_unmapped(ipaddress.ip_address(host)))
    except ValueError:
        return None
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
        return None
    return Endpoint(spelled, int(port))


def _unmapped(address: _Address) -> _Address:
    """IPv4 as IPv4, where it is written as an address of IPv6 (RFC 4291, section 2.5.5.2)."""
    return (address.version == 6 and address.ipv4_mapped) or address


def _host_behind(address: _Address) -> _Address:
    """The IPv4 host to which a mapped address or one of 6to4 (RFC 3056) leads; else the address itself."""
    return (address.version == 6 and (address.ipv4_mapped or address.sixtofour)) or address
