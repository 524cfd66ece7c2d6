"""What a node has found out about the NAT or firewall in front of it, for one family of addresses."""

from dataclasses import dataclass, replace
from enum import StrEnum

from nat.endpoint import Endpoint
from protocol.paths import Filtering, Mapping

KEEPALIVE_SHARE = 2 / 3
"""Of the life of a mapping: a packet may be late, or lost."""


class NatClass(StrEnum):
    """As people call it; the words go into `status` and `doctor`."""

    UNKNOWN = "unknown"
    OPEN = "open"
    FIREWALL = "firewall"
    FULL_CONE = "full-cone NAT"
    ADDRESS = "address-restricted NAT"
    PORT = "port-restricted NAT"
    SYMMETRIC = "symmetric NAT"
    SOME_NAT = "some NAT"
    BLOCKED = "UDP blocked"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """RFC 5780's findings; None or UNKNOWN: not known (yet)."""

    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    local: Endpoint | None = None
    """Our socket as we know it."""
    mapped: tuple[Endpoint, ...] = ()
    """The same socket as others see it, each sight once."""
    hairpin: bool | None = None
    """Whether our outside address leads back in from inside."""
    alive_s: float | None = None
    """A silent mapping, or a firewall's leave, was still there after so long."""
    dead_s: float | None = None
    """After so long it was gone."""
    asked: int = 0
    """Public nodes."""
    answered: int = 0

    @property
    def port_kept(self) -> bool | None:
        """Whether the outside port is the socket's own."""
        if self.local is None or not self.mapped:
            return None
        return all(one.port == self.local.port for one in self.mapped)

    @property
    def outside(self) -> Endpoint | None:
        """Where others may send to: the same for everybody, or there is none to tell."""
        return self.mapped[0] if len(self.mapped) == 1 else None

    @property
    def nat(self) -> NatClass:
        match self.mapping:
            case Mapping.BLOCKED:
                return NatClass.BLOCKED
            case Mapping.DEPENDENT:
                return NatClass.SYMMETRIC
            case Mapping.NONE:
                return _WITHOUT_NAT[self.filtering]
            case Mapping.INDEPENDENT:
                return _CONES[self.filtering]
            case Mapping.UNKNOWN:
                return NatClass.SOME_NAT if self.mapped else NatClass.UNKNOWN

    def after(self, before: "Behaviour") -> "Behaviour":
        """What is known while we look anew: what was found before stands until it is found again, or is otherwise."""
        if self.mapping is not before.mapping or _hosts(self) != _hosts(before):
            return self
        lasts = self.dead_s is None and (self.alive_s or 0.0) <= (before.alive_s or 0.0)
        life = before if lasts else self
        known = self.filtering is not Filtering.UNKNOWN
        return replace(
            self,
            filtering=self.filtering if known else before.filtering,
            hairpin=before.hairpin if self.hairpin is None else self.hairpin,
            alive_s=life.alive_s,
            dead_s=life.dead_s,
        )


@dataclass(frozen=True, slots=True)
class SelfKnowledge:
    """Of both families; None where no public node with such an address was there to ask, or no such network."""

    ipv4: Behaviour | None = None
    ipv6: Behaviour | None = None

    @property
    def families(self) -> tuple[tuple[str, Behaviour], ...]:
        """Those that are known, by name."""
        both = (("IPv4", self.ipv4), ("IPv6", self.ipv6))
        return tuple((name, behaviour) for name, behaviour in both if behaviour is not None)

    @property
    def outside(self) -> tuple[Endpoint, ...]:
        """Where our socket is seen, as far as that is the same for everybody."""
        found = (behaviour.outside for _, behaviour in self.families)
        return tuple(one for one in found if one is not None)

    @property
    def keepalive_s(self) -> float | None:
        """A path that is used this often loses no mapping, by the family that forgets sooner; None: not measured."""
        found = (_keepalive_s(behaviour) for _, behaviour in self.families)
        return min((one for one in found if one is not None), default=None)


def _keepalive_s(behaviour: Behaviour) -> float | None:
    if behaviour.alive_s is not None:
        return KEEPALIVE_SHARE * behaviour.alive_s
    if behaviour.dead_s is not None:
        # It lives less than the shortest silence that was tried.
        return KEEPALIVE_SHARE * behaviour.dead_s / 2
    return None


def _hosts(behaviour: Behaviour) -> set[str]:
    return {one.host for one in behaviour.mapped}


_WITHOUT_NAT = {
    Filtering.UNKNOWN: NatClass.UNKNOWN,
    Filtering.INDEPENDENT: NatClass.OPEN,
    Filtering.ADDRESS: NatClass.FIREWALL,
    Filtering.PORT: NatClass.FIREWALL,
}
_CONES = {
    Filtering.UNKNOWN: NatClass.SOME_NAT,
    Filtering.INDEPENDENT: NatClass.FULL_CONE,
    Filtering.ADDRESS: NatClass.ADDRESS,
    Filtering.PORT: NatClass.PORT,
}
