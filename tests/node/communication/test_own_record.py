import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.communication.own_record import (
    EXACT_NODES_MAX,
    FREE_BYTES_MIN,
    MOVED_BYTES,
    MOVES_BYTES_S,
    OwnRecord,
)
from protocol.digests import LoadDigest, MemoryDigest, NodeRecord, WeightsVersion
from tests.node.communication.gossiping import record

MIB = 1 << 20


def faring(queue_s: float = 1.0, free: int = 800 * MIB, pressure: float = 0.6) -> NodeRecord:
    load = LoadDigest(queue_s, 3, 1e9, free)
    return msgspec.structs.replace(
        record(1), load=load, memory=MemoryDigest(1 << 30, free, 1, 1, 1, pressure)
    )


def told(latest: NodeRecord) -> OwnRecord:
    """A node that has told this, long ago."""
    own = OwnRecord(record(1), interval_s=0.5)
    own.describe(latest, nodes=2, now=-1e6)
    assert own.publish(-1e6)
    return own


@pytest.mark.parametrize(
    ("latest", "worth_telling"),
    [
        (faring(queue_s=1.12), False),
        (faring(queue_s=1.125), True),
        (faring(queue_s=0.875), True),
        (faring(free=701 * MIB), False),
        (faring(free=700 * MIB), True),
        (faring(pressure=0.74), False),
        (faring(pressure=0.75), True),
        (faring(pressure=0.5), False),
        (faring(pressure=0.49), True),
    ],
)
def test_a_load_is_told_when_it_moved_by_an_eighth_or_crossed_a_band(
    latest: NodeRecord, worth_telling: bool
) -> None:
    own = told(faring())

    own.describe(latest, nodes=1000, now=0.0)

    assert own.due == (0.5 if worth_telling else None)


def test_in_a_small_mesh_free_memory_is_told_by_the_mebibyte() -> None:
    for nodes, due in ((EXACT_NODES_MAX, 0.5), (EXACT_NODES_MAX + 1, None)):
        own = told(faring())

        own.describe(faring(free=799 * MIB), nodes=nodes, now=0.0)

        assert own.due == due


def test_small_steps_add_up_from_what_was_told_last() -> None:
    own = told(faring(queue_s=1.0))

    own.describe(faring(queue_s=1.1), nodes=2, now=0.0)
    assert own.due is None
    own.describe(faring(queue_s=1.2), nodes=2, now=1.0)
    assert own.due == 1.5


def test_next_to_nothing_is_nothing_even_when_it_doubles() -> None:
    own = told(faring(queue_s=0.0, free=0))

    own.describe(faring(queue_s=0.04, free=FREE_BYTES_MIN - 1), nodes=2, now=0.0)

    assert own.due is None


def test_what_moved_back_before_it_was_told_is_not_told() -> None:
    own = told(faring())
    own.describe(faring(queue_s=9.0), nodes=2, now=0.0)
    own.describe(faring(), nodes=2, now=0.1)

    assert not own.publish(0.5)
    assert own.due is None and own.told.version == 1


def test_the_larger_the_mesh_the_more_rarely_is_a_load_told() -> None:
    own = told(faring())
    own.describe(faring(queue_s=9.0), nodes=1000, now=0.0)
    assert own.publish(0.5)

    own.describe(faring(queue_s=1.0), nodes=1000, now=0.6)

    assert own.due == pytest.approx(0.5 + 1000 * MOVED_BYTES / MOVES_BYTES_S)


def test_what_a_node_is_it_tells_at_once_in_any_mesh() -> None:
    own = told(faring())
    own.describe(faring(queue_s=9.0), nodes=1000, now=0.0)
    assert own.publish(0.5)

    ready = (WeightsVersion(1, 0, "w"),)
    own.describe(msgspec.structs.replace(own.latest, ready=ready), nodes=1000, now=0.6)

    assert own.due == pytest.approx(1.1)


def test_a_version_says_since_when_nothing_but_the_load_has_changed() -> None:
    own = told(faring())
    own.describe(msgspec.structs.replace(own.latest, labels=("gpu",)), nodes=2, now=0.0)
    assert own.publish(0.5)
    own.describe(msgspec.structs.replace(own.latest, load=LoadDigest(9.0)), nodes=2, now=1.0)
    assert own.publish(1.5)

    assert (own.told.version, own.told.settled) == (3, 2)


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.sampled_from(["", "gpu"]), st.booleans())))
def test_a_version_never_stands_for_two_things(steps: list[tuple[float, str, bool]]) -> None:
    own = OwnRecord(record(1), interval_s=0.5)
    seen = {own.told.version: own.told}
    for number, (queue_s, label, publish) in enumerate(steps):
        latest = msgspec.structs.replace(faring(queue_s=queue_s), labels=(label,))
        own.describe(latest, nodes=2, now=float(number))
        if publish:
            own.publish(float(number))
        assert seen.setdefault(own.told.version, own.told) == own.told
        assert own.told.settled <= own.told.version == own.latest.version
