"""Why a product was done as it was: who could have done it, what each would have taken, what happened on the way."""

from collections.abc import Mapping

import msgspec

from node.communication.choosing import Option
from node.execution.dealing import Decision
from protocol.ids import NodeId
from protocol.tasks import CandidateView, ExplainView, OptionView, StepView

CANDIDATES_KEPT = 16
OPTIONS_KEPT = 8
STEPS_KEPT = 64
"""Of one product; of what came after only the number is known."""
REASON_CHARS_KEPT = 1_000
"""Of each reason: ours are shorter, but a peer may send as much as a header takes."""


class Reasons:
    """Told of decisions and of what became of them."""

    def __init__(self, own: NodeId, now: float) -> None:
        self._own = own
        self._began_at = now
        self._first: Decision | None = None
        self._first_left_s = 0.0
        self._decisions = 0
        self._counts: dict[str, int] = {}
        self._steps: list[StepView] = []

    def decided(self, decision: Decision, left_s: float) -> None:
        """Whom to ask for a panel; the first decision is the one that is kept."""
        self._decisions += 1
        if self._first is None:
            self._first, self._first_left_s = decision, left_s

    def counted(self, what: str, number: int = 1) -> None:
        self._counts[what] = self._counts.get(what, 0) + number

    def step(self, what: str, node: str, why: str, now: float, to: str = "") -> None:
        """Something was not as planned."""
        self.counted(what)
        if len(self._steps) < STEPS_KEPT:
            at_s = now - self._began_at
            self._steps.append(StepView(at_s=at_s, what=what, node=node, to=to, why=kept(why)))

    def view(self) -> ExplainView:
        counts = self._counts
        told = ExplainView(
            decisions=self._decisions,
            probes=counts.get("probed", 0),
            hedges=counts.get("hedged", 0),
            rescues=counts.get("rescued", 0) + counts.get("moved", 0),
            failures=counts.get("failed", 0),
            refusals=counts.get("refused", 0),
            stronger=counts.get("stronger", 0),
            digital=counts.get("digital", 0),
            shed=bool(counts.get("shed")),
            steps=tuple(self._steps),
        )
        if self._first is None:
            return told
        deal = self._first.deal
        return msgspec.structs.replace(
            told,
            shape=shape(deal.hands, self._own),
            why=deal.why,
            seconds=deal.option.last_s,
            left_s=self._first_left_s,
            rows=self._first.m,
            candidates=_candidates(self._first),
            others=tuple(_option(other, self._own) for other in deal.others[:OPTIONS_KEPT]),
        )


def kept(reason: str) -> str:
    """What stays known of a reason."""
    return reason[:REASON_CHARS_KEPT]


def shape(hands: Mapping[str, object], own: NodeId) -> str:
    """local | whole | split"""
    if len(hands) > 1:
        return "split"
    return "local" if own in hands else "whole"


def _option(option: Option, own: NodeId) -> OptionView:
    return OptionView(
        shape=shape(option.hands, own), nodes=tuple(option.hands), seconds=option.last_s
    )


def _candidates(decision: Decision) -> tuple[CandidateView, ...]:
    """Those that were chosen first, then the quickest."""
    hands, estimates = decision.deal.hands, decision.deal.estimates
    ranked = sorted(
        decision.asked.candidates,
        key=lambda one: (one.node not in hands, estimates[one.node].cost_s, one.node),
    )
    return tuple(
        CandidateView(
            node=one.node,
            blocks=len(hands.get(one.node, ())),
            rtt_s=estimates[one.node].rtt_s,
            transfer_s=estimates[one.node].transfer_s,
            queue_s=estimates[one.node].queue_s,
            service_s=estimates[one.node].service_s,
            cold_s=estimates[one.node].cold_s,
            risk_s=estimates[one.node].risk_s,
            total_s=estimates[one.node].total_s,
            assumed_s=estimates[one.node].assumed_s,
            relay_s=estimates[one.node].relay_s,
            age_s=one.age_s,
        )
        for one in ranked[:CANDIDATES_KEPT]
    )
