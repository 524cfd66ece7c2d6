"""Blocks of others, kept for as long as somebody downloads them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.runtime.spool import Spool
from node.runtime.store import content_id
from protocol.errors import ErrorCode, TaskError

MIB = 1 << 20
ONE, OTHER = b"one block", b"other block"


async def test_what_two_downloads_share_goes_with_the_last_of_them(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        spool = Spool(tmp_path, MIB, pool)
        content = content_id(ONE)
        spool.enter(content)
        spool.enter(content)
        await spool.take(memoryview(ONE), content)

        spool.leave([content])
        assert spool.store.has(content)
        spool.leave([content])
        assert not spool.store.has(content)


async def test_a_wrong_block_is_refused_and_takes_none_away_that_is_in_use(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        spool = Spool(tmp_path, MIB, pool)
        one, other = content_id(ONE), content_id(OTHER)
        spool.enter(one)
        spool.enter(other)
        await spool.take(memoryview(ONE), one)

        for wrong in (b"nonsense", ONE):
            with pytest.raises(TaskError, match="came damaged") as caught:
                await spool.take(memoryview(wrong), other)
            assert caught.value.code is ErrorCode.NOT_FOUND

        assert spool.store.has(one)
        assert spool.store.used_bytes == len(ONE)
