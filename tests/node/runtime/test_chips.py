"""The same seed and data directory give the same arrays, as old as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compute.face import Layer
from compute.partition import Matrix
from compute.programmed import ProgrammedBlock
from node.runtime.array_store import ArrayStore
from node.runtime.chips import Chips, Programmed, in_fewer
from protocol.digests import WeightsVersion
from protocol.ids import ContentId
from protocol.messages import StoreBlock

W = np.random.default_rng(2).standard_normal((150, 60)).astype(np.float32)
CONTENT, OTHER = ContentId("c" * 64), ContentId("d" * 64)
DAY_S = 86_400.0


def block(device: str = "rram-wan2022", backend: str = "rram", column: int = 0) -> StoreBlock:
    return StoreBlock(
        put="p",
        name="w",
        version=WeightsVersion(1, 0, "a"),
        block=(0, column),
        rows=150,
        columns=60,
        backend=backend,
        device=device,
        seed=3,
    )


class Start:
    """One process of a node whose wall clock we set."""

    def __init__(self, folder: Path, wall: float) -> None:
        self.wall = wall
        self.chips = Chips(ArrayStore(folder / "arrays.db"), lambda: self.wall)

    def write(self, store: StoreBlock, content: ContentId = CONTENT) -> Programmed:
        return self.chips.write(store, content, W.copy())

    def stand(self, store: StoreBlock, content: ContentId = CONTENT) -> Programmed:
        return self.chips.stand(store, content, W.copy())


def conductance(programmed: Programmed) -> Matrix:
    assert isinstance(programmed.resident, ProgrammedBlock)
    return programmed.resident.slices[0][0].conductance


def layers(programmed: Programmed) -> list[Layer]:
    assert isinstance(programmed.resident, ProgrammedBlock)
    return [layer for (layer,) in programmed.resident.slices]


def writes_and_age(programmed: Programmed) -> tuple[int, float]:
    assert programmed.arrays is not None
    return programmed.arrays.health.writes, programmed.arrays.health.age_s


def test_a_restarted_node_stands_before_the_same_arrays(tmp_path: Path) -> None:
    written = Start(tmp_path, 1000.0).write(block("rram-milo2021"))
    found = Start(tmp_path, 1000.0 + DAY_S).stand(block("rram-milo2021"))

    assert conductance(found).tobytes() == conductance(written).tobytes()
    assert writes_and_age(found) == (1, DAY_S)


def test_their_cells_have_gone_on_moving_meanwhile(tmp_path: Path) -> None:
    start = Start(tmp_path, 1000.0)
    fresh = start.write(block()).arrays
    start.wall += DAY_S
    aged = start.stand(block()).arrays

    assert fresh is not None and aged is not None
    assert fresh.error < 0.8 * aged.error
    assert fresh.health.sigma < aged.health.sigma


def test_every_writing_counts_and_falls_out_differently(tmp_path: Path) -> None:
    start = Start(tmp_path, 0.0)
    first = start.write(block())
    second = start.write(block())

    assert [writes_and_age(one) for one in (first, second)] == [(1, 0.0), (2, 0.0)]
    assert not np.array_equal(conductance(first), conductance(second))


def test_a_block_that_is_brought_back_to_cells_which_hold_another_is_written(
    tmp_path: Path,
) -> None:
    start = Start(tmp_path, 0.0)
    start.write(block(), OTHER)
    start.wall = 50.0

    assert writes_and_age(start.stand(block())) == (2, 0.0)


def test_each_block_has_cells_of_its_own(tmp_path: Path) -> None:
    start = Start(tmp_path, 0.0)
    one, other = start.write(block()), start.write(block(column=1))

    assert writes_and_age(other) == (1, 0.0)
    assert not np.array_equal(conductance(one), conductance(other))


def test_a_clock_that_was_set_back_makes_nothing_younger_than_new(tmp_path: Path) -> None:
    start = Start(tmp_path, 1000.0)
    start.write(block())
    start.wall = 10.0

    assert writes_and_age(start.stand(block())) == (1, 0.0)


@pytest.mark.parametrize(
    ("device", "t0_s"), [("rram-wan2022", 1.0), ("pcm-joshi", 20.0), ("rram-milo2021", None)]
)
def test_it_is_told_from_when_on_cells_move(
    tmp_path: Path, device: str, t0_s: float | None
) -> None:
    arrays = Start(tmp_path, 0.0).write(block(device)).arrays

    assert arrays is not None and arrays.drift_t0_s == t0_s


def test_plain_arithmetic_has_no_arrays(tmp_path: Path) -> None:
    assert Start(tmp_path, 0.0).write(block(backend="digital")).arrays is None


FAULTY = '{"base": "rram-wan2022", "name": "f", "faults": {"stuck_low": 0.04, "stuck_high": 0.1}}'


@pytest.mark.parametrize("device", ["rram-milo2021", FAULTY])
def test_a_block_in_fewer_slices_is_as_if_it_had_been_written_in_so_many(
    device: str, tmp_path: Path
) -> None:
    def written(folder: str, slices: int) -> Programmed:
        (tmp_path / folder).mkdir()
        chips = Start(tmp_path / folder, 0.0).chips
        return chips.write(block(device), CONTENT, W.copy(), slices)

    two, three = written("two", 2), written("three", 3)
    fewer = in_fewer(three, 2)

    assert conductance(fewer).tobytes() == conductance(two).tobytes()
    assert fewer.resident.nbytes == two.resident.nbytes < three.resident.nbytes
    assert fewer.arrays is not None and three.arrays is not None
    assert replace(fewer.arrays, slices_written=2) == two.arrays
    assert fewer.arrays.error > 2.0 * three.arrays.error


def test_further_slices_are_found_again_as_old_as_they_are(tmp_path: Path) -> None:
    start = Start(tmp_path, 0.0)
    start.chips.write(block(), CONTENT, W.copy(), 2)
    start.wall = DAY_S
    kept = start.chips.stand(block(), CONTENT, W.copy(), 2)

    again = Start(tmp_path, DAY_S)
    one = again.stand(block())
    both = again.chips.stand(block(), CONTENT, W.copy(), 2)

    assert one.arrays is not None and (one.arrays.slices, one.arrays.slices_written) == (1, 2)
    assert writes_and_age(both) == (1, DAY_S)
    for slice_of_both, slice_kept in zip(layers(both), layers(kept), strict=True):
        assert slice_of_both.conductance.tobytes() == slice_kept.conductance.tobytes()


def test_what_age_costs_is_measured_against_fresh_arrays_of_as_many_slices(tmp_path: Path) -> None:
    start = Start(tmp_path, 0.0)
    dearer = []
    for wall in (0.0, 1.0, 30 * DAY_S):
        start.wall = wall
        for slices in (1, 2):
            stands = start.chips.stand(block(), CONTENT, W.copy(), slices)
            assert stands.arrays is not None
            dearer.append(stands.arrays.dearer)

    assert dearer[:4] == [1.0] * 4
    assert min(dearer[4:]) > 5.0


def test_errors_that_grow_and_still_cost_nothing_make_no_product_dearer(tmp_path: Path) -> None:
    start = Start(tmp_path, 0.0)
    fresh = start.write(block("rram-cmo-hfox-2025")).arrays
    start.wall = 30 * DAY_S
    aged = start.stand(block("rram-cmo-hfox-2025")).arrays

    assert fresh is not None and aged is not None
    assert aged.error > 10.0 * fresh.error
    assert 1.0 < aged.dearer < 2.5
