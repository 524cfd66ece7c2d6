import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block, BlockGrid, Matrix, Matrix64
from compute.verify import (
    SKETCH_WIDTH,
    SketchAccumulator,
    absolute_shares,
    apply_sketch,
    chi_square_quantile,
    estimate_norm,
    norm_for_shares,
    probe,
    project,
    relative_bound,
    residual_bound,
    round_off,
    safety_factor,
    split_share,
)
from tests.compute.matrices import normal

SEED = 0xFEED_FACE_CAFE_BEEF
GOLDEN = [-0.9251660808355762, -0.42449732791157896, 0.6278894017213182]


def whole_sketches(weights: Matrix) -> tuple[Matrix64, Matrix64]:
    grid = BlockGrid(*weights.shape)
    s = np.zeros((grid.rows, SKETCH_WIDTH))
    t = np.zeros((grid.columns, SKETCH_WIDTH))
    for block in grid.blocks():
        rows = slice(*grid.row_span(block.row))
        columns = slice(*grid.column_span(block.column))
        sketch = SketchAccumulator(grid.shape(block), SEED, block)
        for first in range(0, grid.shape(block)[0], 100):
            sketch.add_rows(first, weights[rows, columns][first : first + 100])
        block_s, block_t = sketch.finish()
        s[rows] += block_s
        t[columns] += block_t
    return s, t


def test_probes_are_the_same_on_every_machine() -> None:
    first = probe(SEED, "columns", 3, 5)

    assert np.array_equal(first, probe(SEED, "columns", 3, 5))
    assert first.shape == (5, 16) and first.dtype == np.float64
    assert first[0, :3] == pytest.approx(GOLDEN, rel=1e-12)


def test_probes_differ_by_seed_side_and_block() -> None:
    kinds = [probe(1, "rows", 0, 4), probe(2, "rows", 0, 4), probe(1, "columns", 0, 4)]
    kinds.append(probe(1, "rows", 1, 4))

    assert len({values.tobytes() for values in kinds}) == 4


def test_probes_are_standard_normal() -> None:
    values = probe(SEED, "rows", 0, 1 << 14)

    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1.0, abs=0.006)
    assert (values**4).mean() == pytest.approx(3.0, abs=0.08)
    correlation = values.T @ values / len(values)
    assert np.abs(correlation - np.eye(16)).max() < 0.05


def test_sketches_of_blocks_add_up_to_those_of_the_matrix() -> None:
    weights, x, z = normal(1100, 1030), normal(3, 1100), normal(2, 1030)
    s, t = whole_sketches(weights)

    exact = x.astype(np.float64) @ weights
    assert apply_sketch(x, s) == pytest.approx(project(exact, SEED, "columns"), rel=1e-9)
    exact = z.astype(np.float64) @ weights.T
    assert apply_sketch(z, t) == pytest.approx(project(exact, SEED, "rows"), rel=1e-9)


def test_the_size_of_the_strips_does_not_matter() -> None:
    weights = normal(130, 40)
    at_once = SketchAccumulator((130, 40), SEED, Block(0, 0))
    at_once.add_rows(0, weights)
    singly = SketchAccumulator((130, 40), SEED, Block(0, 0))
    for row in range(130):
        singly.add_rows(row, weights[row : row + 1])

    for one, other in zip(at_once.finish(), singly.finish(), strict=True):
        assert one == pytest.approx(other, abs=1e-11)


@pytest.mark.parametrize(
    ("freedom", "probability", "value"),
    # scipy.stats.chi2.ppf
    [(2, 0.5, 1.3862943611), (16, 0.001, 3.9416278435), (48, 0.999, 84.0371337217)],
)
def test_chi_square_quantiles_agree_with_the_tables(
    freedom: int, probability: float, value: float
) -> None:
    assert chi_square_quantile(freedom, probability) == pytest.approx(value, rel=1e-9)


def test_the_far_quantile_gives_the_bound_its_factor() -> None:
    assert math.sqrt(16 / chi_square_quantile(16, 1e-6)) == pytest.approx(3.321, abs=5e-4)


