"""What drift costs, as far as anybody notices."""

import numpy as np
import pytest

from compute.presets import device
from compute.programmed import Arrays, ProgrammedBlock
from compute.rram import Rram
from node.runtime.aged import dearer
from node.runtime.chips import error_of

W = np.random.default_rng(4).standard_normal((300, 200)).astype(np.float32)
HOUR_S, MONTH_S = 3600.0, 30 * 86_400.0


def block(name: str, age_s: float, scale: float = 1.0) -> ProgrammedBlock:
    weights = W * np.float32(scale)
    return Rram(device(name), seed=3).program("w", weights, arrays=Arrays(age_s=age_s))


def grown(name: str, age_s: float) -> float:
    return error_of(block(name, age_s)) / error_of(block(name, 0.0))


@pytest.mark.parametrize("name", ["rram-wan2022", "rram-cmo-hfox-2025"])
def test_fresh_arrays_cost_what_they_cost(name: str) -> None:
    assert dearer(block(name, 0.0), 1.0) == 1.0


def test_what_can_only_be_done_digitally_any_more_is_much_dearer() -> None:
    hour, month = (
        dearer(block("rram-wan2022", age_s), grown("rram-wan2022", age_s))
        for age_s in (HOUR_S, MONTH_S)
    )

    assert 1.0 <= hour < 1.3
    assert month > 10.0


def test_errors_that_grow_twentyfold_from_next_to_nothing_cost_little() -> None:
    name = "rram-cmo-hfox-2025"

    assert grown(name, MONTH_S) > 15.0
    assert 1.0 < dearer(block(name, MONTH_S), grown(name, MONTH_S)) < 2.5


def test_the_size_of_the_weights_changes_nothing() -> None:
    times = grown("rram-wan2022", MONTH_S)

    assert dearer(block("rram-wan2022", MONTH_S, 2.0**40), times) == pytest.approx(
        dearer(block("rram-wan2022", MONTH_S), times)
    )
