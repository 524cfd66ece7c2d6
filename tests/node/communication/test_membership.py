import random
from itertools import pairwise

import msgspec

from node.communication.desk import Desk
from node.communication.membership import (
    FANOUT,
    FAREWELLS,
    GOSSIP_S,
    KEEP_S,
    STALL_S,
    Membership,
)
from node.communication.probing import PERIOD_S
from node.communication.roster import INCARNATION_MAX, Change
from node.effects import Grave, KeepIncarnation, KeepMembers
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import short
from protocol.members import Ack, Alive, Cause, Dead, Gossip, Ping
from tests.node.communication.memberships import (
    ADDRESSES,
    alive,
    calls,
    carried,
    membership,
    node,
    notes,
    packets,
    pings,
    run,
    sends,
    signed,
    suspect,
    told,
)
from tests.node.communication.swarm import MESH, Hashed, all_news, record

# -- ourselves -----------------------------------------------------------------------------------------


def test_before_it_belongs_to_a_mesh_it_says_and_hears_nothing() -> None:
    made = Membership(record(0), Hashed(0), Desk(), random.Random(1))

    assert made.deadline is None
    assert made.heard(node(1), Ping(1, (alive(1),)), 0.0) == []
    assert made.told((alive(1),), node(1), 0.0) == []
    assert made.met(node(1), 0.0) == []
    assert made.leave(Cause.LEFT, 0.0) == []
    assert made.members == {}


def test_after_a_start_the_members_of_the_last_run_hear_of_us() -> None:
    made = Membership(record(0, incarnation=7), Hashed(0), Desk(), random.Random(1))
    made.restore({node(1): signed(1)}, (), now=0.0)
    made.introduce(MESH, ADDRESSES, now=0.0)

    heard = [news for _, _, packet in sends(run(made, 0.3)) for news in packet.news]
    assert heard[0] == Alive(signed(0, 7, addresses=ADDRESSES))


def test_other_addresses_are_told_by_a_higher_incarnation_and_the_same_are_not() -> None:
    made = membership(1)

    assert made.introduce(MESH, ADDRESSES, 1.0) == []
    effects = made.introduce(MESH, ("198.51.100.1:7879",), 1.0)

    assert effects == [KeepIncarnation(2)]
    assert made.own == signed(0, 2, addresses=("198.51.100.1:7879",))
    assert made.drain() == [(node(0), Change.RAISED)]


def test_our_digest_version_stands_in_the_next_record() -> None:
    made = membership(1)
    made.version_is(5)

    assert packets(made.heard(node(1), Ping(3), 0.0)) == [Ack(3)]
    made.heard(node(1), Ping(4, (suspect(0),)), 0.0)
    assert made.own.version == 5


def test_a_suspicion_of_ourselves_is_denied_to_teller_and_accuser_at_once() -> None:
    made = membership(12)

    effects = made.heard(node(1), Ping(3, (suspect(0, 1, accuser=9),)), 0.0)

    denial = Alive(signed(0, 2, addresses=ADDRESSES))
    assert told(effects, to=1)[0] == denial
    assert told(effects, to=9)[0] == denial
    assert KeepIncarnation(2) in effects
    assert "self.refuted" in notes(effects)
    assert made.doubt == 1


def test_an_old_suspicion_is_answered_with_what_we_said_then() -> None:
    made = membership(12)
    made.heard(node(1), Ping(3, (suspect(0),)), 0.0)

    effects = made.heard(node(2), Ping(3, (suspect(0),)), 0.1)

    assert made.own.incarnation == 2
    assert told(effects, to=2)[0] == Alive(made.own)


def test_who_finds_itself_dead_rises_above_its_death_and_compares_views() -> None:
    made = membership(2)
    made.heard(node(1), Gossip((Dead(node(0), 41),)), 0.0)

    assert made.own.incarnation == 42
    assert (node(1), Change.ANSWERED) in made.drain()


def test_a_death_in_an_incarnation_that_cannot_be_is_not_denied() -> None:
    made = membership(1)
    made.heard(node(1), Gossip((Dead(node(0), INCARNATION_MAX),)), 0.0)

    assert made.own.incarnation == 1
    assert made.counters["absurd"] == 1


def test_another_process_with_our_key_is_told_once_and_outbid_each_time() -> None:
    made = membership(1)

    first = made.heard(node(1), Gossip((alive(0, 10),)), 0.0)
    second = made.heard(node(1), Gossip((alive(0, 20),)), 1.0)

    assert notes(first) == ["identity.duplicated"]
    assert notes(second) == []
    assert made.own.incarnation == 21


def test_why_there_must_be_another_process_with_our_key_stays_known() -> None:
    made = membership(1)
    assert made.twin == ""

    made.heard(node(1), Gossip((alive(0, 10),)), 0.0)

    assert "a copy of this data directory" in made.twin
    assert f"node {short(node(1))} knows of it" in made.twin


