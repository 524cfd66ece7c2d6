"""Curves over time as SVG that stands in the page itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from node.pages.page import COLOURS

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 56, 170, 24, 32
"""Room around the curves for axes, and at the right for their names."""

LABEL_APART = 15.0
TICKS = 5
"""About so many on an axis that chooses them by itself."""

LENGTH_MIN = 1e-9
"""Of an axis whose values are all the same."""

LEAST = 1e-12
"""What is less stands at the bottom of a logarithmic axis."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    points: Sequence[Point]
    """A gap where y is not a number."""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """How far along the axis the value lies, from 0 to 1."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, at an instant or for a while."""

    name: str
    start: float
    end: float | None = None


def axis(values: Sequence[float], write: Callable[[float], str], low: float | None = 0.0) -> Axis:
    """Round steps around all values, and from `low` if that is given."""
    found = [value for value in values if math.isfinite(value)] or [0.0]
    least = min(found) if low is None else low
    step = _round_step(max(max(found) - least, LENGTH_MIN) / TICKS)
    first, last = math.floor(least / step), math.ceil(max(found) / step)
    last = max(last, first + 1)
    ticks = tuple((n * step, write(n * step)) for n in range(first, last + 1))
    return Axis(ticks[0][0], ticks[-1][0], ticks)


def span(end: float, write: Callable[[float], str]) -> Axis:
    """From 0 to exactly there."""
    whole = axis([end], write)
    return Axis(0.0, end, tuple((value, name) for value, name in whole.ticks if value <= end))


def logarithmic(values: Sequence[float], write: Callable[[float], str]) -> Axis:
    """Whole powers of ten around all values above 0."""
    found = [max(value, LEAST) for value in values if math.isfinite(value) and value > 0.0] or [1.0]
    first, last = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    last = max(last, first + 1)
    ticks = tuple((10.0**n, write(10.0**n)) for n in range(first, last + 1))
    return Axis(ticks[0][0], ticks[-1][0], ticks, logarithmic=True)


def curves(
    drawn: Sequence[Curve], x: Axis, y: Axis, meaning: str, marks: Sequence[Mark] = ()
) -> str:
    """Curves with their names at the right, the first one on top; marks as lines, or shaded where they last."""

    def x_of(value: float) -> float:
        return LEFT + x.share(value) * (WIDTH - LEFT - RIGHT)

    def y_of(value: float) -> float:
        return TOP + (1.0 - y.share(value)) * (HEIGHT - TOP - BOTTOM)

    parts = [_mark(mark, x_of, x.high) for mark in marks]
    parts += [_line_at(y_of(value), name) for value, name in y.ticks]
    parts += [_tick(x_of(value), name) for value, name in x.ticks]
    names = _spread([y_of(_last(curve)) for curve in drawn])
    for place, curve in reversed(list(enumerate(drawn))):
        colour = COLOURS[place % len(COLOURS)]
        parts += [_stretch(run, x_of, y_of, colour, curve.dashed) for run in _runs(curve.points)]
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{names[place] + 4:.1f}" style="fill:{colour}">'
            f"{escape(curve.name)}</text>"
        )
    return svg(HEIGHT, meaning, parts)


def svg(height: int, meaning: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(meaning)}">'
        f"{''.join(parts)}</svg>"
    )


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= least)


def _last(curve: Curve) -> float:
    return next((y for _, y in reversed(curve.points) if math.isfinite(y)), 0.0)


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """Without the gaps."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _stretch(
    run: Sequence[Point],
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
    colour: str,
    dashed: bool,
) -> str:
    if len(run) == 1:
        (x, y) = run[0]
        return f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="2" style="fill:{colour}"/>'
    points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in run)
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<polyline points="{points}" fill="none" style="stroke:{colour}" stroke-width="2"'
        f' stroke-linejoin="round"{dashes}/>'
    )


def _spread(heights: Sequence[float]) -> list[float]:
    """Move names apart that would be written over each other; the highest stays where it is."""
    spread = list(heights)
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    for above, below in pairwise(order):
        spread[below] = max(spread[below], spread[above] + LABEL_APART)
    # What was pushed below the drawing goes back up, with all that is in its way.
    floor = HEIGHT - 4.0
    for place in reversed(order):
        spread[place] = min(spread[place], floor)
        floor = spread[place] - LABEL_APART
    return spread


def _line_at(y: float, name: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
    )


def _tick(x: float, name: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{escape(name)}</text>'
    )


def _mark(mark: Mark, x_of: Callable[[float], float], end: float) -> str:
    start, bottom = x_of(mark.start), HEIGHT - BOTTOM
    name = f'<text x="{start:.1f}" y="{TOP - 8}">{escape(mark.name)}</text>'
    if mark.end is None:
        line = f'<line x1="{start:.1f}" x2="{start:.1f}" y1="{TOP}" y2="{bottom}" class="mark"/>'
        return line + name
    width = x_of(min(mark.end, end)) - start
    return (
        f'<rect x="{start:.1f}" y="{TOP}" width="{width:.1f}" height="{bottom - TOP}"'
        f' class="shade"/>{name}'
    )
