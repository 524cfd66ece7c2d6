"""Products over several holders, with real numbers on virtual time."""

import numpy as np
import pytest

from compute.partition import Block, Matrix
from tests.node.execution.bench_mesh import OWN, BenchMesh, Weights

DICE = np.random.default_rng(5)
W = DICE.normal(size=(1100, 2200)).astype(np.float32)
X = DICE.normal(size=(8, 1100)).astype(np.float32)


def two_of_three(block: Block) -> tuple[str, ...]:
    """Each block at two of the coordinator, anna and bert."""
    names = (OWN, "anna", "bert")
    first = (block.row + block.column) % 3
    return names[first], names[(first + 1) % 3]


@pytest.fixture(scope="module")
def digital(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("digital"), W, "digital", two_of_three)


@pytest.fixture(scope="module")
def rram(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("rram"), W, "rram", two_of_three)


def error(value: Matrix | None, x: Matrix, w: Matrix) -> float:
    assert value is not None
    exact = x.astype(np.float64) @ w
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_several_holders_give_the_product(
    digital: Weights, transpose: bool, deterministic: bool
) -> None:
    w = W.T if transpose else W
    x = DICE.normal(size=(8, w.shape[0])).astype(np.float32)

    answer = BenchMesh(digital).matmul(x, transpose=transpose, deterministic=deterministic)

    assert error(answer.value, x, w) < 1e-6
    assert answer.certificate is not None and answer.certificate.bound is not None
    assert error(answer.value, x, w) < answer.certificate.bound < 1e-5
