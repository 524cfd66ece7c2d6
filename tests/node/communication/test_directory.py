import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node.communication.desk import Desk
from node.communication.directory import STAMPS_MAX, VERSIONS_MAX, Directory
from node.communication.knowledge import NOTHING, Knowledge, bucket_of
from node.communication.own_record import OwnRecord
from node.effects import Note
from protocol.digests import LoadDigest, Moved, NodeRecord
from protocol.gossip import BucketStamps, BucketVersions, Compared, Stamp, Tell, Told
from protocol.ids import NodeId
from protocol.limits import BUCKETS
from protocol.members import Alive, Dead, News
from tests.node.communication.gossiping import member, membership, node, record
from tests.node.communication.swarm import all_news

TELLER = node(99)


class Side:
    """One node's directory and membership."""

    def __init__(self, number: int = 100) -> None:
        self.membership = membership(number, Desk())
        self.directory = Directory(OwnRecord(record(number), 0.5), self.membership)

    def told(self, *news: News, records: tuple[NodeRecord, ...] = ()) -> int:
        _, learnt = self.directory.learn(Told(members=news, records=records), TELLER, 1.0)
        return learnt

    def buries(self, number: int) -> None:
        self.told(Dead(node(number), self.membership.members[node(number)].incarnation))

    def knows(self, *numbers: int, version: int = 0) -> None:
        """These are members, and their records are there."""
        self.told(
            *(Alive(member(number)) for number in numbers),
            records=tuple(record(number, version=version) for number in numbers),
        )


def differing(one: Side, other: Side) -> Compared:
    return other.directory.differing(one.directory.knowledge.hashes, first=0)


def weighed(one: Side, other: Side) -> tuple[list[NodeId], dict[NodeId, Stamp]]:
    """What the other lacks and what the one wants after it has compared."""
    hashes = one.directory.knowledge.hashes
    lacks, wants = one.directory.weigh(differing(one, other), hashes)
    return sorted(node for node, _, _ in lacks), wants


def test_a_record_of_a_stranger_is_refused_and_counted() -> None:
    one = Side()

    assert one.told(records=(record(1),)) == 0
    assert one.directory.records == {} and one.directory.refused == 1
    assert one.told(Alive(member(1)), records=(record(1),)) == 1
    assert one.directory.records == {node(1): record(1)}


def test_an_older_record_never_replaces_a_newer_one() -> None:
    one = Side()
    one.told(Alive(member(1)), records=(record(1, 2, 3),))

    for older in (record(1, 2, 2), record(1, 1, 9), record(1, 2, 3)):
        one.told(records=(older,))
        assert one.directory.records[node(1)] == record(1, 2, 3)
    one.told(records=(record(1, 3, 0),))
    assert one.directory.records[node(1)] == record(1, 3, 0)


def test_the_record_of_a_dead_is_kept_and_that_of_a_forgotten_is_not() -> None:
    one = Side()
    one.knows(1)
    one.buries(1)

    assert node(1) in one.directory.records
    assert node(1) not in one.directory.knowledge.stamps
    assert one.directory.stamp(node(1)) == (1, 1, 0, 0)
    one.membership.graves.clear()
    one.directory.refresh(node(1))
    assert one.directory.records == {} and one.directory.stamp(node(1)) == NOTHING


def test_two_that_know_the_same_have_nothing_to_say() -> None:
    one, other = Side(1), Side(2)
    one.knows(2, 3)
    other.knows(1, 3)

    assert differing(one, other) == Compared()


def test_what_one_lacks_the_other_is_told_and_the_rest_is_wanted() -> None:
    one, other = Side(1), Side(2)
    one.knows(2, 3, 4, 5)
    other.knows(1, 3, 4, 6)
    one.told(records=(record(3, version=2),))
    other.told(records=(record(4, version=2),))

    lacks, wants = weighed(one, other)

    assert lacks == sorted([node(3), node(5)])
    assert wants == {node(4): (1, 0, 1, 0), node(6): NOTHING}


def test_where_only_versions_differ_no_id_is_told() -> None:
    one, other = Side(1), Side(2)
    one.knows(2, 3)
    other.knows(1, 3, version=0)
    other.told(records=(record(3, version=2),))

    answer = differing(one, other)

    assert answer.stamps == ()
    assert [part.bucket for part in answer.versions] == [bucket_of(node(3))]
    assert weighed(one, other) == ([], {node(3): (1, 0, 1, 0)})


