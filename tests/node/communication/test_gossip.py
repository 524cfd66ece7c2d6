import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.communication.gossip import ANSWER_S, PUSH_FANOUT, YIELD_S
from node.communication.turns import INTERVAL_S
from node.effects import Call, Effect, Hang
from protocol import codec
from protocol.digests import LoadDigest, NodeRecord, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.gossip import Compare, Compared, Tell, Told
from protocol.ids import NodeId
from protocol.limits import (
    BUCKETS,
    HEADER_BYTES_MAX,
    HELD_MAX,
    LABELS_MAX,
    TEXT_BYTES_MAX,
    WANTED_MAX,
)
from protocol.members import Alive, Dead
from protocol.messages import RequestHeader, ResponseHeader
from tests.node.communication.gossiping import (
    Peer,
    World,
    calls,
    converse,
    member,
    node,
    record,
    subjects,
)

BUSY = ErrorInfo(code=ErrorCode.OVERLOADED, reason="busy")
LATE = ErrorInfo(code=ErrorCode.DEADLINE, reason="late")


def two() -> tuple[Peer, Peer]:
    """Two that are linked and know each other; the first has the smaller id."""
    one, other = sorted((Peer(1), Peer(2)), key=lambda peer: peer.id)
    (call,) = one.meets(other)
    assert other.meets(one) == []
    converse(one, call, other, 0.01)
    (later,) = calls(other.gossip.tick(YIELD_S))
    converse(other, later, one, YIELD_S + 0.01)
    return one, other


def due(peer: Peer) -> float:
    assert peer.gossip.deadline is not None
    return peer.gossip.deadline


def labelled(peer: Peer, *labels: str) -> NodeRecord:
    return msgspec.structs.replace(peer.gossip.own, labels=labels)


def loaded(peer: Peer, queue_s: float) -> NodeRecord:
    return msgspec.structs.replace(peer.gossip.own, load=LoadDigest(queue_s=queue_s))


def pushes(effects: list[Effect]) -> list[Call]:
    """What is told without having compared."""
    return [call for call in calls(effects) if isinstance(call.request, Tell)]


def pushed(peer: Peer, now: float) -> Tell:
    """What it tells its one linked peer of itself by now."""
    (call,) = pushes(peer.gossip.tick(now))
    assert isinstance(call.request, Tell)
    return call.request


# -- rounds ------------------------------------------------------------------------------------------


def test_two_that_meet_know_each_other_after_one_round_begun_by_the_smaller_id() -> None:
    one, other = two()

    assert one.gossip.records == {other.id: other.gossip.told}
    assert other.gossip.records == {one.id: one.gossip.told}
    assert one.gossip.directory.knowledge.hashes == other.gossip.directory.knowledge.hashes


def test_the_round_trip_is_the_least_of_those_measured_lately() -> None:
    one, other = two()
    (call,) = calls(one.gossip.sync_now(other.id, 100.0))
    converse(one, call, other, 100.2)
    (call,) = calls(one.gossip.sync_now(other.id, 110.0))
    converse(one, call, other, 110.3)

    assert one.memory.forecast_rtt_s(other.id, 120.0) == pytest.approx(0.2)


def test_a_quiet_mesh_says_nothing_but_that_it_agrees() -> None:
    world = World(16)
    world.all_meet()
    world.run(60.0)
    world.kinds.clear()

    world.run(160.0)

    assert set(world.kinds) == {"Compare", "Compared"}
    assert sum(world.kinds.values()) / 16 / 100.0 < 80.0


def test_all_of_a_mesh_know_all_soon_after_they_have_met() -> None:
    world = World(32)
    world.some_meet(4)

    assert world.run_until_agreed(60.0) < 40.0
    for peer in world.peers:
        assert set(peer.gossip.records) == set(world.by_id) - {peer.id}


def test_two_halves_that_meet_at_one_link_agree_within_seconds() -> None:
    world = World(128)
    world.all_meet(0, 64)
    world.all_meet(64, 128)
    world.run(20.0)
    world.link(world.peers[3], world.peers[100])

    assert world.run_until_agreed(80.0) < 35.0


def test_a_newcomer_to_a_large_mesh_soon_knows_all() -> None:
    world = World(400)
    newcomer = world.peers[-1]
    world.converge(but=1)
    for peer in world.peers[:8]:
        world.link(newcomer, peer)
    while len(newcomer.gossip.records) < 399 and world.now < 30.0:
        world.run(world.now + 0.5)

    assert world.now <= 10.0


