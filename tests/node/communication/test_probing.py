"""The prober, as seen through the membership that drives it."""

from itertools import pairwise

import pytest

from node.communication.membership import Membership
from node.communication.paths import TIMEOUT_UNKNOWN_S
from node.communication.probing import HELPERS, JITTER, PERIOD_S, TRIES
from protocol.digests import LoadDigest
from protocol.ids import NodeId
from protocol.members import Ack, Nack, Ping, PingFor, Suspect
from protocol.messages import Taken
from tests.node.communication.memberships import (
    calls,
    carried,
    membership,
    node,
    notes,
    packets,
    pings,
    run,
    sends,
)


def first_ping(made: Membership) -> tuple[float, NodeId, Ping]:
    """The first of the next probe: when, to whom, what."""
    while True:
        now = made.deadline
        assert now is not None
        for _, peer, packet in sends((now, effect) for effect in made.tick(now)):
            if isinstance(packet, Ping):
                return now, peer, packet


def test_a_node_alone_probes_nobody() -> None:
    assert packets(effect for _, effect in run(membership(), 10.0)) == []


def test_the_first_probe_comes_within_a_period_at_a_random_moment() -> None:
    moments = [membership(3, seed=seed).deadline for seed in range(20)]

    assert all(moment is not None and 0.0 <= moment <= PERIOD_S for moment in moments)
    assert len(set(moments)) == 20


def test_who_answers_is_pinged_once_and_the_next_in_turn_a_period_later() -> None:
    made = membership(3)
    asked, moments = [], []
    for _ in range(6):
        now, peer, ping = first_ping(made)
        made.heard(peer, Ack(ping.sequence), now + 0.05)
        asked.append(peer)
        moments.append(now)

    assert sorted(asked[:3]) == sorted(asked[3:]) == sorted(node(one) for one in (1, 2, 3))
    gaps = [after - before for before, after in pairwise(moments)]
    assert all(PERIOD_S * (1 - JITTER) <= gap <= PERIOD_S * (1 + JITTER) for gap in gaps)
    assert made.rtt_s(asked[0]) is not None


def test_a_silent_member_is_pinged_again_then_through_others_and_over_the_link_then_suspected() -> (
    None
):
    made = membership(10)
    start, peer, _ = first_ping(made)

    done = run(made, start + 1.5)

    again = [now - start for now, _ in pings(done, peer)]
    assert [round(at / TIMEOUT_UNKNOWN_S) for at in again] == list(range(1, TRIES))
    asked = [
        (now - start, helper)
        for now, helper, packet in sends(done)
        if isinstance(packet, PingFor) and packet.target == peer
    ]
    assert len(asked) == len({helper for _, helper in asked}) == 2 * HELPERS
    assert asked[0][0] == pytest.approx(2 * TIMEOUT_UNKNOWN_S)
    assert [type(packet) for _, packet in carried(effect for _, effect in done)][0:1] == [Ping]
    assert made.is_suspect(peer)
    suspected = next(now for now, effect in done if "peer.suspected" in notes([effect]))
    assert suspected - start == pytest.approx(5 * TIMEOUT_UNKNOWN_S)


def test_the_answer_to_any_try_is_an_answer() -> None:
    made = membership(10)
    start, peer, _ = first_ping(made)
    done = run(made, start + 0.3)
    (_, second), *_ = pings(done, peer)

    made.heard(peer, Ack(second.sequence), start + 0.31)

    assert pings(run(made, start + 0.85), peer) == []
    assert not made.is_suspect(peer)
    measured = made.rtt_s(peer)
    assert measured is not None
    assert 0.05 < measured < 0.07


def test_the_answer_of_a_helper_is_an_answer() -> None:
    made = membership(10)
    start, peer, _ = first_ping(made)
    done = run(made, start + 0.55)
    asked = [packet for _, _, packet in sends(done) if isinstance(packet, PingFor)]

    made.heard(node(9), Ack(asked[0].sequence), start + 0.7)

    run(made, start + 1.3)
    assert not made.is_suspect(peer)
    assert made.rtt_s(peer) is None


