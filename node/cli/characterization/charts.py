"""Histograms of errors against the predicted law, and errors, energy and time against the tolerance."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.ticker import FuncFormatter, MaxNLocator

from compute.device import Costs
from node.cli.characterization.drawing import Canvas, centres
from node.cli.characterization.findings import Certified, Findings
from node.cli.characterization.law import Histogram
from node.cli.characterization.measuring import RAW, SEEN, SOUND, SPOILT, Characterization
from node.pages.pictures import BLUE, GREEN, GREY, INK, PURPLE, RED, grid

HEIGHT = 350
PLOT = 230
"""Height of a chart's area, in pixels."""
TOP = 34
APART = 46
"""Between the chart of energy and that of time, for the names of the axes."""
LEAST_SHARE = 3e-5
"""Where histograms end below."""

WIDE = 305
NARROW = 213
GAP = 64
ERRORS_WIDTH = 2 * NARROW + 2 * GAP
TOLERANCE_WIDTH = 2 * WIDE + 2 * GAP

SMALL: dict[str, Any] = {"fontsize": 7.5}
MINUS = "\N{MINUS SIGN}"
DASHED, DOTTED = (0, (4, 3)), (0, (1, 2))


def errors(canvas: Canvas, found: Characterization) -> None:
    """Two histograms, side by side."""
    if found.pairs is not None:
        axes = canvas.axes(GAP - 8, TOP, NARROW, PLOT)
        _histogram(axes, found.pairs, ((SOUND, BLUE), (SPOILT, RED), (SEEN, GREEN)))
        axes.set_title("Pairs of the tile")
        axes.set_xlabel("off by, µS")
    left = GAP - 8 + (NARROW + GAP if found.pairs is not None else 0)
    axes = canvas.axes(left, TOP, NARROW, PLOT)
    _histogram(axes, found.outputs, ((RAW, PURPLE),))
    axes.set_title("Raw product, each array read once")
    axes.set_xlabel("off by, in units of a typical output")


def tolerance(canvas: Canvas, findings: Findings) -> None:
    """Errors, and beside them energy above time."""
    _bounds(canvas.axes(GAP - 8, TOP, WIDE, PLOT), findings)
    left, half = GAP - 8 + WIDE + GAP, (PLOT - APART) // 2
    _energy(canvas.axes(left, TOP, WIDE, half), findings)
    _latency(canvas.axes(left, TOP + half + APART, WIDE, half), findings)


def _histogram(axes: Axes, drawn: Histogram, named: Sequence[tuple[str, str]]) -> None:
    middle = centres(drawn.edges)
    for name, colour in named:
        if name not in drawn.shares:
            continue
        values = np.where(drawn.shares[name] > 0.0, drawn.shares[name], np.nan)
        if name in (SOUND, RAW):
            axes.bar(
                middle, values, width=np.diff(drawn.edges), color=colour, alpha=0.35, label=name
            )
        else:
            axes.step(middle, values, where="mid", color=colour, linewidth=1.1, label=name)
    if drawn.law.any():
        axes.plot(middle, drawn.law, color=INK, linewidth=1.3, label="predicted law")
    handles, _ = axes.get_legend_handles_labels()
    handles.sort(key=lambda handle: not isinstance(handle, BarContainer))
    axes.set_yscale("log")
    axes.set_ylim(LEAST_SHARE, 5.0)
    axes.set_xlim(drawn.edges[0], drawn.edges[-1])
    axes.set_ylabel("share in a bin")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", MINUS)))
    axes.legend(handles=handles, loc="upper right", borderpad=0.0)
    grid(axes)


def _bounds(axes: Axes, findings: Findings) -> None:
    products = findings.products
    rtols = [one.rtol for one in products]
    axes.set_yscale("log")
    axes.plot(rtols, rtols, color=GREY, linewidth=1.0, linestyle=DASHED, label="asked")
    bounds, true = [one.bound for one in products], [one.error for one in products]
    axes.plot(rtols, _drawable(bounds), "s-", color=BLUE, ms=4, label="bound")
    axes.plot(rtols, _drawable(true), "o-", color=RED, ms=4, label="true")
    _level(axes, "true, raw product", findings.raw.error, PURPLE)
    _rtol_axis(axes, products, told=True)
    axes.set_title("Relative error of the product")
    axes.set_xlabel("tolerance asked; regime; share of analog work")
    axes.legend(loc="upper right", bbox_to_anchor=(1.0, 0.92), borderpad=0.0)


def _energy(axes: Axes, findings: Findings) -> None:
    energies = [one.pj_per_mac for one in findings.products]
    _cost(axes, findings, energies, findings.raw.pj_per_mac, Costs().digital_mac_pj)
    _level(axes, "float32, 45 nm", Costs().digital_mac_pj, INK, at_left=True)
    axes.set_title("Energy of the arrays, pJ per analog MAC")


def _latency(axes: Axes, findings: Findings) -> None:
    times = [one.latency_us_per_row for one in findings.products]
    _cost(axes, findings, times, findings.raw.latency_us_per_row)
    axes.set_title("Time of the arrays, µs per row of X")
    axes.set_xlabel("tolerance asked")


def _cost(
    axes: Axes, findings: Findings, values: Sequence[float | None], raw: float, *levels: float
) -> None:
    """`levels`: what else the axis must reach."""
    axes.set_yscale("log")
    drawn = _drawable(values)
    axes.plot([one.rtol for one in findings.products], drawn, "o-", color=GREEN, ms=4)
    for one, value in zip(findings.products, values, strict=True):
        if value is None:
            where = ("data", "axes fraction")
            axes.annotate("digital", (one.rtol, 0.5), xycoords=where, ha="center", **SMALL)
    there = [value for value in (*drawn, *levels, raw) if value > 0.0] or [1.0]
    # Whole powers of ten, with room above and below for words.
    low, high = math.log10(min(there) / 1.5), math.log10(max(there) * 2.0)
    axes.set_ylim(10.0 ** math.floor(low), 10.0 ** math.ceil(high))
    _level(axes, "raw product", raw, PURPLE)
    _rtol_axis(axes, findings.products, told=False)


def _drawable(values: Sequence[float | None]) -> list[float]:
    """Gaps where there is nothing, or nothing that a logarithmic axis reaches."""
    return [value if value else math.nan for value in values]


def _level(axes: Axes, words: str, height: float, colour: str, *, at_left: bool = False) -> None:
    """A line across, with what it means at one end."""
    if height <= 0.0:
        return
    drawn: Any = (
        {"color": GREY, "linestyle": DASHED} if at_left else {"color": colour, "linestyle": DOTTED}
    )
    axes.axhline(height, linewidth=1.0, **drawn)
    place, side = (0.01, "left") if at_left else (0.99, "right")
    where = ("axes fraction", "data")
    axes.annotate(
        words, (place, height), xycoords=where, ha=side, va="bottom", color=colour, **SMALL
    )


def _rtol_axis(axes: Axes, products: Sequence[Certified], *, told: bool) -> None:
    """Loose tolerances at the left; `told`: with the regime and the share of analog work beneath each."""
    axes.set_xscale("log")
    axes.set_xlim(products[0].rtol * 2.2, products[-1].rtol / 2.2)
    labels = [_label(one, told=told) for one in products]
    axes.set_xticks([one.rtol for one in products], labels)
    axes.minorticks_off()
    grid(axes)


def _label(one: Certified, *, told: bool) -> str:
    power = f"$10^{{{round(math.log10(one.rtol))}}}$"
    if not told:
        return power
    regime = one.regime.replace("+", "+\n")
    return f"{power}\n{regime}\n{one.analog_fraction:.0%}"
