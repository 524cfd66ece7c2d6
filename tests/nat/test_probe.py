"""What a node finds out about the NAT in front of it, and how soon, against NATs of each kind."""

import random

import pytest

from nat import stun
from nat.behaviour import Behaviour, NatClass, SelfKnowledge
from nat.endpoint import Endpoint
from nat.probe import Probe, Server
from nat.questions import Transmit
from protocol.paths import Filtering, Mapping
from tests.nat.natbox import INSIDE, MAIN_PORT, OUTSIDE, A, Kind, World

SAME = Mapping.INDEPENDENT


@pytest.mark.parametrize(
    ("kind", "nat"),
    [
        (Kind(Mapping.NONE, Filtering.INDEPENDENT), NatClass.OPEN),
        (Kind(Mapping.NONE, Filtering.PORT), NatClass.FIREWALL),
        (Kind(SAME, Filtering.INDEPENDENT), NatClass.FULL_CONE),
        (Kind(SAME, Filtering.ADDRESS), NatClass.ADDRESS),
        (Kind(SAME, Filtering.PORT), NatClass.PORT),
        (Kind(Mapping.DEPENDENT, Filtering.PORT, kept=False), NatClass.SYMMETRIC),
        (Kind(Mapping.BLOCKED), NatClass.BLOCKED),
    ],
)
def test_each_kind_is_told_from_the_others(kind: Kind, nat: NatClass) -> None:
    found = World(kind).run()

    assert found.nat is nat
    assert found.mapping is kind.mapping
    if kind.mapping is not Mapping.BLOCKED:
        assert found.filtering is kind.filtering
        assert found.answered == 2


def test_the_mapping_is_known_within_a_second_and_at_once_where_all_answer() -> None:
    world = World(Kind())
    lonely = World(Kind(down=("bert",)))

    world.run()
    lonely.run()

    assert world.when(lambda one: one.mapping is SAME) <= 0.1
    assert lonely.when(lambda one: one.mapping is SAME) <= 1.0


def test_blocked_udp_is_known_within_a_second_and_a_half() -> None:
    world = World(Kind(Mapping.BLOCKED))

    found = world.run()

    assert found == Behaviour(Mapping.BLOCKED, local=Endpoint(INSIDE, MAIN_PORT), asked=2)
    assert world.when(lambda one: one.mapping is Mapping.BLOCKED) <= 1.5
    assert world.sent <= 10


def test_the_outside_address_is_told_where_it_is_the_same_for_all() -> None:
    kept = World(Kind()).run()
    symmetric = World(Kind(Mapping.DEPENDENT, kept=False)).run()

    assert kept.outside == Endpoint(OUTSIDE, MAIN_PORT)
    assert kept.port_kept is True
    assert symmetric.outside is None
    assert symmetric.port_kept is False
    assert SelfKnowledge(ipv4=kept, ipv6=symmetric).outside == (Endpoint(OUTSIDE, MAIN_PORT),)


@pytest.mark.parametrize("filtering", [Filtering.INDEPENDENT, Filtering.ADDRESS, Filtering.PORT])
@pytest.mark.parametrize("hairpin", [True, False])
def test_a_hairpin_is_found_whatever_is_filtered(filtering: Filtering, hairpin: bool) -> None:
    world = World(Kind(SAME, filtering, hairpin=hairpin))

    found = world.run()

    assert found.hairpin is hairpin
    assert world.when(lambda one: one.hairpin is hairpin) <= 2.0


def test_without_a_nat_nothing_is_asked_about_hairpins() -> None:
    assert World(Kind(Mapping.NONE, Filtering.PORT)).run().hairpin is None


@pytest.mark.parametrize(
    ("lives_s", "alive_s", "dead_s", "keepalive_s"),
    [
        (5.0, None, 10.0, 10 / 3),
        (12.0, 10.0, 25.0, 20 / 3),
        # What Linux gives a flow of one question and one answer: the most common of all.
        (30.0, 25.0, 60.0, 50 / 3),
        (120.0, 60.0, None, 40.0),
    ],
)
def test_the_life_of_a_silent_mapping_lies_between_two_bounds(
    lives_s: float, alive_s: float | None, dead_s: float | None, keepalive_s: float
) -> None:
    found = World(Kind(lives_s=lives_s)).run()

    assert (found.alive_s, found.dead_s) == (alive_s, dead_s)
    told = SelfKnowledge(ipv4=found).keepalive_s
    assert told == pytest.approx(keepalive_s)
    assert told is not None and told < lives_s


def test_where_all_is_open_nothing_runs_out_and_the_look_is_soon_over() -> None:
    world = World(Kind(Mapping.NONE, Filtering.INDEPENDENT))

    found = world.run()

    assert found.alive_s is None
    assert world.now < 2.0


def test_one_public_node_tells_what_one_can() -> None:
    with_two_ports = World(Kind(SAME, Filtering.ADDRESS), ("anna",)).run()
    with_one = World(Kind(SAME, Filtering.ADDRESS, alternate=False), ("anna",)).run()

    open_host = World(Kind(Mapping.NONE, Filtering.INDEPENDENT), ("anna",)).run()

    assert with_two_ports.nat is NatClass.ADDRESS
    assert open_host.nat is NatClass.OPEN
    assert (with_one.mapping, with_one.filtering) == (Mapping.UNKNOWN, Filtering.UNKNOWN)
    assert with_one.nat is NatClass.SOME_NAT
    assert with_one.outside == Endpoint(OUTSIDE, MAIN_PORT)


def test_what_nobody_sent_proves_no_filter() -> None:
    found = World(Kind(knocks=())).run()

    assert found.mapping is SAME
    assert found.filtering is Filtering.UNKNOWN
    assert (found.alive_s, found.dead_s) == (None, None)


def test_a_host_that_only_one_member_sends_packets_to_is_judged_by_that_one() -> None:
    found = World(Kind(Mapping.NONE, Filtering.INDEPENDENT, knocks=("anna",))).run()

    assert found.nat is NatClass.OPEN


def test_answers_that_wait_while_the_machine_is_busy_still_count() -> None:
    probe = Probe((Server("anna", A, INSIDE),), MAIN_PORT, random.Random(1))
    (asked,) = probe.begin(0.0)
    assert isinstance(asked, Transmit)

    probe.tick(5.0)
    question = stun.parse(asked.datagram)
    seen = Endpoint(OUTSIDE, MAIN_PORT)
    probe.heard(0, stun.Message(stun.Kind.RESPONSE, question.transaction, seen), 5.0)

    assert probe.found.mapping is not Mapping.BLOCKED
    assert probe.found.outside == seen


def test_lost_packets_rarely_make_a_wrong_verdict() -> None:
    verdicts = [
        World(Kind(SAME, Filtering.INDEPENDENT, loss=0.05), seed=seed).run() for seed in range(40)
    ]

    right = sum(one.nat is NatClass.FULL_CONE for one in verdicts)
    assert right >= 38
    assert not any(one.mapping is Mapping.BLOCKED for one in verdicts)


def test_a_look_sends_few_packets() -> None:
    world = World(Kind())

    world.run()

    assert world.sent <= 14
