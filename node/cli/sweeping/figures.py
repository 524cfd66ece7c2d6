"""What many chips have in common: medians, tails, and how many of them are any good."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from node.cli.devices import shown_device
from node.cli.sweeping.chips import Reading

ANALOG_MIN = 0.9
"""A chip yields under a tolerance if it keeps it with at least this share of the multiplications done on its cells."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Over chips."""

    low: float
    """One in twenty lies below."""
    median: float
    high: float
    """One in twenty lies above."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
        return cls(float(low), float(median), float(high))


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one device under one tolerance."""

    device: str
    """As its manifests have it."""
    label: str
    """For people."""
    rtol: float | None
    chips: int
    error: Spread
    bound: Spread | None
    """None where no chip's answer had one."""
    energy_j: Spread
    latency_s: Spread
    analog_fraction: Spread
    regimes: dict[str, int]
    """To the number of chips."""
    broken: int
    """Chips whose true error was above the bound that was stated."""
    kept: float | None
    """Share of chips that kept the tolerance, whatever it took; None where none was asked for."""
    analog_yield: float | None
    """Share of chips that kept it with at least `ANALOG_MIN` of the multiplications on their cells."""
    raw_yield: float | None
    """Share of chips whose raw product would have kept it; None where that was not read."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def figures(readings: Sequence[Reading]) -> list[Figures]:
    """By device and tolerance, in the order in which they were asked for."""
    groups: dict[tuple[str, float | None], list[Reading]] = {}
    for reading in readings:
        groups.setdefault((reading.device, reading.rtol), []).append(reading)
    labels = labels_of(list(dict.fromkeys(device for device, _ in groups)))
    return [
        _figures(labels[device], group, groups.get((device, None)))
        for (device, _), group in groups.items()
    ]


def labels_of(devices: Sequence[str]) -> dict[str, str]:
    """Devices by their names, numbered where two have the same."""
    names = [shown_device(device) for device in devices]
    return {
        device: name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, (device, name) in enumerate(zip(devices, names, strict=True))
    }


def _figures(label: str, group: list[Reading], raw: list[Reading] | None) -> Figures:
    rtol = group[0].rtol
    bounds = [one.bound for one in group if one.bound is not None]
    kept = analog = rough = None
    if rtol is not None:
        kept = _share(one.error <= rtol for one in group)
        analog = _share(one.error <= rtol and one.analog_fraction >= ANALOG_MIN for one in group)
        rough = None if raw is None else _share(one.error <= rtol for one in raw)
    return Figures(
        device=group[0].device,
        label=label,
        rtol=rtol,
        chips=len(group),
        error=Spread.of([one.error for one in group]),
        bound=Spread.of(bounds) if bounds else None,
        energy_j=Spread.of([one.energy_j for one in group]),
        latency_s=Spread.of([one.latency_s for one in group]),
        analog_fraction=Spread.of([one.analog_fraction for one in group]),
        regimes=dict(Counter(one.regime for one in group).most_common()),
        broken=sum(one.bound is not None and one.error > one.bound for one in group),
        kept=kept,
        analog_yield=analog,
        raw_yield=rough,
    )


def _share(held: Iterable[bool]) -> float:
    return float(np.mean(list(held)))
