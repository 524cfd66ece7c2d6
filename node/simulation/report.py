"""Writes a run down as one HTML page: how far nodes agreed, whom they wronged, what it cost, who waited how long."""

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import accumulate

from node.pages.charts import Axis, Curve, Mark, axis, curves, logarithmic, span
from node.pages.page import note, page, row, section, table
from node.simulation.outcome import Outcome, Sample
from node.simulation.requests import STRETCHES
from node.simulation.terms import replay
from protocol.quantities import duration_text, size_text

CURVES_MAX = 4
"""Kinds of bytes drawn by themselves, beside the sum."""


def html(outcome: Outcome) -> str:
    """The whole page."""
    title = f"sedma: {outcome.scenario}, {outcome.nodes} machines, seed {outcome.seed}"
    parts = [_opening(outcome), _figures(outcome), _agreement(outcome), _wronged(outcome)]
    parts.append(_traffic(outcome))
    if outcome.requests.asked:
        parts.append(_latency(outcome))
    parts.append(_memory(outcome))
    return page(title, parts)


def _opening(outcome: Outcome) -> str:
    again = replay(outcome.scenario, outcome.nodes, outcome.seed, outcome.run_s)
    verdict = '<p class="held">Every invariant held at every step.</p>'
    if (broken := outcome.broken) is not None:
        verdict = (
            f'<p class="broken">{escape(broken.invariant)}, at {broken.at_s:.3f} s on'
            f" {escape(broken.machine)}: {escape(broken.what)}</p>"
        )
    return (
        f"<h1>{escape(outcome.scenario)}: {outcome.nodes} machines for"
        f" {duration_text(outcome.run_s)}</h1><p>{escape(outcome.about)}</p>{verdict}"
        f"<p>{outcome.steps} events in {duration_text(outcome.wall_s)}. The same again:"
        f" <code>{escape(again)}</code></p>"
    )


def _figures(outcome: Outcome) -> str:
    lines = (row(name, [figure]) for name, figure in figures(outcome))
    return section("Figures", table(("", ""), lines))


def figures(outcome: Outcome) -> list[tuple[str, str]]:
    """Name and value of each figure, as people read them."""
    members, asked = outcome.membership, outcome.requests
    lines = [
        ("agreement at the end", f"{members.agreement:.2%}"),
        ("agreed again after a split", _seconds(members.agreed_again_s)),
        ("suspicions", f"{members.suspicions}, {members.false_suspicions} of them false"),
        ("healthy ones taken for dead", str(members.false_deaths)),
        ("machines stopped for good", str(members.stops)),
        ("noticed by the first after", _seconds(members.detected_s)),
        ("then by all after", _seconds(members.spread_s)),
        ("sent by a node", _rate(sum(outcome.traffic.bytes_s.values()))),
        *((f"  {kind}", _rate(bytes_s)) for kind, bytes_s in outcome.traffic.bytes_s.items()),
        ("packets of a node", _often(outcome.traffic.packets_s)),
        ("memory promised", f"{_percent(outcome.memory.fill_mean)} on average"),
        ("on the fullest machine", _percent(outcome.memory.fill_max)),
    ]
    if asked.asked:
        ends = (("late", asked.late), ("turned away", asked.shed), ("failed", asked.failed))
        lines += [
            ("requests", str(asked.asked)),
            ("answered in time", f"{asked.in_time} ({asked.in_time_share:.1%})"),
            *((name, f"{count} ({count / asked.asked:.1%})") for name, count in ends),
            ("whose asked node stopped", str(asked.lost)),
            ("probes for each", f"{asked.probes_each:.2f}"),
            *((f"latency {name}", _moment(s)) for name, s in asked.latency_s.items()),
            *((f"errors: {code}", str(count)) for code, count in asked.errors.items()),
        ]
    return lines


def _agreement(outcome: Outcome) -> str:
    points = [(sample.at_s, sample.agreement) for sample in outcome.samples]
    shares = [share for _, share in points]
    drawn = _over_time(
        outcome,
        [Curve("agreement", points)],
        axis([*shares, 1.0], lambda share: f"{share:.4g}", low=min([*shares, 0.9])),
        "Share of pairs of machines of which one sees the other as it is",
    )
    told = "Share of (observer, machine) pairs in which the observer is right on who is there."
    return section("Convergence", drawn + note(told))


def _wronged(outcome: Outcome) -> str:
    suspected, dead = 0, 0
    suspicions, deaths = [], []
    for sample in outcome.samples:
        suspected += sample.false_suspicions
        dead += sample.false_deaths
        suspicions.append((sample.at_s, float(suspected)))
        deaths.append((sample.at_s, float(dead)))
    drawn = _over_time(
        outcome,
        [Curve(f"taken for dead: {dead}", deaths), Curve(f"suspected: {suspected}", suspicions)],
        axis([1.0, float(max(suspected, dead))], lambda count: f"{count:g}"),
        "False suspicions and deaths since the start",
    )
    told = "Running sums over machines that ran and could be reached by whoever wronged them."
    return section("False suspicions", drawn + note(told))


