"""A run of the demo that went well, for what is made from runs."""

import numpy as np
import pytest

from compute.partition import Matrix
from node.cli.demo.outcome import (
    Act,
    Acts,
    Holder,
    Iteration,
    Kill,
    Outcome,
    Product,
    Refusal,
    Upload,
)

MIB = 1024 * 1024


def grey(level: float) -> Matrix:
    return np.full((3, 64), level, np.float32)


def act(title: str, psnrs: list[float], bound: float | None, analog: float, mesh: bool) -> Act:
    iterations = tuple(Iteration(psnr, 0.1 * n) for n, psnr in enumerate(psnrs, 1))
    products = (Product(0.05, 1000, bound, analog, 4000, analog * 1e-6),) * 2 if mesh else ()
    return Act(title, "as promised", iterations, products, grey(psnrs[-1] / 50))


@pytest.fixture
def outcome() -> Outcome:
    acts = Acts(
        local=act("local numpy", [15.0, 25.0, 33.5], None, 0.0, mesh=False),
        digital=act("digital", [15.0, 25.0, 33.48], 1e-5, 0.0, mesh=True),
        naive=act("analog naive", [15.0, 30.1], None, 1.0, mesh=True),
        certified=act("analog certified", [15.0, 25.0, 32.9], 9e-3, 0.97, mesh=True),
    )
    holders = (
        Holder("node-208", 208 * MIB, 190 * MIB, 195 * MIB, 24, 12),
        Holder("node-<160>", 160 * MIB, 140 * MIB, 141 * MIB, 21, 10),
    )
    return Outcome(
        scene=grey(0.5),
        refusal=Refusal("node-208", "no room & no wonder", 162 * MIB, 120 * MIB, 119 * MIB),
        acts=acts,
        uploads=(Upload("digital", 2, 162 * MIB, 4.0), Upload("rram", 1, 162 * MIB, 3.0)),
        holders=holders,
        kill=Kill("node-<160>", 2),
        leftovers=(),
        disobedient=(),
        seconds=61.0,
    )
