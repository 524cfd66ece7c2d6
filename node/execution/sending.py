"""Sends parts of a panel to their holders, within the memory that the panel has."""

from math import inf

from node.communication.desk import Waiter
from node.communication.outstanding import Sent
from node.communication.scoring import hedge_after_s
from node.effects import Allocate, Call, CancelCall, CancelWork, Effect, Free, Work
from node.execution.attempts import Attempt, Lost, PanelRows, multiply_request, shard_here
from node.execution.dealing import Dealer, Hand, Surroundings
from node.execution.lateness import LOOK_S, rescue_at
from node.execution.shards import VALUE_BYTES
from node.work import BufferRef, PackColumns


class Sending:
    """Makes attempts, and takes back what they had."""

    def __init__(
        self,
        rows: PanelRows,
        spare_bytes: int,
        dealer: Dealer,
        around: Surroundings,
        waiter: Waiter,
    ) -> None:
        self._rows = rows
        self._spare = spare_bytes
        """Of the panel's lease, for parts."""
        self._dealer = dealer
        self._around = around
        self._waiter = waiter

    def launch(self, hand: Hand, lost: Lost, now: float) -> tuple[Attempt, list[Effect]] | None:
        """Send one part to its holder, or to this node's own workers; None if there is no memory for it."""
        m, dealer, around = self._rows.m, self._dealer, self._around
        need = dealer.part_bytes(hand, m)
        lease = None
        if need > self._spare:
            lease = around.room.take_now(self._rows.task, need, now)
            if lease is None:
                return None
        estimate, takes_s = dealer.estimate(hand, m, now)
        ratio = around.memory.forecast_ratio_p95(hand.node, now)
        layout = dealer.layout(hand.blocks, m)
        attempt = Attempt(
            node=hand.node,
            layout=layout,
            out=around.desk.buffer(layout.output_bytes),
            share=lost.share,
            rigour=lost.rigour,
            macs=dealer.macs(hand.blocks, m),
            reserved=need if lease is None else 0,
            lease=lease,
            tries=lost.tries,
            avoid=lost.avoid,
            began_at=now,
            estimate=estimate,
            number=around.desk.number(self._waiter),
            hedge_at=now + hedge_after_s(ratio, estimate),
            rescue_at=rescue_at(estimate, now),
            back_s=estimate.rtt_s + estimate.back_s,
            look_at=inf if hand.node == around.own else now + LOOK_S,
        )
        self._spare -= attempt.reserved
        around.hedges.requested()
        sent = Sent(now, attempt.macs, takes_s, now + estimate.total_s)
        around.outstanding.started(attempt.node, attempt.out.id, sent)
        return attempt, [Allocate(attempt.out), *self._set_out(attempt, now)]

    def packed(self, attempt: Attempt, now: float) -> Call:
        """Its columns of X are packed: they can go."""
        assert attempt.packed is not None
        attempt.number = self._around.desk.number(self._waiter)
        return self._send(attempt, attempt.packed, now)

    def put_away(self, attempt: Attempt, now: float) -> list[Effect]:
        """Give back what it had; if it is under way it is stopped."""
        self._spare += attempt.reserved
        effects: list[Effect] = [Free(attempt.out)]
        if attempt.packed is not None:
            effects.append(Free(attempt.packed))
        if attempt.facts is None:
            self._around.desk.forget(attempt.number)
            self._around.outstanding.ended(attempt.node, attempt.out.id)
            stop = CancelCall(attempt.number) if attempt.calling else CancelWork(attempt.number)
            effects.insert(0, stop)
        if attempt.lease is not None:
            effects += self._around.room.give_back(attempt.lease, now)
        return effects

    # -- within --------------------------------------------------------------------------------------

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
        request = multiply_request(rows, attempt, now)
        left_s = max(rows.ends_at - now, 0.0)
        return Call(
            attempt.number, attempt.node, request, left_s, body, attempt.out, trace=rows.task
        )
