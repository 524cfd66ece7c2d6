import itertools
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest

from compute import presets, writing
from compute.chance import rows_of
from compute.device import Converters, DeviceModel, Window
from compute.energy import reading
from compute.integer import driven_of, input_codes, lines_of, multiply, weight_codes
from compute.integer_law import (
    SD_MAX,
    CellNoise,
    IntegerPlan,
    adc_bits,
    conversion_sd,
    errors_by_lines,
    slices_of,
)
from compute.integer_plan import STEADY_PART, Load, load_of, plan, spent_on
from compute.partition import Matrix, Matrix64, spans
from tests.compute.integer_bits import digits, multiply_bit_by_bit, read_bit_by_bit
from tests.compute.matrices import normal

WAN = CellNoise(write=0.041, read=0.01)
"""As measured on rram-wan2022: writing 4 % of the window, reading 1 %."""

QUIET = CellNoise(write=0.003, read=0.01)
SILENT = CellNoise(0.0, 0.0)
DEVICE = DeviceModel(name="plain")


def load(x: Matrix, weights: Matrix) -> Load:
    energy = float(np.linalg.norm(weights.astype(np.float64)) ** 2)
    return load_of(x, energy, np.abs(weights).max(axis=0))


def allowed(x: Matrix, weights: Matrix, rtol: float) -> float:
    return (rtol * float(np.linalg.norm(x.astype(np.float64) @ weights))) ** 2


def worked(x: Matrix, weights: Matrix, how: IntegerPlan, key: int = 1) -> Matrix64:
    out = np.zeros((len(x), weights.shape[1]))
    scale = np.abs(weights).max(axis=0)
    for tile, (start, stop) in enumerate(spans(len(weights), 128)):
        codes, unit = weight_codes(weights[start:stop], scale, how.weight_bits)
        multiply(x[:, start:stop], codes, unit, how, key + tile, rows_of(0, len(x)), out)
    return out


def squared_error(value: Matrix64, x: Matrix, weights: Matrix) -> float:
    return float(np.linalg.norm(value - x.astype(np.float64) @ weights) ** 2)


@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("noise", [WAN, QUIET], ids=["wan", "quiet"])
def test_the_tolerance_is_kept_and_the_error_is_the_one_predicted(
    noise: CellNoise, rtol: float
) -> None:
    x, weights = normal(32, 384), normal(384, 300, seed=2)
    scale = np.abs(weights).max(axis=0)
    rows = [
        load_of(x[:, a:b], float(np.linalg.norm(weights[a:b]) ** 2), scale)
        for a, b in spans(384, 128)
    ]
    limit = allowed(x, weights, rtol)

    how = plan(reduce(add, rows), noise, DEVICE, limit)

    assert how is not None and how.variance <= limit
    seen = [squared_error(worked(x, weights, how, 10 * key), x, weights) for key in range(8)]
    assert float(np.mean(seen)) == pytest.approx(how.variance, rel=0.15)


def test_float32s_own_precision_is_reached_on_cells_written_to_four_percent() -> None:
    x, weights = normal(16, 128), normal(128, 128, seed=2)

    how = plan(load(x, weights), WAN, DEVICE, allowed(x, weights, 1e-6))

    assert how is not None
    assert (how.cell_bits, min(how.rows_active), max(how.rows_active)) == (1, 1, 6)
    assert how.weight_bits + how.input_bits <= 42
    assert how.spent.energy_pj / x.size / 128 == pytest.approx(6.8, abs=1.0)


def test_bit_by_bit_the_error_is_the_one_predicted_too() -> None:
    """Nine chips: errors of writing stay with the chip."""
    x, weights = normal(6, 40), normal(40, 30, seed=2)
    scale = np.abs(weights).max(axis=0)
    how = plan(load(x, weights), CellNoise(0.05, 0.02), DEVICE, allowed(x, weights, 0.02))
    assert how is not None
    codes, unit = weight_codes(weights, scale, how.weight_bits)
    seen = []
    for chip in range(9):
        out = np.zeros((6, 30))
        multiply_bit_by_bit(x, codes, unit, how, chip, rows_of(0, 6), out)
        seen.append(squared_error(out, x, weights))

    assert float(np.mean(seen)) == pytest.approx(how.variance, rel=0.3)


