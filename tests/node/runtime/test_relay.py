"""A put's block row, given up while a worker thread is at its last step."""

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from compute.partition import Matrix
from node.runtime.arena import Arena
from node.runtime.array_store import ArrayStore
from node.runtime.chips import Chips
from node.runtime.intake import Intake
from node.runtime.relay import relay
from node.runtime.store import Store
from node.runtime.switchboard import Switchboard
from node.runtime.workshop import Workshop
from node.work import Adopted, Relay, Route
from protocol.digests import WeightsVersion
from protocol.messages import StoreBlock
from protocol.npy import encode_header, parse

W = np.arange(64 * 32, dtype=np.float32).reshape(64, 32)
STORE = StoreBlock(
    put="p",
    name="w",
    version=WeightsVersion(1, 0, "w"),
    block=(0, 0),
    rows=64,
    columns=32,
    backend="digital",
    device="",
    seed=0,
)
ALL_HERE = Relay("t", "p", 0, 64, 32, 5, (Route(STORE, 0, (), True),), 10.0)


class SlowWorkshop(Workshop):
    """Programs a block only when it is let."""

    def __init__(self, store: Store, folder: Path) -> None:
        super().__init__(Arena(), store, Chips(ArrayStore(folder / "arrays.db"), lambda: 0.0))
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.adopted = 0

    def adopt(self, store: StoreBlock, matrix: Matrix) -> Adopted:
        self.begun.set()
        assert self.may_end.wait(10.0)
        done = super().adopt(store, matrix)
        self.adopted += 1
        return done


async def test_a_relay_that_is_cancelled_ends_no_sooner_than_its_thread(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    shop = SlowWorkshop(store, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        intake = _intake(pool, tmp_path)
        nobody = cast(Switchboard, None)
        going = asyncio.ensure_future(relay(ALL_HERE, intake, shop, store, pool, nobody))
        await asyncio.get_running_loop().run_in_executor(pool, shop.begun.wait, 10.0)

        going.cancel()
        await asyncio.wait([going], timeout=0.05)
        assert not going.done()
        shop.may_end.set()

        with pytest.raises(asyncio.CancelledError):
            await going
        assert shop.adopted == 1


def _intake(pool: ThreadPoolExecutor, spool: Path) -> Intake:
    header = parse(encode_header(W.shape))
    assert header is not None

    async def chunks() -> AsyncIterator[bytes]:
        yield W.tobytes()

    return Intake(header, chunks(), pool, spool)
