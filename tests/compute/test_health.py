import msgspec
import numpy as np
import pytest

from compute.device import Faults
from compute.health import HEALTHY_STUCK_SHARE, measure
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.programming import program
from tests.compute.matrices import normal

WAN = PRESETS["rram-wan2022"]


def nothing(*shape: int) -> Matrix:
    return np.zeros(shape, np.float32)


def no_stuck(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
    return np.zeros(shape, np.int8)


def test_sigma_is_what_a_cell_of_each_tile_is_off_in_shares_of_the_window() -> None:
    """The error of a pair is that of two cells, and counts in units of its column's scale."""
    sigma = np.array([[0.01, 0.02], [0.03, 0.04]], np.float32)
    scale = np.full(200, 1.0, np.float32)
    scale[150:] = 1e4
    each = np.repeat(np.repeat(sigma, [128, 72], axis=0), [128, 72], axis=1)
    error = normal(200, 200) * each * np.sqrt(np.float32(2.0)) * scale

    health = measure(error, scale, no_stuck(200, 200), writes=3, age_s=60.0)

    assert health.write_sigma == pytest.approx(sigma, rel=0.05)
    assert (health.writes, health.age_s) == (3, 60.0)


def test_stuck_cells_are_counted_tile_by_tile() -> None:
    stuck = no_stuck(130, 257)
    stuck[0, 0], stuck[129, 256], stuck[129, 255], stuck[5, 200] = 2, 1, 1, 1

    health = measure(nothing(130, 257), np.ones(257, np.float32), stuck, 1, 0.0)

    assert health.stuck.tolist() == [[2, 1, 0], [0, 1, 1]]
    assert health.cells.tolist() == [[2 * 128 * 128, 2 * 128 * 128, 2 * 128], [512, 512, 4]]


def test_a_tile_is_healthy_up_to_one_stuck_cell_in_twenty() -> None:
    stuck = no_stuck(128, 256)
    most = int(HEALTHY_STUCK_SHARE * 2 * 128 * 128)
    stuck.reshape(-1)[np.arange(most) // 128 * 256 + np.arange(most) % 128] = 1
    stuck[:, 128:] = stuck[:, :128]
    stuck[127, 255] += 1

    health = measure(nothing(128, 256), np.ones(256, np.float32), stuck, 1, 0.0)

    assert health.stuck.tolist() == [[most, most + 1]]
    assert health.healthy.tolist() == [[True, False]]


def test_stuck_cells_of_tiles_that_share_inputs_are_told_together() -> None:
    stuck = no_stuck(256, 256)
    stuck[:128, :128] = 2

    health = measure(nothing(256, 256), np.ones(256, np.float32), stuck, 1, 0.0)

    assert health.stuck_share(0, transpose=False) == health.stuck_share(0, transpose=True) == 0.5
    assert health.stuck_share(1, transpose=False) == health.stuck_share(1, transpose=True) == 0.0


def test_programming_measures_what_its_device_does() -> None:
    """wan2022 writes within 1.05 to 4 % of the window, by the conductance."""
    faulty = msgspec.structs.replace(WAN, faults=Faults(stuck_low=0.01, stuck_high=0.05))
    sound, worse = (program(normal(300, 260), of, 5, "w").health for of in (WAN, faulty))

    assert sound.write_sigma.shape == (3, 3) and not sound.stuck.any()
    assert (sound.write_sigma > 0.02).all() and (sound.write_sigma < 0.06).all()
    assert worse.stuck.sum() / worse.cells.sum() == pytest.approx(0.06, rel=0.05)
    assert sound.healthy.all() and not worse.healthy[0, 0]


def test_stuck_cells_that_are_made_up_for_do_not_raise_the_measured_sigma() -> None:
    faulty = msgspec.structs.replace(WAN, faults=Faults(stuck_low=0.0175, stuck_high=0.0904))
    sound, worse = (program(normal(256, 256), of, 5, "w").health for of in (WAN, faulty))

    assert (worse.write_sigma < 1.2 * sound.write_sigma).all()


def test_an_exact_device_has_nothing_to_measure() -> None:
    health = program(normal(200, 100), PRESETS["ideal"], 5, "w").health

    assert not health.write_sigma.any() and not health.stuck.any() and health.healthy.all()
