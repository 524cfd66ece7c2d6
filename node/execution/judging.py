"""Whether the sum of a panel's parts stands its check, and what is done about it where it does not.

bound <= rtol          the answer stands
no float32 holds X W   the task fails, and nobody is blamed
bound > rtol           a part is wrong: it alone is done again, by another holder if there is one
                       no part is wrong, so honest errors have added up: all analog parts are done again
                       the parts cannot be checked: all of them once more, digitally
                       nothing is analog any more: the task fails, with the reason

What is done again is done with a stronger plan, under half its share; what has been, or what there is no time to do
twice, digitally. In a deterministic product another holder does a wrong part as it was planned first, for its bytes
must not depend on who was wrong. The third time whatever is analog is done digitally, without asking whose fault it is.

A bound is not weakened by the parts that are kept: an honest one is kept 999 times in 1,000, so keeping it tells next
to nothing of the probes.
"""

import math
from collections.abc import Callable

from compute.verify import relative_bound, safety_factor
from node.effects import Effect, note
from node.execution.attempts import Attempt, PanelRows, Redo, Rigour
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
CHECKS_MAX = 3
"""When so many have failed, whatever is analog is done digitally."""
ROUNDS_LEFT = 2.0
"""A stronger plan is tried only where there is time for so many rounds like the last one: for it, and for the digital
one that may have to follow."""

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
        now: float,
    ) -> None:
        """`now` is when the parts are sent for."""
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
        self._culprits: set[str] = set()
        self._checks = 0
        """That failed."""
        self._began_at = now
        """When what is judged next was sent for."""

    def judge(self, combined: Combined, now: float) -> list[Effect]:
        """All parts have been summed into y and checked."""
        rtol = self._rows.request.rtol
        bound = relative_bound(combined.error_bound, combined.norm)
        if rtol is None or bound <= rtol:
            return self._stands(bound)
        if not math.isfinite(combined.norm) and self._norm > FLOAT32_MAX / NORM_SPREAD:
            return self._failed(self._too_large(), now)
        self._checks += 1
        failed = note("check.failed", task=self._rows.task, bound=bound)
        parts = self._parts.answered_parts
        analog = [part for part in parts if _is_analog(part)]
        if self.redone and not analog:
            return [failed, *self._failed(self._irreparable(bound, rtol), now)]
        if self._checks == CHECKS_MAX:
            return [failed, *self._add_up(analog, bound, now)]
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
            self._culprits |= {short(one.attempt.node) for one in verdicts}
            named = [self._named(one) for one in verdicts]
            return named + self._redo([self._blamed(one, now) for one in verdicts], now)
        analog = [part for part in self._parts.answered_parts if _is_analog(part)]
        return self._add_up(analog, bound, now)

    def _add_up(self, analog: list[Attempt], bound: float, now: float) -> list[Effect]:
        """Nobody is to blame."""
        rtol = self._rows.request.rtol
        assert rtol is not None
        if not analog:
            return self._failed(self._irreparable(bound, rtol), now)
        why = f"the whole is off by up to {bound:.2g}, where {rtol:g} was asked for"
        return self._redo([Redo(part, why, self._risen(part, now)) for part in analog], now)

    def _not_found(self, reason: str, now: float) -> list[Effect]:
        self._inquest = None
        unchecked = note("parts.unchecked", task=self._rows.task, reason=reason)
        why = f"the whole is wrong, and its parts cannot be checked: {reason}"
        parts = [Redo(part, why, Rigour.DIGITAL) for part in self._parts.answered_parts]
        return [unchecked, *self._redo(parts, now)]

    def _blamed(self, verdict: Verdict, now: float) -> Redo:
        attempt = verdict.attempt
        rigour = self._risen(attempt, now)
        as_it_was = self._checks == 1 and self._rows.request.deterministic
        elsewhere = attempt.rigour if as_it_was or not _is_analog(attempt) else rigour
        why = f"its part was wrong, by up to {self._relative(verdict):.2g} of the whole answer"
        return Redo(attempt, why, rigour, elsewhere)

    def _risen(self, part: Attempt, now: float) -> Rigour:
        """How a part is worked that did not do as it was."""
        tried = part.rigour is not Rigour.PLANNED or self._checks == CHECKS_MAX
        if tried or not _is_analog(part):
            return Rigour.DIGITAL
        round_s = now - self._began_at
        in_time = now + ROUNDS_LEFT * round_s <= self._rows.ends_at
        # Bytes that are to be the same every time must not hang on how long this took.
        return Rigour.STRONGER if in_time or self._rows.request.deterministic else Rigour.DIGITAL

    def _redo(self, redone: list[Redo], now: float) -> list[Effect]:
        self.redone = True
        self._began_at = now
        return self._parts.redo(redone, now)

    def _named(self, verdict: Verdict) -> Effect:
        """`bound` is relative to the whole answer, as in the note of the whole."""
        peer = short(verdict.attempt.node)
        return note("check.failed", task=self._rows.task, peer=peer, bound=self._relative(verdict))

    def _relative(self, verdict: Verdict) -> float:
        return verdict.error_bound / self._norm if self._norm else math.inf

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
        least = least_error(self._sides, self._rows.m)
        if not self._culprits and least * safety_factor(self._rows.m) > rtol * self._norm:
            return self._too_small(rtol)
        if not self._culprits and bound <= FLOAT32_BOUND_MAX:
            return TaskError(
                ErrorCode.BAD_REQUEST,
                f"float32 arithmetic itself is off by up to {bound:.2g} here, more than the rtol of"
                f" {rtol:.2g}; ask for an rtol of {2 * bound:.0e} or more",
            )
        names = ", ".join(sorted(self._culprits))
        wrong = f"; wrong parts came from {names}" if names else ""
        return TaskError(
            ErrorCode.INTERNAL,
            f"the answer fails its check however it is made (bound {bound:.3g}, asked {rtol:.3g}){wrong};"
            " the weights or their sketches are damaged: put them again",
        )


def _is_analog(part: Attempt) -> bool:
    """And can be digital; what was asked for so counts as digital, whatever its holder says."""
    return not part.exact and part.facts is not None and part.facts.analog_macs > 0
