"""Two drawings for the report, as SVG that stands in the page itself."""

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from node.cli.demo.outcome import Act, Holder, Kill
from protocol.quantities import size_text

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 48, 170, 16, 40
"""Room around the curves for axes, and at the right for their names."""

STROKES = ("#1a1a1a", "#0072b2", "#d55e00", "#009e73")
"""Told apart by colour-blind eyes too (Okabe and Ito 2008)."""

LABEL_APART = 15.0

BAR_LEFT, BAR_WIDTH, BAR_APART = 110, 430, 34


def curves(acts: Sequence[Act], kill: Kill) -> str:
    """PSNR over iterations, one curve an act, the first one dashed on top of all; the kill as a vertical line."""
    iterations = max(len(act.iterations) for act in acts)
    floor, ceiling = _decibels(acts)

    def x_of(iteration: float) -> float:
        return LEFT + (iteration - 1) / max(iterations - 1, 1) * (WIDTH - LEFT - RIGHT)

    def y_of(decibels: float) -> float:
        return TOP + (ceiling - decibels) / (ceiling - floor) * (HEIGHT - TOP - BOTTOM)

    parts = [_line_at(y_of(level), f"{level} dB") for level in range(floor, ceiling + 1, 5)]
    parts += [_tick(x_of(count), str(count)) for count in range(1, iterations + 1) if _told(count)]
    parts.append(_kill_line(x_of(kill.iteration - 0.5), kill))
    names = _spread([y_of(act.psnr_db) for act in acts])
    for place, act in reversed(list(enumerate(acts))):
        psnrs = [iteration.psnr_db for iteration in act.iterations]
        points = " ".join(f"{x_of(n):.1f},{y_of(psnr):.1f}" for n, psnr in enumerate(psnrs, 1))
        dashes = ' stroke-dasharray="5 4"' if place == 0 else ""
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{STROKES[place]}"'
            f' stroke-width="2"{dashes}/>'
            f'<text x="{WIDTH - RIGHT + 8}" y="{names[place] + 4:.1f}" fill="{STROKES[place]}">'
            f"{escape(act.title)} {act.psnr_db:.1f}</text>"
        )
    return _svg(HEIGHT, "PSNR in decibels after each iteration", parts)


def bars(holders: Sequence[Holder]) -> str:
    """One bar a daemon: its budget as a frame, the peak it took as the filling."""
    largest = max(max(holder.budget_bytes, holder.sampled_peak_bytes) for holder in holders)
    scale = BAR_WIDTH / largest
    parts = [_bar(holder, place * BAR_APART + 8, scale) for place, holder in enumerate(holders)]
    height = len(holders) * BAR_APART + 8
    return _svg(height, "Peak resident memory of each daemon against its budget", parts)


def _decibels(acts: Sequence[Act]) -> tuple[int, int]:
    """The axis in steps of 5 dB around all that is drawn."""
    all_psnrs = [iteration.psnr_db for act in acts for iteration in act.iterations]
    return int(min(all_psnrs) // 5) * 5, int(max(all_psnrs) // 5 + 1) * 5


def _told(iteration: int) -> bool:
    return iteration == 1 or iteration % 5 == 0


def _spread(heights: Sequence[float]) -> list[float]:
    """Move names apart that would be written over each other; the highest stays where it is."""
    spread = list(heights)
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    for above, below in pairwise(order):
        spread[below] = max(spread[below], spread[above] + LABEL_APART)
    return spread


def _line_at(y: float, name: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    )


def _tick(x: float, name: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{name}</text>'


def _kill_line(x: float, kill: Kill) -> str:
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="kill"/>'
        f'<text x="{x + 6:.1f}" y="{HEIGHT - BOTTOM - 8}">{escape(kill.victim)} killed</text>'
    )


def _bar(holder: Holder, y: int, scale: float) -> str:
    kernel = BAR_LEFT + holder.kernel_peak_bytes * scale
    filling = STROKES[3] if holder.within_budget else STROKES[2]
    figures = f"{size_text(holder.sampled_peak_bytes)} of {size_text(holder.budget_bytes)}"
    return (
        f'<text x="{BAR_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(holder.name)}</text>'
        f'<rect x="{BAR_LEFT}" y="{y}" height="20" fill="{filling}"'
        f' width="{holder.sampled_peak_bytes * scale:.1f}"/>'
        f'<rect x="{BAR_LEFT}" y="{y}" height="20" class="budget"'
        f' width="{holder.budget_bytes * scale:.1f}"/>'
        f'<line x1="{kernel:.1f}" x2="{kernel:.1f}" y1="{y - 3}" y2="{y + 23}" class="mark"/>'
        f'<text x="{BAR_LEFT + BAR_WIDTH + 12}" y="{y + 15}">{figures}</text>'
    )


def _svg(height: int, meaning: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(meaning)}">'
        f"{''.join(parts)}</svg>"
    )
