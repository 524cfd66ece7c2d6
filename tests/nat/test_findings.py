"""Findings in words: true, and with a fix where there is one."""

import pytest

from nat.behaviour import Behaviour, NatClass, SelfKnowledge
from nat.endpoint import Endpoint
from nat.findings import MEANS, findings, summary
from protocol.paths import Filtering, Mapping

HERE = Endpoint("192.168.1.5", 7879)
OUTSIDE = Endpoint("203.0.113.77", 7879)
PORT = Behaviour(
    Mapping.INDEPENDENT, Filtering.PORT, HERE, (OUTSIDE,), hairpin=False, alive_s=30.0, dead_s=60.0
)
PROVEN = ("203.0.113.77:7879",)


def test_one_line_says_all() -> None:
    text = summary(SelfKnowledge(ipv4=PORT), (), udp=False)

    assert text == "IPv4: port-restricted NAT, hairpin no, mappings live 30 to 60 s"


def test_both_families_and_the_proof_stand_in_one_line() -> None:
    open_v6 = Behaviour(Mapping.NONE, Filtering.INDEPENDENT)

    text = summary(SelfKnowledge(PORT, open_v6), PROVEN, udp=True)

    assert text == (
        "public at 203.0.113.77:7879 (another node has come in by TCP and UDP);"
        " IPv4: port-restricted NAT, hairpin no, mappings live 30 to 60 s; IPv6: open"
    )


def test_who_has_asked_nobody_knows_nothing() -> None:
    assert "not known" in summary(SelfKnowledge(), (), udp=False)
    assert findings(SelfKnowledge(), (), udp=False) == []


@pytest.mark.parametrize("nat", list(NatClass))
def test_every_class_has_a_meaning(nat: NatClass) -> None:
    assert MEANS[nat]


def test_who_is_behind_an_ordinary_nat_need_not_open_a_port() -> None:
    first, hairpin = findings(SelfKnowledge(ipv4=PORT), (), udp=False)

    assert (first.what, first.fix) == ("IPv4: port-restricted NAT", "")
    assert "direct paths are made by both sides" in first.means
    assert "outside address back inside" in hairpin.what


def test_who_is_left_to_relays_is_told_how_to_be_reached() -> None:
    symmetric = Behaviour(Mapping.DEPENDENT, Filtering.INDEPENDENT, HERE, (OUTSIDE,))
    (first, *_) = findings(SelfKnowledge(ipv4=symmetric), (), udp=False)

    assert first.what == "IPv4: symmetric NAT"
    assert "--advertise" in first.fix


def test_who_is_public_need_not_change_anything() -> None:
    told = findings(SelfKnowledge(ipv4=PORT), PROVEN, udp=True)

    assert [one.fix for one in told] == ["", "", ""]
    assert "it is public" in told[0].means


def test_a_forwarded_tcp_port_alone_is_told_from_both() -> None:
    told = findings(SelfKnowledge(), PROVEN, udp=False)

    assert "let UDP in" in told[0].fix
    assert "TCP alone" in summary(SelfKnowledge(), PROVEN, udp=False)


def test_a_short_life_of_mappings_has_a_fix() -> None:
    short = Behaviour(
        Mapping.INDEPENDENT, Filtering.INDEPENDENT, HERE, (OUTSIDE,), alive_s=10.0, dead_s=30.0
    )

    told = findings(SelfKnowledge(ipv4=short), (), udp=False)

    assert any("RFC 4787" in one.fix for one in told)
    assert "mappings live less than 10 s" in summary(
        SelfKnowledge(ipv4=Behaviour(Mapping.INDEPENDENT, dead_s=10.0)), (), udp=False
    )


def test_a_private_outside_address_means_that_another_nat_follows() -> None:
    carrier = Behaviour(Mapping.INDEPENDENT, Filtering.PORT, HERE, (Endpoint("100.64.0.9", 7879),))

    told = findings(SelfKnowledge(ipv4=carrier), (), udp=False)

    assert any("private too" in one.what for one in told)