def test_our_own_record_in_others_words_changes_nothing_and_a_forged_one_neither() -> None:
    made = membership(1)
    forged = msgspec.structs.replace(signed(0, 99), addresses=("203.0.113.6:1",))

    made.heard(node(1), Gossip((alive(0, 1), Alive(forged))), 0.0)

    assert made.own.incarnation == 1
    assert made.counters["forged"] == 1


# -- others --------------------------------------------------------------------------------------------


def test_a_newcomer_is_told_who_we_are_over_its_first_link() -> None:
    made = membership()

    assert carried(made.met(node(1), 0.0)) == [(node(1), Gossip((Alive(made.own),)))]


def test_a_member_that_we_hear_of_has_joined_and_is_passed_on() -> None:
    made = membership(5)

    effects = made.heard(node(1), Ping(1, (alive(77),)), 0.0)

    assert notes(effects) == ["peer.joined"]
    assert made.drain() == [(node(77), Change.JOINED)]
    assert alive(77) in told(effects, to=1)
    heard = [packet.news for _, _, packet in sends(run(made, 0.01))]
    assert heard == [(alive(77),)] * FANOUT


def test_rounds_of_gossip_keep_their_distance() -> None:
    made = membership(50)
    made.heard(node(1), Gossip((alive(77),)), 0.0)

    rounds = sorted({now for now, _, one in sends(run(made, 0.9)) if isinstance(one, Gossip)})

    assert rounds[0] == 0.0
    assert all(b - a >= GOSSIP_S - 1e-9 for a, b in pairwise(rounds))


def test_who_tells_what_was_denied_is_put_right() -> None:
    made = membership(5)
    made.heard(node(2), Gossip((alive(2, 3),)), 0.0)
    for _ in range(50):
        run(made, 0.0)

    effects = made.heard(node(1), Ping(1, (suspect(2, 1),)), 0.0)

    assert told(effects, to=1)[0] == alive(2, 3)
    assert not made.is_suspect(node(2))


def test_a_goodbye_is_no_death_and_is_not_looked_for() -> None:
    made = membership(3)

    effects = made.heard(node(1), Gossip((alive(1, 2, Cause.LEFT),)), 0.0)

    assert made.drain() == [(node(1), Change.LEFT)]
    assert notes(effects) == ["peer.died"]
    run(made, 10.0)
    later = [peer for now, peer, _ in sends(run(made, 600.0)) if now > 10.0]
    assert node(1) not in later


def test_whom_we_buried_is_told_so_when_it_speaks_and_views_are_compared_once() -> None:
    made = membership(3)
    made.heard(node(2), Gossip((Dead(node(1), 1),)), 0.0)
    made.drain()

    effects = made.heard(node(1), Ping(5), 1.0)
    made.heard(node(1), Ping(6), 1.1)

    assert Dead(node(1), 1) in told(effects, to=1)
    assert Alive(made.own) in told(effects, to=1)
    assert made.drain() == [(node(1), Change.ANSWERED)]
    made.heard(node(1), Gossip((alive(1, 2),)), 1.2)
    assert (node(1), Change.JOINED) in made.drain()


def test_the_goodbye_of_a_twin_that_is_as_late_as_our_record_is_denied() -> None:
    made = membership(others=1)

    effects = made.heard(
        node(1), Gossip((alive(0, made.own.incarnation, gone=Cause.STOPPED),)), 1.0
    )

    assert (made.own.incarnation, made.own.gone) == (2, None)
    assert notes(effects) == ["identity.duplicated"]


def test_in_the_files_of_another_node_we_are_not_dead_ourselves() -> None:
    made = membership()

    made.restore({}, (Grave(made.own, Cause.STOPPED, age_s=60.0),), now=0.0)

    assert not made.graves


def test_the_dead_are_looked_for_by_packet_and_by_link_with_the_news_of_their_death() -> None:
    made = membership()
    made.restore({}, (Grave(signed(1), Cause.SILENT, age_s=60.0),), now=0.0)

    done = run(made, 200.0)

    by_packet = [packet for _, peer, packet in sends(done) if peer == node(1)]
    by_link = [packet for peer, packet in carried(effect for _, effect in done)]
    assert len(by_packet) >= 3 and len(by_link) >= 3
    for packet in (*by_packet, *by_link):
        assert {Dead(node(1), 1), Alive(made.own)} <= set(packet.news)


def test_after_three_days_the_dead_are_forgotten() -> None:
    made = membership()
    made.restore({}, (Grave(signed(1), Cause.LEFT, age_s=72 * 3600.0 - 30.0),), now=0.0)
    run(made, 100.0)

    assert made.graves == {}
    assert made.drain() == [(node(1), Change.FORGOTTEN)]


