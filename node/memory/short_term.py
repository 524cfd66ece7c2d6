"""The short-term half of the dual memory: what the last minutes said of each peer.

Facts come in as they happen and are folded into a few numbers a peer; forecasts are read from
those. Whatever is older than its time constant counts less and less, so a peer that changed is soon
believed. Nothing here knows what a network or a matrix is: these are seconds, bytes and counts.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import assert_never

from protocol.limits import PEERS_MAX

SPEED_TAU_S = 10.0
"""Of speeds half of what is said comes from the last 7 s: what else a machine does comes and goes. In the model of
`bench/choice_model.py` 60 s cost 0.6 points of requests in time."""
BANDWIDTH_TAU_S = 60.0
RATE_KEPT_S = 600.0
"""A rate not heard of for so long counts as unknown."""
RELIABILITY_TAU_S = 600.0
"""Failures are rare, so they are remembered longer."""

RTT_WINDOW_S = 30.0
"""The round trip is the least of the last one to two windows: what lies above it is somebody's
queue."""

BANDWIDTH_BYTES_MIN = 64 * 1024
"""Smaller transfers measure the round trip, not the bandwidth."""
BANDWIDTH_BYTES_S_MAX = 1e10
"""Transfers that seem faster are taken as this fast."""

ANSWERS_BEFORE = 20.0
FAILURES_BEFORE = 0.2
"""What is believed of a peer before anything is known: 99 % of its parts are answered."""

RATIOS_KEPT = 64
RATIOS_NEEDED = 16
"""With fewer, the 95th percentile would be a guess."""
RATIO_AGE_S_MAX = 300.0


REGIMES = ("fast", "sliced", "integer", "digital")
"""Ways to work a part, each with a cost of its own."""


@dataclass(frozen=True, slots=True)
class RttSeen:
    peer: str
    rtt_s: float


@dataclass(frozen=True, slots=True)
class ShardServed:
    """A peer has answered a part of a task."""

    peer: str
    macs: int
    service_s: float
    """Seconds that a worker spent on it."""
    bytes: int
    """Sent and received."""
    elapsed_s: float
    """From sending it to having the answer."""
    queued_s: float = 0.0
    """Of which it waited for a worker."""
    estimate_s: float | None = None
    """How long it was expected to take, if that was estimated."""
    analog: bool = False
    """On simulated arrays, which has a speed of its own."""
    regime: str = ""
    """How all of it was worked, one of REGIMES; any other word, such as for several of them, says nothing of any."""


@dataclass(frozen=True, slots=True)
class ShardFailed:
    peer: str


Fact = RttSeen | ShardServed | ShardFailed


@dataclass(slots=True)
class _Ratio:
    """Sum over sum, both fading with time: long observations count for more than short ones."""

    tau_s: float
    amount: float = 0.0
    per: float = 0.0
    _at: float = -math.inf

    def add(self, amount: float, per: float, now: float) -> None:
        fade = self._fade(now)
        self.amount = self.amount * fade + amount
        self.per = self.per * fade + per
        self._at = now

    def faded(self, now: float) -> tuple[float, float]:
        fade = self._fade(now)
        return self.amount * fade, self.per * fade

    def value(self, now: float) -> float | None:
        known = now < self._at + RATE_KEPT_S and self.per > 0.0
        return self.amount / self.per if known else None

    def _fade(self, now: float) -> float:
        return math.exp(min(self._at - now, 0.0) / self.tau_s)


@dataclass(slots=True)
class _LeastOfWindow:
    """The least of the current window and the one before it."""

    current: float = math.inf
    previous: float = math.inf
    began_at: float = -math.inf

    def add(self, value: float, now: float) -> None:
        self._turn(now)
        self.current = min(self.current, value)

    def value(self, now: float) -> float | None:
        self._turn(now)
        least = min(self.current, self.previous)
        return least if least < math.inf else None

    def _turn(self, now: float) -> None:
        if now < self.began_at + RTT_WINDOW_S:
            return
        recent = now < self.began_at + 2 * RTT_WINDOW_S
        self.previous = self.current if recent else math.inf
        self.current = math.inf
        self.began_at = now


@dataclass(slots=True)
class _Peer:
    rtt: _LeastOfWindow = field(default_factory=_LeastOfWindow)
    bandwidth: _Ratio = field(default_factory=lambda: _Ratio(BANDWIDTH_TAU_S))
    digital: _Ratio = field(default_factory=lambda: _Ratio(SPEED_TAU_S))
    analog: _Ratio = field(default_factory=lambda: _Ratio(SPEED_TAU_S))
    costs: dict[str, _Ratio] = field(default_factory=dict)
    """By regime."""
    answered: _Ratio = field(default_factory=lambda: _Ratio(RELIABILITY_TAU_S))
    ratios: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=RATIOS_KEPT))


class ShortTerm:
    """Recent statistics of each peer; of too many peers the one longest unheard of is forgotten."""

    def __init__(self, peers_max: int = PEERS_MAX) -> None:
        self._peers_max = peers_max
        self._peers: dict[str, _Peer] = {}

    def record(self, fact: Fact, now: float) -> None:
        """Fold one fact in, in constant time."""
        peer = self._remember(fact.peer)
        match fact:
            case RttSeen():
                peer.rtt.add(fact.rtt_s, now)
            case ShardServed():
                _served(peer, fact, now)
            case ShardFailed():
                peer.answered.add(0.0, 1.0, now)
            case _:
                assert_never(fact)

    def forecast_rtt_s(self, peer: str, now: float) -> float | None:
        known = self._peers.get(peer)
        return None if known is None else known.rtt.value(now)

    def forecast_bandwidth_bytes_s(self, peer: str, now: float) -> float | None:
        known = self._peers.get(peer)
        return None if known is None else known.bandwidth.value(now)

    def forecast_speed_macs_s(self, peer: str, now: float, *, analog: bool = False) -> float | None:
        known = self._peers.get(peer)
        if known is None:
            return None
        return known.analog.value(now) if analog else known.digital.value(now)

    def forecast_costs_s_mac(self, peer: str, now: float) -> dict[str, float]:
        """Seconds for each multiply-accumulate in every regime that was measured of late."""
        known = self._peers.get(peer)
        if known is None:
            return {}
        values = {regime: cost.value(now) for regime, cost in known.costs.items()}
        return {regime: value for regime, value in values.items() if value is not None}

    def forecast_ratio_p95(self, peer: str, now: float) -> float | None:
        """95th percentile of elapsed over estimated time; None with too few recent answers."""
        known = self._peers.get(peer)
        if known is None:
            return None
        recent = sorted(ratio for at, ratio in known.ratios if at > now - RATIO_AGE_S_MAX)
        if len(recent) < RATIOS_NEEDED:
            return None
        return recent[math.ceil(0.95 * len(recent)) - 1]

    def forecast_reliability(self, peer: str, now: float) -> float:
        """Chance that a part is answered: mean of a Beta distribution whose observations fade."""
        known = self._peers.get(peer)
        answered, asked = (0.0, 0.0) if known is None else known.answered.faded(now)
        return (ANSWERS_BEFORE + answered) / (ANSWERS_BEFORE + FAILURES_BEFORE + asked)

    def _remember(self, name: str) -> _Peer:
        peer = self._peers.pop(name, None)
        if peer is None:
            peer = _Peer()
            if len(self._peers) >= self._peers_max:
                del self._peers[next(iter(self._peers))]
        self._peers[name] = peer
        return peer


def _served(peer: _Peer, fact: ShardServed, now: float) -> None:
    peer.answered.add(1.0, 1.0, now)
    if fact.macs > 0 and fact.service_s > 0.0:
        (peer.analog if fact.analog else peer.digital).add(fact.macs, fact.service_s, now)
        if fact.regime in REGIMES:
            cost = peer.costs.setdefault(fact.regime, _Ratio(SPEED_TAU_S))
            cost.add(fact.service_s, fact.macs, now)
    if fact.estimate_s is not None and fact.estimate_s > 0.0:
        peer.ratios.append((now, fact.elapsed_s / fact.estimate_s))
    if fact.bytes >= BANDWIDTH_BYTES_MIN:
        rest_s = fact.elapsed_s - fact.service_s - fact.queued_s - (peer.rtt.value(now) or 0.0)
        peer.bandwidth.add(fact.bytes, max(rest_s, fact.bytes / BANDWIDTH_BYTES_S_MAX), now)
