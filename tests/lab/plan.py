"""Where everything stands: namespaces, the cables between them, and their addresses, before any of it is made.

All addresses look global where they are, so that code which tells public from private ones is tried too. Site n has
60.n.0.0/24 and 2a0b:n::/64 between the core and its outermost box; behind a firewall lie 61.n.0.0/24 and
2a0b:n:1::/64, behind a router 192.168.n.0/24, behind the router of a carrier 100.64.n.0/24.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.lab.kinds import HAIRPINS, MANNERS, PLAIN, Kind, Manner, Mapping, Pair
from tests.lab.rules import ruleset

SITES_MAX = 255
SAME_PREFIX = "192.168.0"
PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
"""Nobody routes these in public: there they vanish, as they do at most providers."""

WITH_IPV6 = (Kind.OPEN, Kind.DUAL_STACK, Kind.IPV6_ONLY)


@dataclass(slots=True, eq=False)
class Port:
    """One end of a cable."""

    box: str
    """The namespace it is in."""
    name: str
    ipv4: str = ""
    """With the length of the prefix."""
    gateway: str = ""
    ipv6: str = ""
    gateway6: str = ""
    bridge: str = ""

    @property
    def address(self) -> str:
        return self.ipv4.partition("/")[0]

    @property
    def address6(self) -> str:
        return self.ipv6.partition("/")[0]

    def lines(self) -> Iterator[str]:
        """For `ip`, on a port that has no address yet."""
        if self.bridge:
            yield f"link set {self.name} master {self.bridge}"
        yield f"link set {self.name} up"
        if self.ipv4:
            yield f"addr add {self.ipv4} dev {self.name}"
        if self.ipv6:
            yield f"addr add {self.ipv6} dev {self.name} nodad"
        for gateway in filter(None, (self.gateway, self.gateway6)):
            yield f"route replace default via {gateway}"

    def renumber(self, with_ipv6: bool) -> Iterator[str]:
        """For `ip`: the next address of the prefix instead of this one."""
        if self.ipv4:
            yield f"addr del {self.ipv4} dev {self.name}"
            self.ipv4 = _next(self.ipv4)
            yield f"addr add {self.ipv4} dev {self.name}"
            yield f"route replace default via {self.gateway}"
        if self.ipv6 and with_ipv6:
            yield f"addr del {self.ipv6} dev {self.name}"
            self.ipv6 = _next(self.ipv6)
            yield f"addr add {self.ipv6} dev {self.name} nodad"
            yield f"route replace default via {self.gateway6}"


@dataclass(slots=True, eq=False)
class Router:
    """`life` counts how often it has forgotten all connections, `turn` how often its outside ports were changed."""

    manner: Manner
    wan: Port
    inside: list[Port] = field(default_factory=list)
    life: int = 0
    turn: int = 0

    @property
    def translates(self) -> bool:
        return self.manner.mapping is not Mapping.NONE

    def rules(self) -> str:
        hosts = [port.address for port in self.inside]
        return ruleset(self.manner, self.wan.address, hosts, self.life, self.turn)


@dataclass(slots=True, eq=False)
class Host:
    kind: Kind | Pair
    port: Port
    access: Port
    """The other end of its cable."""
    routers: list[Router]
    """Between the public internet and it, the outermost first."""

    def __repr__(self) -> str:
        return f"{self.kind}:{self.port.box}"

    @property
    def name(self) -> str:
        """Of its namespace."""
        return self.port.box

    @property
    def address(self) -> str:
        """Its own IPv4 address; empty if it has none."""
        return self.port.address

    @property
    def address6(self) -> str:
        return self.port.address6

    @property
    def outside(self) -> str:
        """The IPv4 address that others see."""
        translating = [router for router in self.routers if router.translates]
        return translating[0].wan.address if translating else self.address


class Plan:
    """Grows site by site."""

    def __init__(self, prefix: str) -> None:
        self.core = f"{prefix}-core"
        self.boxes: dict[str, list[str]] = {self.core: []}
        """Namespace to what `ip` is told in it before its ports are set up."""
        self.cables: list[tuple[Port, Port]] = []
        self.routers: list[Router] = []
        self.hosts: list[Host] = []
        self._prefix = prefix
        self._sites = 0
        self.routes = [f"route add blackhole {prefix}" for prefix in PRIVATE]
        """For the core, once its ports are set up."""

    def ports(self, box: str) -> list[Port]:
        return [port for cable in self.cables for port in cable if port.box == box]

    def add(self, asked: Kind | Pair) -> list[Host]:
        """One site with the hosts of this kind."""
        self._sites += 1
        assert self._sites <= SITES_MAX
        before = len(self.hosts)
        match asked:
            case Kind.OPEN:
                self._public()
            case Kind():
                self._single(asked)
            case Pair.ONE_LAN:
                self._one_lan()
            case Pair.TWO_LANS | Pair.TWO_LANS_HAIRPIN:
                manner = PLAIN if asked is Pair.TWO_LANS else HAIRPINS
                router = self._router(manner, self._uplink(asked, "r"))
                for number, prefix in enumerate(self._two_prefixes()):
                    self._host(asked, [router], f"lan{number}", prefix)
            case Pair.ONE_CARRIER:
                carrier = self._router(HAIRPINS, self._uplink(asked, "carrier"))
                for number, prefix in enumerate(self._two_prefixes()):
                    home = self._home(carrier, number)
                    self._host(asked, [carrier, home], "lan0", prefix)
        return self.hosts[before:]

    def _two_prefixes(self) -> list[str]:
        return [f"192.168.{self._sites}", f"10.{self._sites}.0"]

    def _public(self) -> None:
        port, access = self._uplink(Kind.OPEN, "h")
        self.cables.append((port, access))
        self.hosts.append(Host(Kind.OPEN, port, access, []))

    def _single(self, kind: Kind) -> None:
        site = self._sites
        manners = MANNERS[kind]
        routers = [self._router(manners[0], self._uplink(kind, "r"))]
        if len(manners) == 2:
            routers.append(self._home(routers[0], 0, manners[1]))
        prefix = f"192.168.{site}"
        if kind is Kind.SAME_PREFIX:
            prefix = SAME_PREFIX
        if kind is Kind.FIREWALL:
            prefix = f"61.{site}.0"
            self.routes.append(f"route add {prefix}.0/24 via {routers[0].wan.address}")
        if kind in WITH_IPV6:
            via = routers[0].wan.address6
            self.routes.append(f"route add 2a0b:{site:x}:1::/64 via {via}")
        self._host(kind, routers, "lan0", "" if kind is Kind.IPV6_ONLY else prefix)

    def _one_lan(self) -> None:
        router = self._router(PLAIN, self._uplink(Pair.ONE_LAN, "r"))
        prefix = f"192.168.{self._sites}"
        # The bridge is the router's port to the network; the cables end in the bridge.
        self.boxes[router.wan.box] += [
            "link add lan0 type bridge",
            f"addr add {prefix}.1/24 dev lan0",
            "link set lan0 up",
        ]
        for number in range(2):
            port = Port(self._box("h"), "eth0", f"{prefix}.{10 + 10 * number}/24", f"{prefix}.1")
            access = Port(router.wan.box, f"port{number}", bridge="lan0")
            self._behind([router], port, access, Pair.ONE_LAN)

    def _host(self, kind: Kind | Pair, routers: list[Router], lan: str, prefix: str) -> None:
        port, access = Port(self._box("h"), "eth0"), Port(routers[-1].wan.box, lan)
        if prefix:
            port.ipv4, port.gateway = f"{prefix}.10/24", f"{prefix}.1"
            access.ipv4 = f"{prefix}.1/24"
        if kind in WITH_IPV6:
            prefix6 = f"2a0b:{self._sites:x}:1:"
            port.ipv6, port.gateway6 = f"{prefix6}:10/64", f"{prefix6}:1"
            access.ipv6 = f"{prefix6}:1/64"
        self._behind(routers, port, access, kind)

    def _behind(self, routers: list[Router], port: Port, access: Port, kind: Kind | Pair) -> None:
        self.cables.append((port, access))
        routers[-1].inside.append(port)
        self.hosts.append(Host(kind, port, access, routers))

    def _home(self, carrier: Router, number: int, manner: Manner = PLAIN) -> Router:
        """A router whose outside is a network of the carrier."""
        prefix = f"100.{64 + number}.{self._sites}"
        wan = Port(self._box("home"), "wan", f"{prefix}.2/24", f"{prefix}.1")
        access = Port(carrier.wan.box, f"lan{number}", f"{prefix}.1/24")
        carrier.inside.append(wan)
        return self._router(manner, (wan, access))

    def _router(self, manner: Manner, cable: tuple[Port, Port]) -> Router:
        self.cables.append(cable)
        self.routers.append(Router(manner, cable[0]))
        return self.routers[-1]

    def _uplink(self, kind: Kind | Pair, role: str) -> tuple[Port, Port]:
        """From the site's outermost box to the core."""
        site = self._sites
        port = Port(self._box(role), "eth0" if kind is Kind.OPEN else "wan")
        access = Port(self.core, f"s{site}")
        if kind is not Kind.IPV6_ONLY:
            port.ipv4, port.gateway = f"60.{site}.0.2/24", f"60.{site}.0.1"
            access.ipv4 = f"60.{site}.0.1/24"
        if kind in WITH_IPV6:
            port.ipv6, port.gateway6 = f"2a0b:{site:x}::2/64", f"2a0b:{site:x}::1"
            access.ipv6 = f"2a0b:{site:x}::1/64"
        return port, access

    def _box(self, role: str) -> str:
        name = f"{self._prefix}-{role}{len(self.boxes)}"
        self.boxes[name] = []
        return name


def _next(address: str) -> str:
    here = ipaddress.ip_interface(address)
    return f"{here.ip + 1}/{here.network.prefixlen}"