def test_the_worst_error_is_seen_as_chi_square_with_16_degrees() -> None:
    """Rank one: one wrong column. The share seen below a quantile is the quantile's probability."""
    columns = np.concatenate([probe(seed, "columns", 0, 100) for seed in range(30)])
    seen = (columns**2).sum(axis=1)

    for probability in (0.01, 0.1, 0.5):
        below = (seen < chi_square_quantile(16, probability)).mean()
        spread = math.sqrt(probability * (1 - probability) / len(seen))
        assert abs(below - probability) < 4 * spread


def test_no_bound_of_300_random_jobs_is_broken() -> None:
    dice = np.random.default_rng(3)
    for job in range(300):
        m, n = (int(side) for side in dice.integers(1, 40, 2))
        y = dice.standard_normal((m, n))
        rank = int(dice.integers(1, min(m, n) + 1))
        error = dice.standard_normal((m, rank)) @ dice.standard_normal((rank, n))
        seen, true = project(y + error, job, "columns"), project(y, job, "columns")

        assert residual_bound(seen, true, 0.0) >= np.linalg.norm(error)


def test_a_float32_product_is_vouched_for_to_six_digits() -> None:
    weights, x = normal(1100, 300), normal(4, 1100)
    s, _ = whole_sketches(weights)
    y = x @ weights
    slack = round_off(1400, float(np.linalg.norm(y)))

    bound = residual_bound(project(y, SEED, "columns"), apply_sketch(x, s), slack)

    assert relative_bound(bound, float(np.linalg.norm(y))) < 5e-6
    y[2, 7] += 1.0
    assert residual_bound(project(y, SEED, "columns"), apply_sketch(x, s), slack) > 1.0


def test_the_norm_is_told_before_the_product() -> None:
    weights, x = normal(500, 300), normal(64, 500)
    s, _ = whole_sketches(weights)
    true = float(np.linalg.norm(x @ weights))

    assert estimate_norm(apply_sketch(x, s)) == pytest.approx(true, rel=0.15)
    assert norm_for_shares(x, s, apply_sketch(x, s)) == pytest.approx(true, rel=0.08)


def test_where_the_weights_have_structure_the_sketch_tells_the_norm() -> None:
    weights, x = np.ones((500, 300), np.float32), np.ones((2, 500), np.float32)
    s, _ = whole_sketches(weights)
    xs = apply_sketch(x, s)

    assert norm_for_shares(x, s, xs) == estimate_norm(xs)


def test_a_zero_answer_has_a_zero_bound() -> None:
    assert relative_bound(0.0, 0.0) == 0.0
    assert relative_bound(2.0, 1.0) == math.inf


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20), st.integers(1, 100))
def test_shares_keep_both_sums(weights: list[float], rows_m: int) -> None:
    shares = absolute_shares(0.5, weights, rows_m)

    assert sum(shares) <= 0.5 * (1 + 1e-9)
    squares = math.sqrt(sum(share * share for share in shares))
    assert squares * safety_factor(rows_m) <= 0.5 * (1 + 1e-9)
    within = split_share(0.5, weights)
    assert math.sqrt(sum(share * share for share in within)) <= 0.5 * (1 + 1e-9)


@pytest.mark.parametrize("rows_m", [1, 3, 64])
def test_noise_within_the_safety_factor_passes_999_of_1000_checks(rows_m: int) -> None:
    """||X W|| misjudged by sqrt(M) independent rows, the error seen through 16 M numbers."""
    dice = np.random.default_rng(5)
    jobs = 200_000
    freedom_norm = round(16 * math.sqrt(rows_m))
    misjudged = np.sqrt(dice.chisquare(freedom_norm, jobs) / freedom_norm)
    seen = np.sqrt(dice.chisquare(16 * rows_m, jobs) / chi_square_quantile(16, 1e-6) / rows_m)

    failed = (misjudged * seen / safety_factor(rows_m) > 1.0).mean()

    assert failed < 0.0015
