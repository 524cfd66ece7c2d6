"""What findings together are called."""

from dataclasses import replace

import pytest

from nat.behaviour import Behaviour, NatClass, SelfKnowledge
from nat.endpoint import Endpoint
from protocol.paths import Filtering, Mapping

SEEN, SEEN_TOO = Endpoint("203.0.113.77", 7879), Endpoint("203.0.113.77", 7880)


@pytest.mark.parametrize("mapping", list(Mapping))
@pytest.mark.parametrize("filtering", list(Filtering))
def test_every_pair_of_findings_has_a_name(mapping: Mapping, filtering: Filtering) -> None:
    assert isinstance(Behaviour(mapping, filtering).nat, NatClass)


def test_a_nat_of_which_only_one_sight_is_known_is_some_nat() -> None:
    assert Behaviour(mapped=(SEEN,)).nat is NatClass.SOME_NAT
    assert Behaviour().nat is NatClass.UNKNOWN


def test_an_outside_address_is_told_only_if_all_have_seen_the_same() -> None:
    assert Behaviour(mapped=(SEEN,)).outside == SEEN
    assert Behaviour(mapped=(SEEN, SEEN_TOO)).outside is None
    assert Behaviour().outside is None


def test_the_shortest_life_counts_for_keepalives() -> None:
    knowledge = SelfKnowledge(Behaviour(alive_s=30.0, dead_s=60.0), Behaviour(alive_s=60.0))

    assert knowledge.keepalive_s == pytest.approx(20.0)
    assert SelfKnowledge().keepalive_s is None


WHOLE = Behaviour(
    Mapping.INDEPENDENT, Filtering.PORT, mapped=(SEEN,), hairpin=False, alive_s=30.0, dead_s=60.0
)
BEGUN = Behaviour(Mapping.INDEPENDENT, mapped=(SEEN,))


def test_what_was_known_stands_while_it_is_looked_for_anew() -> None:
    assert BEGUN.after(WHOLE) == WHOLE
    for alive_s in (10.0, 30.0):
        assert replace(BEGUN, alive_s=alive_s).after(WHOLE) == WHOLE


def test_what_is_found_otherwise_takes_its_place() -> None:
    shorter = replace(BEGUN, alive_s=10.0, dead_s=30.0)
    wider = replace(BEGUN, filtering=Filtering.INDEPENDENT, hairpin=True, alive_s=60.0)

    assert shorter.after(WHOLE) == replace(WHOLE, alive_s=10.0, dead_s=30.0)
    assert wider.after(WHOLE) == wider
    assert replace(BEGUN, alive_s=30.0).after(replace(WHOLE, dead_s=None)).dead_s is None


def test_in_another_place_nothing_stands() -> None:
    elsewhere = replace(BEGUN, mapped=(Endpoint("198.51.100.9", 7879),))
    blocked = Behaviour(Mapping.BLOCKED)

    assert elsewhere.after(WHOLE) == elsewhere
    assert blocked.after(WHOLE) == blocked
