import numpy as np
import pytest

from compute.partition import Matrix
from compute.response import Response
from tests.compute.matrices import normal

SIDE = 32


def by_tile(x: Matrix, lines: int) -> Matrix:
    padded = np.zeros((len(x), -(-lines // SIDE) * SIDE), np.float32)
    padded[:, :lines] = x
    return padded.reshape(len(x), -1, SIDE).transpose(1, 0, 2)


def true_squares(x: Matrix, conductance: Matrix, scale: Matrix) -> list[float]:
    starts = range(0, len(conductance), SIDE)
    return [
        float(np.linalg.norm((x[:, at : at + SIDE] @ conductance[at : at + SIDE]) * scale) ** 2)
        for at in starts
    ]


def response_of(conductance: Matrix, scale: Matrix) -> Response:
    squares = np.zeros(-(-len(scale) // SIDE) * SIDE)
    squares[: len(scale)] = scale.astype(np.float64) ** 2
    return Response.of(conductance, squares.reshape(-1, SIDE), SIDE)


@pytest.mark.parametrize("shift", [0.0, 0.3, 3.0])
@pytest.mark.parametrize("offset", [0.0, 0.3, 3.0])
def test_the_expected_square_is_the_mean_over_many_inputs(shift: float, offset: float) -> None:
    """Random inputs about a mean, on random weights about another; the last tile row and array are not full."""
    conductance, scale = (
        normal(70, 50) + np.float32(offset),
        np.abs(normal(50, seed=3)) + np.float32(0.1),
    )
    x = normal(4000, 70, seed=2) + np.float32(shift)

    foreseen = response_of(conductance, scale).variance(by_tile(x, 70), slice(None))

    assert foreseen == pytest.approx(np.array(true_squares(x, conductance, scale)), rel=0.05)


def test_equal_inputs_add_up_exactly_as_the_means_say() -> None:
    conductance, scale = normal(64, 40), np.ones(40, np.float32)
    x = np.full((3, 64), 0.25, np.float32)

    response = response_of(conductance, scale)

    assert response.variance(by_tile(x, 64), slice(None)) == pytest.approx(
        np.array(true_squares(x, conductance, scale)), rel=1e-5
    )
    assert response.variance(by_tile(x, 64)[1:], slice(1, 2)) == pytest.approx(
        np.array(true_squares(x, conductance, scale)[1:]), rel=1e-5
    )


def test_signs_at_random_bring_no_less_for_a_mean_of_their_own() -> None:
    """As before the two parts were told apart: an input's energy times the mean square that it meets."""
    conductance, scale = normal(32, 40) + np.float32(0.5), np.ones(40, np.float32)
    signs = np.random.default_rng(4).choice([-1.0, 1.0], (20_000, 32)).astype(np.float32)

    foreseen = response_of(conductance, scale).variance(by_tile(signs, 32), slice(None))

    assert foreseen[0] == pytest.approx(20_000 * float(np.linalg.norm(conductance)) ** 2, rel=0.03)
