"""A daemon's simulated arrays: told of, and there again after it was killed."""

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.live.daemons import eventually

Start = Callable[..., Any]

DICE = np.random.default_rng(11)
W = DICE.standard_normal((300, 200)).astype(np.float32)
X = DICE.standard_normal((4, 300)).astype(np.float32)


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_a_daemon_that_starts_again_stands_before_the_same_arrays(
    daemon: Start, ended_by: signal.Signals
) -> None:
    first = daemon()
    client = first.client()
    client.put("w", W, backend="rram", device="rram-milo2021", seed=3)
    client.put("w", W, backend="rram", device="rram-milo2021", seed=3)
    before = np.asarray(client.matmul("w", X, rtol=None))
    first.stop(ended_by)

    again = daemon().client()

    assert np.array_equal(np.asarray(again.matmul("w", X, rtol=None)), before)
    arrays = again.status()["arrays"]
    assert (arrays["arrays"], arrays["healthy"], arrays["writes"]) == (2 * 4, 1.0, 2)


def test_what_a_regime_costs_is_told_once_it_was_measured(daemon: Start) -> None:
    client = daemon().client()
    client.put("w", W, backend="digital")
    assert client.status()["arrays"]["seconds_per_mac"] == {}
    client.matmul("w", X)

    def told() -> Any:
        return client.status()["arrays"]["seconds_per_mac"].get("digital")

    assert 0.0 < eventually(told, "the cost of plain arithmetic") < 1e-3
