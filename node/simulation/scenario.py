"""What a simulated mesh is made of and what befalls it: the schema of a scenario file, with its defaults.

A scenario names ranges and rates; a seed then draws the machines, the map, the weights, the requests and the faults
from them (`drawing.py`). Each pair of a low and a high end is drawn from evenly by its logarithm, so that from 1 to 64
as many lie between 1 and 8 as between 8 and 64. Times are seconds since the start of the run.
"""

from itertools import pairwise
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from node.deployment.ledger import ACTIVATION_RESERVE_MIN, MIB, OVERHEAD_BYTES
from protocol.errors import ConfigError
from protocol.limits import DEADLINE_S_MAX, MATRIX_SIDE_MAX, REPLICAS_MAX
from protocol.quantities import size_bytes

NODES_MAX = 10_000
RUN_S_MAX = 86_400.0
WEIGHTS_MAX = 4096
EVENTS_MAX = 256
"""Faults of one kind in one scenario."""
MEMORY_BYTES_MIN = OVERHEAD_BYTES + ACTIVATION_RESERVE_MIN
"""In less no node runs."""

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Instant = Annotated[float, Meta(ge=0.0, le=RUN_S_MAX)]
Span = Annotated[float, Meta(gt=0.0, le=RUN_S_MAX)]
Pause = Annotated[float, Meta(ge=0.01, le=RUN_S_MAX)]
"""Between what happens again and again: with shorter ones no run comes to its end."""
Positive = Annotated[float, Meta(ge=1e-6, le=1e6)]
Range = tuple[Positive, Positive]
Side = Annotated[int, Meta(ge=1, le=MATRIX_SIDE_MAX)]
Sides = tuple[Side, Side]
How = Literal["killed", "vanished", "stopped"]
Choice = Literal[
    "random",
    "nearest",
    "least_loaded",
    "power_of_two",
    "peak_ewma",
    "prequal",
    "ours_unshed",
    "ours",
]


def _comparable(ends: tuple[float | str, float | str]) -> tuple[float, float]:
    try:
        low, high = (float(size_bytes(end) if isinstance(end, str) else end) for end in ends)
    except ConfigError as wrong:
        raise ValueError(str(wrong)) from wrong
    return low, high


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file. A range that ends below its beginning is a slip."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) == 2 and not isinstance(value[0], _Part):
                low, high = _comparable(value)
                if low > high:
                    raise ValueError(f"{name} goes from {value[0]} to {value[1]}: low end first")


class _Timed(_Part, frozen=True, kw_only=True):
    """Something that begins."""

    at_s: Instant


class NetworkSetup(_Part, frozen=True, kw_only=True):
    """The ways between machines."""

    rtt_ms: Range = (1.0, 200.0)
    """Round trip between the two nearest and the two farthest machines."""

    map: Literal["plane", "pairs"] = "plane"
    """Machines lie on a plane and their distance decides; or each pair draws its round trip by itself."""

    jitter: Share = 0.1
    """What is sent takes up to so much longer or shorter than its way, as a share of it."""

    loss: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    """Of packets; what is lost of a link is sent again, and comes late."""

    duplication: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    """Of packets, that arrive twice."""

    reordering: Annotated[float, Meta(ge=0.0, le=0.9)] = 0.0
    """Of packets, that are held back and overtaken."""

    bandwidth_mb_s: Range = (2.5, 125.0)
    """Of each machine's line, either way, in 10^6 bytes a second."""


