"""What was found out about our way to the world, in words: what it is, what it means, and what would help."""

from dataclasses import dataclass

from nat.behaviour import Behaviour, NatClass, SelfKnowledge
from nat.endpoint import Scope, scope
from protocol.paths import Mapping


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    means: str
    fix: str = ""
    """Empty: nothing need be done, or nothing can be."""


FORWARD = (
    "forward the node's port (TCP and UDP) to this machine in the router, and name the outside address"
    " with --advertise HOST:PORT"
)
MEANS = {
    NatClass.OPEN: "everybody can send packets to this node",
    NatClass.FIREWALL: "others reach this node by UDP once it has sent to them: direct paths are made by both"
    " sides at once",
    NatClass.FULL_CONE: "once its mapping is there, everybody can send packets to this node",
    NatClass.ADDRESS: "direct paths are made by both sides at once, and nearly always come about",
    NatClass.PORT: "direct paths are made by both sides at once; with a node behind a symmetric NAT a relay"
    " carries all",
    NatClass.SYMMETRIC: "its outside port is another one for each peer: direct paths come about with nodes that"
    " are less guarded, else a relay carries all",
    NatClass.SOME_NAT: "there is a NAT, and to tell its kind takes two public nodes, or one with two ports",
    NatClass.BLOCKED: "no UDP passes: packets take the links, and links run over TCP, by a relay where need be",
    NatClass.UNKNOWN: "no public member has been asked yet, or none could tell",
}
FIXES = {
    NatClass.SYMMETRIC: f"{FORWARD}; or set the router to keep ports (often called full-cone NAT)",
    NatClass.BLOCKED: "allow outgoing UDP in the firewall; without it all works, more slowly",
}
"""Where direct paths come about with most others there is none: no port has to be opened."""
SHORT_S = 30.0
"""Most routers keep a silent mapping for so long."""


def summary(knowledge: SelfKnowledge, proven: tuple[str, ...], *, udp: bool) -> str:
    """All in one line."""
    parts = []
    if proven:
        ways = "TCP and UDP" if udp else "TCP alone"
        parts.append(f"public at {', '.join(proven)} (another node has come in by {ways})")
    for name, behaviour in knowledge.families:
        parts.append(f"{name}: {', '.join(_words(behaviour))}")
    return "; ".join(parts) or "not known: no public member has been there to ask"


def findings(knowledge: SelfKnowledge, proven: tuple[str, ...], *, udp: bool) -> list[Finding]:
    """One for each thing that a person might want to know or to change."""
    found: list[Finding] = []
    if proven:
        found.append(_public(proven, udp=udp))
    for name, behaviour in knowledge.families:
        found += _of_family(name, behaviour, public=bool(proven))
    return found


# -- within ------------------------------------------------------------------------------------------


def _words(behaviour: Behaviour) -> list[str]:
    words = [behaviour.nat.value]
    if behaviour.hairpin is not None:
        words.append(f"hairpin {'yes' if behaviour.hairpin else 'no'}")
    if behaviour.port_kept is False:
        words.append("port changed")
    if behaviour.alive_s is not None:
        most = " s or more" if behaviour.dead_s is None else f" to {behaviour.dead_s:g} s"
        words.append(f"mappings live {behaviour.alive_s:g}{most}")
    elif behaviour.dead_s is not None:
        words.append(f"mappings live less than {behaviour.dead_s:g} s")
    return words


def _public(proven: tuple[str, ...], *, udp: bool) -> Finding:
    what = f"another node has reached this one at {', '.join(proven)}"
    if udp:
        return Finding(what, "it is public: others dial it, and ask it from where they are seen")
    return Finding(
        f"{what} by TCP, but by UDP its packets did not come in",
        "others dial it; for their packets it is no better than behind a NAT",
        "let UDP in on the same port too",
    )


def _of_family(name: str, behaviour: Behaviour, *, public: bool) -> list[Finding]:
    nat = behaviour.nat
    fix = "" if public and nat is not NatClass.BLOCKED else FIXES.get(nat, "")
    found = [Finding(f"{name}: {nat.value}", MEANS[nat], fix)]
    outside = behaviour.outside
    if outside is not None and scope(outside.host) is Scope.PRIVATE:
        found.append(
            Finding(
                f"{name}: from outside it is seen at {outside}, which is private too",
                "the public node that was asked is in the same private network, or a carrier's NAT lies between",
            )
        )
    if behaviour.hairpin is False and behaviour.mapping is not Mapping.BLOCKED:
        found.append(
            Finding(
                f"{name}: the router does not lead its outside address back inside",
                "nodes behind the same router reach each other by their inside addresses, or by a relay",
            )
        )
    if behaviour.dead_s is not None and behaviour.dead_s <= SHORT_S:
        found.append(
            Finding(
                f"{name}: a silent mapping lives less than {behaviour.dead_s:g} s",
                "paths need to be kept open more often than usual",
                "raise the router's UDP timeout to 2 minutes (RFC 4787)",
            )
        )
    return found
