"""A few hundred short runs, each with a random mix of troubles; `make sim SEED=17` runs one of them."""

import os

import pytest

from node.simulation.run import run
from node.simulation.terms import Terms

SEEDS = 240
BATCHES = 24
"""Each a test of its own, so that a failure comes early and the rest goes on."""


def seeds_of(batch: int) -> list[int]:
    if (seed := os.environ.get("SEED")) is not None:
        return [int(seed)] if batch == 0 else []
    return list(range(batch, SEEDS, BATCHES))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_what_must_hold_holds_whatever_befalls_a_mesh(batch: int) -> None:
    for seed in seeds_of(batch):
        broken = run(Terms.of("mixed", seed)).broken
        assert broken is None, (
            f"seed {seed}, at {broken.at_s:.6f} s, on {broken.machine}: {broken.invariant}:"
            f" {broken.what}; the same again: {broken.replay}"
        )