@pytest.mark.parametrize("rtol", [1e-3, 1e-6])
@pytest.mark.parametrize("name", ["rram-wan2022", "rram-cmo-hfox-2025"])
def test_cells_as_the_device_writes_them_keep_the_tolerance_bit_by_bit(
    name: str, rtol: float
) -> None:
    """Levels written one by one, windows with ends, no normal law assumed; planned with 4.1 % and 1 %."""
    device = presets.device(name)
    x, weights = normal(3, 96), normal(96, 48, seed=2)
    scale = np.abs(weights).max(axis=0)
    how = plan(load(x, weights), WAN, device, allowed(x, weights, rtol))
    assert how is not None
    codes, unit = weight_codes(weights, scale, how.weight_bits)
    wanted = digits(codes, how.slices, how.cell_bits).reshape(-1, 48)
    shares = np.stack((np.maximum(wanted, 0.0), np.maximum(-wanted, 0.0))).astype(np.float32)
    rows = rows_of(0, len(wanted))
    cells = writing.make_cells(device, 5, rows, 48)
    held, _ = writing.write(shares, device, cells, 6, rows)
    pairs = (held[0] - held[1]).astype(np.float64).reshape(how.slices, 96, 48)
    out = np.zeros((3, 48))

    read_bit_by_bit(x, pairs, unit, how, 7, rows_of(0, 3), out)

    assert how.cell_bits == 1
    assert squared_error(out, x, weights) <= 1.3 * how.variance


def test_what_was_spent_is_what_was_predicted() -> None:
    x, weights = normal(64, 128), normal(128, 200, seed=2)
    how = plan(load(x, weights), WAN, DEVICE, allowed(x, weights, 1e-4))
    assert how is not None
    codes, unit = weight_codes(weights, np.abs(weights).max(axis=0), how.weight_bits)
    driven = multiply(x, codes, unit, how, 1, rows_of(0, 64), np.zeros((64, 200)))

    spent = spent_on(how, driven, DEVICE, 200)

    assert how.spent.energy_pj == pytest.approx(spent.energy_pj, rel=0.02)
    assert how.spent.latency_ns == pytest.approx(spent.latency_ns, rel=0.02)
    assert how.spent.reads == pytest.approx(spent.reads, rel=0.02)


def test_costs_are_those_of_each_group_of_lines() -> None:
    """5 has bits in planes 0 and 2, 7 in all three: lines 2, 1, 2, four at once; 7 in groups of one."""
    how = IntegerPlan(2, 3, 1, rows_active=(4, 4, 1, 1), reads=(1, 1, 3, 1), noise=WAN)
    codes, _ = input_codes(np.array([[7.0, 5.0]], np.float32), 3)
    few = reading(
        DEVICE,
        inputs=4,
        outputs=10,
        settlings=1,
        conversions=1,
        dac_bits=2,
        adc_bits=adc_bits(4, 1),
    )
    thrice, once = (
        reading(
            DEVICE, inputs=1, outputs=10, settlings=reads, conversions=1, dac_bits=2, adc_bits=3
        )
        for reads in (3, 1)
    )

    spent = spent_on(how, driven_of(lines_of(codes, 3)), DEVICE, 10)

    # slice 0: planes 0, 1 once, plane 2 twice; slice 1: plane 0 once, plane 1 once (thrice read), plane 2 twice
    energy = (1 + 1 + 1) * few.energy_pj + (2 + 1) * thrice.energy_pj + 2 * once.energy_pj
    assert spent.energy_pj == pytest.approx(energy)
    assert spent.latency_ns == pytest.approx(100.0 * max(1 + 1 + 2 * 3, 1 + 1 * 3 + 2))


