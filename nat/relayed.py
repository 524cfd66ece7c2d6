"""Why a peer is reached by way of a relay, and what would give the two nodes a path of their own, in words.

A hole is punched by both sides sending to where the other one is seen from outside. A symmetric NAT is seen at another
port by everybody, so whoever lets in only what it has sent to before never meets it:

               | open, full | address | port, firewall | symmetric
    symmetric  | direct     | direct  | relay          | relay

All others punch through to each other, as long as UDP passes at both.
"""

from dataclasses import dataclass

from nat.behaviour import NatClass
from nat.classes import Classes
from nat.findings import Finding

STRICT = frozenset({NatClass.PORT, NatClass.FIREWALL, NatClass.SYMMETRIC})
"""Only ports get in to which packets have been sent; a symmetric one's cannot be known before."""

MEANS = "all works, at the relay's pace; products go to nodes with a path of their own first, where they can"
FORWARD = "forward the node's port (TCP and UDP) in the router of one side"
OR_IPV6 = "or give both sides IPv6"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two nodes."""

    name: str
    classes: Classes
    public: bool = False
    """Another node has come in there."""


def why_relayed(here: Side, there: Side, relay: str, tried: str) -> Finding:
    """`tried`: what the last tries at a direct path said, if there were any."""
    why, fix = _why(here, there, tried)
    return Finding(f"{there.name} is reached by way of relay {relay}: {why}", MEANS, fix)


# -- within ------------------------------------------------------------------------------------------


def _why(here: Side, there: Side, tried: str) -> tuple[str, str]:
    for called, caller in ((there, here), (here, there)):
        if called.public:
            why = f"others can dial {called.name}, {caller.name} cannot{_said(tried)}"
            return why, f"let {caller.name} connect to the outside by TCP, to {called.name}'s port"
    for side in (here, there):
        if not side.classes.is_known:
            why = f"what NAT is in front of {side.name} is not known{_said(tried)}"
            return why, f"wait a minute; then see what `sedma-node doctor` says at {side.name}"
    shared = [
        (ours, theirs)
        for (_, ours), (_, theirs) in zip(
            here.classes.families, there.classes.families, strict=True
        )
        if ours is not None and theirs is not None
    ]
    if not shared:
        ours, theirs = _only(here), _only(there)
        why = f"{here.name} is seen by {ours} alone, {there.name} by {theirs} alone"
        return why, "give one side the other kind of addresses too"
    found = (_obstacle(here, there, ours, theirs) for ours, theirs in shared)
    obstacles = [one for one in found if one is not None]
    if len(obstacles) < len(shared):
        return _ought_to_work(tried)
    # The first is IPv4, if both have that: what most people can do something about.
    why, fix = obstacles[0]
    return why, fix if len(shared) == 2 else f"{fix}, {OR_IPV6}"


def _obstacle(here: Side, there: Side, ours: NatClass, theirs: NatClass) -> tuple[str, str] | None:
    """In one family; None where nothing known is in the way."""
    if NatClass.BLOCKED in (ours, theirs):
        blocked = [
            side.name for side, nat in ((here, ours), (there, theirs)) if nat is NatClass.BLOCKED
        ]
        where = " and ".join(blocked)
        why = f"no UDP passes at {where}, and neither of the two can be dialled"
        return why, f"allow outgoing UDP at {where}, {FORWARD.replace('forward', 'or forward')}"
    if NatClass.SYMMETRIC not in (ours, theirs):
        return None
    if ours is theirs:
        why = "both NATs are symmetric, so no direct way can be punched"
        return why, FORWARD
    symmetric, other, nat = (
        (here, there, theirs) if ours is NatClass.SYMMETRIC else (there, here, ours)
    )
    if nat not in STRICT:
        return None
    why = (
        f"the NAT of {symmetric.name} is symmetric, and the {nat} of {other.name} lets in only ports that it"
        " knows, so no direct way can be punched"
    )
    return why, FORWARD


def _ought_to_work(tried: str) -> tuple[str, str]:
    if not tried:
        return "a direct way is being looked for", ""
    why = f"a direct way ought to be possible, and was not found{_said(tried)}"
    return why, "see that no firewall between the two drops UDP; it is tried again by itself"


def _only(side: Side) -> str:
    return "IPv6" if side.classes.ipv4 is None else "IPv4"


def _said(tried: str) -> str:
    return f" ({tried})" if tried else ""
