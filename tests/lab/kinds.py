"""What a host of the laboratory sits behind, and what its router is like.

The words are those of RFC 4787: a mapping is endpoint-independent if a socket has one outside port whomever it talks
to; filtering says which strangers come in by that port.
"""

import enum
from dataclasses import dataclass

UDP_STREAM_S = 120
"""A mapping in use lives so long after the last packet: the least that RFC 4787 allows."""

SHORT_S = 12


class Kind(enum.StrEnum):
    """One host."""

    OPEN = "open"
    """A public address, IPv4 and IPv6, and no firewall."""
    FIREWALL = "firewall"
    """A public IPv4 address behind a firewall that lets answers in."""
    FULL = "full"
    """Any stranger comes in by a port that is mapped (full cone; UDP alone, TCP as port)."""
    ADDRESS = "address"
    """Whoever is on an address that was spoken to (address-restricted cone; UDP alone, TCP as port)."""
    PORT = "port"
    """Whoever was spoken to (port-restricted cone): the usual router."""
    RST = "rst"
    """As port, and a stranger is told: UDP by ICMP port unreachable, TCP by RST."""
    CGN = "cgn"
    """A port-restricted router at home behind the port-restricted one of the carrier."""
    SAME_PREFIX = "same_prefix"
    """As port, and every such host has the same address in the same prefix."""
    SYMMETRIC_RANDOM = "symmetric_random"
    """Another outside port for each remote address and port, by chance."""
    SYMMETRIC_SEQUENTIAL = "symmetric_sequential"
    """Another outside port for each remote address and port: the next one."""
    DUAL_STACK = "dual_stack"
    """IPv4 as symmetric_random, and a global IPv6 address behind a firewall that lets answers in."""
    IPV6_ONLY = "ipv6_only"
    """A global IPv6 address behind a firewall that lets answers in, and no IPv4."""
    UDP_BLOCKED = "udp_blocked"
    """Nothing passes but TCP that was begun inside, to port 443; ports as symmetric_random."""
    TLS_ONLY = "tls_only"
    """As udp_blocked, and of a connection that does not begin as TLS does no data passes."""
    SHORT_LIVED = "short_lived"
    """As port, and a UDP mapping lives 12 s."""
    HAIRPIN = "hairpin"
    """As port, and what is mapped inside is reached from inside by its outside address."""


class Pair(enum.StrEnum):
    """Two hosts that share something; each is port-restricted."""

    ONE_LAN = "one_lan"
    TWO_LANS = "two_lans"
    """Two networks behind one router that lets nothing pass between them."""
    TWO_LANS_HAIRPIN = "two_lans_hairpin"
    """As two_lans, but by the outside addresses they reach one another."""
    ONE_CARRIER = "one_carrier"
    """Two routers at home behind one of a carrier; that one hairpins."""


class Mapping(enum.Enum):
    NONE = enum.auto()
    """No translation: a router with public addresses on both sides."""
    SAME = enum.auto()
    """Endpoint-independent."""
    RANDOM = enum.auto()
    NEXT = enum.auto()


class Filtering(enum.Enum):
    NONE = enum.auto()
    ADDRESS = enum.auto()
    PORT = enum.auto()


class Only(enum.Enum):
    """All that passes outwards, if not everything does."""

    HTTPS_PORT = enum.auto()
    TLS = enum.auto()


@dataclass(frozen=True, slots=True)
class Manner:
    """How a router treats its hosts."""

    mapping: Mapping = Mapping.SAME
    filtering: Filtering = Filtering.PORT
    hairpins: bool = False
    refuses: bool = False
    """Strangers are told that nobody listens; otherwise they hear nothing."""
    only: Only | None = None
    udp_stream_s: int = UDP_STREAM_S


PLAIN = Manner()
HAIRPINS = Manner(hairpins=True)
FIREWALL = Manner(mapping=Mapping.NONE)
SYMMETRIC = Manner(mapping=Mapping.RANDOM)

MANNERS: dict[Kind, list[Manner]] = {
    Kind.OPEN: [],
    Kind.FIREWALL: [FIREWALL],
    Kind.FULL: [Manner(filtering=Filtering.NONE)],
    Kind.ADDRESS: [Manner(filtering=Filtering.ADDRESS)],
    Kind.PORT: [PLAIN],
    Kind.RST: [Manner(refuses=True)],
    Kind.CGN: [HAIRPINS, PLAIN],
    Kind.SAME_PREFIX: [PLAIN],
    Kind.SYMMETRIC_RANDOM: [SYMMETRIC],
    Kind.SYMMETRIC_SEQUENTIAL: [Manner(mapping=Mapping.NEXT)],
    Kind.DUAL_STACK: [SYMMETRIC],
    Kind.IPV6_ONLY: [FIREWALL],
    Kind.UDP_BLOCKED: [Manner(mapping=Mapping.RANDOM, only=Only.HTTPS_PORT)],
    Kind.TLS_ONLY: [Manner(mapping=Mapping.RANDOM, only=Only.TLS)],
    Kind.SHORT_LIVED: [Manner(udp_stream_s=SHORT_S)],
    Kind.HAIRPIN: [HAIRPINS],
}
"""The routers between the public internet and the host, the outermost first."""
