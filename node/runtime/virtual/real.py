"""A shop with real numbers: memory in an arena, contents in files, arithmetic by the same `Workshop` as in a daemon.

Only time is charged, so the answer of a product is a true matrix and its certificate a true one, while a run stays the
same from seed to seed.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from compute.partition import Block, Matrix
from compute.verify import SketchAccumulator
from node.runtime.arena import Arena
from node.runtime.array_store import ArrayStore
from node.runtime.chips import Chips
from node.runtime.store import Store, content_id
from node.runtime.virtual.shop import Body, Client, Cut
from node.runtime.workshop import Workshop
from node.work import (
    Adopt,
    BlockArrays,
    BufferRef,
    Discard,
    GiveRows,
    Job,
    Outcome,
    Relay,
    Route,
    ShardDone,
    SpoolContent,
    TakeRows,
)
from protocol.errors import ErrorCode, TaskError
from protocol.messages import Manifest, StoreBlock


class RealShop:
    """Memory, disk and arithmetic of one machine; what lies in its folder outlives it."""

    def __init__(self, folder: Path, quota_bytes: int, wall: Callable[[], float]) -> None:
        self._arena = Arena()
        self._allocated: set[int] = set()
        self._store = Store(folder, quota_bytes)
        chips = Chips(ArrayStore(folder / "arrays.db"), wall)
        self._workshop = Workshop(self._arena, self._store, chips)

    # -- buffers -------------------------------------------------------------------------------------

    @property
    def buffers(self) -> int:
        return len(self._allocated)

    def allocate(self, buffer: BufferRef) -> None:
        self._arena.allocate(buffer)
        self._allocated.add(buffer.id)

    def free(self, buffer: BufferRef) -> None:
        self._arena.free(buffer)
        self._allocated.discard(buffer.id)

    def body(self, buffer: BufferRef) -> Body:
        return bytes(self._arena.bytes(buffer))

    def fill(self, buffer: BufferRef, body: Body) -> None:
        if buffer.id in self._allocated:
            assert isinstance(body, bytes)
            self._arena.bytes(buffer)[:] = body

    # -- clients -------------------------------------------------------------------------------------

    def take(self, what: TakeRows, client: Client) -> Outcome:
        rows = client.take_rows(what.m)
        self._arena.matrix(what.into, *rows.shape)[:] = rows
        return self._workshop.taken(what.into)

    def give(self, what: GiveRows, client: Client) -> None:
        height = what.rows.nbytes // 4 // client.width
        rows: Matrix = self._arena.matrix(what.rows, height, client.width).copy()
        client.give_rows(rows, what.certificate)

    def cut(self, what: Relay, client: Client) -> list[Cut]:
        rows = client.take_rows(what.rows)
        return [_cut(route, rows, what.sketch_seed) for route in what.routes]

    def keep(self, store: StoreBlock, cut: Cut) -> BlockArrays | None:
        assert isinstance(cut.body, bytes) and isinstance(cut.sketch_body, bytes)
        values = np.frombuffer(cut.body, np.float32).reshape(store.rows, store.columns)
        self._store.write(memoryview(cut.sketch_body))
        return self._workshop.adopt(store, values.copy()).arrays

    # -- work ----------------------------------------------------------------------------------------

    def manifests(self) -> list[Manifest]:
        manifests, damaged = self._store.manifests()
        assert not damaged, damaged
        return manifests

    def do(self, what: Job, busy_s: float) -> Outcome:
        match what:
            case Discard():
                self._workshop.discard(what, self._store.stamp)
                return None
            case SpoolContent():
                if content_id(self._arena.bytes(what.buffer)) != what.content:
                    reason = f"content {what.content[:12]} came damaged"
                    raise TaskError(ErrorCode.NOT_FOUND, reason)
                return None
            case TakeRows() | GiveRows() | Relay():
                raise AssertionError(f"not for a worker: {what}")
            case Adopt():
                self._allocated.discard(what.buffer.id)
                return self._workshop.do(what)
            case _:
                outcome = self._workshop.do(what)
                return (
                    replace(outcome, busy_s=busy_s) if isinstance(outcome, ShardDone) else outcome
                )


def _cut(route: Route, rows: Matrix, sketch_seed: int) -> Cut:
    store = route.store
    values = np.ascontiguousarray(rows[:, route.column_start : route.column_start + store.columns])
    sketching = SketchAccumulator(values.shape, sketch_seed, Block(*store.block))
    sketching.add_rows(0, values)
    sketch = np.concatenate(sketching.finish()).tobytes()
    body = values.tobytes()
    block_id, sketch_id = content_id(memoryview(body)), content_id(memoryview(sketch))
    return Cut(route, block_id, sketch_id, body, sketch, len(sketch))
