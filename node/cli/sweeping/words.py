"""The figures of a sweep in a table."""

from collections.abc import Callable

from node.cli.sweeping.figures import ANALOG_MIN, Figures, Spread
from protocol.quantities import duration_text

HEADS = (
    "DEVICE", "RTOL>", "CHIPS>", "ERROR", "BOUND>", "ENERGY", "LATENCY>", "ANALOG", "YIELD>", "RAW YIELD>", "KEPT>",
    "REGIMES",
)  # fmt: skip
SPARE = ("KEPT>", "LATENCY>", "REGIMES", "BOUND>", "RAW YIELD>", "CHIPS>", "ANALOG")
NOTES = (
    "Medians over chips, and 5 to 95 % where these differ; for all rows of X: energy of arrays and of arithmetic\n"
    "beside them, latency of arrays.\n"
    f"YIELD: chips that keep the tolerance with at least {ANALOG_MIN:.0%} of the multiplications on their cells;\n"
    "RAW YIELD: chips whose raw product keeps it; KEPT: chips that keep it, whatever it takes."
)
PREFIXES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"))


def line(one: Figures) -> tuple[str, ...]:
    """As `HEADS` says."""
    return (
        one.label,
        "none" if one.rtol is None else f"{one.rtol:g}",
        str(one.chips),
        _spread(one.error, lambda error: f"{error:.2g}"),
        "-" if one.bound is None else f"{one.bound.median:.2g}",
        _spread(one.energy_j, energy_text),
        duration_text(one.latency_s.median),
        _spread(one.analog_fraction, lambda share: f"{share:.0%}"),
        _share(one.analog_yield),
        _share(one.raw_yield),
        _share(one.kept),
        ", ".join(f"{regime} {count}" for regime, count in one.regimes.items()),
    )


def energy_text(joules: float) -> str:
    """For people: `3.2 µJ`."""
    for scale, unit in PREFIXES:
        if joules >= scale:
            return f"{joules / scale:.3g} {unit}"
    return f"{joules / 1e-12:.3g} pJ"


def _spread(spread: Spread, text: Callable[[float], str]) -> str:
    low, median, high = (text(value) for value in (spread.low, spread.median, spread.high))
    return median if low == high else f"{median} ({low}..{high})"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
