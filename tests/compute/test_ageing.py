import math

import msgspec
import numpy as np
import pytest

from compute.ageing import aged
from compute.chance import rows_of
from compute.device import DeviceModel, Drift, Window
from compute.partition import Matrix
from compute.presets import PRESETS
from tests.compute.cells import in_us
from tests.compute.laws import far_from_normal

CMO, PCM = PRESETS["rram-cmo-hfox-2025"], PRESETS["pcm-joshi"]
ROWS = rows_of(0, 128)
FIVE_MINUTES_S = 300.0


def cells(share: float = 0.5) -> Matrix:
    return np.full((2, len(ROWS), 64), share, np.float32)


def after(held: Matrix, device: DeviceModel, age_s: float, life: int = 1, key: int = 2) -> Matrix:
    return aged(held, device, age_s, life, key, ROWS, stuck=None)


def test_nothing_moves_before_t0() -> None:
    for age_s in (0.0, 0.5, CMO.drift.t0_s):
        assert (after(cells(), CMO, age_s) == cells()).all()


def test_a_device_without_drift_stays() -> None:
    assert (after(cells(), PRESETS["rram-milo2021"], 1e9) == cells()).all()


def test_the_mean_and_the_spread_grow_with_the_logarithm_of_the_age() -> None:
    for age_s in (FIVE_MINUTES_S, 86_400.0):
        moved_us = (after(cells(), CMO, age_s) - cells()) * CMO.window.width_us
        log_age = math.log(age_s)

        assert not far_from_normal(moved_us, -0.08900206 * log_age, 0.04201137 * log_age)


def test_phase_change_cells_lose_a_power_of_the_age() -> None:
    lost = np.log(in_us(cells(), PCM) / in_us(after(cells(), PCM, 2_000.0), PCM))
    assert not far_from_normal(lost / math.log(100.0), 0.049, 0.008)


def test_a_power_without_spread_is_the_same_for_all() -> None:
    device = DeviceModel(name="x", drift=Drift(t0_s=20.0, exponent=0.1))

    assert after(cells(), device, 2_000.0) == pytest.approx(0.5 * 100.0**-0.1)


def test_no_cell_gains_by_a_power_of_the_age() -> None:
    device = DeviceModel(name="x", drift=Drift(exponent=0.01, exponent_sigma=0.02))

    assert after(cells(), device, 1e6).max() <= 0.5


def test_each_cell_goes_one_way() -> None:
    at = [after(cells(), CMO, age_s) - cells() for age_s in (math.e, math.e**3)]

    assert at[1] == pytest.approx(3.0 * at[0], abs=1e-6)


def test_a_later_age_is_the_same_whether_or_not_an_earlier_one_was_asked_for() -> None:
    held = cells()
    after(held, CMO, 10.0)

    assert (held == cells()).all()
    assert (after(held, CMO, 20.0) == after(cells(), CMO, 20.0)).all()


def test_each_writing_sets_cells_on_new_ways_but_their_exponents_are_for_life() -> None:
    ways = [after(cells(), CMO, 100.0, key=key) - cells() for key in (2, 3)]
    assert abs(np.corrcoef(ways[0].ravel(), ways[1].ravel())[0, 1]) < 5.0 / math.sqrt(ways[0].size)

    assert (after(cells(), PCM, 100.0, key=2) == after(cells(), PCM, 100.0, key=3)).all()
    assert (after(cells(), PCM, 100.0, life=1) != after(cells(), PCM, 100.0, life=5)).any()


def test_stuck_cells_do_not_drift() -> None:
    stuck = np.zeros((2, 128, 64), np.int8)
    stuck[0, :, ::2], stuck[1, ::2] = 1, -1

    moved = aged(cells(), CMO, FIVE_MINUTES_S, 1, 2, ROWS, stuck=stuck) != cells()
    assert not moved[stuck != 0].any()
    assert moved[stuck == 0].all()


def test_cells_drift_out_of_the_window_but_not_below_nothing() -> None:
    low = after(cells(0.0), CMO, 1e9)
    assert low.mean() < -0.02
    assert (low * CMO.window.width_us + CMO.window.g_min_us).min() > 0.0

    window = Window(g_min_us=1.0, g_max_us=100.0)
    steep = msgspec.structs.replace(CMO, window=window)
    conductance = after(cells(0.0), steep, 1e9) * np.float32(99.0) + np.float32(1.0)
    assert conductance.min() == pytest.approx(0.0, abs=1e-6)


def test_ageing_is_the_same_for_any_cut_of_the_rows() -> None:
    device = msgspec.structs.replace(
        CMO, drift=Drift(exponent=0.05, exponent_sigma=0.01, mean_us=-0.1, sigma_us=0.2)
    )
    whole = after(cells(), device, 50.0)

    part = aged(cells()[:, 3:90], device, 50.0, 1, 2, ROWS[3:90], stuck=None)
    assert (whole[:, 3:90] == part).all()
