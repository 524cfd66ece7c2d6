"""What one product took and how exact it is: summed over its panels as their parts come in."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from compute.partition import Block
from compute.verify import FAILURE_PROBABILITY
from node.work import ShardDone
from protocol.tasks import AccountView, CertificateView, WorkView


@dataclass(slots=True)
class _Work:
    """Of one node."""

    blocks: set[Block] = field(default_factory=set)
    analog_macs: int = 0
    digital_macs: int = 0
    reads: int = 0
    busy_s: float = 0.0
    energy_j: float = 0.0
    latency_s: float = 0.0
    bytes: int = 0

    def view(self, node: str) -> WorkView:
        macs = self.analog_macs + self.digital_macs
        return WorkView(
            node=node,
            blocks=len(self.blocks),
            macs=macs,
            reads=self.reads,
            busy_s=self.busy_s,
            energy_j=self.energy_j,
            latency_s=self.latency_s,
            bytes=self.bytes,
            analog_fraction=self.analog_macs / macs if macs else 0.0,
        )


class Account:
    """Told of every part that was answered, and of the panels that stood their check."""

    def __init__(self, now: float) -> None:
        self._began_at = now
        self._ended_at: float | None = None
        self._nodes: dict[str, _Work] = {}
        self._latency_s = 0.0
        self._panel_latency_s: dict[str, float] = {}
        self._analog = 0
        self._digital = 0
        self._regimes: set[str] = set()
        self._worst_bound = 0.0

    def served(self, node: str, blocks: Iterable[Block], facts: ShardDone, nbytes: int) -> None:
        """A part was answered, whether or not it stands; `nbytes` were sent there and back."""
        work = self._nodes.setdefault(node, _Work())
        work.blocks.update(blocks)
        work.analog_macs += facts.analog_macs
        work.digital_macs += facts.digital_macs
        work.reads += facts.reads
        work.busy_s += facts.busy_s
        work.energy_j += facts.energy_j
        work.latency_s += facts.latency_s
        work.bytes += nbytes
        before_s = self._panel_latency_s.get(node, 0.0)
        self._panel_latency_s[node] = before_s + facts.latency_s

    def stands(self, parts: Iterable[ShardDone], bound: float) -> None:
        """A panel stood its check, with these parts in it."""
        for facts in parts:
            self._analog += facts.analog_macs
            self._digital += facts.digital_macs
            self._regimes.update(facts.regime.split("+"))
        self._worst_bound = max(self._worst_bound, bound)

    def panel_over(self) -> None:
        """Nodes work side by side, panels one after the other."""
        self._latency_s += max(self._panel_latency_s.values(), default=0.0)
        self._panel_latency_s.clear()

    def over(self, now: float) -> None:
        self._ended_at = now

    def certificate(self) -> CertificateView:
        """Of the panels so far. The bound is what the check found, whether or not a tolerance was asked for."""
        done = self._analog + self._digital
        return CertificateView(
            bound=self._worst_bound if math.isfinite(self._worst_bound) else None,
            confidence=1.0 - FAILURE_PROBABILITY,
            regime="+".join(sorted(self._regimes)),
            analog_fraction=self._analog / done if done else 0.0,
        )

    def view(self, now: float) -> AccountView:
        work = tuple(one.view(node) for node, one in sorted(self._nodes.items()))
        ended_at = now if self._ended_at is None else self._ended_at
        return AccountView(
            energy_j=sum(one.energy_j for one in work),
            latency_s=self._latency_s + max(self._panel_latency_s.values(), default=0.0),
            bytes=sum(one.bytes for one in work),
            seconds=ended_at - self._began_at,
            work=work,
        )
