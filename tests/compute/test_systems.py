import numpy as np
import pytest

from compute.solver import SolverError
from compute.systems import solve


@pytest.mark.parametrize(
    ("device", "tile"),
    [("rram-wan2022", 128), ("rram-cmo-hfox-2025", 128), ("rram-cmo-hfox-2025", 32)],
)
def test_a_system_is_solved_to_ten_digits_by_arrays_that_know_two(device: str, tile: int) -> None:
    dice = np.random.default_rng(1)
    turn, _ = np.linalg.qr(dice.standard_normal((150, 150)))
    a, b = (turn * np.linspace(1.0, 5.0, 150)) @ turn.T, dice.standard_normal(150)

    solution = solve(a, b, device=device, tile=tile, seed=3)

    assert np.linalg.norm(b - a @ solution.x) <= 1e-10 * np.linalg.norm(b)
    assert len(solution.history) < 40


def test_a_matrix_that_the_arrays_cannot_hold_well_enough_is_refused() -> None:
    """Condition 10^5, written to within a few per cent."""
    dice = np.random.default_rng(2)
    turn, _ = np.linalg.qr(dice.standard_normal((60, 60)))
    a = (turn * np.geomspace(1.0, 1e5, 60)) @ turn.T

    with pytest.raises(SolverError):
        solve(a, dice.standard_normal(60), device="rram-wan2022")
