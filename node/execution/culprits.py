"""Whose part of a sum is wrong: each part is checked against the sketches of its own blocks.

    for each part: memory -> sketches of its blocks, summed -> X times that sum -> the part through the probes

One part at a time, so that it needs little memory. A part is wrong if its error is larger than its own share of the
tolerance allows; where none is, the errors of honest parts have added up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from compute.verify import round_off, safety_factor
from node.communication.desk import OnlyWork
from node.deployment.ledger import Lease
from node.effects import Allocate, CancelWork, Effect, Free, Work
from node.execution.attempts import Attempt, PanelRows
from node.execution.dealing import PROBE_BYTES, Surroundings
from node.execution.shards import Sides
from node.execution.sketches import Gathering, Sums, gathering_bytes
from node.work import BufferRef, Combine, Combined, Outcome, Part, Project, Projected
from protocol.errors import ErrorInfo, TaskError
from protocol.messages import Manifest

FLOAT32_ERROR = 1e-5
"""Of a part's norm: what float32 sums may be off without anybody being wrong."""

FLOAT32_STEP = 2.0**-149
"""Between one float32 and the next below 1e-38: what digits small values have left."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A part that is wrong, and by how much at most (absolute, Frobenius)."""

    attempt: Attempt
    error_bound: float


Found = Callable[[list[Verdict], float], list[Effect]]
GaveUp = Callable[[str, float], list[Effect]]


def least_error(sides: Sides, m: int) -> float:
    """What float32 may be off by (Frobenius) however small the answer is: half a step for each product."""
    return 0.5 * FLOAT32_STEP * sides.width_in * math.sqrt(m * sides.width_out)


def is_wrong(attempt: Attempt, checked: Combined, sides: Sides, m: int) -> bool:
    """Whether the part's error is more than its share explains, in 999 of 1,000 cases; digital parts need none."""
    bound, norm = checked.error_bound, checked.norm
    if not (math.isfinite(bound) and math.isfinite(norm)):
        return True
    assert attempt.facts is not None and attempt.share is not None
    allowed = attempt.share * safety_factor(m) if attempt.facts.analog_macs else 0.0
    rounding = FLOAT32_ERROR * norm + round_off(sides.width_in + sides.width_out, norm)
    return bound > max(allowed, rounding) + least_error(sides, m) * safety_factor(m)


class Inquest(OnlyWork):
    """Told of sketches and sums; calls `found` with the wrong parts, or `gave_up` with what stood in the way."""

    def __init__(
        self,
        rows: PanelRows,
        y: BufferRef,
        parts: list[Attempt],
        manifest: Manifest,
        sides: Sides,
        around: Surroundings,
        found: Found,
        gave_up: GaveUp,
    ) -> None:
        self._rows = rows
        self._y = y
        """Free for the taking: the whole sum has been judged already."""
        self._waiting = list(reversed(parts))
        self._manifest = manifest
        self._sides = sides
        self._around = around
        self._found = found
        self._gave_up = gave_up
        self._places = {block: index for index, block in enumerate(sides.grid.blocks())}
        self._wrong: list[Verdict] = []
        self._lease: Lease | None = None
        self._gathering: Gathering | None = None
        self._held: list[BufferRef] = []
        self._xs = BufferRef(0, 0)
        self._job = 0

    def start(self, now: float) -> list[Effect]:
        return self._next(now)

    def cancel(self, now: float) -> list[Effect]:
        """Nobody wants to know any more."""
        effects: list[Effect] = []
        if self._gathering is not None:
            effects += self._gathering.cancel()
        if self._job:
            self._around.desk.forget(self._job)
            effects.append(CancelWork(self._job))
        return effects + self._give_back(now)

    # -- one part after the other --------------------------------------------------------------------

    def _next(self, now: float) -> list[Effect]:
        if not self._waiting:
            return self._found(self._wrong, now)
        indices = [self._places[block] for block in self._waiting[-1].blocks]
        need = gathering_bytes(self._sides.grid, indices) + self._rows.m * PROBE_BYTES
        self._lease = self._around.room.take_now(self._rows.task, need, now)
        if self._lease is None:
            return self._gave_up(f"there are no {need} bytes for the sketches of one part", now)
        self._gathering = self._around.sketches.some(
            self._manifest, indices, self._gathered, self._missing
        )
        return self._gathering.start(now)

    def _gathered(self, sums: Sums, now: float) -> list[Effect]:
        self._gathering = None
        self._xs = self._around.desk.buffer(self._rows.m * PROBE_BYTES)
        self._held = [sums.rows, sums.columns, self._xs]
        self._job = self._around.desk.number(self)
        sketch = sums.columns if self._sides.transpose else sums.rows
        rows = self._rows
        project = Project(rows.x, rows.m, self._sides.width_in, sketch, self._xs)
        return [Allocate(self._xs), Work(self._job, project)]

    def _missing(self, error: TaskError, now: float) -> list[Effect]:
        self._gathering = None
        return [*self._give_back(now), *self._gave_up(error.info.reason, now)]

    def _sum(self) -> list[Effect]:
        attempt, sides = self._waiting[-1], self._sides
        self._job = self._around.desk.number(self)
        combine = Combine(
            (Part(attempt.out, attempt.layout.outputs),),
            self._y,
            self._rows.m,
            sides.width_out,
            sides.width_in + sides.width_out,
            self._xs,
            self._manifest.head.sketch_seed,
            sides.transpose,
        )
        return [Work(self._job, combine)]

    def _judge(self, checked: Combined, now: float) -> list[Effect]:
        attempt = self._waiting.pop()
        if is_wrong(attempt, checked, self._sides, self._rows.m):
            self._wrong.append(Verdict(attempt, checked.error_bound))
        return [*self._give_back(now), *self._next(now)]

    def _give_back(self, now: float) -> list[Effect]:
        effects: list[Effect] = [Free(buffer) for buffer in self._held]
        self._held = []
        self._job = 0
        lease, self._lease = self._lease, None
        return effects if lease is None else effects + self._around.room.give_back(lease, now)

    # -- what happens --------------------------------------------------------------------------------

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        if isinstance(outcome, Projected):
            return self._sum()
        assert isinstance(outcome, Combined)
        return self._judge(outcome, now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        return [*self._give_back(now), *self._gave_up(error.reason, now)]
