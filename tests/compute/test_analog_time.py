"""Arrays that get old and are written anew."""

import numpy as np
import pytest

from compute.analog import AnalogMatrix
from tests.compute.matrices import normal, relative_error

QUIET = (
    '{"base": "rram-cmo-hfox-2025", "reading": {"constant": 0.0},'
    ' "converters": {"dac_bits": null, "adc_bits": null}}'
)
"""Nothing but what writing and time do."""


def test_drift_makes_arrays_worse_and_refreshing_makes_them_good_again() -> None:
    weights, x = normal(200, 150), normal(50, 200)
    matrix = AnalogMatrix(weights, QUIET, seed=4)
    fresh = relative_error(matrix.matmul(x), x, weights)
    errors = []
    for age_s in (60.0, 3600.0, 86_400.0):
        matrix.age(age_s)
        errors.append(relative_error(matrix.matmul(x), x, weights))
    matrix.refresh()

    assert 4 * fresh < errors[0] < errors[1] < errors[2]
    assert relative_error(matrix.matmul(x), x, weights) == pytest.approx(fresh, rel=0.1)


def test_an_age_is_a_point_in_time_not_a_step() -> None:
    weights, x = normal(100, 80), normal(5, 100)
    once, often = (AnalogMatrix(weights, QUIET, seed=4) for _ in range(2))
    once.age(3600.0)
    for age_s in (10.0, 7200.0, 3600.0):
        often.age(age_s)

    assert np.array_equal(once.matmul(x).value, often.matmul(x).value)
    often.age(0.0)
    fresh = AnalogMatrix(weights, QUIET, seed=4)
    assert np.array_equal(often.matmul(x).value, fresh.matmul(x).value)


def test_aged_arrays_keep_the_tolerance_and_need_more_for_it() -> None:
    weights, x = normal(200, 150), normal(20, 200)
    matrix = AnalogMatrix(weights, "rram-cmo-hfox-2025", seed=4)
    fresh = matrix.matmul(x, 1e-1)
    matrix.age(30 * 86_400.0)
    aged = matrix.matmul(x, 1e-1)

    assert relative_error(aged, x, weights) <= aged.certificate.bound <= 1e-1
    assert aged.certificate.energy_j > fresh.certificate.energy_j


def test_health_tells_age_writes_and_a_growing_sigma() -> None:
    matrix = AnalogMatrix(normal(200, 150), "rram-cmo-hfox-2025", seed=4)
    (fresh,) = (block.health for block in matrix.blocks.values())
    matrix.age(3600.0)
    (aged,) = (block.health for block in matrix.blocks.values())
    matrix.refresh()
    (again,) = (block.health for block in matrix.blocks.values())

    assert [one.writes for one in (fresh, aged, again)] == [1, 1, 2]
    assert [one.age_s for one in (fresh, aged, again)] == [0.0, 3600.0, 0.0]
    assert (aged.write_sigma > 2 * fresh.write_sigma).all()
    assert np.allclose(again.write_sigma, fresh.write_sigma, rtol=0.2)


def test_stuck_cells_stay_stuck_through_time_and_writing() -> None:
    faulty = '{"base": "rram-cmo-hfox-2025", "faults": {"stuck_low": 0.02, "stuck_high": 0.08}}'
    matrix = AnalogMatrix(normal(256, 256), faulty, seed=4)
    before = next(iter(matrix.blocks.values())).health.stuck
    matrix.age(1e6)
    matrix.refresh()
    after = next(iter(matrix.blocks.values())).health.stuck

    assert before.sum() > 0.08 * 2 * 256 * 256
    assert np.abs(after - before).max() <= 3, "a march test may misread a cell in ten thousand"
