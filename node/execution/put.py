"""One put in flight: weights on their way from a client into the mesh.

    place -> reserve at every holder -> relay block row by block row -> publish the manifest -> done

Nothing is published before every holder has hashed every block of its own, so a put that ends in an error leaves
the mesh as it was.
"""

from collections.abc import Callable
from typing import Protocol

import msgspec

from compute.partition import Block, BlockGrid
from node.communication.desk import Desk
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import LEASE_S, Lease, Purpose
from node.deployment.placement import Capacity, Placement, place
from node.deployment.units import units
from node.effects import Call, CancelCall, CancelWork, Done, Effect, Failed, Work, note
from node.execution.announce import Announcement, not_kept
from node.execution.room import Room
from node.work import Discard, Outcome, Relay, Relayed, Route
from protocol.client import PutRequest
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import ContentId, NodeId, TaskId
from protocol.messages import (
    BlockEntry,
    Manifest,
    ManifestHead,
    Release,
    Reserve,
    Response,
    StoreBlock,
)

RESERVE_S = 5.0
STRIP_BYTES = 1024 * 1024
"""Rows of the client's matrix that are in memory at once, outside of the blocks that stay here."""
SKETCHING_BYTES = 512 * 1024
"""For each block of a row on its way: its two probes and its two sketches."""
PLACINGS_MAX = 3
"""Digests may be stale: a holder that refuses says what it has, and the matrix is placed anew."""
ELSEWHERE = (ErrorCode.NO_ROOM, ErrorCode.DEADLINE, ErrorCode.UNAVAILABLE)
"""A peer that has less room than we thought, or does not answer: others may hold its part."""


class Surroundings(Protocol):
    """What a put may ask of its node."""

    own: NodeId
    desk: Desk
    room: Room
    holding: Holding
    catalogue: Catalogue

    def capacities(self, only: tuple[str, ...], avoid: tuple[str, ...]) -> list[Capacity]: ...

    def linked(self) -> list[NodeId]: ...


