import math

import numpy as np
import pytest

from compute.ageing import aged
from compute.chance import rows_of
from compute.device import DeviceModel, Drift, Window, Writing
from compute.presets import device
from compute.writing import Cells, write
from node.cli.characterization import law
from node.cli.characterization.law import Moments

CELLS = 1 << 16
AT_REST = DeviceModel(
    name="at-rest",
    window=Window(g_min_us=0.0, g_max_us=40.0),
    writing=Writing(sigma_us=(1.0, 0.02)),
    drift=Drift(mean_us=-0.2, sigma_us=0.1),
)
LOOPED = DeviceModel(
    name="looped",
    window=Window(g_min_us=1.0, g_max_us=40.0),
    writing=Writing(acceptance_us=1.0, pulse_share=0.5, pulse_sigma_us=0.8, pulses_max=100),
)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize(
    ("model", "age_s"),
    [(AT_REST, 0.0), (device("pcm-joshi"), 3_600.0), (device("rram-cmo-hfox-2025"), 86_400.0)],
    ids=["relaxed", "drifted as a power", "drifted as a logarithm"],
)
def test_sound_cells_have_the_mean_and_the_spread_that_the_law_predicts(
    model: DeviceModel, age_s: float, share: float
) -> None:
    targets = np.full((1, 256, CELLS // 256), share, np.float32)
    rows = rows_of(0, 256)
    held, _ = write(targets, model, Cells(), 1, rows)
    if age_s:
        held = aged(np.concatenate([held, held]), model, age_s, 2, 1, rows, stuck=None)[:1]
    told = law.cells(targets.ravel()[:1], model, age_s)

    held_us = held.astype(np.float64) * model.window.width_us + model.window.g_min_us
    sigma = float(told.sigma[0])
    # Means of 65,536 cells: five standard deviations, once in 10^6 by chance; some 1 in 1,000 misses its acceptance.
    assert abs(held_us.mean() - told.mean[0]) < 5.0 * sigma / math.sqrt(CELLS) + 0.002 * sigma
    assert held_us.std() == pytest.approx(sigma, rel=0.03)


def test_cells_that_are_left_as_the_loop_left_them_spread_within_its_acceptance() -> None:
    targets = np.full((1, 256, CELLS // 256), 0.5, np.float32)
    held, report = write(targets, LOOPED, Cells(), 1, rows_of(0, 256))
    told = law.cells(targets.ravel()[:1], LOOPED, 0.0)

    assert report.unwritten == 0
    assert (held * 39.0).std() == pytest.approx(told.sigma[0], rel=0.03)


def test_the_law_of_one_normal_value_is_that_of_the_normal_distribution() -> None:
    edges = np.array([-1.0, 0.0, 2.0])
    inside = law.normal_shares(Moments(np.zeros(1), np.ones(1)), edges)

    assert inside == pytest.approx([0.3413447, 0.4772499])


def test_cells_of_few_levels_err_by_their_rounding_alone() -> None:
    model = device("rram-neurosim")
    targets = np.stack([np.linspace(0.0, 1.0, 1001), np.zeros(1001)]).astype(np.float32)
    told = law.pair_errors(targets, targets[0], model, age_s=0.0)

    expected = (np.rint(targets[0]) - targets[0]) * model.window.width_us
    assert np.allclose(told.mean, expected, atol=1e-5)
    assert told.sigma.max() < 1e-6


def test_histograms_say_which_part_lies_in_each_bin() -> None:
    edges = np.array([-1.0, 0.0, 1.0])

    assert law.shares(np.array([-0.5, 0.5, 0.7, 3.0]), edges).tolist() == [0.25, 0.5]
    assert law.shares(np.zeros(0), edges).tolist() == [0.0, 0.0]
    assert not law.normal_shares(Moments(np.zeros(0), np.zeros(0)), edges).any()


def test_bins_reach_as_far_as_they_are_told() -> None:
    edges = law.bins_over(np.array([3.0, -3.0]), reach=2.0)

    assert (edges[0], edges[-1], len(edges)) == (-6.0, 6.0, law.BINS + 1)
    assert law.bins_over(np.zeros(4), reach=2.0)[-1] == 1.0
