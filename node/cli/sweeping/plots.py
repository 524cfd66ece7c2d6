"""Distributions over chips, drawn: the share of chips that lie below each value, so a yield can be read off."""

import base64
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node.cli.sweeping.chips import Reading
from node.cli.sweeping.figures import Figures, figures, labels_of
from node.cli.sweeping.words import HEADS, NOTES, line
from node.pages import pictures
from node.pages.page import note, page, row, section, table
from node.pages.pictures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, grid

COLOURS = (BLUE, RED, GREEN, PURPLE, GREY, ORANGE)
STYLE: dict[Any, Any] = pictures.STYLE | {"font.size": 9.0, "axes.titlesize": 10.0}
LINES = ("solid", "dashed", "dotted")
ACROSS_IN, ACROSS_MIN_IN, DOWN_IN, DOTS = 3.4, 6.0, 7.6, 110
TICKS = 4
LOGARITHMIC_FROM = 5.0
"""Values that lie apart by such a factor are drawn on a logarithmic axis."""
QUANTITIES: tuple[tuple[str, Callable[[Reading], float]], ...] = (
    ("relative error", lambda one: one.error),
    ("energy of a product, µJ", lambda one: one.energy_j * 1e6),
    ("share of multiplications on cells", lambda one: one.analog_fraction),
)


def png(readings: Sequence[Reading], words: str) -> bytes:
    with rc_context(STYLE):
        return pictures.png(_drawn(readings, words))


def html(readings: Sequence[Reading], words: str) -> bytes:
    """A page that needs nothing else."""
    title = "sedma: chips drawn by seed"
    picture = base64.b64encode(png(readings, words)).decode()
    heads = [head.removesuffix(">") for head in HEADS]
    lines = (row(first, others) for first, *others in map(line, figures(readings)))
    parts = [
        f"<h1>Chips drawn by seed</h1><p>{escape(words)}</p>",
        f'<img alt="Distributions over chips" style="max-width:100%" src="data:image/png;base64,{picture}">',
        section("Figures", f'<div style="overflow-x:auto">{table(heads, lines)}</div>'),
        note(NOTES),
    ]
    return page(title, parts).encode()


def _drawn(readings: Sequence[Reading], words: str) -> Figure:
    """A column for each tolerance, a row for each quantity, a curve for each device."""
    rtols = list(dict.fromkeys(one.rtol for one in readings))
    sides = max(ACROSS_IN * len(rtols), ACROSS_MIN_IN), DOWN_IN
    figure = Figure(figsize=sides, dpi=DOTS, layout="constrained")
    figure.suptitle(words, x=0.01, ha="left", fontsize=10)
    places = figure.subplots(len(QUANTITIES), len(rtols), squeeze=False, sharey=True)
    for column, rtol in enumerate(rtols):
        of_rtol = [one for one in readings if one.rtol == rtol]
        for axes, (name, value) in zip(places[:, column], QUANTITIES, strict=True):
            _curves(axes, of_rtol, value)
            axes.set_xlabel(name)
        _tell_tolerance(places[0, column], rtol, [one for one in rtols if one is not None])
        _tell_yields(places[0, column], [one for one in figures(readings) if one.rtol == rtol])
    for axes in places[:, 0]:
        axes.set_ylabel("share of chips below")
    handles, labels = places[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=min(len(labels), 4))
    return figure


def _curves(axes: Axes, readings: Sequence[Reading], value: Callable[[Reading], float]) -> None:
    """For each device the share of its chips that lie at or below."""
    everything = [value(one) for one in readings]
    labels = labels_of(list(dict.fromkeys(one.device for one in readings)))
    for number, (device, label) in enumerate(labels.items()):
        values = sorted(value(one) for one in readings if one.device == device)
        colour = COLOURS[number % len(COLOURS)]
        line = LINES[number // len(COLOURS) % len(LINES)]
        axes.ecdf(values, color=colour, linestyle=line, label=label, linewidth=1.6)
    if 0.0 < LOGARITHMIC_FROM * min(everything) < max(everything):
        axes.set_xscale("log")
    else:
        axes.locator_params(axis="x", nbins=TICKS)
    axes.set_ylim(0.0, 1.02)
    grid(axes)


def _tell_tolerance(axes: Axes, rtol: float | None, others: Sequence[float]) -> None:
    """Where the error must not lie beyond; raw products are held against all tolerances that are asked elsewhere."""
    axes.set_title("raw" if rtol is None else f"tolerance {rtol:g}")
    low, high = axes.get_xlim()
    for limit in others if rtol is None else (rtol,):
        if rtol is not None or low < limit < high:
            axes.axvline(limit, color=INK, linestyle="dashed", linewidth=1.0)


def _tell_yields(axes: Axes, told: Sequence[Figures]) -> None:
    """In the colours of the curves."""
    for number, one in enumerate(told):
        if one.analog_yield is None:
            continue
        axes.annotate(
            f"yield {one.analog_yield:.0%}",
            (0.97, 0.04 + 0.1 * number),
            xycoords="axes fraction",
            color=COLOURS[number % len(COLOURS)],
            fontsize=8,
            ha="right",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
        )
