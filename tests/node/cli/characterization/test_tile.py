import numpy as np
import pytest

from compute.converters import dac_levels
from compute.device import DeviceModel, Faults, Variation, Window, Wires, Writing
from compute.face import on_grid
from compute.partition import Matrix
from compute.presets import device
from compute.programmed import Arrays, ProgrammedBlock
from compute.programming import program
from compute.strips import StripCells
from node.cli.characterization.tile import Tile, first_strip, first_tile, seen

OWN = DeviceModel(
    name="own",
    window=Window(g_min_us=5.0, g_max_us=50.0),
    writing=Writing(sigma_us=(0.5,)),
    variation=Variation(floor=0.2, ceiling=0.2),
    faults=Faults(stuck_low=0.1, stuck_high=0.1),
)

WEIGHTS: Matrix = np.random.default_rng(5).standard_normal((140, 150), np.float32)


def looked_at(
    model: DeviceModel, arrays: Arrays, weights: Matrix = WEIGHTS
) -> tuple[ProgrammedBlock, StripCells]:
    block = program(weights, model, 3, "0/0", arrays)
    return block, first_strip(weights, model, block.key, arrays)


def tile_of(model: DeviceModel, weights: Matrix = WEIGHTS) -> Tile:
    return first_tile(looked_at(model, Arrays(), weights)[1], model)


@pytest.mark.parametrize(
    ("model", "arrays"),
    [
        (device("rram-wan2022"), Arrays(slices=2, writes=3)),
        (device("rram-cmo-hfox-2025"), Arrays(age_s=86_400.0)),
        (device("rram-neurosim"), Arrays()),
        (device("rram-harsh"), Arrays(writes=2)),
        (device("rram-harsh"), Arrays(tile_side=32)),
        (device("pcm-joshi"), Arrays(age_s=3_600.0)),
        (OWN, Arrays()),
    ],
    ids=lambda what: what.name if isinstance(what, DeviceModel) else "",
)
def test_the_cells_that_are_shown_are_those_that_multiply(
    model: DeviceModel, arrays: Arrays
) -> None:
    block, strip = looked_at(model, arrays)

    shown = seen(strip, model).copy()
    if model.converters.dac_bits is not None:
        on_grid(shown, dac_levels(model.converters.dac_bits), arrays.tile_side)

    assert np.array_equal(shown, block.slices[0][0].conductance[: arrays.tile_side])


def test_stuck_cells_are_shown_where_they_are_stuck() -> None:
    tile = tile_of(OWN)

    assert tile.held_us.shape == (2, 128, 128)
    assert 0.17 < np.count_nonzero(tile.stuck) / tile.stuck.size < 0.23
    assert np.allclose(tile.held_us[tile.stuck > 0], 50.0)
    assert np.allclose(tile.held_us[tile.stuck < 0], 5.0)


def test_spare_rows_have_no_targets_and_hold_only_what_is_stuck() -> None:
    model = device("rram-harsh")
    tile = tile_of(model, WEIGHTS[:20, :30].copy())
    spare = np.isnan(tile.targets_us).all(axis=(0, 2))

    assert tile.held_us.shape == (2, 24, 30)
    assert np.count_nonzero(spare) == 4
    rest = tile.held_us[:, spare]
    assert np.array_equal(rest > 0.0, tile.stuck[:, spare] > 0)


def test_wires_leave_least_of_what_is_farthest_from_both_edges() -> None:
    left = tile_of(DeviceModel(name="wired", wires=Wires(segment_ohm=2.5))).left

    assert left is not None
    far, near = left[:, :16, -16:], left[:, -16:, :16]
    assert 0.0 < far.max() < near.min() <= left.max() < 1.0


def test_perfect_wires_have_no_map() -> None:
    assert tile_of(device("rram-wan2022")).left is None
