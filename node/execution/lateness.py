"""What to do about a part that is late.

A second holder is asked, within a small budget, where the first is slower than it nearly always is. Where something
must be wrong the part gets another holder without asking the budget: the first gives no sign of life, or takes four
times as long as could be reckoned from measured speeds. Work that takes long is no reason: its holder answers probes.
"""

from dataclasses import dataclass
from enum import Enum
from math import inf

from node.communication.scoring import Estimate
from node.execution.attempts import Attempt
from node.execution.dealing import Dealer, Surroundings
from protocol.ids import NodeId

LOOK_S = 0.4
"""A holder that works for us and was not heard for so long is asked for a sign of life."""
PAST_S = 1e-3
"""Silence counts from after its moment on: looking at the moment itself would find nothing, and again later."""
OVERDUE_RATIO = 4.0
OVERDUE_S_MIN = 1.0
"""A part is overdue after so many times what was expected, but not sooner."""


class Step(Enum):
    HEDGE = "hedged"
    """Ask another holder as well, if the budget allows it."""
    RESCUE = "rescued"
    """Ask another holder as well, whatever the budget says."""
    MOVE = "moved"
    """Ask another holder instead."""
    LOOK = "looked"
    """See whether the holder is still there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    step: Step
    other: NodeId
    why: str


def rescue_at(estimate: Estimate, now: float) -> float:
    """When a part that begins now is overdue; never, where its estimate rests on a guess."""
    if estimate.assumed_s:
        return inf
    return now + max(OVERDUE_RATIO * estimate.total_s, OVERDUE_S_MIN)


def judge(
    attempt: Attempt, dealer: Dealer, around: Surroundings, m: int, now: float
) -> Verdict | None:
    """What to do about a part that is due; sets when to look at it again."""
    if now >= attempt.look_at:
        return _look(attempt, dealer, around, m, now)
    step = Step.RESCUE if now >= attempt.rescue_at else Step.HEDGE
    late_s = now - attempt.began_at
    other = dealer.other(attempt.blocks, {attempt.node}, m, now)
    # Who has taken this long may well take as long again: the other must be expected sooner.
    sooner = other is not None and other[1].total_s <= late_s
    again_at = inf if sooner else now + max(late_s, LOOK_S)
    if step is Step.RESCUE:
        attempt.hedge_at, attempt.rescue_at = inf, again_at
    else:
        attempt.hedge_at = again_at
    if other is None or not sooner:
        return None
    why = f"{late_s:.2g} s where {attempt.estimate.total_s:.2g} s were expected"
    return Verdict(step, other[0], why)


def _look(
    attempt: Attempt, dealer: Dealer, around: Surroundings, m: int, now: float
) -> Verdict | None:
    asking, peer, rtt_s = around.asking, attempt.node, attempt.estimate.rtt_s
    quiet_until = max(attempt.began_at, asking.heard_at(peer)) + LOOK_S
    if now < quiet_until:
        attempt.look_at = quiet_until
        return None
    attempt.look_at = max(asking.silent_at(peer, rtt_s, now) + PAST_S, now + LOOK_S)
    if silent_s := asking.silent_s(peer, rtt_s, now):
        other = dealer.other(attempt.blocks, {peer}, m, now)
        if other is not None:
            return Verdict(Step.MOVE, other[0], f"no sign of life for {silent_s:.1f} s")
    return Verdict(Step.LOOK, peer, "")
