"""The parts of one panel: each block is at work at one holder or at two, or waits for its next try.

    launched -> packed -> sent -> answered                    the first answer for a block counts
        |          |        +---> asked of a second holder    where the first is slower than it nearly always is
        +----------+--------+---> failed -> lost              -> launched elsewhere, after a pause at the same holder

Says when every block has its answer, and takes answers back that turn out wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from compute.partition import Block
from node.communication.scoring import hedge_after_s
from node.effects import Allocate, Call, CancelCall, CancelWork, Effect, Free, Work, note
from node.execution.account import Account
from node.execution.attempts import Attempt, PanelRows, facts_of, multiply_request, shard_here
from node.execution.dealing import Dealer, Hand, Surroundings
from node.execution.shards import VALUE_BYTES
from node.memory.short_term import ShardFailed, ShardServed
from node.work import BufferRef, Outcome, PackColumns, Part, ShardDone
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo, TaskError
from protocol.ids import NodeId, short
from protocol.messages import Multiplied, Response

RETRY_S = 0.05
"""Pause before another try at the same holder, or for which there was no memory; it doubles with each failure."""
TRIES_MAX = 6
"""A block that failed so often fails the task, with the last reason."""


@dataclass(frozen=True, slots=True)
class _Lost:
    """Blocks that wait for their next try."""

    blocks: tuple[Block, ...]
    share: float | None
    exact: bool
    avoid: NodeId | None
    tries: int
    at: float


class Parts:
    """Told what became of calls and work; calls `whole` when every block has its answer, `failed` when one cannot."""

    def __init__(
        self,
        rows: PanelRows,
        spare_bytes: int,
        dealer: Dealer,
        around: Surroundings,
        account: Account,
        whole: Callable[[float], list[Effect]],
        failed: Callable[[TaskError, float], list[Effect]],
    ) -> None:
        self.deadline: float | None = None
        self._rows = rows
        self._spare = spare_bytes
        """Of the panel's lease, for parts."""
        self._dealer = dealer
        self._around = around
        self._account = account
        self._whole = whole
        self._failed = failed
        self._attempts: list[Attempt] = []
        self._lost: list[_Lost] = []

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
            launched = None
            if hand.node in live:
                launched = self._launch(hand, share, False, 0, now)
            if launched is None:
                self._lost.append(_Lost(hand.blocks, share, False, None, 0, now))
            effects += launched or []
        return effects + self._again(now)

    def blame(self, wrong: list[Attempt], now: float) -> list[Effect]:
        """These answers are wrong: once more, from another holder, or digitally if there is none."""
        effects: list[Effect] = []
        for attempt in wrong:
            self._around.memory.record(ShardFailed(attempt.node), now)
            effects += self._put_away(attempt, now)
            there = [
                block
                for block in attempt.blocks
                if self._dealer.other((block,), attempt.node, now) is None
            ]
            elsewhere = [block for block in attempt.blocks if block not in there]
            for blocks, exact in ((elsewhere, attempt.exact), (there, True)):
                if blocks:
                    share = _share_of(attempt.share, len(blocks), len(attempt.blocks))
                    lost = _Lost(tuple(blocks), share, exact, attempt.node, attempt.tries, now)
                    self._lost.append(lost)
        return effects + self._again(now)

    def redo_digitally(self, attempts: list[Attempt], now: float) -> list[Effect]:
        """Nobody is to blame: the errors of these parts add up to more than was asked for."""
        effects: list[Effect] = []
        for attempt in attempts:
            effects += self._put_away(attempt, now)
            self._lost.append(_Lost(attempt.blocks, 0.0, True, None, attempt.tries, now))
        return effects + self._again(now)

    def tick(self, now: float) -> list[Effect]:
        return self._hedge(now) + self._again(now)

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
        assert attempt.packed is not None
        attempt.number = self._around.desk.number(self)
        return [self._send(attempt, attempt.packed, now)]

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._part_failed(self._attempt(job), error, now)

    # -- launching -----------------------------------------------------------------------------------

    def _launch(
        self, hand: Hand, share: float | None, exact: bool, tries: int, now: float
    ) -> list[Effect] | None:
        """Send one part to its holder, or to this node's own workers; None if there is no memory for it."""
        m, dealer, around = self._rows.m, self._dealer, self._around
        need = dealer.part_bytes(hand, m)
        lease = None
        if need > self._spare:
            lease = around.room.take_now(self._rows.task, need, now)
            if lease is None:
                return None
        estimate = dealer.estimate(hand, m, now)
        ratio = around.memory.forecast_ratio_p95(hand.node, now)
        layout = dealer.layout(hand.blocks, m)
        attempt = Attempt(
            node=hand.node,
            layout=layout,
            out=around.desk.buffer(layout.output_bytes),
            share=0.0 if exact else share,
            exact=exact,
            macs=dealer.macs(hand.blocks, m),
            reserved=need if lease is None else 0,
            lease=lease,
            tries=tries,
            began_at=now,
            estimate_s=estimate.total_s,
            hedge_at=now + hedge_after_s(ratio, estimate),
            number=around.desk.number(self),
        )
        self._spare -= attempt.reserved
        self._attempts.append(attempt)
        around.hedges.requested()
        around.outstanding.started(attempt.node, attempt.macs)
        return [Allocate(attempt.out), *self._set_out(attempt, now)]

    def _set_out(self, attempt: Attempt, now: float) -> list[Effect]:
        rows, layout = self._rows, attempt.layout
        if attempt.node == self._around.own:
            return [Work(attempt.number, shard_here(self._dealer.sides, rows, attempt))]
        if not self._dealer.packs(attempt.node, attempt.blocks):
            return [self._send(attempt, rows.x, now)]
        packed = self._around.desk.buffer(rows.m * layout.packed_width * VALUE_BYTES)
        attempt.packed = packed
        pack = PackColumns(rows.x, rows.m, self._dealer.sides.width_in, layout.spans, packed)
        return [Allocate(packed), Work(attempt.number, pack)]

    def _send(self, attempt: Attempt, body: BufferRef, now: float) -> Call:
        attempt.calling = True
        rows = self._rows
        request = multiply_request(rows, attempt)
        left_s = max(rows.ends_at - now, 0.0)
        return Call(
            attempt.number, attempt.node, request, left_s, body, attempt.out, trace=rows.task
        )

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
        self._around.outstanding.ended(attempt.node, attempt.macs)
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
            attempt.estimate_s,
        )
        self._around.memory.record(served, now)

    def _part_failed(self, attempt: Attempt, error: ErrorInfo, now: float) -> list[Effect]:
        rows = self._rows
        self._around.memory.record(ShardFailed(attempt.node), now)
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
        if tries == TRIES_MAX:
            return effects + self._failed(TaskError.of(error), now)
        elsewhere = self._dealer.other(rest, attempt.node, now) is not None
        pause_s = 0.0 if elsewhere else RETRY_S * 2**tries
        lost = _Lost(rest, attempt.share, attempt.exact, attempt.node, tries, now + pause_s)
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
                hands = self._dealer.deal(lost.blocks, self._rows.m, now, avoid=lost.avoid)
            except TaskError as error:
                return effects + self._failed(error, now)
            for hand in hands:
                share = _share_of(lost.share, len(hand.blocks), len(lost.blocks))
                launched = self._launch(hand, share, lost.exact, lost.tries, now)
                if launched is None:
                    later = replace(lost, blocks=hand.blocks, share=share, at=now + RETRY_S)
                    self._lost.append(later)
                effects += launched or []
        self._rearm()
        return effects

    def _hedge(self, now: float) -> list[Effect]:
        """Ask a second holder where the first is slower than it nearly always is."""
        effects: list[Effect] = []
        for attempt in list(self._attempts):
            if attempt.facts is not None or attempt.hedged or now < attempt.hedge_at:
                continue
            attempt.hedged = True
            other = self._dealer.other(attempt.blocks, attempt.node, now)
            if other is None or not self._around.hedges.take():
                continue
            hand = Hand(other, attempt.blocks)
            launched = self._launch(hand, attempt.share, attempt.exact, attempt.tries, now)
            if launched is not None:
                self._attempts[-1].hedged = True
                slow = short(attempt.node)
                effects += [note("part.hedged", task=self._rows.task, peer=slow), *launched]
        return effects

    # -- within --------------------------------------------------------------------------------------

    @property
    def _complete(self) -> bool:
        done = {block for a in self._attempts if a.facts is not None for block in a.blocks}
        return len(done) == len(self._dealer.blocks)

    def _attempt(self, number: int) -> Attempt:
        """Numbers of attempts that were put away are forgotten at the desk."""
        return next(attempt for attempt in self._attempts if attempt.number == number)

    def _put_away(self, attempt: Attempt, now: float) -> list[Effect]:
        self._attempts.remove(attempt)
        self._spare += attempt.reserved
        effects: list[Effect] = [Free(attempt.out)]
        if attempt.packed is not None:
            effects.append(Free(attempt.packed))
        if attempt.facts is None:
            self._around.desk.forget(attempt.number)
            self._around.outstanding.ended(attempt.node, attempt.macs)
            stop = CancelCall(attempt.number) if attempt.calling else CancelWork(attempt.number)
            effects.insert(0, stop)
        if attempt.lease is not None:
            effects += self._around.room.give_back(attempt.lease, now)
        return effects

    def _rearm(self) -> None:
        moments = [a.hedge_at for a in self._attempts if a.facts is None and not a.hedged]
        moments += [lost.at for lost in self._lost]
        self.deadline = min(moments, default=None)


def _share_of(share: float | None, blocks: int, of: int) -> float | None:
    return None if share is None else share * blocks / of