def test_the_answer_over_the_link_is_an_answer_and_the_next_probe_takes_the_link() -> None:
    made = membership(1)
    start, peer, _ = first_ping(made)
    (call,) = calls(run(made, start + 0.55))

    made.answered(call.call, peer, Taken(), LoadDigest(), start + 0.9)

    assert not made.is_suspect(peer)
    later = run(made, start + 1.3)
    assert [type(packet) for _, effect in later for _, packet in carried([effect])] == [Ping]
    assert pings(later) == []


def test_an_answer_over_the_link_that_comes_too_late_still_shows_the_way() -> None:
    made = membership(1)
    start, peer, _ = first_ping(made)
    call, *_ = calls(run(made, start + 1.3))
    assert made.is_suspect(peer)

    made.answered(call.call, peer, Taken(), LoadDigest(), start + 1.31)

    later = run(made, start + 4.0)
    probes = [packet for _, effect in later for _, packet in carried([effect])]
    assert any(isinstance(packet, Ping) for packet in probes)


def test_the_answer_of_another_than_was_asked_counts_for_nothing() -> None:
    made = membership(3)
    start, peer, ping = first_ping(made)
    other = next(one for one in made.members if one != peer)

    made.heard(other, Ack(ping.sequence), start + 0.05)
    made.heard(peer, Ack((ping.sequence + 1) % (1 << 31)), start + 0.05)

    assert len(pings(run(made, start + 0.3), peer)) == 1


def test_a_late_answer_teaches_how_long_the_way_takes() -> None:
    made = membership(1)
    start, peer, ping = first_ping(made)
    run(made, start + 1.3)

    made.heard(peer, Ack(ping.sequence), start + 1.3)

    assert made.rtt_s(peer) is None or made.timeout_s(peer) > 1.0
    assert made.timeout_s(peer) > TIMEOUT_UNKNOWN_S


def test_silence_makes_us_doubt_ourselves_unless_helpers_say_that_they_are_there() -> None:
    doubted, sure = membership(10), membership(10)
    for made, helpers_speak in ((doubted, False), (sure, True)):
        start, _, _ = first_ping(made)
        for now, helper, packet in sends(run(made, start + 1.2)):
            if isinstance(packet, PingFor) and helpers_speak:
                made.heard(helper, Nack(packet.sequence), now + 0.1)
        run(made, start + 1.3)

    assert doubted.doubt == HELPERS
    assert sure.doubt == 0


def test_who_doubts_himself_probes_more_slowly() -> None:
    made = membership(1)
    run(made, 60.0)

    # Alone with one silent peer we cannot tell whose fault it is, until it is buried.
    assert made.doubt >= 1
    assert list(made.graves) == [node(1)]


def test_a_member_whose_link_broke_is_probed_at_once() -> None:
    made = membership(50)
    start, peer, ping = first_ping(made)
    made.heard(peer, Ack(ping.sequence), start + 0.05)

    made.prod(node(33), start + 0.1)

    assert made.deadline == start + 0.1
    assert first_ping(made)[:2] == (start + 0.1, node(33))


def test_who_is_prodded_during_a_probe_is_next() -> None:
    made = membership(50)
    start, peer, ping = first_ping(made)
    made.prod(node(33), start + 0.01)
    made.prod(node(99), start + 0.01)
    made.heard(peer, Ack(ping.sequence), start + 0.05)

    assert first_ping(made)[1] == node(33)


def test_a_suspect_is_told_so_at_once_with_the_ping_of_anybody() -> None:
    made = membership(10)
    made.heard(node(2), Ping(1, (Suspect(node(1), 1, node(2)),)), 0.0)
    made.prod(node(1), 0.0)

    _, peer, ping = first_ping(made)

    assert peer == node(1)
    assert ping.news[0] == Suspect(node(1), 1, node(2))
