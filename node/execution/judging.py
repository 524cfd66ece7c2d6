"""Whether the sum of a panel's parts stands its check, and what is done about it where it does not.

bound <= rtol          the answer stands
no float32 holds X W   the task fails, and nobody is blamed
bound > rtol           a part is wrong: it alone is done again, by another holder if there is one
  (the first time)     no part is wrong, so honest errors have added up: analog parts once more, digitally
                       the parts cannot be checked: all of them once more, digitally
bound > rtol again     the task fails, with the reason
"""

import math
from collections.abc import Callable

from compute.verify import relative_bound, safety_factor
from node.effects import Effect, note
from node.execution.attempts import Attempt, PanelRows
from node.execution.culprits import Inquest, Verdict, is_wrong, least_error
from node.execution.dealing import Surroundings
from node.execution.parts import Parts
from node.execution.shards import Sides
from node.work import BufferRef, Combined
from protocol.errors import ErrorCode, TaskError
from protocol.ids import short
from protocol.messages import Manifest

FLOAT32_BOUND_MAX = 1e-3
"""A digital answer with a larger bound is not merely rounded."""

FLOAT32_MAX = 3.4e38
NORM_SPREAD = 2.0
"""How far the estimate of ||X W|| may be off."""


class Judge:
    """Told what the check found; calls `stands` with the answer's relative bound, or `failed`."""

    def __init__(
        self,
        rows: PanelRows,
        y: BufferRef,
        norm: float,
        parts: Parts,
        manifest: Manifest,
        sides: Sides,
        around: Surroundings,
        stands: Callable[[float], list[Effect]],
        failed: Callable[[TaskError, float], list[Effect]],
    ) -> None:
        self.redone = False
        self._rows = rows
        self._y = y
        self._norm = norm
        """Estimate of ||X W||_F."""
        self._parts = parts
        self._manifest = manifest
        self._sides = sides
        self._around = around
        self._stands = stands
        self._failed = failed
        self._inquest: Inquest | None = None
        self._culprits: list[str] = []

    def judge(self, combined: Combined, now: float) -> list[Effect]:
        """All parts have been summed into y and checked."""
        rtol = self._rows.request.rtol
        bound = relative_bound(combined.error_bound, combined.norm)
        if rtol is None or bound <= rtol:
            return self._stands(bound)
        if not math.isfinite(combined.norm) and self._norm > FLOAT32_MAX / NORM_SPREAD:
            return self._failed(self._too_large(), now)
        if self.redone:
            return self._digitally(bound, rtol, now)
        self.redone = True
        failed = note("check.failed", task=self._rows.task, bound=bound)
        parts = self._parts.answered_parts
        if len(parts) == 1:
            # The sum is the part: its check is made already.
            wrong = is_wrong(parts[0], combined, self._sides, self._rows.m)
            verdicts = [Verdict(parts[0], combined.error_bound)] if wrong else []
            return [failed, *self._found(verdicts, bound, now)]
        self._inquest = Inquest(
            self._rows,
            self._y,
            parts,
            self._manifest,
            self._sides,
            self._around,
            lambda verdicts, at: self._found(verdicts, bound, at),
            self._not_found,
        )
        return [failed, *self._inquest.start(now)]

    def close(self, now: float) -> list[Effect]:
        """Nobody waits for the answer any more."""
        return [] if self._inquest is None else self._inquest.cancel(now)

    def _found(self, verdicts: list[Verdict], bound: float, now: float) -> list[Effect]:
        self._inquest = None
        if verdicts:
            self._culprits = sorted({short(one.attempt.node) for one in verdicts})
            named = [self._named(one) for one in verdicts]
            return named + self._parts.blame([one.attempt for one in verdicts], now)
        assert self._rows.request.rtol is not None
        return self._digitally(bound, self._rows.request.rtol, now)

    def _digitally(self, bound: float, rtol: float, now: float) -> list[Effect]:
        analog = [part for part in self._parts.answered_parts if _is_analog(part)]
        if analog:
            return self._parts.redo_digitally(analog, now)
        least = least_error(self._sides, self._rows.m)
        if not self._culprits and least * safety_factor(self._rows.m) > rtol * self._norm:
            return self._failed(self._too_small(rtol), now)
        return self._failed(self._irreparable(bound, rtol), now)

    def _named(self, verdict: Verdict) -> Effect:
        """`bound` is relative to the whole answer, as in the note of the whole."""
        bound = verdict.error_bound / self._norm if self._norm else math.inf
        peer = short(verdict.attempt.node)
        return note("check.failed", task=self._rows.task, peer=peer, bound=bound)

    def _not_found(self, reason: str, now: float) -> list[Effect]:
        self._inquest = None
        unchecked = note("parts.unchecked", task=self._rows.task, reason=reason)
        return [unchecked, *self._parts.redo_digitally(self._parts.answered_parts, now)]

    def _too_large(self) -> TaskError:
        return TaskError(
            ErrorCode.BAD_REQUEST,
            f"the product's values go beyond float32's {FLOAT32_MAX:.2g} (all together about {self._norm:.2g}):"
            " scale X down, and the answer up",
        )

    def _too_small(self, rtol: float) -> TaskError:
        return TaskError(
            ErrorCode.BAD_REQUEST,
            f"the product's values are so small (all together about {self._norm:.2g}) that float32 has no digits"
            f" left for an rtol of {rtol:.2g}: scale X up, and the answer down",
        )

    def _irreparable(self, bound: float, rtol: float) -> TaskError:
        """Why the answer cannot be made better: all of it is digital already."""
        if not self._culprits and bound <= FLOAT32_BOUND_MAX:
            return TaskError(
                ErrorCode.BAD_REQUEST,
                f"float32 arithmetic itself is off by up to {bound:.2g} here, more than the rtol of"
                f" {rtol:.2g}; ask for an rtol of {2 * bound:.0e} or more",
            )
        names = ", ".join(self._culprits)
        wrong = f"; wrong parts came from {names}" if names else ""
        return TaskError(
            ErrorCode.INTERNAL,
            f"the answer fails its check however it is made (bound {bound:.3g}, asked {rtol:.3g}){wrong};"
            " the weights or their sketches are damaged: put them again",
        )


def _is_analog(part: Attempt) -> bool:
    return part.facts is not None and part.facts.analog_macs > 0
