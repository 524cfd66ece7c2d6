"""Random products of every device: what was asked is delivered, and what is stated holds."""

import math
import statistics
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from bench.tolerance import KINDS, RTOLS, SIDE, Job, Line, draw, work
from compute import verify
from compute.analog import AnalogMatrix
from compute.partition import Block, Matrix
from compute.presets import PRESETS
from tests.compute.laws import far_from_law
from tests.compute.matrices import normal


def broken_promises(lines: list[Line]) -> list[Line]:
    """Answers beyond their bound, beyond the tolerance, or said to be beyond it."""
    return [line for line in lines if not line["error"] <= line["bound"] <= line["rtol"]]


def test_sixty_random_products_keep_their_tolerance_and_their_bound() -> None:
    jobs = [draw(seed, wired_side=150) for seed in range(60)]

    assert {job.preset for job in jobs} == set(PRESETS)
    assert {job.rtol for job in jobs} == set(RTOLS)
    assert {job.weights for job in jobs} == {job.inputs for job in jobs} == set(KINDS)
    assert broken_promises([work(job) for job in jobs]) == []


@pytest.mark.parametrize(
    ("preset", "jobs", "analog"), [("rram-wan2022", 40, 0.9), ("rram-harsh", 16, 0.6)]
)
def test_one_percent_is_delivered_by_arrays_and_the_bound_is_tight(
    preset: str, jobs: int, analog: float
) -> None:
    lines = [work(draw(seed, preset, 1e-2, wired_side=130)) for seed in range(1000, 1000 + jobs)]

    ratios = [line["bound"] / line["error"] for line in lines if line["error"] > 0.0]
    assert broken_promises(lines) == []
    assert statistics.mean(line["analog"] for line in lines) >= analog
    assert statistics.median(ratios) <= 3.5


def test_a_millionth_is_delivered_on_a_device_that_writes_within_four_percent() -> None:
    lines = [work(draw(seed, "rram-wan2022", 1e-6)) for seed in range(2000, 2020)]

    assert broken_promises(lines) == []
    assert any("integer" in line["regime"] for line in lines)


def test_a_job_is_told_by_its_number_alone() -> None:
    def untimed(job: Job) -> Line:
        return {key: value for key, value in work(job).items() if not key.endswith("_s")}

    assert untimed(draw(7)) == untimed(draw(7)) != untimed(draw(8))
    drawn = draw(7, wired_side=SIDE)
    assert draw(7, "ideal", 1e-3) == replace(drawn, preset="ideal", rtol=1e-3)


# -- the bound -----------------------------------------------------------------------------------


def chi_square_16(value: float) -> float:
    """Its distribution function, in closed form as the degrees are even."""
    half = 0.5 * value
    return 1.0 - math.exp(-half) * sum(half**k / math.factorial(k) for k in range(8))


def test_bounds_over_true_errors_of_one_row_are_spread_as_chi_square() -> None:
    """The worst error is of rank one, as that of one row is: bound^2 q / error^2 is chi-square of 16, q its quantile.

    Over 400 matrices, each with probes of its own.
    """
    quantile = verify.chi_square_quantile(verify.SKETCH_WIDTH, verify.FAILURE_PROBABILITY)
    squares = []
    for seed in range(400):
        weights, x = normal(20, 24, seed=seed), normal(1, 20, seed=seed + 10_000)
        answer = AnalogMatrix(weights, "rram-cmo-hfox-2025", seed=seed).matmul(x)
        norm = float(np.linalg.norm(answer.value))
        relative = answer.certificate.bound
        error = float(np.linalg.norm(answer.value - x.astype(np.float64) @ weights))
        squares.append(quantile * (relative * norm / (1.0 + relative) / error) ** 2)

    assert not far_from_law(np.array(squares), chi_square_16)


# -- arrays that are not what they were measured to be -------------------------------------------


def harmed(lines: list[int]) -> tuple[AnalogMatrix, Matrix]:
    """Word lines that broke after the arrays were measured: nobody has been told."""
    weights = normal(300, 200)
    matrix = AnalogMatrix(weights, "rram-cmo-hfox-2025", seed=5)
    (layer,) = matrix.blocks[Block(0, 0)].slices[0]
    layer.conductance[lines] = 0.0
    return matrix, weights


