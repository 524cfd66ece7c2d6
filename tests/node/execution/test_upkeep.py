import msgspec

from node.deployment.catalogue import parts
from node.deployment.ledger import MIB
from node.deployment.stores import stores_of
from node.effects import Effect, Note, Work
from node.execution.sketches import SketchCache
from node.execution.upkeep import REPLACED_KEPT_S, REPLACED_MAX, Upkeep
from node.work import Adopted, Discard, LoadBlock
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId
from protocol.messages import Manifest, ManifestHead
from tests.node.execution.small_fleet import VERSION, A, B, SmallFleet, manifest

GONE = ErrorInfo(code=ErrorCode.NOT_FOUND, reason="not on this disk")
DONE = Adopted(ContentId("c"))
TOMBSTONE = Manifest(ManifestHead(name="w", version=WeightsVersion(2, 0, B), deleted=True))


class Keeper(SmallFleet):
    """Node a with its upkeep; `works` are the orders that have not been carried out."""

    def __init__(self) -> None:
        super().__init__()
        sketches = SketchCache(A, self.ledger, self.desk, lambda node: True)
        self.upkeep = Upkeep(A, self.desk, self.catalogue, self.holding, sketches, self.fleet)

    @property
    def leased(self) -> int:
        return self.ledger.accounted_bytes - self.ledger.overhead_bytes

    def adopt(self, one: Manifest, now: float = 0.0) -> list[Effect]:
        self.catalogue.adopt(one)
        return self.upkeep.act_on_news(now)


def loads(effects: list[Effect]) -> list[int]:
    return [e.job for e in effects if isinstance(e, Work) and isinstance(e.what, LoadBlock)]


def discards(effects: list[Effect]) -> list[Discard]:
    return [e.what for e in effects if isinstance(e, Work) and isinstance(e.what, Discard)]


def events(effects: list[Effect]) -> list[str]:
    return [effect.event for effect in effects if isinstance(effect, Note)]


def test_after_a_start_our_blocks_are_loaded_and_the_others_are_left_alone() -> None:
    keeper = Keeper()

    jobs = loads(keeper.upkeep.restore([manifest((A,), (B,), (A, B))], 0.0))

    assert len(jobs) == keeper.upkeep.loading == 2
    assert keeper.leased == 2 * 4 * 1024 * 8
    for job in jobs:
        assert keeper.upkeep.job_done(job, DONE, 1.0) == []
    assert keeper.upkeep.loading == 0
    assert keeper.holding.ready == (VERSION,)


def test_weights_that_no_longer_fit_are_told_of_and_not_loaded() -> None:
    keeper = Keeper()
    keeper.holding.reserve("other", keeper.ledger.digest().free, 0.0)

    effects = keeper.upkeep.restore([manifest((A,))], 0.0)

    assert events(effects) == ["weights.not_loaded"] and keeper.upkeep.loading == 0


def test_what_a_put_brought_is_not_loaded_again() -> None:
    keeper = Keeper()
    keeper.hold(manifest((A,)))

    effects = keeper.adopt(manifest((A,)))

    assert loads(effects) == [] and events(effects) == ["weights.held"]


def test_a_block_that_comes_after_its_weights_were_removed_is_let_go() -> None:
    keeper = Keeper()
    (job,) = loads(keeper.upkeep.restore([manifest((A,))], 0.0))

    keeper.adopt(TOMBSTONE)
    (late,) = discards(keeper.upkeep.job_done(job, DONE, 1.0))

    assert late == Discard(VERSION, ((0, 0),), contents=())
    assert keeper.leased == 0


def test_without_one_of_its_blocks_a_node_gives_up_the_others() -> None:
    keeper = Keeper()
    first, second, third = loads(keeper.upkeep.restore([manifest((A,), (A,), (A,))], 0.0))

    keeper.upkeep.job_done(first, DONE, 1.0)
    effects = keeper.upkeep.job_failed(second, GONE, 1.0)
    late = keeper.upkeep.job_done(third, DONE, 1.0)

    assert events(effects) == ["block.lost"]
    assert discards(effects) == [Discard(VERSION, ((0, 0),), contents=())]
    assert discards(late) == [Discard(VERSION, ((2, 0),), contents=())]
    assert keeper.leased == 0 and keeper.holding.ready == ()


def test_removed_weights_leave_memory_and_disk() -> None:
    keeper = Keeper()
    keeper.hold(manifest((A,), (B,)))
    keeper.adopt(manifest((A,), (B,)))

    (discard,) = discards(keeper.adopt(TOMBSTONE))

    assert discard.blocks == ((0, 0),) and set(discard.contents) == {"c", "s"}
    assert keeper.leased == 0


# -- what is replaced --------------------------------------------------------------------------------


def at_version(one: Manifest, wall_ms: int) -> Manifest:
    head = msgspec.structs.replace(one.head, version=WeightsVersion(wall_ms, 0, A))
    return Manifest(head, one.entries)


def replaced(keeper: Keeper) -> Manifest:
    """Weights that lie here, replaced at 10 s by others that lie elsewhere."""
    old = manifest((A,), (A,))
    keeper.hold(old)
    keeper.adopt(old)
    assert keeper.adopt(at_version(manifest((B,)), 5), 10.0) == []
    return old