def _traffic(outcome: Outcome) -> str:
    totals = outcome.traffic.bytes_s
    kinds = sorted(totals, key=lambda kind: -totals[kind])[:CURVES_MAX]
    moments = [one.at_s for one in outcome.samples]
    sent = {"all": [sum(one.bytes_s.values()) for one in outcome.samples]}
    sent |= {kind: [one.bytes_s.get(kind, 0.0) for one in outcome.samples] for kind in kinds}
    drawn = [
        Curve(kind, list(zip(moments, _stretched(values), strict=True)))
        for kind, values in sent.items()
    ]
    values = [y for curve in drawn for _, y in curve.points if y > 0.0]
    scale = logarithmic(values, _powers)
    meaning = "Bytes that one node sends in a second, by kind"
    return section(
        "Bytes of a node", _over_time(outcome, drawn, scale, meaning) + note(f"{meaning}.")
    )


def _latency(outcome: Outcome) -> str:
    def curve(name: str, value: Callable[[Sample], float]) -> Curve:
        return Curve(name, [(sample.at_s, value(sample)) for sample in outcome.samples])

    drawn = [
        curve("p50", lambda sample: sample.p50_s),
        curve("p95", lambda sample: sample.p95_s),
        curve("p99", lambda sample: sample.p99_s),
    ]
    values = [y for one in drawn for _, y in one.points]
    meaning = "Seconds from a request to its answer, by the moment of the answer"
    latency = _over_time(outcome, drawn, logarithmic(values, duration_text), meaning)
    asked = _stretched([float(one.asked) for one in outcome.samples])
    answered = _stretched([float(one.in_time) for one in outcome.samples])
    shares = [
        (one.at_s, part / whole if whole else math.nan)
        for one, part, whole in zip(outcome.samples, answered, asked, strict=True)
    ]
    in_time = _over_time(
        outcome,
        [Curve("in time", shares)],
        axis([1.0], lambda share: f"{share:.0%}"),
        "Share of requests answered in time, by the moment of the request",
    )
    told = (
        f"Over stretches of 1/{STRETCHES} of the run: percentiles of what was answered, and the share"
        " answered in time."
    )
    return section("Latency", latency + in_time + note(told))


def _memory(outcome: Outcome) -> str:
    drawn = [
        Curve("on average", [(one.at_s, one.fill_mean) for one in outcome.samples]),
        Curve("fullest machine", [(one.at_s, one.fill_max) for one in outcome.samples], True),
    ]
    meaning = "Share of the memory budgets that is promised"
    scale = axis([1.0], lambda share: f"{share:.0%}")
    return section("Memory", _over_time(outcome, drawn, scale, meaning) + note(f"{meaning}."))


def _stretched(values: Sequence[float]) -> list[float]:
    """Means over the last samples, so many that a run has `STRETCHES` of them."""
    width = max(math.ceil(len(values) / STRETCHES), 1)
    sums = [0.0, *accumulate(values)]
    firsts = [max(end - width, 0) for end in range(1, len(values) + 1)]
    return [(sums[end] - sums[first]) / (end - first) for end, first in enumerate(firsts, start=1)]


def _over_time(outcome: Outcome, drawn: Sequence[Curve], y: Axis, meaning: str) -> str:
    marks = [Mark(one.what, one.at_s, one.until_s) for one in outcome.happenings]
    x = span(outcome.run_s, lambda at: f"{at:g} s")
    return curves(drawn, x, y, meaning, marks)


def _seconds(values: Sequence[float]) -> str:
    """Median and worst."""
    ordered = sorted(values)
    if not ordered:
        return "-"
    middle, worst = ordered[len(ordered) // 2], ordered[-1]
    if len(ordered) == 1:
        return _moment(worst)
    return f"{_moment(middle)} (median of {len(ordered)}), at last {_moment(worst)}"


def _moment(seconds: float) -> str:
    return duration_text(seconds) if math.isfinite(seconds) else "never"


def _rate(bytes_s: float) -> str:
    return f"{size_text(round(bytes_s))}/s" if math.isfinite(bytes_s) else "-"


def _often(times_s: float) -> str:
    return f"{times_s:.2f}/s" if math.isfinite(times_s) else "-"


def _powers(nbytes: float) -> str:
    """A power of ten, for an axis of powers of ten."""
    return f"{nbytes / 1000:g} kB" if nbytes >= 1000.0 else f"{nbytes:g} B"


def _percent(share: float) -> str:
    return f"{share:.1%}" if math.isfinite(share) else "-"