def test_copies_cost_energy_and_errors_but_no_time() -> None:
    x, weights = normal(8, 128), normal(128, 100, seed=2)
    one, two = (
        plan(load(x, weights), WAN, DEVICE, allowed(x, weights, 1e-3), 11, 1, copies)
        for copies in (1, 2)
    )

    assert one is not None and two is not None
    assert two.copies == 2 and two.spent.energy_pj >= 2.0 * one.spent.energy_pj
    again = spent_on(
        replace(two, copies=1), load(x, weights).driven[-two.input_bits :], DEVICE, 100
    )
    assert two.spent.energy_pj == pytest.approx(2.0 * again.energy_pj)
    assert two.spent.latency_ns == again.latency_ns
    seen = [squared_error(worked(x, weights, two, 10 * key), x, weights) for key in range(8)]
    assert float(np.mean(seen)) == pytest.approx(two.variance, rel=0.2)


def test_bad_cells_cost_more_than_good_ones() -> None:
    x, weights = normal(8, 128), normal(128, 100, seed=2)
    plans = [
        plan(load(x, weights), CellNoise(write, 0.01), DEVICE, allowed(x, weights, 1e-4))
        for write in (0.002, 0.02, 0.04, 0.06)
    ]

    energies = [each.spent.energy_pj for each in plans if each is not None]
    latencies = [each.spent.latency_ns for each in plans if each is not None]
    assert len(energies) == 4
    assert energies == sorted(energies) and latencies == sorted(latencies)
    assert latencies[3] > 2.0 * latencies[0]


@pytest.mark.parametrize(
    ("noise", "rtol"),
    [(CellNoise(0.15, 0.01), 1e-4), (WAN, 1e-9), (CellNoise(1.0, 0.0), 0.1), (WAN, 0.0)],
    ids=["cells too bad", "finer than the numbers", "cells all wrong", "nothing allowed"],
)
def test_what_cannot_be_kept_has_no_plan(noise: CellNoise, rtol: float) -> None:
    x, weights = normal(8, 128), normal(128, 100, seed=2)

    assert plan(load(x, weights), noise, DEVICE, allowed(x, weights, rtol)) is None


def test_weights_that_are_written_keep_their_bits() -> None:
    x, weights = normal(8, 128), normal(128, 100, seed=2)
    limit = allowed(x, weights, 1e-3)

    free = plan(load(x, weights), QUIET, DEVICE, limit)
    kept = plan(load(x, weights), QUIET, DEVICE, limit, weight_bits=22, cell_bits=2)

    assert free is not None and kept is not None
    assert (kept.weight_bits, kept.cell_bits, kept.slices) == (22, 2, 11)
    assert kept.spent.energy_pj > free.spent.energy_pj


def test_what_the_device_cannot_do_is_not_planned() -> None:
    x, weights = normal(8, 128), normal(128, 100, seed=2)
    coarse = replace_parts(levels=2, adc_bits=3)

    how = plan(load(x, weights), QUIET, coarse, allowed(x, weights, 1e-3))

    assert how is not None
    assert how.cell_bits == 1 and max(how.rows_active) <= 2
    assert plan(load(x, weights), QUIET, replace_parts(None, 2), 1.0) is None


def replace_parts(levels: int | None, adc_bits: int) -> DeviceModel:
    return DeviceModel(
        name="coarse", window=Window(levels=levels), converters=Converters(adc_bits=adc_bits)
    )


def test_cells_without_noise_are_read_without_repetition() -> None:
    x, weights = normal(8, 128), normal(128, 100, seed=2)
    limit = allowed(x, weights, 1e-5)

    how = plan(load(x, weights), CellNoise(0.0, 0.0), DEVICE, limit)

    assert how is not None and set(how.reads) == {1}
    assert squared_error(worked(x, weights, how), x, weights) <= 1.2 * how.variance


def evenly_read(weight_bits: int, input_bits: int, cell_bits: int, rows: int) -> IntegerPlan:
    """All significances with so many lines at once, read once."""
    count = (slices_of(weight_bits, cell_bits) - 1) * cell_bits + input_bits
    return IntegerPlan(weight_bits, input_bits, cell_bits, (rows,) * count, (1,) * count, SILENT)