class MachinesSetup(_Part, frozen=True, kw_only=True):
    """What the machines are, and what else runs on them."""

    speed_gmacs: Range = (1.0, 16.0)
    """Multiply-accumulates of all workers together, in 10^9 a second, on a machine that has nothing else to do."""

    memory: tuple[str, str] = ("1GiB", "64GiB")
    """What each gives to the mesh."""

    memory_by_speed: Share = 0.0
    """How far the faster machines are those with more memory: 0 by chance alone, 1 in the same order."""

    workers: Annotated[int, Meta(ge=1, le=64)] = 1
    """Products at work at once on one machine; they share its speed."""

    others_take: tuple[Share, Share] = (0.0, 0.0)
    """What other programs on the machine leave no room for: a share of its speed, drawn evenly."""

    others_change_s: Pause = 10.0
    """After so long, on average, that share is drawn anew."""

    clock_offset_s: Annotated[float, Meta(ge=0.0, le=1e6)] = 0.0
    """Clocks are apart by as much."""

    clock_drift: Annotated[float, Meta(ge=0.0, le=0.1)] = 0.0
    """Clocks run faster or slower by at most this share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if size_bytes(self.memory[0]) < MEMORY_BYTES_MIN:
            raise ValueError(
                f"memory begins at {self.memory[0]}, and no node runs in less than"
                f' "{MEMORY_BYTES_MIN // MIB}MiB": write that or more'
            )


class WeightsSetup(_Part, frozen=True, kw_only=True):
    """The matrices that lie in the mesh."""

    count: Annotated[int, Meta(ge=0, le=WEIGHTS_MAX)] = 0
    rows: Sides = (1024, 1024)
    columns: Sides = (1024, 1024)
    replicas: Annotated[int, Meta(ge=1, le=REPLICAS_MAX)] = 2

    zipf: Annotated[float, Meta(ge=0.0, le=4.0)] = 0.8
    """The n-th most popular is asked for n^-zipf times as often as the first."""

    stocked: bool = True
    """They lie on disks from the start, placed by memory; else clients put them at the start of the run."""


class Crowd(_Timed, frozen=True, kw_only=True):
    """For a while many more requests come, all for a few weights."""

    for_s: Span
    times: Annotated[float, Meta(gt=1.0, le=1000.0)]
    """So many times the usual rate in all."""
    weights: Annotated[int, Meta(ge=1, le=WEIGHTS_MAX)] = 1
    """What comes on top is for so many of the weights, drawn evenly."""


class RequestsSetup(_Part, frozen=True, kw_only=True):
    """Products that clients ask for, at random instants (a Poisson process)."""

    rate_per_s: Annotated[float, Meta(ge=0.0, le=1e6)] = 0.0
    """In the whole mesh."""

    load: Annotated[float, Meta(gt=0.0, le=2.0)] | None = None
    """In place of a rate: offered work as a share of all speed that other programs leave."""

    rows: Sides = (32, 32)
    """Of X."""

    deadline_s: Annotated[float, Meta(gt=0.0, le=DEADLINE_S_MAX)] = 2.0
    """An answer by then is in time."""

    askers: Annotated[int, Meta(ge=1, le=NODES_MAX)] | None = None
    """So many nodes are asked by clients; nothing: all."""

    askers_apart: bool = False
    """These hold no weights, are as strong as machines get here, and nothing befalls them: what is left to measure is
    what the others do."""

    warm_up_s: Instant = 0.0
    """Requests that come earlier are served but not counted."""

    crowds: Annotated[tuple[Crowd, ...], Meta(max_length=EVENTS_MAX)] = ()


class Stop(_Timed, frozen=True, kw_only=True):
    """A share of the machines stops at once."""

    share: Share
    how: How = "killed"
    """The process dies and its links are reset; the machine is gone without a word; it says goodbye."""
    back_after_s: Span | None = None
    """Started again, from what lies on its disk."""


class Partition(_Timed, frozen=True, kw_only=True):
    """Between two parts of the mesh nothing passes; one partition ends before the next begins."""

    for_s: Span
    share: Share = 0.5
    """Of machines in the smaller part."""


class OneWay(_Timed, frozen=True, kw_only=True):
    """Some machines are not heard by some others, although these are heard by them."""

    for_s: Span
    share: Share = 0.1
    """Of machines that are not heard."""
    by: Share = 0.5
    """Share of the others that do not hear them."""


class Freeze(_Timed, frozen=True, kw_only=True):
    """A share of the machines does nothing for a while, and then goes on as if nothing had been."""

    for_s: Span
    share: Share
    times: Annotated[int, Meta(ge=1, le=1000)] = 1
    apart_s: Span = 1.0
    """Between two freezes of the same machines."""


class Slowdown(_Timed, frozen=True, kw_only=True):
    """A share of the machines computes slower for a while."""

    for_s: Span
    share: Share
    factor: Annotated[float, Meta(gt=1.0, le=1000.0)]


class FaultsSetup(_Part, frozen=True, kw_only=True):
    """What goes wrong."""

    mean_life_s: Pause | None = None
    """After so long, on average, a machine is killed; nothing: never."""

    mean_absence_s: Pause = 60.0
    """After so long, on average, it comes back."""

    stops: Annotated[tuple[Stop, ...], Meta(max_length=EVENTS_MAX)] = ()
    partitions: Annotated[tuple[Partition, ...], Meta(max_length=EVENTS_MAX)] = ()
    one_ways: Annotated[tuple[OneWay, ...], Meta(max_length=EVENTS_MAX)] = ()
    freezes: Annotated[tuple[Freeze, ...], Meta(max_length=EVENTS_MAX)] = ()
    slowdowns: Annotated[tuple[Slowdown, ...], Meta(max_length=EVENTS_MAX)] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for one, other in pairwise(sorted(self.partitions, key=lambda split: split.at_s)):
            # What heals one would heal the other, and a machine is on one of two sides.
            if other.at_s < one.at_s + one.for_s:
                raise ValueError(
                    f"a partition begins at {other.at_s:g} s, before the one of {one.at_s:g} s is over:"
                    " write them one after the other"
                )


class Scenario(_Part, frozen=True, kw_only=True):
    """The whole file."""

    about: Annotated[str, Meta(min_length=1, max_length=400)]
    """One sentence for the list of scenarios and the head of the report."""

    nodes: Annotated[int, Meta(ge=2, le=NODES_MAX)] = 64
    run_s: Span = 60.0
    start: Literal["converged", "strangers"] = "converged"
    """All know all from the first second on; or each knows just the address of the first."""

    choice: Choice = "ours"
    """How a coordinator chooses among holders; all but `ours` turn no request away."""

    network: NetworkSetup = NetworkSetup()
    machines: MachinesSetup = MachinesSetup()
    weights: WeightsSetup = WeightsSetup()
    requests: RequestsSetup = RequestsSetup()
    faults: FaultsSetup = FaultsSetup()

    def __post_init__(self) -> None:
        super().__post_init__()
        requests, asked = self.requests, self.asked
        if requests.rate_per_s > 0 and requests.load is not None:
            raise ValueError("requests has a rate_per_s and a load: write one of them")
        if asked and not self.weights.count:
            raise ValueError("requests are for weights: write a weights.count above 0")
        if requests.askers_apart and requests.askers is None:
            raise ValueError("requests.askers_apart is about some nodes: write requests.askers")
        if requests.crowds and not asked:
            raise ValueError("requests.crowds multiplies a rate: write requests.rate_per_s or load")
        if self.apart >= self.nodes:
            raise ValueError(
                "requests.askers_apart leaves no node to hold weights: write more nodes"
            )
        if any(crowd.weights > self.weights.count for crowd in requests.crowds):
            raise ValueError("requests.crowds is for more weights than weights.count says")

    @property
    def asked(self) -> bool:
        """Clients ask for products."""
        return self.requests.rate_per_s > 0.0 or self.requests.load is not None

    @property
    def apart(self) -> int:
        """Machines, the last ones, that only take clients' requests."""
        return (self.requests.askers or 0) if self.requests.askers_apart else 0
