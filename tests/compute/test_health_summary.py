"""What a node keeps in mind of the health of a block."""

import numpy as np
import pytest

from compute.health import HEALTHY_STUCK_SHARE, TileHealth
from compute.partition import Matrix
from compute.presets import device
from compute.rram import Rram


def health(sigma: Matrix, stuck: list[list[int]], cells: int = 1000) -> TileHealth:
    counts = np.array(stuck, np.int32)
    return TileHealth(sigma, counts, np.full(counts.shape, cells, np.int32), writes=3, age_s=7.0)


def test_a_summary_tells_quantiles_over_tiles_and_shares_of_tiles_and_cells() -> None:
    sigma = np.linspace(0.0, 0.1, 11, dtype=np.float32).reshape(1, 11)
    worst_healthy = int(HEALTHY_STUCK_SHARE * 1000)
    told = health(sigma, [[worst_healthy] * 8 + [worst_healthy + 1] * 3]).summary()

    assert (told.tiles, told.healthy, told.writes, told.age_s) == (11, 8, 3, 7.0)
    assert told.sigma == pytest.approx((0.01, 0.05, 0.09))
    assert told.stuck_share == pytest.approx((8 * 50 + 3 * 51) / 11_000)


def test_a_device_with_many_stuck_cells_has_no_healthy_tile_and_a_sound_one_has_all() -> None:
    weights = np.random.default_rng(1).standard_normal((130, 70)).astype(np.float32)

    harsh = Rram(device("rram-harsh"), seed=4).program("w", weights).health.summary()
    sound = Rram(device("rram-milo2021"), seed=4).program("w", weights).health.summary()

    assert (harsh.tiles, harsh.healthy) == (2, 0)
    assert (sound.tiles, sound.healthy) == (2, 2)
    assert harsh.stuck_share > 0.08 > sound.stuck_share
