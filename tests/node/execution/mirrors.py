"""A matrix that crossbars hold well, what it is multiplied by, and where its blocks lie."""

import numpy as np

from compute.partition import Block, Matrix
from protocol.messages import Multiply
from tests.node.execution.bench_mesh import OWN


def mirrors(rows: int, columns: int) -> Matrix:
    """Patterns of +1 and -1, which crossbars hold well."""
    dice = np.random.default_rng(5)
    return dice.choice((-1.0, 1.0), size=(rows, columns)).astype(np.float32)


def signal(m: int, width: int) -> Matrix:
    return np.random.default_rng(7).normal(size=(m, width)).astype(np.float32)


W = mirrors(1100, 2200)
X = signal(8, 1100)


def two_of_three(block: Block) -> tuple[str, ...]:
    """Each block at two of the coordinator, anna and bert."""
    names = (OWN, "anna", "bert")
    first = (block.row + block.column) % 3
    return names[first], names[(first + 1) % 3]


def error(value: Matrix | None, x: Matrix, w: Matrix) -> float:
    assert value is not None
    exact = x.astype(np.float64) @ w
    return float(np.linalg.norm(value - exact) / np.linalg.norm(exact))


def flipped(request: Multiply, out: Matrix) -> None:
    """The first block's output with its sign turned."""
    out[:, :1000] *= -1.0
