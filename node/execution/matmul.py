"""One product in flight: Y = X W, or Y = X W^T, panel by panel of X's rows.

    sketches -> panel: memory -> rows -> norm estimate -> shards -> sum and check -> rows out -> next panel

For each panel the blocks are dealt to their holders by estimated completion time. A holder that fails is replaced
by the other holders of its blocks; a sum that fails its check is done once more digitally. Every task ends: with
an answer and its certificate, or with an error that says why.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec

from compute.partition import Block, BlockGrid
from compute.verify import FAILURE_PROBABILITY, absolute_shares
from node.communication.desk import Desk
from node.communication.scoring import (
    Candidate,
    Cost,
    HedgeBudget,
    choose_holders,
    completion_s,
    hedge_after_s,
    shard_cost,
)
from node.deployment.ledger import Lease, Purpose
from node.effects import (
    Allocate,
    BufferRef,
    Call,
    CancelCall,
    CancelWork,
    Combine,
    Combined,
    Done,
    Effect,
    Failed,
    Free,
    GiveRows,
    Outcome,
    PackColumns,
    Part,
    Project,
    Projected,
    RowsTaken,
    RunShard,
    ShardDone,
    TakeRows,
    Work,
    note,
)
from node.execution.room import Room
from node.execution.shards import VALUE_BYTES, Layout, Sides, lay_out
from node.execution.sketches import SketchCache, Sums
from node.memory.short_term import ShardFailed, ShardServed, ShortTerm
from protocol.client import CertificateView, MatmulRequest
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, TaskId, short
from protocol.messages import Manifest, Multiplied, Multiply, Response

PANEL_BYTES = 6 * 1024 * 1024
"""What one panel takes at its coordinator: half of the least activation reserve, so that any two nodes can serve
each other."""
PROBE_BYTES = 16 * 8
"""Of one row of X against the sketch, float64."""
RETRY_S = 0.05
"""Pause before a second try for which there was no memory."""
ESTIMATE_MARGIN = 0.9
"""The norm is estimated from 16 probes; the shares are cut from a little less than the estimate."""


class Surroundings(Protocol):
    """What a task may ask of its node."""

    own: NodeId
    desk: Desk
    room: Room
    sketches: SketchCache
    memory: ShortTerm
    hedges: HedgeBudget

    def candidates(self, version: WeightsVersion, now: float) -> list[Candidate]: ...


@dataclass(slots=True)
class _Attempt:
    """One holder at work on some blocks of the panel."""

    node: NodeId
    layout: Layout
    out: BufferRef
    share: float | None
    lease: Lease | None
    """For a second try; the panel's lease covers the first ones."""
    exact: bool
    began_at: float
    estimate_s: float
    hedge_at: float
    number: int
    packed: BufferRef | None = None
    calling: bool = False
    hedged: bool = False
    facts: ShardDone | None = None


@dataclass(frozen=True, slots=True)
class _Lost:
    """Blocks whose holder failed, waiting for their second try."""

    blocks: tuple[Block, ...]
    share: float | None
    exact: bool
    node: NodeId


@dataclass(slots=True)
class _Panel:
    m: int
    lease: Lease
    x: BufferRef
    y: BufferRef
    xs: BufferRef
    x_key: int = 0
    norm: float = 0.0
    attempts: list[_Attempt] = field(default_factory=list)
    lost: list[_Lost] = field(default_factory=list)
    redone: bool = False