def variances(job: Load, how: IntegerPlan, noise: CellNoise) -> tuple[float, float]:
    """Of rounding and of wrong conversions, by the formulas of `compute/integer_plan.py`."""
    q_w, q_x = 2.0**how.weight_bits - 1.0, 2.0**how.input_bits - 1.0
    rounding = (job.rounded_weights / q_w**2 + job.rounded_inputs / q_x**2) / 12.0
    by_lines = errors_by_lines(noise, how.cell_bits, how.rows_active[0], 1)
    planes = job.weighed[-how.input_bits :] @ by_lines
    bits = how.cell_bits * np.arange(how.slices)[:, None] + np.arange(how.input_bits)
    return rounding, float(np.sum(4.0**bits * planes)) / (q_w * q_x) ** 2


@pytest.mark.parametrize("rtol", [1e-1, 1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("noise", [WAN, QUIET, CellNoise(0.02, 0.05)], ids=str)
def test_no_plan_with_the_same_lines_for_all_significances_is_cheaper(
    noise: CellNoise, rtol: float
) -> None:
    x, weights = normal(4, 100), normal(100, 50, seed=2)
    limit = allowed(x, weights, rtol)
    job = load(x, weights)
    best = plan(job, noise, DEVICE, limit)
    assert best is not None
    costs = []
    for more, cell_bits, rows in itertools.product(range(3), (1, 2), (1, 2, 4, 6, 16, 64)):
        if conversion_sd(rows, noise, cell_bits, 1) > SD_MAX:
            continue
        even = evenly_read(best.weight_bits + more, best.input_bits + more, cell_bits, rows)
        rounding, wrong = variances(job, even, noise)
        if wrong <= STEADY_PART * (limit - rounding):
            costs.append(spent_on(even, job.driven[-even.input_bits :], DEVICE, 50).energy_pj)

    assert costs, "there is nothing to compare with"
    assert best.spent.energy_pj <= 1.02 * min(costs)


@pytest.mark.parametrize(
    "weights",
    [
        np.zeros((5, 3)),
        np.full((31, 17), 3e-45),
        np.full((1, 1), 0.7),
        np.outer(np.ones(127), 10.0 ** np.arange(-18.0, 16.0, 7.0)),
    ],
    ids=["zero", "subnormal", "one by one", "huge dynamic range"],
)
def test_awkward_weights_have_plans_that_hold(weights: Matrix) -> None:
    weights = weights.astype(np.float32)
    x = normal(3, len(weights))
    x[1] = 0.0
    limit = max(allowed(x, weights, 1e-4), 1e-300)

    how = plan(load(x, weights), WAN, DEVICE, limit)

    assert how is not None
    assert squared_error(worked(x, weights, how), x, weights) <= 4.0 * limit


def test_equal_inputs_drive_all_lines_in_all_planes_and_are_planned_so() -> None:
    x, weights = np.ones((8, 128), np.float32), normal(128, 100, seed=2)
    how = plan(load(x, weights), WAN, DEVICE, allowed(x, weights, 1e-4))

    assert how is not None
    seen = [squared_error(worked(x, weights, how, key), x, weights) for key in range(6)]
    # An input of ones is not rounded at all, which is not counted on.
    assert 0.2 * how.variance < float(np.mean(seen)) < 1.3 * how.variance


@pytest.mark.parametrize("peak", [20.0, 75.0, 140.0])
def test_inputs_that_are_rounded_alike_are_wrong_by_what_was_foreseen(peak: float) -> None:
    """Equal inputs beside a large one, on positive weights: no bits are enough until each of them is told."""
    dice = np.random.default_rng(3)
    weights = np.abs(dice.standard_normal((128, 60)))
    x = np.ones((20, 128), np.float32)
    x[:, 5] = peak
    energy = float(np.linalg.norm(weights) ** 2)
    means = weights.mean(axis=0)
    common = float(128 * np.sum(means**2)) / energy

    told = load_of(x, energy, np.ones(60, np.float32), common=common)
    random = load_of(x, energy, np.ones(60, np.float32))

    for bits in range(2, 12):
        codes, step = input_codes(x, bits)
        wrong = float(np.linalg.norm((codes * step[:, None] - x) @ weights)) ** 2
        by_chance = random.rounded_inputs / (2**bits - 1) ** 2 / 12.0
        foreseen = by_chance + float(told.in_step[bits])
        assert wrong <= 1.02 * foreseen
        assert foreseen <= 1.02 * max(wrong, by_chance)
    assert not random.in_step.any()