class Put:
    """Told what became of reservations, rows and announcements; `over` once the client has been answered."""

    def __init__(
        self,
        task: TaskId,
        request: PutRequest,
        shape: tuple[int, int],
        version: WeightsVersion,
        sketch_seed: int,
        around: Surroundings,
        now: float,
        finished: Callable[[bool], None],
    ) -> None:
        assert request.backend is not None and request.device is not None
        self.task = task
        self.over = False
        self._ends_at = now + request.deadline_s
        self._renew_at = now + LEASE_S / 3
        self.deadline: float | None = min(self._ends_at, self._renew_at)
        self._request = request
        self._around = around
        self._finished = finished
        self._version = version
        self._sketch_seed = sketch_seed
        self._grid = BlockGrid(*shape)
        self._units = units(self._grid, request.backend, request.device, request.seed)
        self._placement: Placement | None = None
        self._placings = 0
        self._free: dict[str, int] = {}
        self._asked: dict[int, NodeId] = {}
        self._need: dict[NodeId, int] = {}
        self._renewals: set[int] = set()
        self._reserved: list[NodeId] = []
        self._row = 0
        self._job = 0
        self._entries: dict[Block, tuple[ContentId, ContentId]] = {}
        self._announcement: Announcement | None = None
        self._stream: Lease | None = None
        """For the strips and sketches on their way through this node."""

    def start(self, now: float) -> list[Effect]:
        return self._guard(lambda: self._place(now), now)

    # -- place and reserve ---------------------------------------------------------------------------

    def _place(self, now: float) -> list[Effect]:
        self._placings += 1
        capacities = [
            Capacity(c.node, min(c.free_bytes, self._free.get(c.node, c.free_bytes)))
            for c in self._around.capacities(self._request.only, self._request.avoid)
        ]
        self._placement = place(self._units, capacities, self._request.replicas)
        return self._reserve(now)

    def _place_without(self, error: ErrorInfo, now: float) -> list[Effect]:
        """Place anew, with no more at a peer than it has told."""
        try:
            return self._place(now)
        except TaskError as refused:
            # A peer's silence says more than how much room there is without it.
            told = refused.info if error.code is ErrorCode.NO_ROOM else error
            return self._fail(TaskError.of(told), now)

    def _reserve(self, now: float) -> list[Effect]:
        assert self._placement is not None
        self._need = need = dict[NodeId, int]()
        costs = {unit.block: unit.resident_bytes for unit in self._units}
        for block, nodes in self._placement.holders.items():
            for node in nodes:
                need[NodeId(node)] = need.get(NodeId(node), 0) + costs[block]
        if (own := self._around.own) in need:
            self._around.holding.reserve(self.task, need[own], now)
            self._reserved.append(own)
        effects: list[Effect] = []
        for node in sorted(need.keys() - {own}):
            call = self._around.desk.number(self)
            self._asked[call] = node
            request = Reserve(put=self.task, nbytes=need[node])
            effects.append(Call(call, node, request, RESERVE_S, trace=self.task))
        return effects if self._asked else effects + self._ask_room(now)

    def _ask_room(self, now: float) -> list[Effect]:
        nbytes = 2 * STRIP_BYTES + self._grid.column_blocks * SKETCHING_BYTES

        def granted(lease: Lease, at: float) -> list[Effect]:
            self._stream = lease
            return self._guard(lambda: self._relay(at), at)

        return self._around.room.ask(self.task, Purpose.ACTIVATIONS, nbytes, now, granted)

    # -- relay ---------------------------------------------------------------------------------------

    def _relay(self, now: float) -> list[Effect]:
        if self._row == self._grid.row_blocks:
            return self._publish(now)
        start, stop = self._grid.row_span(self._row)
        routes = tuple(
            self._route(Block(self._row, column)) for column in range(self._grid.column_blocks)
        )
        self._job = self._around.desk.number(self)
        for route in routes:
            if route.here:
                self._around.holding.claim(route.store, now)
        work = Relay(
            self.task,
            self.task,
            self._row,
            stop - start,
            self._grid.columns,
            self._sketch_seed,
            routes,
            max(self._ends_at - now, 0.0),
        )
        return [Work(self._job, work)]

    def _route(self, block: Block) -> Route:
        assert self._placement is not None
        assert self._request.backend is not None and self._request.device is not None
        rows, columns = self._grid.shape(block)
        store = StoreBlock(
            put=self.task,
            name=self._request.name,
            version=self._version,
            block=(block.row, block.column),
            rows=rows,
            columns=columns,
            backend=self._request.backend,
            device=self._request.device,
            seed=self._request.seed,
        )
        nodes = [NodeId(node) for node in self._placement.holders[block]]
        peers = tuple(node for node in nodes if node != self._around.own)
        here = self._around.own in nodes
        return Route(store, self._grid.column_span(block.column)[0], peers, here)

    def _relayed(self, outcome: Relayed, now: float) -> list[Effect]:
        arrays = dict(outcome.arrays)
        for (row, column), content, sketch in outcome.entries:
            block = Block(row, column)
            self._entries[block] = (content, sketch)
            route = self._route(block)
            if route.here:
                self._around.holding.wrote(self.task, content, sketch)
                self._around.holding.adopted(route.store, now, arrays.get((row, column)))
        self._row += 1
        return self._relay(now)

    # -- publish -------------------------------------------------------------------------------------

    def _publish(self, now: float) -> list[Effect]:
        self._around.catalogue.admit(self._request.name, self._version)
        manifest = self._made()
        self._announcement = Announcement(
            manifest,
            self.task,
            self._around,
            lambda wrong, at: self._told(None if wrong is None else not_kept(manifest, wrong), at),
        )
        return self._announcement.start(now)

    def _made(self) -> Manifest:
        assert self._placement is not None
        assert self._request.backend is not None and self._request.device is not None
        holders = sorted({node for nodes in self._placement.holders.values() for node in nodes})
        head = ManifestHead(
            name=self._request.name,
            version=self._version,
            rows=self._grid.rows,
            columns=self._grid.columns,
            backend=self._request.backend,
            device=self._request.device,
            seed=self._request.seed,
            sketch_seed=self._sketch_seed,
            replicas=self._request.replicas,
            holders=tuple(NodeId(node) for node in holders),
            blocks=self._grid.count,
        )
        entries = tuple(
            BlockEntry(
                *self._entries[block],
                tuple(holders.index(node) for node in self._placement.holders[block]),
            )
            for block in self._grid.blocks()
        )
        return Manifest(head, entries)

    def _told(self, wrong: TaskError | None, now: float) -> list[Effect]:
        if wrong is not None:
            return [*self._end(now, ok=False), self._failed(wrong)]
        return [*self._end(now, ok=True), Done(self.task)]

    # -- what happens --------------------------------------------------------------------------------

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        if call in self._renewals:
            self._renewals.remove(call)
            return []
        del self._asked[call]
        self._reserved.append(peer)
        return [] if self._asked else self._guard(lambda: self._ask_room(now), now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        if call in self._renewals:
            # What matters is whether its blocks arrive, and the relay will tell.
            self._renewals.remove(call)
            return [note("put.not_renewed", task=self.task, reason=error.reason)]
        peer = self._asked.pop(call)
        if error.code is not ErrorCode.NO_ROOM:
            # It may have promised before it fell silent, and must hear that nothing comes.
            self._reserved.append(peer)
        if error.code in ELSEWHERE and self._placings < PLACINGS_MAX:
            self._free[peer] = error.free or 0
            return [*self._let_go(), *self._place_without(error, now)]
        return self._fail(TaskError.of(error), now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        assert isinstance(outcome, Relayed)
        return self._guard(lambda: self._relayed(outcome, now), now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._fail(TaskError.of(error), now)

    def tick(self, now: float) -> list[Effect]:
        if self.over:
            return []
        if now >= self._ends_at:
            reason = f"the put took longer than its {self._request.deadline_s:g} s"
            return self._fail(TaskError(ErrorCode.DEADLINE, reason), now)
        effects: list[Effect] = []
        if now >= self._renew_at:
            effects = self._renew(now)
            self._renew_at = now + LEASE_S / 3
        self.deadline = min(self._ends_at, self._renew_at)
        return effects

    def _renew(self, now: float) -> list[Effect]:
        """A slow client may need longer than a promise lasts before a holder's first block comes."""
        self._around.holding.renew(self.task, now)
        effects: list[Effect] = []
        for node in self._reserved:
            if node != self._around.own:
                call = self._around.desk.number(self)
                self._renewals.add(call)
                request = Reserve(put=self.task, nbytes=self._need[node])
                effects.append(Call(call, node, request, RESERVE_S, trace=self.task))
        return effects

    def cancel(self, reason: str, now: float) -> list[Effect]:
        return self._fail(TaskError(ErrorCode.CANCELLED, reason), now)

    # -- ends ----------------------------------------------------------------------------------------

    def _guard(self, step: Callable[[], list[Effect]], now: float) -> list[Effect]:
        try:
            return step()
        except TaskError as error:
            return self._fail(error, now)

    def _fail(self, error: TaskError, now: float) -> list[Effect]:
        if self.over:
            return []
        if self._announcement is not None:
            # The manifest stands, and only this node's disk is worth waiting for.
            self.deadline = None
            return self._announcement.hurry(now)
        effects: list[Effect] = []
        if self._job:
            self._around.desk.forget(self._job)
            effects.append(CancelWork(self._job))
        effects += self._let_go()
        return [*effects, *self._end(now, ok=False), self._failed(error)]

    def _failed(self, error: TaskError) -> Failed:
        return Failed(self.task, msgspec.structs.replace(error.info, trace=self.task))

    def _let_go(self) -> list[Effect]:
        """Give back what was promised; a holder that does not hear of it lets the promise lapse."""
        effects: list[Effect] = []
        for call in (*self._asked, *self._renewals):
            self._around.desk.forget(call)
            effects.append(CancelCall(call))
        self._renewals.clear()
        for node in sorted({*self._reserved, *self._asked.values()}):
            if node == self._around.own:
                effects += self._let_go_here()
                continue
            number = self._unawaited()
            effects.append(Call(number, node, Release(put=self.task), RESERVE_S, trace=self.task))
        self._asked.clear()
        self._reserved.clear()
        return effects

    def _let_go_here(self) -> list[Effect]:
        if self._around.holding.release(self.task) is None:
            return []
        assert self._placement is not None
        # All that were to come here: the row under way may have left some of which nobody has told us.
        blocks = tuple((b.row, b.column) for b in self._placement.of(self._around.own))
        return [Work(self._unawaited(), Discard(self._version, blocks, contents=()))]

    def _unawaited(self) -> int:
        """A number for what is ordered on the way out: nobody waits to hear what becomes of it."""
        number = self._around.desk.number(self)
        self._around.desk.forget(number)
        return number

    def _end(self, now: float, *, ok: bool) -> list[Effect]:
        self.over = True
        self.deadline = None
        self._finished(ok)
        self._around.room.withdraw(self.task)
        for call in self._renewals:
            self._around.desk.forget(call)
        lease, self._stream = self._stream, None
        return [] if lease is None else self._around.room.give_back(lease, now)