class Matmul:
    """Told what became of calls and work; `over` once the client has its answer or its error."""

    def __init__(
        self,
        task: TaskId,
        request: MatmulRequest,
        rows: int,
        manifest: Manifest,
        around: Surroundings,
        now: float,
        finished: Callable[[bool], None],
    ) -> None:
        self.task = task
        self.over = False
        self.deadline: float | None = now + request.deadline_s
        self._ends_at = now + request.deadline_s
        self._request = request
        self._manifest = manifest
        self._around = around
        self._finished = finished
        head = manifest.head
        self._sides = Sides(BlockGrid(head.rows, head.columns), request.transpose)
        self._holders = {
            block: tuple(head.holders[h] for h in entry.holders)
            for block, entry in zip(self._sides.grid.blocks(), manifest.entries, strict=True)
        }
        self._rows_left = rows
        self._sums: Sums | None = None
        self._panel: _Panel | None = None
        self._step = 0
        self._retry_at: float | None = None
        self._analog = 0
        self._digital = 0
        self._worst_bound = 0.0
        self._regimes: set[str] = set()

    # -- the way through -----------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        return self._guard(
            lambda: self._around.sketches.want(
                self._manifest, self._have_sketches, self._fail, now
            ),
            now,
        )

    def _have_sketches(self, sums: Sums, now: float) -> list[Effect]:
        if self.over:
            self._around.sketches.done(self._manifest.head.version)
            return []
        self._sums = sums
        return self._guard(lambda: self._next_panel(now), now)

    def _next_panel(self, now: float) -> list[Effect]:
        plan = self._plan(tuple(self._holders), 1, now)
        row_bytes = self._row_bytes(plan)
        m = max(1, min(self._rows_left, PANEL_BYTES // row_bytes))

        def granted(lease: Lease, at: float) -> list[Effect]:
            return self._guard(lambda: self._begin(m, lease, at), at)

        return self._around.room.ask(self.task, Purpose.ACTIVATIONS, m * row_bytes, now, granted)

    def _begin(self, m: int, lease: Lease, now: float) -> list[Effect]:
        if self.over:
            return self._around.room.give_back(lease, now)
        desk, sides = self._around.desk, self._sides
        x = desk.buffer(m * sides.width_in * VALUE_BYTES)
        y = desk.buffer(m * sides.width_out * VALUE_BYTES)
        self._panel = _Panel(m, lease, x, y, desk.buffer(m * PROBE_BYTES))
        self._rows_left -= m
        self._step = desk.number(self)
        return [Allocate(x), Work(self._step, TakeRows(self.task, m, x))]

    def _project(self, panel: _Panel) -> list[Effect]:
        assert self._sums is not None
        sketch = self._sums.columns if self._sides.transpose else self._sums.rows
        self._step = self._around.desk.number(self)
        work = Project(panel.x, panel.m, self._sides.width_in, sketch, panel.xs)
        return [Allocate(panel.xs), Work(self._step, work)]

    def _spread(self, panel: _Panel, now: float) -> list[Effect]:
        plan = self._plan(tuple(self._holders), panel.m, now)
        shares = self._shares(panel, list(plan.values()))
        effects: list[Effect] = []
        for (node, blocks), share in zip(plan.items(), shares, strict=True):
            effects += self._launch(panel, NodeId(node), tuple(blocks), share, None, False, now)
        return effects

    def _shares(self, panel: _Panel, parts: list[list[Block]]) -> list[float | None]:
        """Each part's absolute share of the tolerance, by the square root of its work."""
        rtol = self._request.rtol
        if rtol is None:
            return [None] * len(parts)
        weights = [math.sqrt(sum(self._sides.macs(b, 1) for b in part)) for part in parts]
        tolerance = rtol * ESTIMATE_MARGIN * panel.norm
        return list(absolute_shares(tolerance, weights, panel.m))

    def _launch(
        self,
        panel: _Panel,
        node: NodeId,
        blocks: tuple[Block, ...],
        share: float | None,
        lease: Lease | None,
        exact: bool,
        now: float,
    ) -> list[Effect]:
        """Send one part to its holder, or to this node's own workers."""
        desk = self._around.desk
        layout = lay_out(self._sides, blocks, panel.m, separate=self._request.deterministic)
        estimate = completion_s(self._candidate(node, now), *self._cost(blocks, panel.m))
        ratio = self._around.memory.forecast_ratio_p95(node, now)
        attempt = _Attempt(
            node=node,
            layout=layout,
            out=desk.buffer(layout.output_bytes),
            share=0.0 if exact else share,
            lease=lease,
            exact=exact,
            began_at=now,
            estimate_s=estimate.total_s,
            hedge_at=now + hedge_after_s(ratio, estimate),
            number=desk.number(self),
        )
        panel.attempts.append(attempt)
        self._around.hedges.requested()
        effects: list[Effect] = [Allocate(attempt.out)]
        if node == self._around.own:
            return [*effects, self._run_here(panel, attempt)]
        if layout.packed_width == self._sides.width_in:
            return [*effects, self._send(panel, attempt, panel.x, now)]
        attempt.packed = desk.buffer(panel.m * layout.packed_width * VALUE_BYTES)
        width = self._sides.width_in
        pack = PackColumns(panel.x, panel.m, width, layout.spans, attempt.packed)
        return [*effects, Allocate(attempt.packed), Work(attempt.number, pack)]

    def _run_here(self, panel: _Panel, attempt: _Attempt) -> Work:
        """On our own blocks, straight from X: nothing is packed."""
        blocks = tuple(
            replace(placed, input_start=self._sides.inputs(block)[0])
            for placed, block in zip(
                attempt.layout.shard_blocks, attempt.layout.blocks, strict=True
            )
        )
        shard = RunShard(
            self._manifest.head.version,
            blocks,
            self._request.transpose,
            panel.m,
            panel.x,
            self._sides.width_in,
            attempt.out,
            attempt.share,
            panel.x_key,
            attempt.exact,
        )
        return Work(attempt.number, shard)

    def _send(self, panel: _Panel, attempt: _Attempt, body: BufferRef, now: float) -> Call:
        attempt.calling = True
        head = self._manifest.head
        request = Multiply(
            name=head.name,
            version=head.version,
            blocks=tuple((block.row, block.column) for block in attempt.layout.blocks),
            transpose=self._request.transpose,
            m=panel.m,
            share=attempt.share,
            x_key=panel.x_key,
            separate=self._request.deterministic,
            exact=attempt.exact,
        )
        left_s = max(self._ends_at - now, 0.0)
        return Call(
            attempt.number, attempt.node, request, left_s, body, attempt.out, trace=self.task
        )

    def _combine(self, panel: _Panel) -> list[Effect]:
        """All parts are here: one per block, whoever was first with it."""
        self._step = self._around.desk.number(self)
        done = sorted(
            (attempt for attempt in panel.attempts if attempt.facts is not None),
            key=lambda attempt: attempt.layout.blocks[0],
        )
        parts = [Part(attempt.out, attempt.layout.outputs) for attempt in done]
        if self._request.deterministic:
            # One part a block, in the grid's order, whichever holders they came from.
            by_block = sorted(
                (block, Part(attempt.out, (output,)))
                for attempt in done
                for block, output in zip(attempt.layout.blocks, attempt.layout.outputs, strict=True)
            )
            parts = [part for _, part in by_block]
        sides = self._sides
        work = Combine(
            tuple(parts),
            panel.y,
            panel.m,
            sides.width_out,
            sides.width_in + sides.width_out,
            panel.xs,
            self._manifest.head.sketch_seed,
            sides.transpose,
        )
        return [Allocate(panel.y), Work(self._step, work)]

    def _judge(self, panel: _Panel, combined: Combined, now: float) -> list[Effect]:
        """Pass the rows on if the sum stands its check; else do the parts again, digitally."""
        rtol = self._request.rtol
        bound = _relative(combined)
        if rtol is not None and bound > rtol:
            if panel.redone:
                reason = (
                    f"the answer failed its check twice (bound {bound:.3g}, asked {rtol:.3g});"
                    " the weights or their sketches are damaged: put them again"
                )
                return self._fail(TaskError(ErrorCode.INTERNAL, reason), now)
            return self._redo(panel, bound, now)
        self._worst_bound = max(self._worst_bound, bound)
        for attempt in panel.attempts:
            if attempt.facts is not None:
                self._analog += attempt.facts.analog_macs
                self._digital += attempt.facts.digital_macs
                self._regimes.add(attempt.facts.regime)
        self._step = self._around.desk.number(self)
        last = self._rows_left == 0
        certificate = self._certificate() if last else None
        return [Work(self._step, GiveRows(self.task, panel.y, last, certificate))]

    def _redo(self, panel: _Panel, bound: float, now: float) -> list[Effect]:
        panel.redone = True
        effects: list[Effect] = [note("check.failed", task=self.task, bound=bound), Free(panel.y)]
        for attempt in list(panel.attempts):
            effects += self._put_away(panel, attempt, now)
        plan = self._plan(tuple(self._holders), panel.m, now)
        for node, blocks in plan.items():
            effects += self._launch(panel, NodeId(node), tuple(blocks), 0.0, None, True, now)
        return effects

    def _certificate(self) -> CertificateView:
        done = self._analog + self._digital
        return CertificateView(
            bound=self._worst_bound,
            confidence=1.0 - FAILURE_PROBABILITY,
            regime="+".join(sorted(self._regimes)),
            analog_fraction=self._analog / done if done else 0.0,
        )

    def _panel_given(self, panel: _Panel, now: float) -> list[Effect]:
        effects = self._close_panel(panel, now)
        if self._rows_left:
            return effects + self._guard(lambda: self._next_panel(now), now)
        self._end(ok=True)
        return [*effects, Done(self.task)]

    # -- what happens --------------------------------------------------------------------------------

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        assert isinstance(response, Multiplied)
        facts = ShardDone(
            response.analog_macs,
            response.digital_macs,
            response.busy_s,
            response.energy_j,
            response.latency_s,
            response.reads,
            response.regime,
        )
        return self._part_done(call, facts, response.queued_s, now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._part_failed(call, error, now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        panel = self._panel
        if self.over or panel is None:
            return []
        if job != self._step:
            return self._worked(panel, job, outcome, now)
        match outcome:
            case RowsTaken():
                panel.x_key = outcome.x_key
                return self._project(panel)
            case Projected():
                panel.norm = outcome.norm_estimate
                return self._guard(lambda: self._spread(panel, now), now)
            case Combined():
                return self._guard(lambda: self._judge(panel, outcome, now), now)
            case _:
                return self._panel_given(panel, now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        if self.over:
            return []
        if job == self._step:
            return self._fail(TaskError.of(error), now)
        return self._part_failed(job, error, now)

    def tick(self, now: float) -> list[Effect]:
        if self.over:
            return []
        if now >= self._ends_at:
            reason = f"not done within its {self._request.deadline_s:g} s; ask for a later deadline"
            return self._fail(TaskError(ErrorCode.DEADLINE, reason), now)
        effects: list[Effect] = []
        if (panel := self._panel) is not None:
            effects += self._guard(lambda: self._retry(panel, now), now)
            if not self.over:
                effects += self._hedge(panel, now)
        return effects + self._rearm(now)

    def cancel(self, reason: str, now: float) -> list[Effect]:
        """The client has gone."""
        if self.over:
            return []
        return self._fail(TaskError(ErrorCode.CANCELLED, reason), now)

    # -- parts ---------------------------------------------------------------------------------------

    def _worked(self, panel: _Panel, job: int, outcome: Outcome, now: float) -> list[Effect]:
        if isinstance(outcome, ShardDone):
            return self._part_done(job, outcome, 0.0, now)
        attempt = self._attempt(panel, job)
        if attempt is None or attempt.packed is None:
            return []
        attempt.number = self._around.desk.number(self)
        return [self._send(panel, attempt, attempt.packed, now)]

    def _part_done(
        self, number: int, facts: ShardDone, queued_s: float, now: float
    ) -> list[Effect]:
        panel = self._panel
        attempt = None if panel is None else self._attempt(panel, number)
        if panel is None or attempt is None:
            return []
        sent = 0 if attempt.node == self._around.own else panel.x.nbytes + attempt.out.nbytes
        served = ShardServed(
            attempt.node,
            facts.analog_macs + facts.digital_macs,
            facts.busy_s,
            sent,
            now - attempt.began_at,
            queued_s,
            attempt.estimate_s,
        )
        self._around.memory.record(served, now)
        attempt.facts = facts
        effects: list[Effect] = []
        # The first with a block wins: whoever still works on the same blocks is told to stop.
        for other in list(panel.attempts):
            overlap = set(other.layout.blocks) & set(attempt.layout.blocks)
            if other is not attempt and other.facts is None and overlap:
                effects += self._put_away(panel, other, now)
        covered = {
            block for a in panel.attempts if a.facts is not None for block in a.layout.blocks
        }
        if len(covered) == len(self._holders):
            return effects + self._combine(panel)
        return effects + self._rearm(now)

    def _part_failed(self, number: int, error: ErrorInfo, now: float) -> list[Effect]:
        panel = self._panel
        attempt = None if panel is None else self._attempt(panel, number)
        if panel is None or attempt is None:
            return []
        self._around.memory.record(ShardFailed(attempt.node), now)
        effects: list[Effect] = [
            note("part.failed", task=self.task, peer=short(attempt.node), reason=error.reason)
        ]
        effects += self._put_away(panel, attempt, now)
        covered = {block for a in panel.attempts for block in a.layout.blocks}
        rest = tuple(block for block in attempt.layout.blocks if block not in covered)
        if rest:
            panel.lost.append(_Lost(rest, attempt.share, attempt.exact, attempt.node))
        return effects + self._guard(lambda: self._retry(panel, now), now) + self._rearm(now)

    def _retry(self, panel: _Panel, now: float) -> list[Effect]:
        """Give the blocks of failed parts to their other holders; UNAVAILABLE if there are none."""
        effects: list[Effect] = []
        waiting, panel.lost = panel.lost, []
        for lost in waiting:
            plan = self._plan(lost.blocks, panel.m, now, avoid=lost.node)
            for node, blocks in plan.items():
                lease = self._lease_for(panel.m, tuple(blocks), now)
                if lease is None:
                    panel.lost.append(replace(lost, blocks=tuple(blocks)))
                    self._retry_at = now + RETRY_S
                    continue
                share = None if lost.share is None else lost.share * _part_of(blocks, lost.blocks)
                effects += self._launch(
                    panel, NodeId(node), tuple(blocks), share, lease, lost.exact, now
                )
        return effects

    def _hedge(self, panel: _Panel, now: float) -> list[Effect]:
        """Ask a second holder where the first is slower than it nearly always is."""
        effects: list[Effect] = []
        for attempt in list(panel.attempts):
            if attempt.facts is not None or attempt.hedged or now < attempt.hedge_at:
                continue
            attempt.hedged = True
            blocks = attempt.layout.blocks
            others = self._others(blocks, attempt.node, now)
            if others is None or not self._around.hedges.take():
                continue
            lease = self._lease_for(panel.m, blocks, now)
            if lease is not None:
                effects.append(note("part.hedged", task=self.task, peer=short(attempt.node)))
                effects += self._launch(
                    panel, others, blocks, attempt.share, lease, attempt.exact, now
                )
        return effects

    def _others(self, blocks: tuple[Block, ...], slow: NodeId, now: float) -> NodeId | None:
        """One other live node that holds all of these blocks."""
        live = {c.node for c in self._around.candidates(self._manifest.head.version, now)}
        common = set.intersection(*(set(self._holders[block]) for block in blocks))
        return min((common & live) - {slow}, default=None)

    def _lease_for(self, m: int, blocks: tuple[Block, ...], now: float) -> Lease | None:
        layout = lay_out(self._sides, blocks, m, separate=self._request.deterministic)
        need = layout.output_bytes + m * layout.packed_width * VALUE_BYTES
        return self._around.room.take_now(self.task, need, now)

    def _attempt(self, panel: _Panel, number: int) -> _Attempt | None:
        return next((a for a in panel.attempts if a.number == number), None)

    def _put_away(self, panel: _Panel, attempt: _Attempt, now: float) -> list[Effect]:
        panel.attempts.remove(attempt)
        effects: list[Effect] = [Free(attempt.out)]
        if attempt.packed is not None:
            effects.append(Free(attempt.packed))
        if attempt.facts is None:
            self._around.desk.forget(attempt.number)
            stop = CancelCall(attempt.number) if attempt.calling else CancelWork(attempt.number)
            effects.insert(0, stop)
        if attempt.lease is not None:
            effects += self._around.room.give_back(attempt.lease, now)
        return effects

    # -- planning ------------------------------------------------------------------------------------

    def _plan(
        self, blocks: tuple[Block, ...], m: int, now: float, avoid: NodeId | None = None
    ) -> dict[str, list[Block]]:
        holders = {
            block: [node for node in self._holders[block] if node != avoid]
            or list(self._holders[block])
            for block in blocks
        }
        candidates = self._around.candidates(self._manifest.head.version, now)
        costs = {block: self._cost((block,), m) for block in blocks}
        each = {block: Cost(*cost) for block, cost in costs.items()}
        return choose_holders(holders, candidates, each, self._request.transpose)

    def _cost(self, blocks: tuple[Block, ...], m: int) -> tuple[int, int, int]:
        each = {}
        for block in blocks:
            taken, given = self._sides.inputs(block), self._sides.outputs(block)
            each[block] = Cost(
                m * (taken[1] - taken[0]) * VALUE_BYTES,
                m * (given[1] - given[0]) * VALUE_BYTES,
                self._sides.macs(block, m),
            )
        cost = shard_cost(blocks, each, self._request.transpose)
        return cost.request_bytes, cost.response_bytes, cost.macs

    def _candidate(self, node: NodeId, now: float) -> Candidate:
        candidates = self._around.candidates(self._manifest.head.version, now)
        return next(candidate for candidate in candidates if candidate.node == node)

    def _row_bytes(self, plan: dict[str, list[Block]]) -> int:
        """Of one row of X with all that comes of it at this node."""
        sides = self._sides
        total = (sides.width_in + sides.width_out) * VALUE_BYTES + PROBE_BYTES
        for blocks in plan.values():
            layout = lay_out(sides, tuple(blocks), 1, separate=self._request.deterministic)
            total += layout.output_bytes + layout.packed_width * VALUE_BYTES
        return total

    # -- ends ----------------------------------------------------------------------------------------

    def _guard(self, step: Callable[[], list[Effect]], now: float) -> list[Effect]:
        """A step that finds the task impossible ends it with the reason."""
        try:
            return step()
        except TaskError as error:
            return self._fail(error, now)

    def _fail(self, error: TaskError, now: float) -> list[Effect]:
        if self.over:
            return []
        effects: list[Effect] = []
        self._around.room.withdraw(self.task)
        if self._step:
            self._around.desk.forget(self._step)
            effects.append(CancelWork(self._step))
        if self._panel is not None:
            effects += self._close_panel(self._panel, now)
        self._end(ok=False)
        info = msgspec.structs.replace(error.info, trace=self.task, node=self._around.own)
        return [*effects, Failed(self.task, info)]

    def _close_panel(self, panel: _Panel, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for attempt in list(panel.attempts):
            effects += self._put_away(panel, attempt, now)
        effects += [Free(panel.x), Free(panel.y), Free(panel.xs)]
        self._panel = None
        return effects + self._around.room.give_back(panel.lease, now)

    def _end(self, *, ok: bool) -> None:
        self.over = True
        self.deadline = None
        if self._sums is not None:
            self._around.sketches.done(self._manifest.head.version)
        self._finished(ok)

    def _rearm(self, now: float) -> list[Effect]:
        if self.over:
            return []
        moments = [self._ends_at]
        if self._panel is not None:
            moments += [
                a.hedge_at for a in self._panel.attempts if a.facts is None and not a.hedged
            ]
            if self._panel.lost and self._retry_at is not None:
                moments.append(self._retry_at)
        self.deadline = max(min(moments), now)
        return []


def _relative(combined: Combined) -> float:
    """Bound on ||Y' - XW|| / ||XW||, with ||XW|| >= ||Y'|| - bound."""
    if combined.error_bound == 0.0:
        return 0.0
    least = combined.norm - combined.error_bound
    return combined.error_bound / least if least > 0.0 else math.inf


def _part_of(blocks: list[Block], whole: tuple[Block, ...]) -> float:
    return len(blocks) / len(whole)
