import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node.communication.desk import Desk
from node.communication.knowledge import NOTHING
from node.communication.parcel import RECORDS_BYTES, Lack, Parcel, after_move
from protocol.digests import LoadDigest, MemoryDigest, NodeRecord, WeightsVersion
from protocol.gossip import Stamp
from protocol.ids import NodeId
from protocol.limits import HELD_MAX, LABELS_MAX, TEXT_BYTES_MAX
from protocol.members import Alive
from tests.node.communication.gossiping import member, membership, node, record, subjects


def large_record(number: int) -> NodeRecord:
    """As much as a record may say."""
    return msgspec.structs.replace(
        record(number, version=1),
        name="x" * TEXT_BYTES_MAX,
        software="x" * TEXT_BYTES_MAX,
        labels=("x" * TEXT_BYTES_MAX,) * LABELS_MAX,
        ready=(WeightsVersion(1 << 50, 1 << 30, "x" * 52),) * HELD_MAX,
    )


def parcel(*records: NodeRecord) -> Parcel:
    """Of a node that knows these others."""
    by_id = {one.id: one for one in records}
    members = membership(500, Desk())
    news = [Alive(one) for one in map(member, range(1, 500)) if one.id in by_id]
    members.told(news, node(500), 0.0)
    return Parcel(members, by_id.__getitem__)


def lack(one: NodeRecord, theirs: Stamp = NOTHING) -> Lack:
    return (one.id, (1, 0, *one.stamp), theirs)


def test_who_knows_nothing_of_a_node_is_told_all_of_it() -> None:
    one = parcel(record(1))
    one.fill([lack(record(1))])

    assert subjects(one.news) == [node(1)]
    assert one.records == [record(1)]


def test_who_lacks_one_part_is_told_that_part() -> None:
    moved = record(1, version=5)
    changed = msgspec.structs.replace(moved, settled=5)

    for latest, theirs, told in (
        (moved, (1, 0, 0, 0), (0, 1, 0)),
        (moved, (0, 0, 1, 5), (1, 0, 0)),
        (moved, (1, 0, 1, 4), (0, 0, 1)),
        (changed, (1, 0, 1, 4), (0, 1, 0)),
        (moved, (1, 0, 1, 5), (0, 0, 0)),
        (moved, (2, 0, 1, 6), (0, 0, 0)),
    ):
        one = parcel(latest)
        one.fill([lack(latest, theirs)])
        assert (len(one.news), len(one.records), len(one.moved)) == told


def test_what_is_more_than_a_move_goes_first() -> None:
    moves = [record(number, version=5) for number in range(1, 300)]
    one = parcel(*moves, record(300))
    one.fill([*(lack(move, (1, 0, 1, 4)) for move in moves), lack(record(300))])

    assert [told.id for told in one.records] == [node(300)]
    assert 100 < len(one.moved) < 300
    assert not one.left_out


def test_a_parcel_is_full_at_its_size_but_takes_one_node_of_any_size() -> None:
    small = [record(number, version=1) for number in range(1, 300)]
    one = parcel(*small)
    one.fill([lack(each) for each in small])
    large = parcel(*(large_record(number) for number in range(1, 4)))
    large.fill([lack(large_record(number)) for number in range(1, 4)])

    assert 30 < len(one.records) < 100 and one.left_out
    assert len(msgspec.msgpack.encode(one.told())) < RECORDS_BYTES + 2000
    assert [told.id for told in large.records] == [node(1)] and large.left_out


VERSIONS = st.integers(0, 6)


@given(VERSIONS, VERSIONS, st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_move_over_any_record_that_it_fits_gives_the_whole_record(
    known: int, latest: int, relabelled: list[bool]
) -> None:
    history = [record(1)]
    for version, more_than_moved in enumerate(relabelled, start=1):
        last = history[-1]
        history.append(
            msgspec.structs.replace(
                last,
                version=version,
                settled=version if more_than_moved else last.settled,
                labels=(*last.labels, "l") if more_than_moved else last.labels,
                memory=MemoryDigest(free=version),
                load=LoadDigest(in_flight=version),
            )
        )
    one = parcel(history[latest])
    one.fill([lack(history[latest], (1, 0, *history[known].stamp))])
    told = [*one.records, *(after_move(history[known], moved) for moved in one.moved)]

    assert told == ([history[latest]] if latest > known else [])


def test_a_move_that_does_not_fit_is_no_record() -> None:
    latest = msgspec.structs.replace(record(1, version=5), settled=4)
    one = parcel(latest)
    one.fill([lack(latest, (1, 0, 1, 4))])
    (moved,) = one.moved

    assert after_move(record(1, version=3), moved) is None
    assert after_move(record(1, version=6), moved) is None
    assert after_move(record(1, incarnation=2, version=4), moved) is None
    assert after_move(msgspec.structs.replace(latest, version=4), moved) == latest


def test_of_nobody_there_is_nothing_to_tell() -> None:
    one = parcel()
    one.fill([(NodeId("nobody"), NOTHING, NOTHING)])

    assert not one
