import pytest

from node.deployment.holding import Holding
from node.deployment.ledger import LEASE_S, MIB, Ledger, NoRoom, Purpose
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, TaskError
from protocol.ids import ContentId, NodeId
from protocol.limits import HELD_MAX
from protocol.messages import BlockEntry, Manifest, ManifestHead, StoreBlock

OWN = NodeId("a" * 64)
VERSION = WeightsVersion(1, 0, "writer")
BLOCK_BYTES = 4 * 8 * 8


def world() -> tuple[Holding, Ledger]:
    ledger = Ledger(100 * MIB)
    return Holding(OWN, ledger), ledger


def store(column: int = 0, put: str = "put", version: WeightsVersion = VERSION) -> StoreBlock:
    return StoreBlock(
        put=put,
        name="w",
        version=version,
        block=(0, column),
        rows=8,
        columns=8,
        backend="digital",
        device="",
        seed=0,
    )


def manifest(version: WeightsVersion = VERSION) -> Manifest:
    """One block of 8 x 8, held here."""
    head = ManifestHead(
        name="w", version=version, rows=8, columns=8, backend="digital", holders=(OWN,), blocks=1
    )
    return Manifest(head, (BlockEntry(ContentId("c" * 64), ContentId("d" * 64), (0,)),))


def promised(ledger: Ledger) -> int:
    return ledger.accounted_bytes - ledger.overhead_bytes


def test_blocks_take_their_part_of_a_promise_and_no_more() -> None:
    holding, _ = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)

    with pytest.raises(TaskError, match="put again") as refused:
        holding.claim(store(1), 0.0)

    assert refused.value.code is ErrorCode.NO_ROOM
    assert (refused.value.info.need, refused.value.info.free) == (BLOCK_BYTES, 0)


def test_asking_again_for_as_much_renews_the_promise_with_all_that_came_of_it() -> None:
    holding, ledger = world()
    holding.reserve("put", 2 * BLOCK_BYTES, 0.0)
    lease = holding.claim(store(0), 0.0)
    holding.adopted(store(0), 0.0)

    holding.reserve("put", 2 * BLOCK_BYTES, 20.0)

    assert ledger.deadline == 20.0 + LEASE_S
    assert holding.stands("put", lease)
    assert holding.has(VERSION, ((0, 0),))
    assert promised(ledger) == 2 * BLOCK_BYTES


def test_a_promise_is_replaced_until_a_block_has_come_for_it() -> None:
    holding, ledger = world()
    holding.reserve("put", 2 * BLOCK_BYTES, 0.0)
    holding.reserve("put", BLOCK_BYTES, 0.0)
    assert promised(ledger) == BLOCK_BYTES
    holding.claim(store(0), 0.0)

    with pytest.raises(TaskError, match="release it before") as refused:
        holding.reserve("put", 3 * BLOCK_BYTES, 0.0)

    assert refused.value.code is ErrorCode.CONFLICT
    assert promised(ledger) == BLOCK_BYTES


def test_what_does_not_fit_is_not_promised() -> None:
    holding, ledger = world()

    with pytest.raises(NoRoom):
        holding.reserve("put", 100 * MIB, 0.0)

    assert promised(ledger) == 0
    assert not holding.renew("put", 0.0)


def test_what_the_disk_does_not_take_is_not_promised() -> None:
    holding, ledger = world()
    holding.disk_free_bytes = 2 * BLOCK_BYTES
    holding.reserve("put", BLOCK_BYTES, 0.0)

    assert holding.room_bytes == BLOCK_BYTES
    with pytest.raises(TaskError, match="raise it") as refused:
        holding.reserve("large", 3 * BLOCK_BYTES, 0.0)

    assert refused.value.code is ErrorCode.NO_ROOM
    assert (refused.value.info.need, refused.value.info.free) == (3 * BLOCK_BYTES, 2 * BLOCK_BYTES)
    assert promised(ledger) == BLOCK_BYTES


