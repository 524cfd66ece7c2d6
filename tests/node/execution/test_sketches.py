"""Sums of sketches: gathered in the grid's order from whoever has them, kept while they are used."""

from pathlib import Path

import numpy as np
import pytest

from compute.partition import Block, Matrix64
from compute.verify import SKETCH_WIDTH
from node.deployment.ledger import Purpose
from node.effects import Effect, Free
from node.execution.sketches import Sums, gathering_bytes
from protocol.errors import ErrorCode, TaskError
from tests.node.execution.bench_mesh import OWN, VERSION, BenchMesh, Weights

W = np.random.default_rng(3).normal(size=(2100, 1500)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("w"), W, "digital", two)


def two(block: Block) -> tuple[str, ...]:
    return ("anna", OWN) if block.row % 2 else ("anna", "bert")


class Wish:
    """Somebody who wants sums."""

    def __init__(self, mesh: BenchMesh) -> None:
        self.sums: Sums | None = None
        self.error: TaskError | None = None
        self._mesh = mesh

    def ready(self, sums: Sums, now: float) -> list[Effect]:
        self.sums = sums
        return []

    def failed(self, error: TaskError, now: float) -> list[Effect]:
        self.error = error
        return []

    def values(self) -> tuple[Matrix64, Matrix64]:
        assert self.sums is not None
        rows = self._mesh.arena.matrix64(self.sums.rows, W.shape[0], SKETCH_WIDTH)
        return rows, self._mesh.arena.matrix64(self.sums.columns, W.shape[1], SKETCH_WIDTH)


def gather(mesh: BenchMesh) -> Wish:
    wish = Wish(mesh)
    manifest = mesh.weights.manifest
    mesh.feed(mesh.sketches.want(manifest, wish.ready, wish.failed, mesh.now))
    mesh.settle()
    return wish


def test_the_same_weights_give_the_same_sums_whichever_sketch_comes_first(weights: Weights) -> None:
    found = set()
    for seed in range(5):
        rows, columns = gather(BenchMesh(weights, seed)).values()
        found.add(rows.tobytes() + columns.tobytes())

    assert len(found) == 1


def test_sums_over_some_blocks_are_theirs_alone(weights: Weights) -> None:
    mesh = BenchMesh(weights)
    whole, halves = gather(mesh), [Wish(mesh), Wish(mesh)]
    for wish, indices in zip(halves, ([0, 2, 5], [4, 3, 1]), strict=True):
        some = mesh.sketches.some(weights.manifest, indices, wish.ready, wish.failed)
        mesh.feed(some.start(mesh.now))
        mesh.settle()

    for all_of_it, first, second in zip(
        whole.values(), halves[0].values(), halves[1].values(), strict=True
    ):
        assert np.allclose(first + second, all_of_it)
    assert not halves[0].values()[0][1024:2048].any()


def test_gathering_takes_no_more_than_it_says(weights: Weights) -> None:
    mesh = BenchMesh(weights)
    wish, indices = Wish(mesh), list(range(weights.grid.count))

    mesh.feed(mesh.sketches.some(weights.manifest, indices, wish.ready, wish.failed).start(0.0))
    held = sum(buffer.nbytes for buffer in weights.buffers)
    mesh.settle()

    assert held <= gathering_bytes(weights.grid, indices)


def test_a_sketch_that_a_holder_has_damaged_comes_from_another(tmp_path: Path) -> None:
    weights = Weights(tmp_path, W, "digital", two)
    for file in (tmp_path / "anna" / "blocks").iterdir():
        file.write_bytes(bytes(file.stat().st_size))

    wish = gather(BenchMesh(weights))

    assert wish.error is None and wish.values()[0].any()


def test_a_sketch_that_nobody_gives_is_told_with_who_should_have_it(weights: Weights) -> None:
    mesh = BenchMesh(weights)
    mesh.dead = {"anna", "bert"}

    wish = gather(mesh)

    assert wish.error is not None and wish.error.code is ErrorCode.UNAVAILABLE
    assert "block (0, 0)" in str(wish.error) and "anna, bert" in str(wish.error)
    assert "start one of these nodes again, or put the weights again" in str(wish.error)
    assert not weights.buffers
    assert mesh.ledger.free_for(Purpose.SKETCHES) == BenchMesh(weights).ledger.free_for(
        Purpose.SKETCHES
    )


def test_sums_that_do_not_fit_are_refused(weights: Weights) -> None:
    mesh = BenchMesh(weights)
    free = mesh.ledger.free_for(Purpose.SKETCHES)
    mesh.ledger.reserve("other", Purpose.WEIGHTS, free, mesh.now)

    wish = gather(mesh)

    assert wish.error is not None and wish.error.code is ErrorCode.NO_ROOM


def test_dropped_sums_stay_until_their_last_user_is_done(weights: Weights) -> None:
    mesh = BenchMesh(weights)
    wishes = [gather(mesh), gather(mesh)]

    assert mesh.sketches.drop(VERSION) == []
    assert mesh.sketches.done(VERSION) == []
    freed = mesh.sketches.done(VERSION)

    sums = wishes[0].sums
    assert sums is not None and freed == [Free(sums.rows), Free(sums.columns)]


def test_sums_that_are_dropped_while_they_come_still_come(weights: Weights) -> None:
    mesh = BenchMesh(weights)
    wish = Wish(mesh)
    mesh.feed(mesh.sketches.want(weights.manifest, wish.ready, wish.failed, mesh.now))

    assert mesh.sketches.drop(VERSION) == []
    mesh.settle()

    assert wish.values()[0].any()
    mesh.feed(mesh.sketches.done(VERSION))
    assert not weights.buffers


def test_idle_sums_make_room_for_others(weights: Weights, tmp_path: Path) -> None:
    mesh, other = BenchMesh(weights), Weights(tmp_path, W[:1100], "digital", lambda block: (OWN,))
    gather(mesh)
    mesh.sketches.done(VERSION)
    free = mesh.ledger.free_for(Purpose.SKETCHES)
    mesh.ledger.reserve("other", Purpose.WEIGHTS, free, mesh.now)
    newer = other.renamed("newer")

    effects = mesh.sketches.want(newer, Wish(mesh).ready, Wish(mesh).failed, mesh.now)

    assert [type(effect) for effect in effects[:2]] == [Free, Free]
