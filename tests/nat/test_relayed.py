"""Why there is no direct path, for each pair of NATs that matters."""

import itertools

import pytest

from nat.behaviour import NatClass
from nat.classes import Classes
from nat.relayed import OR_IPV6, Side, why_relayed

PUNCHABLE = (
    NatClass.OPEN,
    NatClass.FIREWALL,
    NatClass.FULL_CONE,
    NatClass.ADDRESS,
    NatClass.PORT,
)
STRICT = (NatClass.FIREWALL, NatClass.PORT)
LOOSE = (NatClass.OPEN, NatClass.FULL_CONE, NatClass.ADDRESS)


def explained(
    ours: Classes, theirs: Classes, tried: str = "", *, we: bool = False, they: bool = False
) -> tuple[str, str]:
    """Why, without the names of who and by whom; and the fix."""
    here, there = Side("this node", ours, we), Side("n1", theirs, they)
    found = why_relayed(here, there, "pub0", tried)
    who = "n1 is reached by way of relay pub0: "
    assert found.what.startswith(who) and found.means
    return found.what.removeprefix(who), found.fix


def v4(nat: NatClass) -> Classes:
    return Classes(ipv4=nat)


def test_two_symmetric_nats_need_a_forwarded_port_or_ipv6() -> None:
    why, fix = explained(v4(NatClass.SYMMETRIC), v4(NatClass.SYMMETRIC), "timed out")

    assert why == "both NATs are symmetric, so no direct way can be punched"
    assert fix.startswith("forward the node's port") and fix.endswith(OR_IPV6)


@pytest.mark.parametrize("strict", STRICT)
def test_a_symmetric_nat_does_not_meet_one_that_lets_in_known_ports_alone(
    strict: NatClass,
) -> None:
    why, fix = explained(v4(NatClass.SYMMETRIC), v4(strict))
    assert why.startswith(f"the NAT of this node is symmetric, and the {strict} of n1 lets in only")
    assert fix.startswith("forward")

    why, _ = explained(v4(strict), v4(NatClass.SYMMETRIC))
    assert why.startswith(f"the NAT of n1 is symmetric, and the {strict} of this node lets in only")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        *itertools.product(PUNCHABLE, PUNCHABLE),
        *itertools.product(LOOSE, [NatClass.SYMMETRIC]),
        *itertools.product([NatClass.SYMMETRIC], LOOSE),
    ],
)
def test_where_nothing_is_in_the_way_it_is_told_what_the_last_try_said(
    ours: NatClass, theirs: NatClass
) -> None:
    assert explained(v4(ours), v4(theirs)) == ("a direct way is being looked for", "")
    why, fix = explained(v4(ours), v4(theirs), "no answer")
    assert why == "a direct way ought to be possible, and was not found (no answer)"
    assert "firewall" in fix


@pytest.mark.parametrize("other", [*PUNCHABLE, NatClass.SYMMETRIC])
def test_who_lets_no_udp_pass_is_named(other: NatClass) -> None:
    why, fix = explained(v4(NatClass.BLOCKED), v4(other))
    assert why == "no UDP passes at this node, and neither of the two can be dialled"
    assert fix.startswith("allow outgoing UDP at this node, or forward the node's port")

    assert explained(v4(other), v4(NatClass.BLOCKED))[0].startswith("no UDP passes at n1,")


def test_both_may_let_no_udp_pass() -> None:
    why, _ = explained(v4(NatClass.BLOCKED), v4(NatClass.BLOCKED))

    assert why.startswith("no UDP passes at this node and n1, and")


def test_ipv6_makes_up_for_what_ipv4_lacks() -> None:
    both = Classes(NatClass.SYMMETRIC, NatClass.FIREWALL)

    assert explained(both, both)[0] == "a direct way is being looked for"


def test_where_neither_family_works_the_router_is_the_place_to_mend_it() -> None:
    none = Classes(NatClass.SYMMETRIC, NatClass.BLOCKED)

    why, fix = explained(none, none)

    assert why.startswith("both NATs are symmetric")
    assert OR_IPV6 not in fix, "they have that already"


def test_ipv4_alone_and_ipv6_alone_never_meet() -> None:
    why, fix = explained(v4(NatClass.PORT), Classes(ipv6=NatClass.OPEN))

    assert why == "this node is seen by IPv4 alone, n1 by IPv6 alone"
    assert fix == "give one side the other kind of addresses too"


def test_who_has_told_nothing_of_its_nat_is_named() -> None:
    assert explained(Classes(), v4(NatClass.PORT))[0].endswith("this node is not known")
    assert explained(v4(NatClass.PORT), Classes(), "refused")[0].endswith(
        "n1 is not known (refused)"
    )


def test_a_public_node_that_cannot_be_dialled_shows_a_firewall_on_the_way_out() -> None:
    why, fix = explained(v4(NatClass.PORT), v4(NatClass.OPEN), "timed out", they=True)
    assert why == "others can dial n1, this node cannot (timed out)"
    assert fix.startswith("let this node connect to the outside by TCP")

    why, _ = explained(v4(NatClass.OPEN), v4(NatClass.PORT), we=True)
    assert why == "others can dial this node, n1 cannot"
