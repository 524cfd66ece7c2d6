"""Shards on one thread and on several, with real blocks on a real disk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from compute.partition import Block, BlockGrid, Matrix
from node.execution.shards import Layout, Sides, lay_out
from node.runtime.arena import Arena
from node.runtime.array_store import ArrayStore
from node.runtime.chips import Chips
from node.runtime.pieces import cut, pieces_max
from node.runtime.shard_run import run_shard
from node.runtime.store import Store
from node.runtime.workshop import Workshop
from node.work import (
    BufferRef,
    Combine,
    Discard,
    Part,
    PartOutput,
    Reprogram,
    Reprogrammed,
    RunShard,
    ShardDone,
)
from protocol.digests import WeightsVersion
from protocol.errors import TaskError
from protocol.messages import StoreBlock

VERSION = WeightsVersion(1, 0, "w")
GRID = BlockGrid(1100, 2200)
M = 8
DICE = np.random.default_rng(5)
W = DICE.normal(size=(GRID.rows, GRID.columns)).astype(np.float32)


class Bench:
    """A workshop that holds all of W, with an arena of its own."""

    def __init__(self, folder: Path, backend: str, device: str = "") -> None:
        self.arena = Arena()
        self.shop = Workshop(
            self.arena, Store(folder, 1 << 30), Chips(ArrayStore(folder / "arrays.db"), lambda: 0.0)
        )
        for block in GRID.blocks():
            self.shop.adopt(_store(block, backend, device), _cut(block).copy())

    def matrix(self, number: int, values: Matrix) -> BufferRef:
        buffer = BufferRef(number, values.nbytes)
        self.arena.allocate(buffer)
        self.arena.matrix(buffer, *values.shape)[:] = values
        return buffer

    def shard(
        self, layout: Layout, x: Matrix, *, transpose: bool = False, share: float | None = None
    ) -> RunShard:
        for number in (1, 2):
            self.arena.free(BufferRef(number, 0))
        out = self.matrix(2, np.full((1, layout.output_values), 7.0, np.float32))
        return RunShard(
            VERSION,
            layout.shard_blocks,
            transpose,
            len(x),
            self.matrix(1, x),
            x.shape[1],
            out,
            share,
            x_key=9,
            exact=False,
        )

    def out(self, work: RunShard) -> bytes:
        return bytes(self.arena.bytes(work.out))


def _store(block: Block, backend: str, device: str = "") -> StoreBlock:
    rows, columns = GRID.shape(block)
    return StoreBlock(
        put="p",
        name="w",
        version=VERSION,
        block=(block.row, block.column),
        rows=rows,
        columns=columns,
        backend=backend,
        device=device,
        seed=3,
    )


def _cut(block: Block) -> Matrix:
    (top, bottom), (left, right) = GRID.row_span(block.row), GRID.column_span(block.column)
    cut_out: Matrix = W[top:bottom, left:right]
    return cut_out


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


@pytest.mark.parametrize("backend", ["digital", "rram"])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("separate", [False, True])
async def test_several_threads_give_the_same_bytes_as_one(
    tmp_path: Path, pool: ThreadPoolExecutor, backend: str, transpose: bool, separate: bool
) -> None:
    bench = Bench(tmp_path, backend)
    sides = Sides(GRID, transpose)
    layout = lay_out(sides, tuple(GRID.blocks()), M, separate=separate)
    x = DICE.normal(size=(M, sides.width_in)).astype(np.float32)
    share = 0.02 * float(np.linalg.norm(x @ (W.T if transpose else W)))

    alone = bench.shard(layout, x, transpose=transpose, share=share)
    done = bench.shop.do(alone)
    expected = bench.out(alone)
    together = bench.shard(layout, x, transpose=transpose, share=share)
    done_together = await run_shard(together, bench.shop, pool, 3)

    assert bench.out(together) == expected
    assert isinstance(done, ShardDone)
    assert done_together.analog_macs == done.analog_macs
    assert done_together.digital_macs == done.digital_macs
    assert done_together.regime == done.regime
    assert done_together.energy_j == pytest.approx(done.energy_j)
    assert done_together.latency_s == done.latency_s


def test_pieces_cover_each_block_once_and_share_no_output() -> None:
    layout = lay_out(Sides(GRID, False), tuple(GRID.blocks()), M, separate=False)
    work = RunShard(
        VERSION,
        layout.shard_blocks,
        False,
        M,
        BufferRef(1, 0),
        1100,
        BufferRef(2, 0),
        1.0,
        0,
        False,
    )
    shares: list[float | None] = [float(n) for n in range(len(layout.shard_blocks))]

    pieces = cut(work, shares, 2)

    assert len(pieces) == 2
    assert sorted(
        (share, placed.block) for piece in pieces for placed, share in piece.blocks
    ) == sorted(
        (share, placed.block) for placed, share in zip(layout.shard_blocks, shares, strict=True)
    )
    offsets = [{placed.output_offset for placed, _ in piece.blocks} for piece in pieces]
    assert not offsets[0] & offsets[1]


def test_a_piece_leaves_the_outputs_of_the_others_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "digital")
    layout = lay_out(Sides(GRID, False), tuple(GRID.blocks()), M, separate=False)
    work = bench.shard(layout, np.ones((M, 1100), np.float32))
    first = bench.shop.split(work, 3)[0]

    bench.shop.run_piece(first)

    values = bench.arena.matrix(work.out, 1, layout.output_values)[0]
    mine = {placed.output_offset for placed, _ in first.blocks}
    for output in layout.outputs:
        part = values[output.offset : output.offset + M * output.width]
        assert (part == 7.0).all() == (output.offset not in mine)


def test_little_work_is_not_cut() -> None:
    layout = lay_out(
        Sides(BlockGrid(8, 2000), False), (Block(0, 0), Block(0, 1)), 1, separate=False
    )
    work = RunShard(
        VERSION, layout.shard_blocks, False, 1, BufferRef(1, 0), 8, BufferRef(2, 0), 1.0, 0, False
    )

    assert pieces_max(work, 16) == 1


async def test_a_block_that_is_not_here_is_told_when_all_threads_are_done(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    bench = Bench(tmp_path, "digital")
    blocks = (Block(0, 0), Block(0, 1), Block(0, 3))
    strange = lay_out(Sides(BlockGrid(1100, 4000), False), blocks, M, separate=False)
    work = bench.shard(strange, np.ones((M, 1024), np.float32))

    with pytest.raises(TaskError, match=r"block \(0, 3\) of version .* is not in memory here"):
        await run_shard(work, bench.shop, pool, 3)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 3e38])
def test_a_sum_with_values_that_are_no_numbers_has_no_bound(tmp_path: Path, wrong: float) -> None:
    bench = Bench(tmp_path, "digital")
    part = bench.matrix(1, np.full((M, 2200), wrong, np.float32))
    y = bench.matrix(2, np.zeros((M, 2200), np.float32))
    xs = BufferRef(3, M * 16 * 8)
    bench.arena.allocate(xs)

    outcome = bench.shop.do(
        Combine((Part(part, (PartOutput(0, 0, 2200),)),), y, M, 2200, 3300, xs, 5, False)
    )

    assert outcome.error_bound > 1e38  # type: ignore[union-attr]


def test_a_block_says_at_its_1st_2nd_and_4th_product_in_how_many_slices_it_would_do_better(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "rram", device="rram-milo2021")
    layout = lay_out(Sides(GRID, False), (Block(1, 2),), M, separate=False)
    x = DICE.normal(size=(M, 76)).astype(np.float32)
    share = 0.05 * float(np.linalg.norm(x @ _cut(Block(1, 2))))

    done = [bench.shop.run_whole(bench.shard(layout, x, share=share)) for _ in range(4)]
    raw = bench.shop.run_whole(bench.shard(layout, x, share=None))

    (wish,) = done[0].wanted
    assert (wish.version, wish.block) == (VERSION, (1, 2))
    assert wish.slices > 1
    assert [len(one.wanted) for one in done] == [1, 1, 0, 1]
    assert raw.wanted == ()


def test_a_block_that_was_given_more_slices_keeps_a_tolerance_by_them_and_without_them_again(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "rram", device="rram-milo2021")
    block = Block(1, 2)
    store = _store(block, "rram", "rram-milo2021")
    layout = lay_out(Sides(GRID, False), (block,), M, separate=False)
    x = DICE.normal(size=(M, 76)).astype(np.float32)
    share = 0.05 * float(np.linalg.norm(x @ _cut(block)))

    def run() -> tuple[str, bytes]:
        work = bench.shard(layout, x, share=share)
        return bench.shop.run_whole(work).regime, bench.out(work)

    before = run()
    more = bench.shop.do(Reprogram(store, 3, anew=False))
    strong = run()
    less = bench.shop.do(Reprogram(store, 1, anew=False))

    assert isinstance(more, Reprogrammed) and more.arrays is not None
    assert isinstance(less, Reprogrammed) and less.arrays is not None
    assert (more.arrays.slices, less.arrays.slices) == (3, 1)
    assert (before[0], strong[0]) == ("integer", "sliced")
    assert run() == before


def test_a_block_that_has_gone_is_not_programmed_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "rram")
    store = _store(Block(0, 0), "rram")
    bench.shop.discard(Discard(VERSION, ((0, 0),), ()), 0)

    assert bench.shop.do(Reprogram(store, 1, anew=True)) == Reprogrammed(None)


def test_a_version_whose_cells_hold_the_next_one_is_not_looked_at(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "rram")
    block = Block(1, 2)
    store = _store(block, "rram")
    later = msgspec.structs.replace(store, version=WeightsVersion(2, 0, "w"))
    bench.shop.adopt(later, -_cut(block))

    assert bench.shop.do(Reprogram(store, 1, anew=False)) == Reprogrammed(None)
    looked = bench.shop.do(Reprogram(later, 1, anew=False))
    assert isinstance(looked, Reprogrammed) and looked.arrays is not None
    assert looked.arrays.health.writes == 2
