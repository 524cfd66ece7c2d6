"""What is kept on disk is written beside the loop, the last word last."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from node.effects import Grave, KeepIncarnation, KeepMembers
from node.runtime.datadir import DataDir
from node.runtime.keeping import Keeping, WriteBehind
from protocol.ids import MeshId
from protocol.members import Cause, MemberRecord

A, B = (MemberRecord(bytes([n]) * 32, n, 1, ()) for n in (1, 2))


class Log:
    def info(self, event: str, /, **fields: object) -> None: ...

    debug = warning = exception = info


async def test_of_several_values_that_wait_only_the_last_is_written() -> None:
    written: list[int] = []
    gate = threading.Event()

    def write(value: int) -> None:
        gate.wait()
        written.append(value)

    with ThreadPoolExecutor(1) as pool:
        behind = WriteBehind(pool, write, lambda error: None)
        behind.put(1)
        await asyncio.sleep(0)
        for value in (2, 3, 4):
            behind.put(value)
        gate.set()
        await behind.close()

    assert written == [1, 4]


async def test_after_a_disk_that_refused_the_next_value_is_written() -> None:
    written: list[int] = []
    failures: list[OSError] = []

    def write(value: int) -> None:
        if value == 1:
            raise OSError("full")
        written.append(value)

    with ThreadPoolExecutor(1) as pool:
        behind = WriteBehind(pool, write, failures.append)
        for value in (1, 2):
            behind.put(value)
            await behind.close()

    assert written == [2]
    assert len(failures) == 1


async def test_members_graves_and_incarnation_are_there_at_the_next_start(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data, ThreadPoolExecutor(1) as pool:
        data.members.begin(MeshId("3" * 64))
        keeping = Keeping(data, pool, Log())

        keeping.carry_out(KeepMembers((A,), (Grave(B, Cause.LEFT, 5.0),)))
        keeping.carry_out(KeepIncarnation(1 << 40))
        await keeping.close()

    with DataDir(tmp_path) as data:
        kept = data.members.load(0.0)
        assert kept.members == (A,)
        assert [(grave.record, grave.cause) for grave in kept.graves] == [(B, Cause.LEFT)]
        assert data.next_incarnation(now_wall=0.0) == (1 << 40) + 1
