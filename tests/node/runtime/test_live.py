"""What the live driver sees to by itself: content is not let go while it is written again."""

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.core import Node
from node.deployment.ledger import Ledger
from node.effects import Allocate, Effect, Failed, Work
from node.policy import Policy
from node.runtime.awaited import Awaited
from node.runtime.datadir import DataDir
from node.runtime.live import Live
from node.runtime.signatures import Ed25519
from node.runtime.store import Store, content_id
from node.work import BufferRef, Discard, Job, Outcome, WriteContent
from protocol.digests import LoadDigest, NodeRecord, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import ContentId, NodeId, node_id
from protocol.members import Cause
from protocol.messages import Join, Joined, Response
from tests.node.runtime.stations import SOON_S, Waiting

MIB = 1 << 20
WEIGHTS = b"weights"
CONTENT = content_id(WEIGHTS)
BUFFER = BufferRef(1_000, len(WEIGHTS))
LET_GO = Discard(WeightsVersion(1, 0, "w"), (), (CONTENT,))


class NotingStore(Store):
    """Says when a thread has written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, MIB)
        self.wrote = threading.Event()

    def write(self, content: memoryview) -> ContentId:
        name = super().write(content)
        self.wrote.set()
        return name


class Orders(Waiting):
    """Gives the driver work, and waits to be told that it is done."""

    def __init__(self, live: Live) -> None:
        super().__init__()
        self._live = live
        self.done: list[int] = []

    def order(self, what: Job) -> int:
        number = self._live.node.desk.number(self)
        self._live.feed([Work(number, what)])
        return number

    async def are_done(self, count: int) -> None:
        await self.until(lambda: len(self.done) >= count)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        self.done.append(job)
        self.changed()
        return []

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError(error)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        raise AssertionError("nobody is called")

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        raise AssertionError("nobody is called")


class Log:
    def info(self, event: str, /, **fields: object) -> None: ...

    debug = warning = exception = info


async def nobody_comes(join: Join) -> Joined:
    raise AssertionError(join)


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    data = DataDir(tmp_path)
    data.spool.mkdir()
    signatures = Ed25519(bytes(32))
    record = NodeRecord(
        id=node_id(signatures.key), incarnation=1, version=0, name="n", software="s"
    )
    policy = Policy("digital", "", 2, 0.0, 1.0, 1.0)
    node = Node(record, Ledger(256 * MIB, None), policy, signatures, random.Random(1))
    store = NotingStore(tmp_path)
    driver = Live(node, store, 2, data, Log(), nobody_comes)
    yield driver
    await driver.close()
    data.close()


async def test_content_goes_from_the_disk_when_it_is_let_go(live: Live, tmp_path: Path) -> None:
    orders = Orders(live)
    live.store.write(memoryview(WEIGHTS))

    orders.order(LET_GO)
    await orders.are_done(1)

    assert not Store(tmp_path, MIB).has(CONTENT)


async def test_a_product_that_peers_do_not_finish_since_we_go_is_to_be_asked_of_others(
    live: Live,
) -> None:
    lost = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason="no reachable node has block (0, 0)")
    task = Awaited()

    await live.farewell(Cause.LEFT)

    with pytest.raises(TaskError, match="this node is stopping: ask another one"):
        await live.run("t", task, [Failed("t", lost)], task.ended)


async def test_content_put_again_before_it_is_deleted_outlives_the_restart(
    live: Live, tmp_path: Path
) -> None:
    orders, gate = Orders(live), threading.Event()
    live.store.write(memoryview(WEIGHTS))
    busy = [live.pool.submit(gate.wait, SOON_S) for _ in range(2)]

    orders.order(LET_GO)
    await asyncio.sleep(0)
    live.store.write(memoryview(WEIGHTS))
    gate.set()
    await orders.are_done(1)

    assert all(one.result() for one in busy)
    assert Store(tmp_path, MIB).has(CONTENT)


async def test_content_whose_new_put_is_not_told_yet_outlives_the_restart(
    live: Live, tmp_path: Path
) -> None:
    """A thread has written it again, and the Node that lets it go has not heard of that."""
    orders = Orders(live)
    assert isinstance(live.store, NotingStore)
    live.store.write(memoryview(WEIGHTS))
    live.store.wrote.clear()
    live.feed([Allocate(BUFFER)])
    live._arena.bytes(BUFFER)[:] = WEIGHTS
    orders.order(WriteContent(BUFFER))
    await asyncio.sleep(0)
    assert live.store.wrote.wait(SOON_S), "nothing else happens on the loop meanwhile"

    orders.order(LET_GO)
    await orders.are_done(2)

    assert Store(tmp_path, MIB).has(CONTENT)