def test_what_a_call_that_failed_should_have_told_comes_with_a_later_round() -> None:
    one, other = two()
    one.learns(Peer(3), now=1.0)
    (call,) = calls(one.gossip.sync_now(other.id, 1.0))
    one.desk.settle(call.call)

    assert one.gossip.call_failed(call.call, BUSY, 1.1) == []
    assert 1.1 < due(one) < 2 * INTERVAL_S
    (again,) = calls(one.gossip.tick(due(one)))
    converse(one, again, other, due(one))
    assert node(3) in other.gossip.records


def test_a_peer_that_does_not_answer_and_says_nothing_else_is_hung_up_on() -> None:
    one, other = two()
    (call,) = calls(one.gossip.sync_now(other.id, 1.0))

    assert call.deadline_s == ANSWER_S
    effects = one.gossip.call_failed(call.call, LATE, 1.0 + ANSWER_S)
    assert effects == [Hang(other.id, f"no answer for {ANSWER_S:g} s", quiet_s=ANSWER_S)]


def test_a_lost_link_forgets_its_calls() -> None:
    one, other = two()
    (call,) = calls(one.gossip.sync_now(other.id, 1.0))
    one.gossip.link_down(other.id, 2.0)

    assert one.desk.settle(call.call) is None
    assert one.gossip.call_failed(call.call, LATE, 5.0) == []
    assert one.gossip.answered(call.call, other.id, Compared(), LoadDigest(), 5.0) == []
    assert one.gossip.deadline is None and one.gossip.linked == []


def test_a_peer_is_compared_with_when_that_is_asked_for() -> None:
    one, other = two()

    assert len(calls(one.gossip.sync_now(other.id, 1.0))) == 1
    assert one.gossip.sync_now(other.id, 1.1) == [], "a round is under way"
    assert one.gossip.sync_now(node(77), 1.1) == []


# -- membership --------------------------------------------------------------------------------------


def test_a_death_that_one_side_missed_is_told() -> None:
    one, other = two()
    third = Peer(3)
    for each in (one, other):
        each.learns(third, now=1.0)
    one.hears(Dead(third.id, 1), now=2.0)

    (call,) = calls(other.gossip.sync_now(one.id, 3.0))
    converse(other, call, one, 3.0)

    assert third.id in other.membership.graves
    assert one.gossip.directory.knowledge.hashes == other.gossip.directory.knowledge.hashes


def test_who_is_thought_dead_hears_of_it_and_comes_back() -> None:
    one, other = two()
    other.hears(Dead(one.id, 1), now=1.0)

    for now in (2.0, 3.0):
        (call,) = calls(one.gossip.sync_now(other.id, now))
        converse(one, call, other, now)
        one.note_changes(now)

    assert one.membership.own.incarnation == 2
    assert other.membership.members[one.id].incarnation == 2
    assert one.gossip.directory.knowledge.hashes == other.gossip.directory.knowledge.hashes


def test_who_is_forgotten_is_forgotten_here_too() -> None:
    one, _ = two()
    one.learns(Peer(3), now=1.0)
    del one.membership.members[node(3)]
    one.gossip.member_changed(node(3), 2.0)

    assert node(3) not in one.gossip.records
    assert one.gossip.load(node(3)) == LoadDigest()


# -- news of ourselves -------------------------------------------------------------------------------


def test_who_has_changed_tells_so_within_the_interval() -> None:
    one, other = two()
    one.gossip.describe(labelled(one, "gpu"), 1.0)

    assert due(one) <= 1.5
    assert pushes(one.gossip.tick(1.4)) == []
    (call,) = pushes(one.gossip.tick(1.5))
    converse(one, call, other, 1.5)
    assert other.gossip.records[one.id].labels == ("gpu",)
    assert pushes(one.gossip.tick(9.0)) == []


def test_several_changes_in_the_interval_are_one() -> None:
    one, _ = two()
    version = one.gossip.told.version
    for number in range(5):
        one.gossip.describe(labelled(one, f"l{number}"), 1.0 + number / 10)

    told = pushed(one, 1.5)

    assert [each.labels for each in told.records] == [("l4",)]
    assert told.records[0].version == version + 1


def test_a_load_that_moved_is_told_without_the_rest_to_who_knows_the_rest() -> None:
    one, other = two()
    one.gossip.describe(loaded(one, 5.0), 1.0)
    first = pushed(one, 1.5)
    assert (len(first.records), len(first.moved), len(first.members)) == (0, 1, 0)

    other.gossip.asked(one.id, first, 2.0)
    assert other.gossip.records[one.id] == one.gossip.told
    assert other.gossip.load(one.id).queue_s == 5.0