def test_a_merge_of_views_tells_all_and_is_passed_on() -> None:
    made, other = membership(3), membership(number=9)
    made.heard(node(2), Gossip((Dead(node(1), 1), suspect(3))), 0.0)

    effects = other.told(all_news(made), node(0), 0.0)

    assert sorted(other.members) == sorted([node(0), node(2), node(3)])
    assert other.is_suspect(node(3))
    assert list(other.graves) == [node(1)]
    assert notes(effects).count("peer.joined") == 3
    assert "peer.died" not in notes(effects)
    assert made.all_news_about([node(99)]) == ()


# -- links ---------------------------------------------------------------------------------------------


def test_a_ping_by_the_link_needs_no_ack_and_its_news_is_heard() -> None:
    made = membership(3)

    assert packets(made.carried(node(1), Ping(1, (alive(77),)), 0.0)) == []
    assert node(77) in made.members


def test_a_stranger_is_answered_by_the_link() -> None:
    made = membership(3)

    effects = made.heard(node(55), Ping(1), 0.0)

    assert packets(effects) == []
    ((peer, packet),) = carried(effects)
    assert peer == node(55)
    assert isinstance(packet, Ack) and packet.news == (Alive(made.own),)


# -- time that we lost ---------------------------------------------------------------------------------


def test_a_probe_under_way_begins_anew_after_a_stall() -> None:
    made = membership(1)
    run(made, PERIOD_S)
    assert made.deadline is not None
    late = made.deadline + 16.0

    again = pings((late, effect) for effect in made.tick(late))

    assert len(again) == 1
    assert not made.is_suspect(node(1))
    assert made.heard(node(1), Ack(again[0][1].sequence), late + 0.05) == []
    assert not made.is_suspect(node(1))


def test_an_answer_that_waited_while_we_did_not_run_is_taken_but_not_timed() -> None:
    made = membership(1)
    done = run(made, PERIOD_S)
    (_, ping), *_ = pings(done)
    assert made.deadline is not None
    late = made.deadline + 16.0

    made.heard(node(1), Ack(ping.sequence), late)

    assert made.rtt_s(node(1)) is None
    assert pings(run(made, late + 0.5)) == []


def test_a_loop_that_is_busy_for_a_moment_is_no_stall() -> None:
    made = membership(1)
    assert made.deadline is not None
    made.tick(made.deadline + STALL_S / 2)

    assert made.doubt == 0


# -- the disk ------------------------------------------------------------------------------------------


def test_the_disk_is_told_of_changes_at_most_each_few_seconds() -> None:
    made = membership(1)
    first = made.heard(node(1), Gossip((alive(70),)), 0.0)
    second = made.heard(node(1), Gossip((alive(71),)), 0.1)

    kept = [one for one in (*first, *second) if isinstance(one, KeepMembers)]
    assert kept == [KeepMembers((signed(1), signed(70)), ())]
    later = [(now, one) for now, one in run(made, KEEP_S + 0.1) if isinstance(one, KeepMembers)]
    assert [now for now, _ in later] == [KEEP_S]
    assert signed(71) in later[0][1].members


def test_a_quiet_node_tells_the_disk_nothing() -> None:
    made = membership()
    assert [one for _, one in run(made, 100.0) if isinstance(one, KeepMembers)] == []


# -- goodbye -------------------------------------------------------------------------------------------


def test_a_goodbye_is_told_to_several_at_once_then_by_gossip_then_nothing_is_said() -> None:
    made = membership(100)

    effects = made.leave(Cause.STOPPED, 0.0)

    goodbye = Alive(made.own)
    assert made.own.gone is Cause.STOPPED and made.gone
    assert [packet.news[0] for packet in packets(effects)] == [goodbye] * FAREWELLS
    assert KeepIncarnation(2) in effects
    done = run(made, 60.0)
    assert sends(done)[-1][0] < 2.0
    assert pings(done) == []
    assert made.deadline is None


def test_who_has_left_denies_nothing() -> None:
    made = membership(5)
    made.leave(Cause.LEFT, 0.0)

    made.heard(node(1), Ping(1, (suspect(0, 2),)), 0.01)

    assert made.own.incarnation == 2
    assert made.own.gone is Cause.LEFT


def test_who_comes_back_after_a_goodbye_is_there_again() -> None:
    made = membership(5)
    made.leave(Cause.LEFT, 0.0)
    made.introduce(MESH, ADDRESSES, 1.0)

    assert made.own.gone is None
    assert made.own.incarnation == 3
    assert pings(run(made, 3.0)) != []


def test_a_call_that_fails_says_nothing() -> None:
    made = membership(1)
    (call,) = calls([(0.0, effect) for effect in made.met(node(1), 0.0)])

    late = ErrorInfo(code=ErrorCode.DEADLINE, reason="no answer")
    assert made.call_failed(call.call, late, 1.0) == []