def test_blocks_of_more_weights_than_a_record_can_tell_are_refused() -> None:
    holding, ledger = world()
    for number in range(HELD_MAX):
        holding.reserve(f"put {number}", 1, 0.0)

    with pytest.raises(TaskError, match="remove some"):
        holding.reserve("one more", 1, 0.0)
    with pytest.raises(TaskError, match="remove some"):
        holding.expect(manifest(), 0.0)

    assert promised(ledger) == HELD_MAX
    holding.release("put 0")
    holding.reserve("one more", 1, 0.0)


def test_a_block_that_did_not_come_may_be_sent_again() -> None:
    holding, _ = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    lease = holding.claim(store(0), 0.0)

    with pytest.raises(TaskError, match="here already, or on its way"):
        holding.claim(store(0), 0.0)
    holding.unclaim(store(0), lease)

    assert holding.claim(store(0), 0.0) == lease


def test_a_put_brings_one_version_and_a_version_comes_by_one_put() -> None:
    holding, _ = world()
    other = WeightsVersion(2, 0, "writer")
    holding.reserve("put", 4 * BLOCK_BYTES, 0.0)
    holding.reserve("another", 4 * BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)

    with pytest.raises(TaskError, match="one put brings one version"):
        holding.claim(store(1, version=other), 0.0)
    with pytest.raises(TaskError, match="a version comes by one put"):
        holding.claim(store(1, put="another"), 0.0)


def test_a_put_whose_coordinator_has_died_lapses_though_all_its_blocks_have_come() -> None:
    holding, ledger = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)
    assert holding.adopted(store(0), 1.0)

    (lease,) = ledger.expire(LEASE_S)

    assert holding.lapsed(lease) == (VERSION, ((0, 0),))
    assert not holding.has(VERSION, ((0, 0),))
    assert promised(ledger) == 0


def test_what_its_manifest_names_stays_until_it_is_dropped() -> None:
    holding, ledger = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)
    holding.adopted(store(0), 0.0)
    before = holding.changes
    holding.publish(manifest())

    assert list(holding.ready) == [VERSION]
    assert holding.changes > before
    assert ledger.expire(1000.0) == []
    assert ledger.digest().pinned == BLOCK_BYTES
    assert holding.release("put") is None
    assert holding.drop(VERSION) == ((0, 0),)
    assert list(holding.ready) == []
    assert promised(ledger) == 0


def test_a_released_put_gives_back_its_blocks_and_its_memory() -> None:
    holding, ledger = world()
    holding.reserve("put", 2 * BLOCK_BYTES, 0.0)
    lease = holding.claim(store(0), 0.0)
    holding.adopted(store(0), 0.0)

    assert holding.release("put") == (VERSION, ((0, 0),))
    assert holding.release("put") is None
    assert not holding.stands("put", lease)
    assert promised(ledger) == 0


def test_a_block_that_is_programmed_after_its_put_was_released_is_not_kept() -> None:
    holding, _ = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)
    holding.release("put")

    assert not holding.adopted(store(0), 0.0)
    assert not holding.has(VERSION, ((0, 0),))
    assert not holding.expects(VERSION, (0, 0))


def test_content_of_a_put_is_unpublished_until_its_manifest_has_come() -> None:
    holding, _ = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)
    holding.wrote("put", ContentId("c" * 64), ContentId("d" * 64))
    assert holding.unpublished == {"c" * 64, "d" * 64}
    holding.adopted(store(0), 0.0)
    holding.publish(manifest())

    assert holding.unpublished == set()


def test_after_a_restart_the_blocks_of_a_manifest_are_reserved_and_stay() -> None:
    holding, ledger = world()

    (expected,) = holding.expect(manifest(), 0.0)
    assert list(holding.ready) == []
    before = holding.changes
    assert holding.adopted(expected, 1.0)

    assert list(holding.ready) == [VERSION]
    assert holding.changes > before
    assert ledger.expire(1000.0) == []
    assert (
        ledger.free_for(Purpose.WEIGHTS)
        == Ledger(100 * MIB).free_for(Purpose.WEIGHTS) - BLOCK_BYTES
    )