def test_who_may_not_know_us_yet_is_told_all_of_us() -> None:
    one, other = sorted((Peer(1), Peer(2)), key=lambda peer: peer.id)
    one.meets(other)
    one.gossip.describe(labelled(one, "gpu"), 0.0)

    told = pushed(one, 0.5)
    assert subjects(told.members) == [one.id]
    other.gossip.asked(one.id, told, 0.6)
    assert other.gossip.records[one.id].labels == ("gpu",)


def test_what_was_pushed_in_vain_is_pushed_again() -> None:
    one, other = two()
    one.gossip.describe(labelled(one, "gpu"), 1.0)
    (call,) = pushes(one.gossip.tick(1.5))
    one.desk.settle(call.call)
    one.gossip.call_failed(call.call, BUSY, 1.6)

    (again,) = pushes(one.gossip.tick(2.1))
    converse(one, again, other, 2.2)

    assert other.gossip.records[one.id].labels == ("gpu",)


def test_while_one_push_is_under_way_the_next_waits() -> None:
    one, other = two()
    one.gossip.describe(labelled(one, "a"), 1.0)
    (call,) = pushes(one.gossip.tick(1.5))
    one.gossip.describe(labelled(one, "b"), 1.6)

    assert pushes(one.gossip.tick(2.1)) == []
    converse(one, call, other, 2.2)
    (next_call,) = pushes(one.gossip.tick(2.7))
    converse(one, next_call, other, 2.7)
    assert other.gossip.records[one.id].labels == ("b",)


def test_with_very_many_links_a_few_are_told_and_the_others_hear_of_it() -> None:
    world = World(70)
    world.converge()
    world.all_meet()
    world.run(30.0)
    one = world.peers[0]
    world.feed(one, one.gossip.describe(labelled(one, "gpu"), world.now))

    world.run(31.0)
    knowing = sum(peer.gossip.records[one.id].labels == ("gpu",) for peer in world.peers[1:])
    assert PUSH_FANOUT <= knowing < 35
    assert world.run_until_agreed(100.0) < 80.0


def test_without_links_a_change_counts_at_once() -> None:
    one = Peer(1)
    one.gossip.describe(labelled(one, "gpu"), 1.0)

    assert one.gossip.told.labels == ("gpu",) and one.gossip.told.version == 1
    assert one.gossip.deadline is None


def test_the_list_of_weights_is_compared_whenever_anything_is_said() -> None:
    one, other = two()
    one.gossip.catalogue_is("digest", 1.0)

    (call,) = pushes(one.gossip.tick(1.5))
    converse(one, call, other, 1.6)
    assert other.gossip.catalogue_of(one.id) == "digest"
    other.gossip.catalogue_is("another", 2.0)
    (call,) = calls(other.gossip.sync_now(one.id, 2.1))
    converse(other, call, one, 2.2)
    assert one.gossip.catalogue_of(other.id) == "another"


# -- loads -------------------------------------------------------------------------------------------


def test_the_load_that_is_known_is_the_freshest_of_answer_and_record() -> None:
    one, other = two()
    one.gossip.load_seen(other.id, LoadDigest(queue_s=3.0), 10.0)

    assert one.gossip.load(other.id) == LoadDigest(queue_s=3.0)
    assert one.gossip.load_age_s(other.id, 12.0) == 2.0
    assert one.gossip.load(node(77)) == LoadDigest()
    assert one.gossip.load_age_s(node(77), 12.0) == 0.0


def test_what_was_known_at_the_start_is_as_old_as_the_start() -> None:
    world = World(3)
    world.converge()
    one, other, _ = world.peers

    assert one.gossip.load(other.id) == other.gossip.told.load
    assert one.gossip.load_age_s(other.id, 7.0) == 7.0


# -- limits ------------------------------------------------------------------------------------------


def large_record(number: int) -> NodeRecord:
    """As much as a record may say."""
    return msgspec.structs.replace(
        record(number),
        name="x" * TEXT_BYTES_MAX,
        software="x" * TEXT_BYTES_MAX,
        labels=("x" * TEXT_BYTES_MAX,) * LABELS_MAX,
        ready=(WeightsVersion(1 << 50, 1 << 30, "x" * 52),) * HELD_MAX,
    )