def test_graves_are_told_only_to_who_takes_the_dead_for_living() -> None:
    one, other = Side(1), Side(2)
    one.knows(2, 3)
    other.knows(1, 3)
    other.buries(3)

    assert weighed(other, one) == ([node(3)], {})
    lacks, _ = weighed(one, other)
    assert lacks == [node(3)]
    answer = other.directory.answer(Tell(members=(Alive(member(3)),)))
    assert answer == [(node(3), (1, 1, 0, 0), (1, 0, 0, 0))]
    assert other.directory.answer(Tell(members=(Alive(member(3)), Dead(node(3), 1)))) == []
    one.told(Dead(node(3), 1))
    assert differing(one, other) == Compared()


def test_who_came_back_from_a_grave_is_wanted() -> None:
    one, other = Side(1), Side(2)
    one.knows(2, 3)
    one.buries(3)
    other.knows(1)
    other.told(Alive(member(3, incarnation=2)))

    assert weighed(one, other) == ([], {node(3): (1, 1, 0, 0)})


def test_stamps_of_strangers_are_wanted_and_lists_that_do_not_fit_are_passed_over() -> None:
    one = Side(1)
    one.knows(2)
    bucket = bucket_of(node(2))
    hashes = one.directory.knowledge.hashes
    stranger = Compared(stamps=(BucketStamps(0, {NodeId("stranger"): (1, 0, 1, 1)}),))
    longer = Compared(versions=(BucketVersions(bucket, (1, 2, 3, 4)),))
    fitting = Compared(versions=(BucketVersions(bucket, (7,)),))

    assert one.directory.weigh(stranger, hashes)[1] == {NodeId("stranger"): NOTHING}
    assert one.directory.weigh(longer, hashes) == ([], {})
    assert one.directory.weigh(fitting, hashes)[1] == {node(2): (1, 0, 1, 0)}
    one.told(Alive(member(2, incarnation=5)))
    assert one.directory.weigh(fitting, hashes) == ([], {}), "the list is about another state"


def test_who_asks_for_what_we_do_not_have_is_told_nothing_of_it() -> None:
    one = Side(1)

    ((_, ours, theirs),) = one.directory.answer(Tell(want={NodeId("stranger"): (5, 0, 5, 5)}))

    assert ours == NOTHING and theirs == (5, 0, 5, 5)


