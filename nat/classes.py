"""What a node tells all others of its NAT: one class for each family of addresses, in words that people read too.

It stands in the node's record, which travels to everybody whenever it changes. So it changes only when something is
known for certain: what a fresh look has not settled yet leaves standing what the one before had found.
"""

from dataclasses import dataclass

from nat.behaviour import Behaviour, NatClass, SelfKnowledge

VAGUE = frozenset({NatClass.UNKNOWN, NatClass.SOME_NAT})
"""A look may still find out more."""
SEPARATOR = ", "


@dataclass(frozen=True, slots=True)
class Classes:
    """None: no such network, or no public node there that could tell."""

    ipv4: NatClass | None = None
    ipv6: NatClass | None = None

    @property
    def families(self) -> tuple[tuple[str, NatClass | None], ...]:
        return (("IPv4", self.ipv4), ("IPv6", self.ipv6))

    @property
    def is_known(self) -> bool:
        return self.ipv4 is not None or self.ipv6 is not None

    def __str__(self) -> str:
        told = (f"{family} {nat}" for family, nat in self.families if nat is not None)
        return SEPARATOR.join(told)

    def after(self, knowledge: SelfKnowledge) -> "Classes":
        """With what was found since."""
        return Classes(_after(self.ipv4, knowledge.ipv4), _after(self.ipv6, knowledge.ipv6))


def classes_in(text: str) -> Classes:
    """As another node tells them; a class that only later versions know counts as unknown."""
    found: dict[str, NatClass] = {}
    for part in text.split(SEPARATOR):
        family, _, word = part.partition(" ")
        found[family] = NatClass(word) if word in set(NatClass) else NatClass.UNKNOWN
    return Classes(found.get("IPv4"), found.get("IPv6"))


def _after(before: NatClass | None, found: Behaviour | None) -> NatClass | None:
    if found is None or (found.nat in VAGUE and before is not None):
        return before
    return None if found.nat is NatClass.UNKNOWN else found.nat
