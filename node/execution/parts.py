"""The parts of one panel: each block is at work at one holder or at two, or waits for its next try.

    launched -> packed -> sent -> answered                    the first answer for a block counts
        |          |        +---> asked of a second holder    where the first is late (`lateness`)
        +----------+--------+---> failed -> lost              -> launched elsewhere, after a pause at the same holder

Says when every block has its answer, and takes answers back that turn out wrong.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from math import inf

from compute.partition import Block
from node.effects import Effect, note
from node.execution.account import Account
from node.execution.attempts import (
    Attempt,
    Lost,
    PanelRows,
    Redo,
    Rigour,
    facts_of,
    named,
    risen_share,
    share_of,
)
from node.execution.dealing import Dealer, Hand, Surroundings
from node.execution.lateness import Step, Verdict, judge
from node.execution.reasons import Reasons
from node.execution.sending import Sending
from node.memory.short_term import ShardFailed, ShardServed
from node.work import Outcome, Part, ShardDone
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, short
from protocol.messages import Multiplied, Response

RETRY_S = 0.05
"""Pause before another try at the same holder, or for which there was no memory; it doubles with each failure."""
TRIES_MAX = 6
"""A block that failed so often fails the task, with the last reason."""
PARTS_NAMED_MAX = 3


class Parts:
    """Told what became of calls and work; calls `whole` when every block has its answer, `failed` when one cannot."""

    def __init__(
        self,
        rows: PanelRows,
        spare_bytes: int,
        dealer: Dealer,
        around: Surroundings,
        account: Account,
        reasons: Reasons,
        whole: Callable[[float], list[Effect]],
        failed: Callable[[TaskError, float], list[Effect]],
    ) -> None:
        self.deadline: float | None = None
        self._rows = rows
        self._sending = Sending(rows, spare_bytes, dealer, around, waiter=self)
        self._dealer = dealer
        self._around = around
        self._account = account
        self._reasons = reasons
        self._whole = whole
        self._failed = failed
        self._attempts: list[Attempt] = []
        self._lost: list[Lost] = []

    @property
    def answered_parts(self) -> list[Attempt]:
        """One for each block, in the order of the grid."""
        done = [attempt for attempt in self._attempts if attempt.facts is not None]
        return sorted(done, key=lambda attempt: attempt.blocks[0])

    def outputs(self) -> tuple[Part, ...]:
        """What adds up to the answer, in the order in which it is added."""
        done = self.answered_parts
        if not self._rows.request.deterministic:
            return tuple(Part(attempt.out, attempt.layout.outputs) for attempt in done)
        # One output a block, in the grid's order, whichever holders they came from.
        by_block = {
            block: Part(attempt.out, (output,))
            for attempt in done
            for block, output in zip(attempt.blocks, attempt.layout.outputs, strict=True)
        }
        return tuple(by_block[block] for block in sorted(by_block))

    # -- what to do ----------------------------------------------------------------------------------

    def spread(self, hands: list[Hand], shares: list[float | None], now: float) -> list[Effect]:
        """Send every part to its holder."""
        live = self._dealer.live(now)
        effects: list[Effect] = []
        for hand, share in zip(hands, shares, strict=True):
            lost = Lost(hand.blocks, share, now)
            launched = self._launch(hand, lost, now) if hand.node in live else None
            if launched is None:
                self._lost.append(lost)
            effects += launched or []
        return effects + self._again(now)

    def redo(self, redone: list[Redo], now: float) -> list[Effect]:
        """These answers do not stand: once more, those that are wrong from another holder if there is one."""
        effects: list[Effect] = []
        before = len(self._lost)
        for redo in redone:
            attempt, avoid = redo.attempt, frozenset[NodeId]()
            here, elsewhere = attempt.blocks, tuple[Block, ...]()
            effects += self._put_away(attempt, now)
            if redo.elsewhere is not None:
                self._around.memory.record(ShardFailed(attempt.node), now)
                self._reasons.step("failed", attempt.node, redo.why, now)
                avoid = frozenset((attempt.node,))
                elsewhere = tuple(one for one in here if self._other(one, attempt, now))
                here = tuple(one for one in here if one not in elsewhere)
                self._redo_blocks(redo, elsewhere, redo.elsewhere, avoid, now)
            self._redo_blocks(redo, here, redo.rigour, avoid, now)
        counts = Counter(lost.rigour for lost in self._lost[before:])
        told = {rigour.name.lower(): counts[rigour] for rigour in Rigour}
        redone_note = note("parts.redone", task=self._rows.task, **told)
        return [redone_note, *effects, *self._again(now)]

    def _redo_blocks(
        self,
        redo: Redo,
        blocks: tuple[Block, ...],
        rigour: Rigour,
        avoid: frozenset[NodeId],
        now: float,
    ) -> None:
        if not blocks:
            return
        attempt = redo.attempt
        if rigour is not attempt.rigour:
            self._reasons.step(rigour.name.lower(), attempt.node, redo.why, now)
        share = share_of(attempt.share, len(blocks), len(attempt.blocks))
        risen = risen_share(share, attempt.rigour, rigour)
        self._lost.append(Lost(blocks, risen, now, rigour, avoid, tries=attempt.tries))

    def tick(self, now: float) -> list[Effect]:
        return self._see_to_late(now) + self._again(now)

    def awaited(self) -> str:
        """What has not been answered, and by whom, in words; empty if that is nothing."""
        open_parts = [attempt for attempt in self._attempts if attempt.facts is None]
        words = [f"{named(part.blocks)} at {short(part.node)}" for part in open_parts]
        words += [f"{named(lost.blocks)} at nobody" for lost in self._lost]
        more = len(words) - PARTS_NAMED_MAX
        return "; ".join(words[:PARTS_NAMED_MAX]) + (f"; and {more} more" if more > 0 else "")

    def close(self, now: float) -> list[Effect]:
        """Give all back; what is under way is stopped."""
        effects: list[Effect] = []
        for attempt in list(self._attempts):
            effects += self._put_away(attempt, now)
        self._lost.clear()
        self.deadline = None
        return effects

    # -- what happens --------------------------------------------------------------------------------

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        assert isinstance(response, Multiplied)
        return self._done(self._attempt(call), facts_of(response), response.queued_s, now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._part_failed(self._attempt(call), error, now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        attempt = self._attempt(job)
        if isinstance(outcome, ShardDone):
            return self._done(attempt, outcome, 0.0, now)
        return [self._sending.packed(attempt, now)]

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._part_failed(self._attempt(job), error, now)

    # -- answers and failures ------------------------------------------------------------------------

    def _done(
        self, attempt: Attempt, facts: ShardDone, queued_s: float, now: float
    ) -> list[Effect]:
        self._record(attempt, facts, queued_s, now)
        attempt.facts = facts
        effects: list[Effect] = []
        # The first with a block wins: whoever still works on the same blocks is told to stop.
        for other in list(self._attempts):
            if other.facts is None and set(other.blocks) & set(attempt.blocks):
                effects += self._put_away(other, now)
        self._rearm()
        return effects + (self._whole(now) if self._complete else [])

    def _record(self, attempt: Attempt, facts: ShardDone, queued_s: float, now: float) -> None:
        self._around.outstanding.ended(attempt.node, attempt.out.id)
        sent = 0
        if attempt.node != self._around.own:
            sent = (attempt.packed or self._rows.x).nbytes + attempt.out.nbytes
        self._account.served(attempt.node, attempt.blocks, facts, sent)
        served = ShardServed(
            attempt.node,
            facts.analog_macs + facts.digital_macs,
            facts.busy_s,
            sent,
            now - attempt.began_at,
            queued_s,
            attempt.estimate.total_s,
            analog=self._dealer.analog and not attempt.exact,
            regime=facts.regime,
        )
        self._around.memory.record(served, now)
        self._around.chooser.served(attempt.node, now - attempt.began_at, now)

    def _part_failed(self, attempt: Attempt, error: ErrorInfo, now: float) -> list[Effect]:
        rows = self._rows
        # Who says that it has no time, or is still loading, does not fail.
        refused = error.code is ErrorCode.OVERLOADED
        if not refused and not attempt.estimate.cold_s:
            self._around.memory.record(ShardFailed(attempt.node), now)
        self._reasons.step("refused" if refused else "failed", attempt.node, error.reason, now)
        effects: list[Effect] = [
            note("part.failed", task=rows.task, peer=short(attempt.node), reason=error.reason)
        ]
        effects += self._put_away(attempt, now)
        covered = {block for other in self._attempts for block in other.blocks}
        rest = tuple(block for block in attempt.blocks if block not in covered)
        if not rest:
            self._rearm()
            return effects
        tries = attempt.tries + 1
        avoid, pause_s = attempt.avoid | {attempt.node}, 0.0
        if self._dealer.other(rest, avoid, rows.m, now) is None:
            # All have had their turn: from the start, after a while.
            avoid = frozenset((attempt.node,))
            pause_s = max(RETRY_S * 2**tries, error.retry_after_s or 0.0)
        if tries == TRIES_MAX or now + pause_s + _takes_s(attempt, refused) >= rows.ends_at:
            return effects + self._failed(TaskError.of(error), now)
        share = share_of(attempt.share, len(rest), len(attempt.blocks))
        lost = Lost(rest, share, now + pause_s, attempt.rigour, avoid, refused, tries)
        self._lost.append(lost)
        return effects + self._again(now)

    def _again(self, now: float) -> list[Effect]:
        """Give lost blocks to their holders, another one if there is another; the task fails if there is none."""
        effects: list[Effect] = []
        waiting, self._lost = self._lost, []
        for lost in waiting:
            if lost.at > now:
                self._lost.append(lost)
                continue
            try:
                decision = self._dealer.decide(lost.blocks, self._rows.m, now, lost.avoid)
                if lost.refused:
                    self._dealer.require_hope(decision, self._rows.ends_at - now)
            except TaskError as error:
                return effects + self._failed(error, now)
            for hand in decision.hands:
                share = share_of(lost.share, len(hand.blocks), len(lost.blocks))
                its = replace(lost, blocks=hand.blocks, share=share)
                launched = self._launch(hand, its, now)
                if launched is None:
                    self._lost.append(replace(its, at=now + RETRY_S))
                effects += launched or []
        self._rearm()
        return effects

    def _see_to_late(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for attempt in list(self._attempts):
            if attempt not in self._attempts or attempt.due_at > now:
                continue
            verdict = judge(attempt, self._dealer, self._around, self._rows.m, now)
            if verdict is not None:
                effects += self._act_on(verdict, attempt, now)
        return effects

    def _act_on(self, verdict: Verdict, attempt: Attempt, now: float) -> list[Effect]:
        if verdict.step is Step.LOOK:
            return self._around.asking.see_to(attempt.node, now)
        if verdict.step is Step.MOVE:
            error = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=verdict.why, node=attempt.node)
            return [
                self._tell(verdict, attempt, now),
                *self._part_failed(attempt, error, now),
            ]
        return self._ask_as_well(verdict, attempt, now)

    def _ask_as_well(self, verdict: Verdict, attempt: Attempt, now: float) -> list[Effect]:
        """A second holder for the same blocks, unless one is at them already."""
        others = [one for one in self._attempts if one is not attempt and one.facts is None]
        if any(set(one.blocks) & set(attempt.blocks) for one in others):
            return []
        if verdict.step is Step.HEDGE and not self._around.hedges.take():
            return []
        hand, avoid = Hand(verdict.other, attempt.blocks), frozenset((attempt.node,))
        share, tries = attempt.share, attempt.tries
        again = Lost(attempt.blocks, share, now, attempt.rigour, avoid, tries=tries)
        launched = self._launch(hand, again, now)
        if launched is None:
            return []
        self._attempts[-1].hedge_at = inf
        return [self._tell(verdict, attempt, now), *launched]

    def _tell(self, verdict: Verdict, attempt: Attempt, now: float) -> Effect:
        self._reasons.step(verdict.step.value, attempt.node, verdict.why, now, to=verdict.other)
        event = "part.hedged" if verdict.step is Step.HEDGE else "part.rescued"
        slow, other = short(attempt.node), short(verdict.other)
        return note(event, task=self._rows.task, peer=slow, to=other, why=verdict.why)

    # -- within --------------------------------------------------------------------------------------

    @property
    def _complete(self) -> bool:
        done = {block for part in self.answered_parts for block in part.blocks}
        return len(done) == len(self._dealer.blocks)

    def _attempt(self, number: int) -> Attempt:
        """Numbers of attempts that were put away are forgotten at the desk."""
        return next(attempt for attempt in self._attempts if attempt.number == number)

    def _other(self, block: Block, attempt: Attempt, now: float) -> bool:
        """Whether another live node holds this block."""
        return self._dealer.other((block,), {attempt.node}, self._rows.m, now) is not None

    def _launch(self, hand: Hand, lost: Lost, now: float) -> list[Effect] | None:
        """None if there is no memory for it."""
        launched = self._sending.launch(hand, lost, now)
        if launched is None:
            return None
        self._attempts.append(launched[0])
        return launched[1]

    def _put_away(self, attempt: Attempt, now: float) -> list[Effect]:
        self._attempts.remove(attempt)
        return self._sending.put_away(attempt, now)

    def _rearm(self) -> None:
        moments = [attempt.due_at for attempt in self._attempts]
        moments += [lost.at for lost in self._lost]
        soonest = min(moments, default=inf)
        self.deadline = soonest if soonest < inf else None


def _takes_s(attempt: Attempt, refused: bool) -> float:
    """At the least, when its holder has got round to it: who had no time for it knows its queue."""
    known = refused and not attempt.estimate.assumed_s
    return attempt.estimate.rtt_s + attempt.estimate.service_s if known else 0.0
