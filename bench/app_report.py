"""What the applications came to: a line for each seed, a summary for each device, and a table for people."""

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from bench.app_digits import HELD_OUT
from bench.app_digits import Outcome as Errors
from bench.app_meter import Meter
from bench.app_photo import Outcome as Pictures
from compute.partition import BlockGrid

Line = dict[str, Any]

PHOTO_DB_MAX = 1.0
"""As shipped, the photograph loses at most this against the digital one."""

DIGITS_ERRORS_MAX = 3
"""As shipped, at most so many of the digits more are taken for another one."""

DIGITS_ANALOG_MIN = 0.9

PHOTO_ANALOG_MIN = {"rram-wan2022": 0.9, "rram-harsh": 0.6}
"""Without this a photograph that is multiplied digitally would do."""


def photo_line(device: str, side: int, seed: int, outcome: Pictures) -> Line:
    psnrs_db = {name: round(value, 2) for name, value in outcome.psnrs_db.items()}
    return {
        "application": "photo",
        "device": device,
        "seed": seed,
        "pixels": [side, side],
        "blocks": BlockGrid(side * side, side * side // 2).count,
        **psnrs_db,
        "worse": round(psnrs_db["digital"] - psnrs_db["shipped"], 2),
        **_spent(outcome.naive_meter, outcome.shipped_meter),
        "slices": outcome.slices,
        "program_cpu_s": round(outcome.program_s, 2),
    }


def digits_line(device: str, seed: int, outcome: Errors) -> Line:
    return {
        "application": "digits",
        "device": device,
        "seed": seed,
        "of": HELD_OUT,
        "digital": outcome.digital,
        "naive": outcome.naive,
        "shipped": outcome.shipped,
        "worse": outcome.shipped - outcome.digital,
        **_spent(outcome.naive_meter, outcome.shipped_meter),
    }


def _spent(naive: Meter, shipped: Meter) -> Line:
    return {
        "analog_fraction": round(shipped.analog_fraction, 4),
        "energy_uj": round(shipped.energy_j * 1e6, 3),
        "latency_ms": round(shipped.latency_s * 1e3, 3),
        "naive_energy_uj": round(naive.energy_j * 1e6, 3),
        "naive_latency_ms": round(naive.latency_s * 1e3, 3),
        "bound_max": round(shipped.bound, 5),
        "rows_redone": shipped.rows_redone,
        "rows_digital": shipped.rows_digital,
        "regimes": sorted(shipped.regimes),
        "naive_cpu_s": round(naive.cpu_s, 2),
        "shipped_cpu_s": round(shipped.cpu_s, 2),
    }


SUMMED_UP = (
    "digital",
    "naive",
    "shipped",
    "worse",
    "analog_fraction",
    "energy_uj",
    "latency_ms",
    "naive_energy_uj",
    "naive_latency_ms",
)


def summary(lines: Sequence[Line]) -> Line:
    """Mean, least and most over the seeds of one device."""
    first = lines[0]
    whole: Line = {"application": first["application"], "device": first["device"]}
    whole["seeds"] = len(lines)
    whole |= {name: first[name] for name in ("pixels", "blocks", "of") if name in first}
    whole |= {name: _spread([line[name] for line in lines]) for name in SUMMED_UP}
    whole["regimes"] = sorted({regime for line in lines for regime in line["regimes"]})
    whole["met"] = _met(whole)
    return whole


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.fmean(values), 4),
        "min": min(values),
        "max": max(values),
    }


def _met(line: Line) -> dict[str, bool]:
    """By the worst seed."""
    photo = line["application"] == "photo"
    analog_min = PHOTO_ANALOG_MIN[line["device"]] if photo else DIGITS_ANALOG_MIN
    met = {f"analog fraction >= {analog_min}": line["analog_fraction"]["min"] >= analog_min}
    if photo:
        return {"within 1 dB": line["worse"]["max"] <= PHOTO_DB_MAX, **met}
    return {"within 3 errors": line["worse"]["max"] <= DIGITS_ERRORS_MAX, **met}


HEADER = (
    "application",
    "device",
    "digital",
    "naive",
    "shipped",
    "worst loss",
    "analog fraction",
    "array energy, naive / shipped",
    "array time, naive / shipped",
    "regime",
    "targets",
)


def table(summaries: Sequence[Line]) -> str:
    """Markdown: mean (least to most)."""
    rows = [HEADER, ("---",) * len(HEADER), *(_row(line) for line in summaries)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(line: Line) -> tuple[str, ...]:
    photo = line["application"] == "photo"
    figure, unit = (_db, "dB") if photo else (_count, "errors")
    return (
        _title(line),
        f"`{line['device']}`",
        *(_told(line[name], figure) for name in ("digital", "naive", "shipped")),
        f"{figure(line['worse']['max'])} {unit}",
        _told(line["analog_fraction"], _share),
        f"{_energy(line['naive_energy_uj']['mean'])} / {_energy(line['energy_uj']['mean'])}",
        f"{_time(line['naive_latency_ms']['mean'])} / {_time(line['latency_ms']['mean'])}",
        ", ".join(line["regimes"]),
        _targets(line["met"]),
    )


def _title(line: Line) -> str:
    if line["application"] == "photo":
        side = line["pixels"][0]
        return f"photograph {side} x {side}, PSNR in dB"
    return f"digits, errors of {line['of']}"


def _targets(met: dict[str, bool]) -> str:
    missed = [name for name, is_met in met.items() if not is_met]
    return "missed: " + ", ".join(missed) if missed else "met"


def _told(spread: dict[str, float], figure: Callable[[float], str]) -> str:
    mean, least, most = (figure(spread[name]) for name in ("mean", "min", "max"))
    return mean if least == most else f"{mean} ({least} to {most})"


def _db(value: float) -> str:
    return f"{value:.1f}"


def _count(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float) -> str:
    return f"{value:.3f}"


def _energy(microjoules: float) -> str:
    return f"{microjoules / 1e3:.3g} mJ" if microjoules >= 1e3 else f"{microjoules:.3g} µJ"


def _time(milliseconds: float) -> str:
    return f"{milliseconds:.3g} ms"