def test_replaced_weights_stay_for_a_moment_and_leave_memory() -> None:
    keeper = Keeper()
    old = replaced(keeper)

    assert keeper.catalogue.at("w", VERSION) == old and keeper.holding.ready == (VERSION,)
    assert keeper.upkeep.deadline == 10.0 + REPLACED_KEPT_S
    assert keeper.upkeep.tick(9.9 + REPLACED_KEPT_S) == []
    (discard,) = discards(keeper.upkeep.tick(10.0 + REPLACED_KEPT_S))

    # What the new version names, too, stays on disk.
    assert discard == Discard(VERSION, ((0, 0), (1, 0)), contents=())
    assert keeper.leased == 0 and keeper.upkeep.deadline is None
    assert keeper.catalogue.at("w", VERSION) is None


def test_a_reservation_that_needs_the_memory_of_replaced_weights_lets_them_go_at_once() -> None:
    keeper = Keeper()
    replaced(keeper)

    keeper.holding.reserve("put", keeper.ledger.digest().free, 11.0)
    (discard,) = discards(keeper.upkeep.act_on_news(11.0))

    assert discard.blocks == ((0, 0), (1, 0))
    assert keeper.catalogue.former == {} and keeper.upkeep.deadline is None
    assert keeper.upkeep.tick(100.0) == []


def test_new_weights_that_are_loaded_from_disk_take_the_memory_of_what_they_replace() -> None:
    keeper = Keeper()
    old = manifest((A,))
    keeper.hold(old)
    keeper.adopt(old)
    keeper.holding.reserve("put", keeper.ledger.digest().free, 0.0)

    effects = keeper.adopt(at_version(old, 5), 10.0)

    assert len(loads(effects)) == 1
    assert [discard.version for discard in discards(effects)] == [VERSION]


def test_weights_replaced_one_after_another_go_one_after_another() -> None:
    keeper = Keeper()
    for at in (1, 2, 3):
        keeper.hold(at_version(manifest((A,)), at))
        keeper.adopt(at_version(manifest((A,)), at), float(at))

    gone = [
        [discard.version.wall_ms for discard in discards(keeper.upkeep.tick(at + REPLACED_KEPT_S))]
        for at in (1.0, 2.0, 3.0, 4.0)
    ]

    assert gone == [[], [1], [2], []]
    assert keeper.holding.ready == (WeightsVersion(3, 0, A),)


def test_of_too_many_replaced_weights_the_oldest_go_early() -> None:
    keeper = Keeper()
    for at in range(1, REPLACED_MAX + 2):
        assert discards(keeper.adopt(at_version(manifest((B,)), at))) == []

    (discard,) = discards(keeper.adopt(at_version(manifest((B,)), REPLACED_MAX + 2)))

    assert discard.version == WeightsVersion(1, 0, A)
    assert len(keeper.catalogue.former) == REPLACED_MAX


def test_weights_that_are_removed_take_what_they_replaced_with_them() -> None:
    keeper = Keeper()
    replaced(keeper)
    keeper.adopt(manifest((B,), name="other"))

    gone = discards(keeper.adopt(at_version(TOMBSTONE, 9), 11.0))

    assert [discard.version.wall_ms for discard in gone] == [5, 1]
    assert keeper.leased == 0 and keeper.upkeep.deadline is None


def test_content_that_other_weights_share_stays_on_disk() -> None:
    keeper = Keeper()
    keeper.adopt(manifest((B,)))
    keeper.adopt(manifest((B,), name="twin"))

    (discard,) = discards(keeper.adopt(TOMBSTONE))

    assert discard.contents == ()


def test_what_a_put_brought_goes_soon_when_a_newer_version_was_heard_of_first() -> None:
    keeper = Keeper()
    late = manifest((A,), (A,))
    keeper.holding.reserve("put", MIB, 0.0)
    for store in stores_of(late, A, "put").values():
        keeper.holding.claim(store, 0.0)
        keeper.holding.adopted(store, 0.0)
    keeper.adopt(at_version(manifest((B,)), 5))

    for part in parts(late):
        assert keeper.catalogue.take_part(part) == []
    assert keeper.upkeep.act_on_news(10.0) == []
    for part in parts(late):
        assert keeper.catalogue.take_part(part) == []
    assert keeper.upkeep.act_on_news(12.0) == []

    # Where it was asked for it stood for a moment, so products may be under way.
    assert keeper.upkeep.deadline == 10.0 + REPLACED_KEPT_S
    assert keeper.upkeep.tick(9.9 + REPLACED_KEPT_S) == []
    (discard,) = discards(keeper.upkeep.tick(10.0 + REPLACED_KEPT_S))
    assert discard.version == VERSION and discard.blocks == ((0, 0), (1, 0))
    assert keeper.leased == 0 and keeper.upkeep.deadline is None


def test_weights_that_were_replaced_here_go_no_later_when_they_are_told_of_again() -> None:
    keeper = Keeper()
    old = replaced(keeper)

    for part in parts(old):
        keeper.catalogue.take_part(part)
    assert keeper.upkeep.act_on_news(12.0) == []

    assert len(discards(keeper.upkeep.tick(10.0 + REPLACED_KEPT_S))) == 1
    assert keeper.upkeep.deadline is None


def test_a_put_of_which_nothing_more_was_heard_is_let_go() -> None:
    keeper = Keeper()
    keeper.holding.reserve("put", MIB, 0.0)

    (lease,) = keeper.ledger.expire(100.0)
    assert keeper.upkeep.lapsed(lease) == []

    assert keeper.leased == 0
