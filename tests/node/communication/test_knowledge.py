import random

from hypothesis import given
from hypothesis import strategies as st

from node.communication.knowledge import Knowledge, bucket_of, same_nodes
from protocol.gossip import Stamp
from protocol.ids import NodeId
from protocol.limits import BUCKETS
from tests.node.communication.gossiping import member, node, record

NODES = st.integers(0, 20).map(node)
STAMPS = st.tuples(st.integers(1, 3), st.just(0), st.integers(0, 2), st.integers(0, 3))
SOME = st.dictionaries(NODES, STAMPS)


def knowing(stamps: dict[NodeId, Stamp]) -> Knowledge:
    knowledge = Knowledge()
    for one, stamp in stamps.items():
        knowledge.take(one, stamp)
    return knowledge


@given(SOME, SOME)
def test_hashes_are_equal_just_when_the_stamps_are(
    one: dict[NodeId, Stamp], other: dict[NodeId, Stamp]
) -> None:
    assert (knowing(one).hashes == knowing(other).hashes) == (one == other)
    assert knowing(one).hashes == knowing(dict(reversed(one.items()))).hashes


@given(SOME, SOME)
def test_the_upper_half_of_a_hash_leaves_versions_out(
    one: dict[NodeId, Stamp], other: dict[NodeId, Stamp]
) -> None:
    pairs = zip(knowing(one).hashes, knowing(other).hashes, strict=True)
    same = all(same_nodes(this, that) for this, that in pairs)

    assert same == (
        {key: stamp[:3] for key, stamp in one.items()}
        == {key: stamp[:3] for key, stamp in other.items()}
    )


@given(st.lists(st.tuples(NODES, st.none() | STAMPS)))
def test_what_was_taken_last_is_what_counts(steps: list[tuple[NodeId, Stamp | None]]) -> None:
    knowledge = Knowledge()
    for one, stamp in steps:
        knowledge.take(one, stamp)
    last = {one: stamp for one, stamp in dict(steps).items() if stamp is not None}

    assert knowledge.stamps == last
    assert knowledge.hashes == knowing(last).hashes
    for bucket in range(BUCKETS):
        assert list(knowledge.nodes(bucket)) == sorted(n for n in last if bucket_of(n) == bucket)


def test_a_hash_is_the_same_on_every_machine() -> None:
    knowledge = knowing({node(1): (1_700_000_000, 0, 1_700_000_001, 7)})

    assert bucket_of(node(1)) == 4
    assert knowledge.hashes[4] == 0x640609CEB3B17779


def test_it_says_whether_more_than_a_version_changed() -> None:
    knowledge = Knowledge()

    assert knowledge.take(node(1), (1, 0, 1, 1))
    assert not knowledge.take(node(1), (1, 0, 1, 2))
    assert not knowledge.take(node(1), (1, 0, 1, 2))
    assert knowledge.take(node(1), (1, 0, 2, 0))
    assert knowledge.take(node(1), (2, 0, 2, 0))
    assert knowledge.take(node(1), None)
    assert not knowledge.take(node(1), None)


def test_a_copy_goes_its_own_way() -> None:
    knowledge = Knowledge.of([member(1), member(2)], {node(1): record(1, version=3)})
    copy = knowledge.copy()

    copy.take(node(1), (1, 0, 1, 4))
    copy.take(node(3), (1, 0, 0, 0))

    assert knowledge.stamps == {node(1): (1, 0, 1, 3), node(2): (1, 0, 0, 0)}
    assert knowledge.hashes == knowing(knowledge.stamps).hashes != copy.hashes


def test_nodes_spread_over_all_buckets() -> None:
    counts = [0] * BUCKETS
    for number in random.Random(1).sample(range(1 << 60), 6400):
        counts[bucket_of(node(number))] += 1

    assert min(counts) > 60 and max(counts) < 150
