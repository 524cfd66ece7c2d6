import numpy as np
import pytest

from compute.analog import AnalogMatrix
from compute.partition import Matrix, Matrix64
from compute.solver import Product, SolverError, Splitting, gmres, solve


def analog(a: Matrix64 | Matrix, seed: int, write: float = 0.03, read: float = 0.01) -> Product:
    """Pairs of cells with a scale for each output, written once, read anew for each product."""
    dice = np.random.default_rng(seed)
    scale = np.abs(a).max(axis=1)
    held = a + scale[:, None] * write * dice.standard_normal((2, *a.shape)).sum(axis=0)

    def product(x: Matrix) -> Matrix:
        cells = np.sqrt(2.0) * read * np.linalg.norm(x, axis=1, keepdims=True)
        noise = cells * scale * dice.standard_normal((len(x), len(a)))
        currents: Matrix64 = x @ held.T + noise
        return currents.astype(np.float32)

    return product


def exact(a: Matrix64 | Matrix) -> Product:
    held: Matrix = a.astype(np.float32).T

    def product(x: Matrix) -> Matrix:
        return x @ held

    return product


def symmetric(n: int, condition: float, seed: int = 1) -> Matrix64:
    """Positive definite, eigenvalues evenly from 1 to `condition`."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    matrix: Matrix64 = (turn * np.linspace(1.0, condition, n)) @ turn.T
    return matrix


def vector(n: int, seed: int = 2) -> Matrix64:
    return np.random.default_rng(seed).standard_normal(n)


def residual(a: Matrix64, x: Matrix64, b: Matrix64) -> float:
    return float(np.linalg.norm(b - a @ x) / np.linalg.norm(b))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noisy_products_solve_to_ten_digits(seed: int) -> None:
    """Condition 5, 3 % written, 1 % read, diagonal kept digital."""
    a, b = symmetric(200, 5.0, seed), vector(200)
    splitting = Splitting.of(a)

    solution = solve(analog(splitting.analog, seed), a, b, 1e-10, splitting=splitting)

    assert residual(a, solution.x, b) <= 1e-10
    assert solution.residual == pytest.approx(residual(a, solution.x, b), rel=1e-3)
    assert np.abs(solution.x - np.linalg.solve(a, b)).max() < 1e-9
    assert len(solution.history) <= 14
    assert solution.products == 4 * (len(solution.history) - 1)
    assert solution.history[0] == 1.0 and solution.history[-1] == solution.residual
    assert list(solution.history) == sorted(solution.history, reverse=True)


def test_twelve_digits_take_only_some_more_steps() -> None:
    a, b = symmetric(200, 5.0), vector(200)
    splitting = Splitting.of(a)
    solution = solve(analog(splitting.analog, 1), a, b, 1e-12, splitting=splitting)

    assert residual(a, solution.x, b) < 2e-12


@pytest.mark.parametrize("name", ["rram-wan2022", "rram-harsh"])
def test_raw_products_of_simulated_crossbars_solve_to_ten_digits(name: str) -> None:
    a, b = symmetric(150, 5.0), vector(150)
    splitting = Splitting.of(a)
    arrays = AnalogMatrix(splitting.analog, name, seed=3)

    solution = solve(lambda x: arrays.rmatmul(x).value, a, b, 1e-10, splitting=splitting)

    assert residual(a, solution.x, b) <= 1e-10
    assert len(solution.history) <= 20


def test_matrices_that_are_not_symmetric_are_solved_too() -> None:
    dice = np.random.default_rng(4)
    a = 3.0 * np.eye(150) + dice.standard_normal((150, 150)) / np.sqrt(150.0)
    a[:, :50] *= -1.0
    b = vector(150)
    splitting = Splitting.of(a)

    solution = solve(analog(splitting.analog, 1), a, b, 1e-10, splitting=splitting)

    assert residual(a, solution.x, b) <= 1e-10


def test_eigenvalues_on_both_sides_of_zero_take_longer_corrections() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(6).standard_normal((100, 100)))
    signs = np.where(np.arange(100) % 2, 1.0, -1.0)
    a: Matrix64 = (turn * signs * np.linspace(1.0, 12.0, 100)) @ turn.T
    b = vector(100)

    solution = solve(analog(a, 1, write=0.001, read=0.001), a, b, 1e-10)

    assert residual(a, solution.x, b) <= 1e-10
    assert solution.products > 4 * (len(solution.history) - 1)


def test_rows_without_a_diagonal_value_are_left_to_the_arrays() -> None:
    a = np.kron(np.eye(10), np.array([[0.0, 2.0], [3.0, 0.0]])).astype(np.float64)
    splitting = Splitting.of(a)

    solution = solve(exact(splitting.analog), a, vector(20), splitting=splitting)

    assert not splitting.diagonal.any()
    assert residual(a, solution.x, vector(20)) <= 1e-10


def test_a_rotation_of_all_unknowns_is_beyond_a_few_steps_and_that_is_said() -> None:
    a = np.roll(np.eye(100), 1, axis=0)
    with pytest.raises(SolverError, match="its eigenvalues lie all around zero"):
        solve(exact(a), a, vector(100))


def test_a_splitting_gives_the_matrix_back() -> None:
    a = symmetric(30, 4.0)
    a[3, 3] = 0.0
    a[5] *= 1e4
    it = Splitting.of(a)
    back = (it.analog + np.diag(it.diagonal)) / it.scale[:, None] / it.scale

    assert np.abs(back - a).max() <= 1e-6 * np.abs(a).max()
    assert not np.diagonal(it.analog).any()
    assert set(np.abs(it.diagonal).round(12)) <= {0.0, 1.0}


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_neither_the_size_of_a_nor_that_of_b_matters(factor: float) -> None:
    a, b = factor * symmetric(60, 3.0), vector(60) / factor
    splitting = Splitting.of(a)

    solution = solve(analog(splitting.analog, 1), a, b, 1e-9, splitting=splitting)

    assert residual(a, solution.x, b) <= 1e-9


def test_without_the_digital_diagonal_noise_is_too_much_and_that_is_said() -> None:
    a, b = symmetric(200, 50.0), vector(200)
    with pytest.raises(SolverError, match=r"keep the diagonal digital \(Splitting.of\)"):
        solve(analog(a, 1, write=0.1), a, b)


@pytest.mark.parametrize(
    "product", [lambda x: 0.0 * x, lambda x: x[:, ::-1].copy()], ids=["nothing", "nonsense"]
)
def test_products_that_do_not_contract_are_given_up_soon(product: Product) -> None:
    calls = []

    def counted(x: Matrix) -> Matrix:
        calls.append(len(x))
        return product(x)

    with pytest.raises(SolverError, match="the residual stays at"):
        solve(counted, symmetric(100, 300.0), vector(100))
    assert len(calls) <= 4 * 20


def test_singular_matrices_are_refused() -> None:
    a = symmetric(40, 3.0)
    a[7] = a[8]
    with pytest.raises(SolverError, match="A is singular, or worse conditioned"):
        solve(exact(a), a, vector(40))
    a[7] = 0.0
    with pytest.raises(SolverError, match="A is singular: row 7 holds only zeros"):
        solve(exact(a), a, vector(40))
    with pytest.raises(SolverError, match="A is singular: column 7 holds only zeros"):
        Splitting.of(a.T)


def test_what_is_no_system_is_refused_with_its_place() -> None:
    a, b = symmetric(10, 2.0), vector(10)
    with pytest.raises(SolverError, match="A must be square, not 10 x 9"):
        solve(exact(a), a[:, :9], b)
    with pytest.raises(SolverError, match=r"b must have length 10 like A, not shape \(9,\)"):
        solve(exact(a), a, b[:9])
    with pytest.raises(SolverError, match="rtol must lie between 1e-14 and 1, not 1e-17"):
        solve(exact(a), a, b, 1e-17)
    b[4] = np.inf
    with pytest.raises(SolverError, match="b holds inf at index 4"):
        solve(exact(a), a, b)
    a[2, 5] = np.nan
    with pytest.raises(SolverError, match="A holds nan at row 2, column 5"):
        solve(exact(a), a, vector(10))


def test_products_of_the_wrong_length_or_without_a_value_are_refused() -> None:
    a, b = symmetric(10, 2.0), vector(10)
    with pytest.raises(SolverError, match="the product gave 9 values for 10"):
        solve(lambda x: x[:, :9], a, b)
    with pytest.raises(SolverError, match="the product gave nan at index 0"):
        solve(lambda x: x * np.float32(np.nan), a, b)


def test_small_systems_and_a_zero_right_side() -> None:
    assert solve(exact(np.array([[4.0]])), [[4.0]], [2.0]).x.tolist() == pytest.approx([0.5])
    assert solve(exact(np.eye(3)), np.eye(3), np.zeros(3)).products == 0
    identity = solve(exact(np.eye(5)), np.eye(5), np.arange(5.0), 1e-13)
    assert np.abs(identity.x - np.arange(5.0)).max() < 1e-12


def test_gmres_is_exact_after_as_many_steps_as_there_are_unknowns() -> None:
    a, b = symmetric(8, 9.0) + np.triu(symmetric(8, 3.0, 5), 1), vector(8)

    assert residual(a, gmres(lambda v: a @ v, b, 8), b) < 1e-12
    assert residual(a, gmres(lambda v: a @ v, b, 3), b) < 1.0