def test_as_much_is_compared_as_a_message_takes_from_any_bucket_on() -> None:
    one, other = Side(5000), Side(5001)
    other.knows(*range(1, 1001))

    parts = [
        other.directory.differing(one.directory.knowledge.hashes, first).stamps
        for first in (0, BUCKETS // 2)
    ]

    for told, first in zip(parts, (0, BUCKETS // 2), strict=True):
        assert told[0].bucket == first
        assert STAMPS_MAX / 2 < sum(len(part.stamps) for part in told) <= STAMPS_MAX
    answer = other.directory.differing(one.directory.knowledge.hashes, 0)
    assert answer.more


def test_as_many_versions_are_compared_as_a_message_takes() -> None:
    one, other = Side(1), Side(2)
    members = [member(number) for number in range(1, 3001)]
    for side, version in ((one, 0), (other, 1)):
        knowledge = Knowledge()
        for each in members:
            knowledge.take(each.id, (1, 0, 1, version))
        side.directory.restore({}, knowledge, 0.0)

    answer = differing(one, other)

    told = sum(len(part.versions) for part in answer.versions)
    assert VERSIONS_MAX / 2 < told <= VERSIONS_MAX
    assert not answer.more


def test_another_process_with_our_key_is_told_of_once() -> None:
    one = Side(100)
    copies = (record(100, 2), record(100, 3))

    effects, _ = one.directory.learn(Told(records=copies), TELLER, 1.0)
    later = Moved(node(100), 4, 0, 0, record(1).memory, record(1).load)
    more, _ = one.directory.learn(Told(moved=(later,)), TELLER, 1.0)

    assert [e.event for e in effects if isinstance(e, Note)] == ["identity.duplicated"]
    assert more == [] and node(100) not in one.directory.records


def test_another_process_with_our_key_is_told_of_once_though_both_its_records_come() -> None:
    one = Side(100)
    copy = Told(members=(Alive(member(100, 2)),), records=(record(100, 2),))

    effects, _ = one.directory.learn(copy, TELLER, 1.0)

    told = [effect for effect in effects if isinstance(effect, Note)]
    assert [note.event for note in told] == ["identity.duplicated"]
    assert told[0].fields["addresses"] == member(100).addresses


def test_a_start_with_what_others_know_shares_it() -> None:
    one = Side(1)
    records = {node(number): record(number) for number in range(1, 4)}
    knowledge = Knowledge.of([member(number) for number in range(1, 4)], records)

    one.directory.restore(records, knowledge, 0.0)

    assert one.directory.records == {node(2): record(2), node(3): record(3)}
    assert one.directory.knowledge.hashes == knowledge.hashes
    assert set(records) == {node(1), node(2), node(3)}


NUMBERS = st.integers(1, 4)
INCARNATIONS = st.integers(1, 3)


def record_of(number: int, incarnation: int, version: int) -> NodeRecord:
    """The one record that this node told under this stamp: labels change with every second version."""
    settled = version - version % 2
    return msgspec.structs.replace(
        record(number, incarnation, version),
        settled=settled,
        labels=(f"l{settled}",),
        load=LoadDigest(in_flight=version),
    )


RECORDS = st.builds(record_of, NUMBERS, INCARNATIONS, st.integers(0, 5))
MOVES = RECORDS.map(
    lambda r: Moved(r.id, r.incarnation, r.settled, r.version, r.memory, r.load),
)
NEWS: st.SearchStrategy[News] = st.one_of(
    st.builds(lambda n, i: Alive(member(n, i)), NUMBERS, INCARNATIONS),
    st.builds(lambda n, i: Dead(node(n), i), NUMBERS, INCARNATIONS),
)
TELLS = st.lists(
    st.builds(
        lambda records, moved: Told(records=tuple(records), moved=tuple(moved)),
        st.lists(RECORDS, max_size=3),
        st.lists(MOVES, max_size=3),
    ),
    max_size=8,
)


def all_there() -> Side:
    one = Side()
    one.told(*(Alive(member(number)) for number in range(1, 5)))
    return one


@given(st.lists(RECORDS, max_size=12), st.randoms())
def test_records_in_any_order_and_number_give_the_same_knowledge(
    records: list[NodeRecord], dice: random.Random
) -> None:
    one, other = all_there(), all_there()
    again = records + dice.sample(records, len(records) // 2)
    dice.shuffle(again)

    one.told(records=tuple(records))
    for each in again:
        other.told(records=(each,))

    assert one.directory.records == other.directory.records
    assert one.directory.knowledge.stamps == other.directory.knowledge.stamps
    newest = {each.id: each for each in sorted(records, key=lambda each: each.stamp)}
    assert one.directory.records == newest


@given(TELLS)
def test_a_record_is_always_one_that_its_node_has_told(messages: list[Told]) -> None:
    one = all_there()
    for message in messages:
        before = {node: each.stamp for node, each in one.directory.records.items()}
        one.directory.learn(message, TELLER, 1.0)
        for key, known in one.directory.records.items():
            number = next(n for n in range(1, 5) if node(n) == key)
            assert known == record_of(number, *known.stamp)
            assert known.stamp >= before.get(key, (0, 0))
            assert one.directory.knowledge.stamps[key][2:] == known.stamp


@given(st.lists(NEWS, max_size=12), st.lists(RECORDS, max_size=6))
def test_stamps_stand_for_what_membership_and_records_say(
    news: list[News], records: list[NodeRecord]
) -> None:
    one = Side()
    one.told(*news, records=tuple(records))
    fresh = Side()
    fresh.told(*all_news(one.membership), records=tuple(one.directory.records.values()))

    assert fresh.directory.knowledge.hashes == one.directory.knowledge.hashes
    there = {
        key: stamp for key, stamp in one.directory.knowledge.stamps.items() if key != node(100)
    }
    assert set(there) == set(one.membership.members)