def test_a_promise_that_cannot_grow_stays_as_it_is() -> None:
    holding, ledger = world()
    free = ledger.free_for(Purpose.WEIGHTS)
    holding.reserve("put", BLOCK_BYTES, 0.0)

    with pytest.raises(NoRoom) as refused:
        holding.reserve("put", free + 1, 0.0)

    assert refused.value.info.free == free
    assert promised(ledger) == BLOCK_BYTES
    holding.reserve("put", free, 0.0)
    assert promised(ledger) == free


def test_a_put_that_has_lost_blocks_here_is_not_taken_up_again() -> None:
    holding, ledger = world()
    holding.reserve("put", 2 * BLOCK_BYTES, 0.0)
    holding.claim(store(0), 0.0)
    holding.adopted(store(0), 0.0)
    (lease,) = ledger.expire(LEASE_S)
    holding.lapsed(lease)

    with pytest.raises(TaskError, match="put again") as refused:
        holding.reserve("put", 2 * BLOCK_BYTES, LEASE_S)

    assert refused.value.code is ErrorCode.CONFLICT
    assert promised(ledger) == 0


def test_a_put_of_which_nothing_has_come_may_be_placed_anew() -> None:
    holding, ledger = world()
    holding.reserve("put", BLOCK_BYTES, 0.0)
    assert holding.release("put") is None

    holding.reserve("put", 2 * BLOCK_BYTES, 0.0)

    assert promised(ledger) == 2 * BLOCK_BYTES


def test_a_put_may_have_any_name() -> None:
    holding, ledger = world()
    holding.reserve("", BLOCK_BYTES, 0.0)
    holding.publish(manifest())

    assert holding.drop(VERSION) == ()
    assert promised(ledger) == BLOCK_BYTES


# -- weights that were replaced ----------------------------------------------------------------------


def hold(holding: Holding, *puts: int) -> None:
    """These versions, each of one block, as after a put."""
    for at in puts:
        one = store(put=f"put {at}", version=version(at))
        holding.reserve(one.put, BLOCK_BYTES, 0.0)
        holding.claim(one, 0.0)
        holding.adopted(one, 0.0)
        holding.publish(manifest(version(at)))


def version(at: int) -> WeightsVersion:
    return WeightsVersion(at, 0, "writer")


def test_what_lingers_is_served_and_its_memory_counts_as_free() -> None:
    holding, ledger = world()
    free = ledger.digest().free
    hold(holding, 1)
    changes = holding.changes

    holding.linger(version(1))

    assert holding.has(version(1), ((0, 0),)) and holding.ready == (version(1),)
    assert ledger.digest().free == free and promised(ledger) == BLOCK_BYTES
    assert holding.changes > changes and holding.ousted() == []
    assert holding.drop(version(1)) == ((0, 0),)
    assert promised(ledger) == 0


def test_who_needs_the_memory_of_what_lingers_has_it_at_once() -> None:
    holding, ledger = world()
    hold(holding, 1, 2)
    holding.linger(version(1))

    holding.reserve("large", ledger.digest().free, 0.0)

    assert holding.ousted() == [version(1)]
    assert holding.drop(version(1)) == ((0, 0),)
    assert holding.ousted() == [] and holding.ready == (version(2),)
    assert ledger.digest().free == 0


def test_what_was_dropped_since_it_was_ousted_is_not_told_of_again() -> None:
    holding, ledger = world()
    hold(holding, 1)
    holding.linger(version(1))
    holding.reserve("large", ledger.digest().free, 0.0)

    assert holding.drop(version(1)) == ((0, 0),)

    assert holding.ousted() == []


def test_nothing_lingers_of_weights_that_are_not_held_here() -> None:
    holding, _ = world()

    holding.linger(version(1))

    assert holding.changes == 0 and holding.ousted() == []


def test_what_lingers_gives_its_place_to_further_weights() -> None:
    holding, _ = world()
    hold(holding, *range(1, HELD_MAX + 1))
    with pytest.raises(TaskError, match="remove some"):
        holding.reserve("put", BLOCK_BYTES, 0.0)

    holding.linger(version(7))
    holding.reserve("put", BLOCK_BYTES, 0.0)

    assert holding.ousted() == [version(7)]
    holding.drop(version(7))
    with pytest.raises(TaskError, match="remove some"):
        holding.reserve("another", BLOCK_BYTES, 0.0)