@pytest.mark.parametrize("rtol", [0.2, 0.1])
@pytest.mark.parametrize("transpose", [False, True])
def test_what_broken_lines_spoil_is_found_and_done_again(rtol: float, transpose: bool) -> None:
    matrix, weights = harmed(lines=list(range(60)))
    x = normal(40, 200 if transpose else 300, seed=2)
    exact = x.astype(np.float64) @ (weights.T if transpose else weights)

    answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol)

    error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
    assert error <= answer.certificate.bound <= rtol
    assert answer.report.rows_redone > 0
    assert answer.report.within


def test_rows_that_met_a_broken_line_are_done_again_until_the_bound_holds() -> None:
    """Others with them: a bound for rows that were chosen by what the probes say of them is stricter."""
    matrix, weights = harmed(lines=[7])
    x = normal(64, 300, seed=2)
    x[:, 7] = 0.0
    x[10:13, 7] = 40.0

    answer = matrix.matmul(x, 0.05)

    exact = x.astype(np.float64) @ weights
    errors = np.linalg.norm(answer.value - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert answer.report.within
    assert 3 <= answer.report.rows_redone < 64
    assert errors[10:13].max() < 0.02
    assert answer.certificate.analog_fraction > 0.9


def test_a_raw_product_of_broken_arrays_says_how_wrong_it_is() -> None:
    matrix, weights = harmed(lines=list(range(150)))
    x = normal(8, 300, seed=2)
    exact = x.astype(np.float64) @ weights

    answer = matrix.matmul(x)

    error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
    assert 0.5 < error <= answer.certificate.bound


# -- devices at the edge of what can be ----------------------------------------------------------

EDGES: dict[str, dict[str, object]] = {
    "every cell stuck low": {"faults": {"stuck_low": 1.0}},
    "every cell stuck high": {"faults": {"stuck_high": 1.0}},
    "half of them either way": {"faults": {"stuck_low": 0.5, "stuck_high": 0.5}},
    "three in ten stuck": {"faults": {"stuck_low": 0.1, "stuck_high": 0.2}},
    "converters of two bits": {"converters": {"dac_bits": 2, "adc_bits": 2}},
    "a DAC without an ADC": {"converters": {"dac_bits": 12, "adc_bits": None}},
    "an ADC without a DAC": {"converters": {"dac_bits": None, "adc_bits": 4}},
    "converters of sixteen bits": {"converters": {"dac_bits": 16, "adc_bits": 16}},
    "ADCs far from each other": {"converters": {"adc_offset_sigma": 4.0, "adc_gain_sigma": 0.1}},
    "louder than any signal": {"reading": {"constant": 0.5}},
    "noise in proportion": {"reading": {"constant": 0.0, "proportional": 0.3}},
    "cells of one bit": {"window": {"levels": 2}},
    "long wires": {"wires": {"segment_ohm": 50.0}},
}


@pytest.mark.parametrize("edge", EDGES)
def test_devices_at_the_edge_keep_the_tolerance_or_leave_it_to_arithmetic(edge: str) -> None:
    text = msgspec.json.encode({"base": "rram-wan2022", **EDGES[edge]}).decode()
    weights, x = normal(100, 60), normal(6, 100, seed=2)
    exact = x.astype(np.float64) @ weights
    for rtol in (1e-1, 1e-3):
        answer = AnalogMatrix(weights, text, seed=4).matmul(x, rtol)

        error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
        assert error <= answer.certificate.bound <= rtol
        assert answer.report.within


def test_a_device_without_a_sound_cell_multiplies_nothing() -> None:
    dead = '{"base": "rram-wan2022", "faults": {"stuck_low": 1.0}}'

    answer = AnalogMatrix(normal(100, 60), dead).matmul(normal(6, 100), 1e-1)

    assert answer.certificate.analog_fraction == 0.0
    assert answer.certificate.regime == "digital"
