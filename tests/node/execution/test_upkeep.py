from node.deployment.ledger import MIB
from node.effects import Effect, Note, Work
from node.execution.sketches import SketchCache
from node.execution.upkeep import Upkeep
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

    def adopt(self, one: Manifest) -> list[Effect]:
        self.catalogue.adopt(one)
        return self.upkeep.act_on_news(0.0)


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


def test_content_that_other_weights_share_stays_on_disk() -> None:
    keeper = Keeper()
    keeper.adopt(manifest((B,)))
    keeper.adopt(manifest((B,), name="twin"))

    (discard,) = discards(keeper.adopt(TOMBSTONE))

    assert discard.contents == ()


def test_a_put_of_which_nothing_more_was_heard_is_let_go() -> None:
    keeper = Keeper()
    keeper.holding.reserve("put", MIB, 0.0)

    (lease,) = keeper.ledger.expire(100.0)
    assert keeper.upkeep.lapsed(lease) == []

    assert keeper.leased == 0
