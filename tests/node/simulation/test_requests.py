from math import isnan

import pytest

from node.runtime.virtual.clients import ClientTask
from node.simulation.outcome import Sample, percentile
from node.simulation.requests import Fates
from protocol.errors import ErrorCode, ErrorInfo

FATES = Fates({("b", 3.0)})


def task(
    began_at: float, ended_at: float | None, code: ErrorCode | None = None, node: str = "a"
) -> ClientTask:
    made = ClientTask(1, node, "matmul", "w", began_at, deadline_s=2.0)
    made.ended_at = ended_at
    made.error = None if code is None else ErrorInfo(code=code, reason="as told")
    return made


def sample(at_s: float) -> Sample:
    return Sample(
        at_s=at_s,
        living=1,
        agreement=1.0,
        false_suspicions=0,
        false_deaths=0,
        bytes_s={},
        fill_mean=0.0,
        fill_max=0.0,
    )


def test_each_task_has_the_fate_that_its_client_saw() -> None:
    assert FATES.fate(task(1.0, 3.0)) == "in time"
    assert FATES.fate(task(1.0, 3.5)) == "late"
    assert FATES.fate(task(1.0, 1.1, ErrorCode.OVERLOADED)) == "shed"
    assert FATES.fate(task(1.0, 3.0, ErrorCode.DEADLINE)) == "failed"
    assert FATES.fate(task(1.0, 3.0, ErrorCode.UNAVAILABLE, node="b")) == "lost"
    assert FATES.fate(task(1.0, 2.9, ErrorCode.UNAVAILABLE, node="b")) == "failed"
    assert FATES.fate(task(1.0, None)) == "failed"


def test_fates_and_latencies_are_counted_over_all_tasks() -> None:
    tasks = [task(0.0, 0.5), task(0.0, 1.5), task(0.0, 9.0), task(0.0, 1.0, ErrorCode.DEADLINE)]

    counted = FATES.requests(tasks, unheard=2, probes_each=1.0)

    assert (counted.asked, counted.in_time, counted.late, counted.failed) == (6, 2, 1, 1)
    assert (counted.lost, counted.shed) == (2, 0)
    assert (counted.latency_s["p50"], counted.latency_s["max"]) == (1.5, 9.0)
    assert counted.errors == {"deadline": 1}
    assert counted.in_time_share == 2 / 6


def test_requests_stand_in_the_stretch_in_which_they_began() -> None:
    tasks = [task(0.2, 0.4), task(0.5, 5.0), task(0.7, 0.9), task(1.4, 1.5)]

    first, second = FATES.by_moment(tasks, [sample(0.5), sample(1.0)])

    assert (first.asked, first.in_time) == (2, 1)
    assert (second.asked, second.in_time) == (1, 1)


def test_latencies_stand_where_the_answers_came() -> None:
    tasks = [task(0.2, 0.4), task(0.3, 0.4), task(9.0, 9.9)]
    moments = [0.5 * n for n in range(1, 21)]

    told = FATES.by_moment(tasks, [sample(at_s) for at_s in moments])

    assert told[0].p50_s == pytest.approx(0.1) and told[0].p99_s == pytest.approx(0.2)
    assert isnan(told[1].p50_s)
    assert told[19].p50_s == pytest.approx(0.9)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [float(n) for n in range(1, 101)]

    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert percentile([3.0], 0.5) == 3.0
