"""What many chips have in common, and the same picture of it each time."""

import pytest

from node.cli.sweeping import plots
from node.cli.sweeping.chips import Reading
from node.cli.sweeping.figures import Spread, figures


def reading(
    seed: int, rtol: float | None, error: float, device: str = "d", analog: float = 1.0
) -> Reading:
    return Reading(
        device=device, seed=seed, rtol=rtol, error=error, bound=None if rtol is None else rtol / 2,
        confidence=0.999999, regime="fast" if analog else "digital", analog_fraction=analog,
        energy_j=1e-6 * (seed + 1), latency_s=1e-3, reads=1, seconds=0.1, nodes=1,
    )  # fmt: skip


def test_figures_are_medians_and_twentieths() -> None:
    (told,) = figures([reading(seed, None, float(seed)) for seed in range(21)])

    assert told.error == Spread(1.0, 10.0, 19.0)
    assert told.energy_j.median == pytest.approx(11e-6)
    assert (told.bound, told.kept, told.analog_yield, told.raw_yield) == (None, None, None, None)


def test_a_chip_yields_if_it_keeps_the_tolerance_on_its_cells() -> None:
    certified = [
        reading(0, 0.1, 0.01),
        reading(1, 0.1, 0.06),
        reading(2, 0.1, 0.0, analog=0.0),
        reading(3, 0.1, 0.2),
    ]
    raw = [reading(seed, None, 0.04 * seed) for seed in range(4)]

    told, rough = figures([*certified, *raw])

    assert (told.kept, told.analog_yield, told.raw_yield) == (0.75, 0.5, 0.75)
    assert told.broken == 2
    assert told.regimes == {"fast": 3, "digital": 1}
    assert (rough.rtol, rough.chips, rough.kept) == (None, 4, None)


def test_devices_of_one_name_are_told_apart() -> None:
    devices = ["rram-harsh", '{"wires":{"spare_rows":1}}', '{"wires":{"spare_rows":2}}']

    told = figures([reading(0, None, 0.1, device) for device in devices])

    assert [one.label for one in told] == ["rram-harsh", "custom (1)", "custom (2)"]


def test_the_same_readings_are_the_same_picture() -> None:
    pytest.importorskip("matplotlib")
    read = [reading(seed, 1e-2, 1e-3 * (1 + seed)) for seed in range(3)]

    assert plots.png(read, "words") == plots.png(read, "words") != plots.png(read[1:], "words")
