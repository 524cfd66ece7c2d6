"""What became of the clients' requests: in time, late, turned away, failed, or asked of a node that then stopped."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence, Set
from typing import Literal

import msgspec

from node.runtime.virtual.clients import ClientTask
from node.simulation.outcome import Requests, Sample, percentile
from protocol.errors import ErrorCode

Fate = Literal["in time", "late", "shed", "failed", "lost"]

STRETCHES = 40
"""So many in a run: percentiles of a few requests would only jump about."""
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Fates:
    """Judges tasks; `stops`: machines whose process ended, and when."""

    def __init__(self, stops: Set[tuple[str, float]]) -> None:
        self._stops = stops

    def requests(self, tasks: Sequence[ClientTask], unheard: int, probes_each: float) -> Requests:
        """Over all of them; `unheard` had no node left to be asked."""
        fates = Counter(map(self.fate, tasks))
        latencies = sorted(
            task.took_s for task in tasks if task.took_s is not None and not task.code
        )
        errors = Counter(str(task.code) for task in tasks if task.code is not None)
        return Requests(
            asked=len(tasks) + unheard,
            in_time=fates["in time"],
            late=fates["late"],
            shed=fates["shed"],
            failed=fates["failed"],
            lost=fates["lost"] + unheard,
            latency_s={name: percentile(latencies, share) for name, share in SHARES.items()},
            errors=dict(sorted(errors.items())),
            probes_each=probes_each,
        )

    def by_moment(
        self, tasks: Sequence[ClientTask], samples: Sequence[Sample]
    ) -> tuple[Sample, ...]:
        """The samples, each with the requests that began since the one before, and the last answers."""
        moments = [sample.at_s for sample in samples]
        asked, in_time = Counter[int](), Counter[int]()
        for task in tasks:
            place = bisect_left(moments, task.began_at)
            asked[place] += 1
            in_time[place] += self.fate(task) == "in time"
        latencies = _latencies(tasks, moments)
        return tuple(
            msgspec.structs.replace(
                sample,
                asked=asked[place],
                in_time=in_time[place],
                p50_s=percentile(latencies[place], 0.5),
                p95_s=percentile(latencies[place], 0.95),
                p99_s=percentile(latencies[place], 0.99),
            )
            for place, sample in enumerate(samples)
        )

    def fate(self, task: ClientTask) -> Fate:
        if task.ended_at is None or task.took_s is None:
            # Only a run that was broken off leaves such.
            return "failed"
        if task.code is None:
            return "in time" if task.took_s <= task.deadline_s else "late"
        if task.code is ErrorCode.OVERLOADED:
            return "shed"
        return "lost" if (task.node, task.ended_at) in self._stops else "failed"


def _latencies(tasks: Sequence[ClientTask], moments: Sequence[float]) -> list[list[float]]:
    """Ascending, of what was answered in the stretch up to each moment."""
    answered = [
        (task.ended_at, task.took_s)
        for task in tasks
        if task.ended_at is not None and task.took_s is not None and task.code is None
    ]
    answered.sort()
    ends = [ended_at for ended_at, _ in answered]
    stretch_s = moments[-1] / STRETCHES if moments else 0.0
    found = []
    for moment in moments:
        first, last = bisect_right(ends, moment - stretch_s), bisect_right(ends, moment)
        found.append(sorted(took_s for _, took_s in answered[first:last]))
    return found
