"""Two drawings for the report: how good the picture was after each iteration, and what each daemon took."""

from collections.abc import Sequence
from html import escape

from node.cli.demo.outcome import Act, Holder, Kill
from node.pages import charts
from node.pages.charts import Axis, Curve, Mark
from node.pages.page import COLOURS
from protocol.quantities import size_text

BAR_LEFT, BAR_WIDTH, BAR_APART = 110, 430, 34


def curves(acts: Sequence[Act], kill: Kill) -> str:
    """PSNR over iterations, one curve an act, the first one dashed on top of all; the kill as a vertical line."""
    iterations = max(max(len(act.iterations) for act in acts), 2)
    floor, ceiling = _decibels(acts)
    told = [count for count in range(1, iterations + 1) if count == 1 or count % 5 == 0]
    return charts.curves(
        [_curve(act, dashed=place == 0) for place, act in enumerate(acts)],
        Axis(1, iterations, tuple((count, str(count)) for count in told)),
        Axis(floor, ceiling, tuple((n, f"{n} dB") for n in range(floor, ceiling + 1, 5))),
        "PSNR in decibels after each iteration",
        [Mark(f"{kill.victim} killed", kill.iteration - 0.5)],
    )


def bars(holders: Sequence[Holder]) -> str:
    """One bar a daemon: its budget as a frame, the peak it took as the filling."""
    largest = max(max(holder.budget_bytes, holder.sampled_peak_bytes) for holder in holders)
    scale = BAR_WIDTH / largest
    parts = [_bar(holder, place * BAR_APART + 8, scale) for place, holder in enumerate(holders)]
    height = len(holders) * BAR_APART + 8
    return charts.svg(height, "Peak resident memory of each daemon against its budget", parts)


def _curve(act: Act, dashed: bool) -> Curve:
    points = [(n, iteration.psnr_db) for n, iteration in enumerate(act.iterations, 1)]
    return Curve(f"{act.title} {act.psnr_db:.1f}", points, dashed)


def _decibels(acts: Sequence[Act]) -> tuple[int, int]:
    """The axis in steps of 5 dB around all that is drawn."""
    all_psnrs = [iteration.psnr_db for act in acts for iteration in act.iterations]
    return int(min(all_psnrs) // 5) * 5, int(max(all_psnrs) // 5 + 1) * 5


def _bar(holder: Holder, y: int, scale: float) -> str:
    kernel = BAR_LEFT + holder.kernel_peak_bytes * scale
    filling = COLOURS[3] if holder.within_budget else COLOURS[2]
    figures = f"{size_text(holder.sampled_peak_bytes)} of {size_text(holder.budget_bytes)}"
    return (
        f'<text x="{BAR_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(holder.name)}</text>'
        f'<rect x="{BAR_LEFT}" y="{y}" height="20" style="fill:{filling}"'
        f' width="{holder.sampled_peak_bytes * scale:.1f}"/>'
        f'<rect x="{BAR_LEFT}" y="{y}" height="20" class="budget"'
        f' width="{holder.budget_bytes * scale:.1f}"/>'
        f'<line x1="{kernel:.1f}" x2="{kernel:.1f}" y1="{y - 3}" y2="{y + 23}" class="peak"/>'
        f'<text x="{BAR_LEFT + BAR_WIDTH + 12}" y="{y + 15}">{figures}</text>'
    )
