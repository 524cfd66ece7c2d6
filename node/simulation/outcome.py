"""What came of a run: figures for people, programs and drawings."""

import math
from collections.abc import Sequence

import msgspec


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must always hold did not."""

    invariant: str
    """Its name."""
    at_s: float
    machine: str
    what: str
    replay: str
    """The command that leads there again."""


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """How right the nodes were about each other. Healthy: it runs, and the observer could reach it all the time."""

    agreement: float
    """Share of (observer, machine) pairs seen rightly at the end."""
    agreed_again_s: tuple[float, ...]
    """For each partition that was healed: after how long all saw all rightly; infinite where that never came."""
    suspicions: int
    """Machines suspected, by each observer that did so by itself."""
    false_suspicions: int
    """Of these, healthy ones."""
    false_deaths: int
    """Healthy machines that somebody took for dead."""
    stops: int
    """Machines that stopped, and had not come back at the end."""
    detected_s: tuple[float, ...]
    """From the stop to the first that took it for dead."""
    spread_s: tuple[float, ...]
    """From that to the last living one that did; infinite where one never did."""


class Requests(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the clients' requests, the warm-up left out."""

    asked: int
    in_time: int
    late: int
    """Answered, but past the deadline."""
    shed: int
    """Turned away at once or early, with a time to come back."""
    failed: int
    """Ended by another error, its time having run out among others."""
    lost: int
    """The machine that was asked stopped."""
    latency_s: dict[str, float]
    """p50, p95, p99 and max over those that were answered."""
    errors: dict[str, int]
    """By code."""
    probes_each: float
    """How often nodes asked others for their load after a decision, over the requests of the whole run."""

    @property
    def in_time_share(self) -> float:
        return self.in_time / self.asked if self.asked else math.nan


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Sent by one node in one second, on average over living ones."""

    bytes_s: dict[str, float]
    """By kind."""
    packets_s: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    fill_mean: float
    """Share of the budgets that is promised, over machines and time."""
    fill_max: float
    """Of one machine at one time."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One moment, with what happened since the moment before; not a number where nothing did."""

    at_s: float
    living: int
    agreement: float
    false_suspicions: int
    false_deaths: int
    bytes_s: dict[str, float]
    """A node's, by kind."""
    fill_mean: float
    fill_max: float
    asked: int = 0
    in_time: int = 0
    """Of those asked since the moment before, whenever the answer came."""
    p50_s: float = math.nan
    p95_s: float = math.nan
    p99_s: float = math.nan
    """Of the answers that came in the stretch before, which is longer than from one moment to the next."""


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """A fault, for the drawings."""

    what: str
    at_s: float
    until_s: float | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run."""

    scenario: str
    about: str
    choice: str
    nodes: int
    seed: int
    run_s: float
    membership: Membership
    requests: Requests
    traffic: Traffic
    memory: Memory
    events: dict[str, int]
    """How often each thing happened that a trace tells of."""
    steps: int
    """What was carried out: every message, tick and piece of work."""
    wall_s: float
    """Of the machine that simulates."""
    broken: Broken | None
    happenings: tuple[Happening, ...]
    samples: tuple[Sample, ...]

    @property
    def steps_per_s(self) -> float:
        return self.steps / self.wall_s if self.wall_s else math.nan


def percentile(ascending: Sequence[float], share: float) -> float:
    """The least value that so many are not above; not a number without values."""
    if not ascending:
        return math.nan
    return ascending[max(math.ceil(share * len(ascending)) - 1, 0)]
