"""What is told of a NAT stays the same until something else is certain."""

from hypothesis import given
from hypothesis import strategies as st

from nat.behaviour import Behaviour, NatClass, SelfKnowledge
from nat.classes import Classes, classes_in
from nat.endpoint import Endpoint
from protocol.limits import NAT_CHARS_MAX
from protocol.paths import Filtering, Mapping

SEEN = (Endpoint("192.0.2.1", 4000),)
PORT = Behaviour(mapping=Mapping.INDEPENDENT, filtering=Filtering.PORT, mapped=SEEN)
VAGUE = Behaviour(mapped=SEEN)
SYMMETRIC = Behaviour(mapping=Mapping.DEPENDENT, mapped=SEEN)
either = st.none() | st.sampled_from(NatClass)


@given(either, either)
def test_what_is_told_is_understood(ipv4: NatClass | None, ipv6: NatClass | None) -> None:
    told = str(Classes(ipv4, ipv6))

    assert classes_in(told) == Classes(ipv4, ipv6)
    assert len(told) <= NAT_CHARS_MAX


@given(st.text(max_size=80))
def test_any_text_is_taken(text: str) -> None:
    assert isinstance(classes_in(text), Classes)


def test_a_class_of_a_later_version_is_unknown() -> None:
    assert classes_in("IPv4 quantum NAT") == Classes(NatClass.UNKNOWN, None)


def test_people_can_read_it() -> None:
    assert str(Classes(NatClass.PORT, NatClass.OPEN)) == "IPv4 port-restricted NAT, IPv6 open"
    assert str(Classes()) == ""


def test_a_look_that_has_just_begun_changes_nothing() -> None:
    known = Classes().after(SelfKnowledge(PORT))

    assert known == Classes(NatClass.PORT)
    for vague in (SelfKnowledge(VAGUE), SelfKnowledge(Behaviour()), SelfKnowledge()):
        assert known.after(vague) == known
    assert known.after(SelfKnowledge(SYMMETRIC)) == Classes(NatClass.SYMMETRIC)


def test_some_nat_is_better_than_nothing_and_unknown_is_not() -> None:
    assert Classes().after(SelfKnowledge(VAGUE)) == Classes(NatClass.SOME_NAT)
    assert Classes().after(SelfKnowledge(Behaviour())) == Classes()
