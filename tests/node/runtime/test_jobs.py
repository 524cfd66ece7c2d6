"""Work under way: told once, cancelled without a trace, waited for where the disk needs it."""

import asyncio
import errno
from dataclasses import dataclass, field

from node.runtime.jobs import Jobs
from node.work import Outcome
from protocol.errors import ErrorCode, ErrorInfo, TaskError


@dataclass
class Node:
    """Hears how jobs end."""

    told: list[tuple[int, object]] = field(default_factory=list)

    def done(self, job: int, outcome: Outcome) -> None:
        self.told.append((job, outcome))

    def failed(self, job: int, error: ErrorInfo) -> None:
        self.told.append((job, error.code))


class Log:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.events.append(event)

    debug = warning = exception = info


def jobs() -> tuple[Jobs, Node, Log]:
    node, log = Node(), Log()
    return Jobs(log, node.done, node.failed), node, log


async def fine() -> Outcome:
    return None


async def refused() -> Outcome:
    raise TaskError(ErrorCode.NO_ROOM, "no room")


async def full() -> Outcome:
    raise OSError(errno.ENOSPC, "No space left on device")


async def broken() -> Outcome:
    raise ZeroDivisionError


async def test_each_end_is_told_once_and_what_broke_is_logged() -> None:
    all_jobs, node, log = jobs()

    for number, doing in enumerate((fine, refused, broken)):
        all_jobs.begin(number, doing, lasting=True)
    await all_jobs.close()

    assert node.told == [(0, None), (1, ErrorCode.NO_ROOM), (2, ErrorCode.INTERNAL)]
    assert log.events == ["work.broke"]


async def test_a_full_disk_is_told_as_such_and_is_no_fault_of_the_program() -> None:
    log, reasons = Log(), list[str]()
    all_jobs = Jobs(log, Node().done, lambda _, error: reasons.append(error.reason))

    all_jobs.begin(1, full, lasting=True)
    await all_jobs.close()

    assert reasons == [
        "the disk of this node is full: make room where its data directory lies, or ask another node"
    ]
    assert log.events == ["disk.full"]


async def test_a_job_cancelled_before_it_began_leaves_no_trace() -> None:
    all_jobs, node, log = jobs()

    all_jobs.begin(1, fine)
    all_jobs.cancel(1)
    await all_jobs.settled()

    assert node.told == [] and log.events == []


async def test_settled_waits_for_what_a_cancelled_job_still_does() -> None:
    all_jobs, _, _ = jobs()
    steps: list[str] = []

    async def slow_to_end() -> Outcome:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")
        return None

    all_jobs.begin(1, slow_to_end)
    await asyncio.sleep(0)
    all_jobs.cancel(1)
    await all_jobs.settled()
    steps.append("settled")

    assert steps == ["ended", "settled"]


async def test_close_cancels_all_but_what_must_reach_the_disk() -> None:
    all_jobs, node, _ = jobs()

    async def for_ever() -> Outcome:
        await asyncio.Event().wait()
        return None

    all_jobs.begin(1, for_ever)
    all_jobs.begin(2, fine, lasting=True)
    await all_jobs.close()

    assert node.told == [(2, None)]


async def test_what_a_job_writes_is_heard_of_when_its_end_is_told() -> None:
    heard: list[int] = []
    node = Node()

    def done(job: int, outcome: Outcome) -> None:
        heard.append(all_jobs.heard_up_to(9))

    all_jobs = Jobs(Log(), done, node.failed)
    all_jobs.begin(1, fine, writes_from=4)
    all_jobs.begin(2, refused, writes_from=6)
    all_jobs.begin(3, fine)
    assert all_jobs.heard_up_to(9) == 4

    all_jobs.cancel(2)
    assert all_jobs.heard_up_to(9) == 4
    await asyncio.sleep(0)
    await all_jobs.close()

    assert heard == [9, 9]
