"""Keeps what this node holds in step with the list of weights: blocks are loaded, kept, or let go.

The list changes when a client puts or removes weights, and when a neighbour tells of it. What a new manifest names of
ours is here already if its put brought it; after a restart, or when the promise to the put lapsed before its manifest
came, it lies on disk and is loaded again. What is removed goes at once. What is replaced lingers for a moment, unless
its memory is needed: products under way end on the version with which they began. So does what a put brought when a
newer version was heard of before its own: it stood for a moment elsewhere.
"""

from typing import TypeVar

from compute.partition import Block, BlockGrid
from node.communication.desk import Desk, OnlyWork
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import Lease
from node.deployment.stores import stores_of
from node.effects import Effect, Work, note
from node.execution.fleet import Fleet
from node.execution.sketches import SketchCache
from node.work import Adopted, Discard, LoadBlock, Outcome
from protocol.digests import WeightsVersion
from protocol.errors import ErrorInfo, TaskError
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockIndex, Manifest, StoreBlock

Key = TypeVar("Key")

REPLACED_KEPT_S = 5.0
"""So long a replaced version can still be multiplied by; most products take less."""
REPLACED_MAX = 256
"""Replaced versions kept at once; for a further one the oldest goes early."""


class Upkeep(OnlyWork):
    """Told of manifests, of promises that lapsed and of what became of blocks on their way from disk."""

    def __init__(
        self,
        own: NodeId,
        desk: Desk,
        catalogue: Catalogue,
        holding: Holding,
        sketches: SketchCache,
        fleet: Fleet,
    ) -> None:
        self._own = own
        self._desk = desk
        self._catalogue = catalogue
        self._holding = holding
        self._sketches = sketches
        self._fleet = fleet
        self._loading: dict[int, StoreBlock] = {}
        self._discarding: set[int] = set()
        self._lingering: dict[WeightsVersion, float] = {}
        """Replaced versions, in the order in which they go, and when."""
        self._overtaken: dict[str, float] = {}
        """Puts whose version was replaced before it was told of here, in the order in which they go, and when."""

    @property
    def deadline(self) -> float | None:
        """When the next replaced or overtaken version goes."""
        soonest = (next(iter(one.values()), None) for one in (self._lingering, self._overtaken))
        return min((at for at in soonest if at is not None), default=None)

    @property
    def loading(self) -> int:
        """Blocks that are still on their way from disk."""
        return len(self._loading)

    def restore(self, manifests: list[Manifest], now: float) -> list[Effect]:
        """After a start: take up what the disk remembers."""
        self._catalogue.restore(manifests)
        return [e for manifest in self._catalogue.living() for e in self._load(manifest, now)]

    def act_on_news(self, now: float) -> list[Effect]:
        """The list has changed: see to what is new and let go what was deleted or replaced."""
        effects: list[Effect] = []
        news, self._catalogue.news = self._catalogue.news, []
        for before, manifest in news:
            # First, for what is new may need the memory of what it replaces.
            if before is not None and not before.head.deleted:
                effects += self._step_down(before, manifest, now)
            if not manifest.head.deleted:
                self._fleet.learnt(manifest.head.version, now)
                effects += self._take_up(manifest, now)
        for version in self._holding.ousted():
            effects += self._let_go(version)
        self._act_on_overtaken(now)
        return effects

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while (version := _due(self._lingering, now)) is not None:
            effects += self._let_go(version)
        while (put := _due(self._overtaken, now)) is not None:
            del self._overtaken[put]
            if (released := self._holding.release(put)) is not None:
                effects.append(self._discard(*released))
        return effects

    def lapsed(self, lease: Lease) -> list[Effect]:
        """Nothing more was heard of a put, so the ledger took its promise back."""
        released = self._holding.lapsed(lease)
        if released is None:
            return []
        return [note("put.lapsed", put=lease.owner), self._discard(*released)]

    # -- what becomes of it --------------------------------------------------------------------------

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        if job in self._discarding:
            self._discarding.remove(job)
            return []
        store = self._loading.pop(job)
        assert isinstance(outcome, Adopted)
        if self._holding.adopted(store, now, outcome.arrays):
            return []
        # The weights went while the block came.
        return [self._discard(store.version, (store.block,))]

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        if job in self._discarding:
            self._discarding.remove(job)
            return [note("blocks.not_discarded", reason=error.reason)]
        store = self._loading.pop(job)
        lost = note("block.lost", name=store.name, block=store.block, reason=error.reason)
        # Without one of its blocks this node is never ready for the weights: the others would only take room.
        return [lost, self._discard(store.version, self._holding.drop(store.version))]

    # -- within --------------------------------------------------------------------------------------

    def _take_up(self, manifest: Manifest, now: float) -> list[Effect]:
        ours = stores_of(manifest, self._own, "")
        version = manifest.head.version
        if all(self._holding.expects(version, block) for block in ours):
            return self._holding.publish(manifest)
        return self._load(manifest, now)

    def _load(self, manifest: Manifest, now: float) -> list[Effect]:
        try:
            stores = self._holding.expect(manifest, now)
        except TaskError as refused:
            return [note("weights.not_loaded", name=manifest.head.name, reason=str(refused))]
        grid = BlockGrid(manifest.head.rows, manifest.head.columns)
        contents = dict(zip(grid.blocks(), manifest.entries, strict=True))
        effects: list[Effect] = []
        for store in stores:
            job = self._desk.number(self)
            self._loading[job] = store
            effects.append(Work(job, LoadBlock(store, contents[Block(*store.block)].content)))
        return effects

    def _step_down(self, before: Manifest, manifest: Manifest, now: float) -> list[Effect]:
        """Another manifest has taken the place of this one."""
        if manifest.head.deleted:
            name = manifest.head.name
            former = [v for v, m in self._catalogue.former.items() if m.head.name == name]
            return [*self._drop(before), *(e for version in former for e in self._let_go(version))]
        version = before.head.version
        self._lingering[version] = now + REPLACED_KEPT_S
        self._holding.linger(version)
        effects = self._sketches.drop(version)
        if len(self._lingering) > REPLACED_MAX:
            effects += self._let_go(next(iter(self._lingering)))
        return effects

    def _act_on_overtaken(self, now: float) -> None:
        """Of two puts at once both may stand for a moment where they were asked for. Who was told of the newer one
        first never holds the other, and would keep its blocks until the promise lapses."""
        versions, self._catalogue.overtaken = self._catalogue.overtaken, []
        for version in versions:
            put = self._holding.brought(version)
            if put is not None:
                self._overtaken.setdefault(put, now + REPLACED_KEPT_S)

    def _let_go(self, version: WeightsVersion) -> list[Effect]:
        """Nobody shall count on this replaced version any more."""
        del self._lingering[version]
        return self._drop(self._catalogue.former.pop(version))

    def _drop(self, manifest: Manifest) -> list[Effect]:
        version = manifest.head.version
        kept = self._catalogue.contents() | self._holding.unpublished
        contents = tuple(
            content
            for entry in manifest.entries
            for content in (entry.content, entry.sketch)
            if content not in kept
        )
        discard = self._discard(version, self._holding.drop(version), contents)
        return [*self._sketches.drop(version), discard]

    def _discard(
        self,
        version: WeightsVersion,
        blocks: tuple[BlockIndex, ...],
        contents: tuple[ContentId, ...] = (),
    ) -> Work:
        job = self._desk.number(self)
        self._discarding.add(job)
        return Work(job, Discard(version, blocks, contents))


def _due(moments: dict[Key, float], now: float) -> Key | None:
    """The first of these, if its moment has come."""
    return next((key for key, at in list(moments.items())[:1] if at <= now), None)