def test_a_message_fits_its_header_however_much_there_is_to_say() -> None:
    one, other = Peer(1001), Peer(1002)
    for numbers, each in ((range(1, 500), one), (range(500, 1000), other)):
        members = [member(number) for number in numbers]
        long = [msgspec.structs.replace(m, addresses=("x" * 200,) * 3) for m in members]
        for start in range(0, len(long), 100):
            news = tuple(Alive(m) for m in long[start : start + 100])
            each.gossip.asked(node(9999), Tell(members=news), 0.0)
        for number in numbers:
            each.gossip.asked(node(9999), Tell(records=(large_record(number),)), 0.0)
    one, other = sorted((one, other), key=lambda peer: peer.id)
    (compare,) = one.meets(other)
    other.meets(one)
    assert isinstance(compare.request, Compare)
    compared, _ = other.gossip.asked(one.id, compare.request, 0.0)
    (tell,) = calls(one.gossip.answered(compare.call, other.id, compared, LoadDigest(), 0.1))
    assert isinstance(tell.request, Tell) and tell.request.want and tell.request.members
    told, _ = other.gossip.asked(one.id, tell.request, 0.2)
    assert isinstance(told, Told) and told.members

    for call in (compare, tell):
        header = RequestHeader(request=call.request, deadline_ms=4000, trace="t" * 32)
        assert len(codec.encode(header)) <= HEADER_BYTES_MAX
    for answer in (compared, told):
        assert len(codec.encode(ResponseHeader(response=answer))) <= HEADER_BYTES_MAX


def test_who_wants_very_much_is_told_a_message_full() -> None:
    world = World(1000)
    world.converge()
    one = world.peers[0]
    ids = [peer.id for peer in world.peers[:WANTED_MAX]]

    answer, effects = one.gossip.asked(node(9999), Tell(want=dict.fromkeys(ids, (0, 0, 0, 0))), 0.0)

    assert isinstance(answer, Told) and effects == []
    assert 30 < len(answer.records) < 100
    assert len(codec.encode(ResponseHeader(response=answer))) < 26 * 1024


def test_a_record_of_a_stranger_is_refused() -> None:
    one, other = two()
    one.gossip.asked(other.id, Tell(records=(record(3),)), 1.0)

    assert node(3) not in one.gossip.records and one.gossip.directory.refused == 1


def test_hashes_of_nothing_are_answered_with_all() -> None:
    one, other = two()
    answer, _ = one.gossip.asked(other.id, Compare(buckets=(0,) * BUCKETS), 1.0)

    assert isinstance(answer, Compared)
    listed = {key for part in answer.stamps for key in part.stamps}
    assert listed == {one.id, other.id}


# -- laws --------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 1 << 32), st.integers(3, 10))
def test_whatever_is_lost_and_changed_on_the_way_all_agree_in_the_end(
    seed: int, count: int
) -> None:
    dice = random.Random(seed)
    world = World(count, seed)
    world.some_meet(min(2, count - 1))
    world.cut = lambda asker, peer: dice.random() < 0.2
    for number in range(20):
        one, other = dice.choice(world.peers), dice.choice(world.peers)
        change = dice.randrange(3)
        if change == 0:
            world.feed(one, one.gossip.describe(labelled(one, f"l{number}"), world.now))
        elif change == 1:
            world.feed(one, one.gossip.describe(loaded(one, dice.uniform(0, 9)), world.now))
        elif (known := one.membership.members.get(other.id)) is not None:
            one.hears(Dead(other.id, known.incarnation), now=world.now)
        world.run(world.now + dice.uniform(0.0, 2.0))
    world.cut = lambda asker, peer: False
    world.run(world.now + 5.0)
    world.run_until_agreed(world.now + 300.0)

    assert world.agree()
    told = {peer.id: peer.gossip.told for peer in world.peers}
    for peer in world.peers:
        assert {**peer.gossip.records, peer.id: peer.gossip.told} == told


def test_the_same_seed_gives_the_same_run() -> None:
    runs = []
    for _ in range(2):
        world = World(12, seed=5)
        world.some_meet(3)
        world.run(30.0)
        runs.append((world.kinds, world.sent_bytes))

    assert runs[0] == runs[1]


def test_rounds_are_spread_over_all_links() -> None:
    one = Peer(1)
    others = {peer.id: peer for peer in map(Peer, range(2, 10))}
    waiting = [call for each in others.values() for call in one.meets(each)]
    begun: Counter[NodeId] = Counter()
    now = 0.0
    while now < 2000.0:
        while waiting:
            call = waiting.pop(0)
            begun[call.peer] += 1
            waiting += converse(one, call, others[call.peer], now)
        now = due(one)
        waiting = calls(one.gossip.tick(now))

    assert len(begun) == 8 and min(begun.values()) > 10
