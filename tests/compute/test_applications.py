"""Digits are told apart on simulated crossbars as well as digitally, and the meter of that tells the truth."""

import numpy as np
import pytest

from bench import app_digits
from bench.app_meter import Metered
from bench.app_photo import scene
from bench.app_report import DIGITS_ANALOG_MIN, DIGITS_ERRORS_MAX, digits_line, summary, table
from compute.analog import AnalogMatrix

pytest.importorskip("sklearn", reason="the digits ship inside scikit-learn")

SEED = 3


@pytest.fixture(scope="module")
def outcome() -> app_digits.Outcome:
    return app_digits.classify("rram-wan2022", SEED)


def test_the_network_learns_its_digits(outcome: app_digits.Outcome) -> None:
    assert outcome.digital <= 30  # of 540; guessing fails 486 of them


def test_digits_as_shipped_are_within_three_errors_of_the_digital_network(
    outcome: app_digits.Outcome,
) -> None:
    line = digits_line("rram-wan2022", SEED, outcome)

    assert outcome.shipped <= outcome.digital + DIGITS_ERRORS_MAX
    assert outcome.shipped_meter.analog_fraction >= DIGITS_ANALOG_MIN
    assert outcome.shipped_meter.bound <= 1e-2
    assert all(summary([line])["met"].values())
    assert "missed" not in table([summary([line])])


def test_four_errors_more_do_not_meet_the_targets(outcome: app_digits.Outcome) -> None:
    worse = digits_line("rram-wan2022", SEED, outcome) | {"worse": DIGITS_ERRORS_MAX + 1}

    assert "missed: within 3 errors" in table([summary([worse])])


def test_raw_products_cost_less_energy_and_keep_no_tolerance(outcome: app_digits.Outcome) -> None:
    assert outcome.naive_meter.energy_j < outcome.shipped_meter.energy_j
    assert outcome.naive_meter.bound > 1e-2


def test_what_is_held_out_is_not_learnt_from() -> None:
    learnt, held_out = app_digits.split(SEED)

    assert len(held_out.x) == app_digits.HELD_OUT
    assert len(learnt.x) + len(held_out.x) == 1797
    assert {row.tobytes() for row in learnt.x}.isdisjoint(row.tobytes() for row in held_out.x)


def test_the_meter_adds_up_both_directions() -> None:
    weights = np.random.default_rng(SEED).standard_normal((40, 30), np.float32)
    metered = Metered(AnalogMatrix(weights, "ideal"), None)

    there = metered.forward(np.ones((2, 40), np.float32))
    metered.backward(np.ones((3, 30), np.float32))

    assert there == pytest.approx(np.ones((2, 40)) @ weights, rel=1e-4, abs=1e-4)
    assert metered.meter.products == 2
    assert metered.meter.analog_macs + metered.meter.digital_macs == 5 * 40 * 30
    assert metered.meter.energy_j > 0.0


def test_a_small_scene_is_the_mean_of_the_large_one() -> None:
    pytest.importorskip("PIL", reason="the photograph is read by Pillow")
    small, large = scene(48), scene(96)

    assert small.shape == (3, 48 * 48)
    assert small.mean(axis=1) == pytest.approx(large.mean(axis=1), rel=1e-5)
    first = large.reshape(3, 96, 96)[:, :2, :2].mean(axis=(1, 2))
    assert small[:, 0] == pytest.approx(first, rel=1e-5)
