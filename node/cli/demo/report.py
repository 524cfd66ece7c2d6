"""Writes the run down as one HTML page that needs nothing else: no second file, no script, no network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from node.cli.demo.camera import MEASUREMENTS, PIXELS, SIDE
from node.cli.demo.charts import bars, curves
from node.cli.demo.outcome import Act, Check, Holder, Outcome, Refusal, checks
from node.cli.demo.pictures import captioned, data_uri, strip
from node.pages import page as pages
from node.pages.page import numbers, section, table
from protocol.quantities import duration_text, size_text

STYLE = """
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px }
figure { margin: 0 } figure img { width: 100%; image-rendering: pixelated; display: block }
figcaption { font-size: .9rem }
.budget { fill: none; stroke: var(--ink) } .peak { stroke: var(--ink); stroke-width: 2 }
blockquote { border-left: 3px solid var(--soft); margin-left: 0; padding-left: 1rem; color: var(--soft) }
"""


def write(outcome: Outcome, report: Path) -> Path:
    """Write the page, and beside it `picture.png`, whose path is returned."""
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(page(outcome), encoding="utf-8")
    picture = report.parent / "picture.png"
    strip(outcome).save(picture, "PNG", optimize=True)
    return picture


def page(outcome: Outcome) -> str:
    """The whole page."""
    sections = (
        _opening(outcome),
        _checks(checks(outcome)),
        _pictures(outcome),
        section("Quality after each iteration", curves(outcome.acts.all(), outcome.kill)),
        _acts(outcome.acts.all()),
        _holders(outcome.holders),
        _refusal(outcome.refusal),
        _uploads(outcome),
    )
    return pages.page("sedma: a photograph from a single-pixel camera", sections, STYLE)


def _opening(outcome: Outcome) -> str:
    matrix = size_text(4 * PIXELS * MEASUREMENTS)
    daemons = len(outcome.holders)
    return (
        "<h1>A photograph from a single-pixel camera, recovered by a mesh</h1>"
        f"<p>The photograph is real (china.jpg from scikit-learn, by danielbuechele, CC BY 2.0), cut"
        f" to {SIDE} x {SIDE} pixels. The camera is simulated: it sees the scene through"
        f" {MEASUREMENTS} random mirror patterns, half as many as there are pixels. Getting the picture"
        f" back takes products with a {PIXELS} x {MEASUREMENTS} matrix of {matrix} and with its"
        f" transpose. No single one of the {daemons} daemons may hold it; together they do.</p>"
        f"<p>The whole run took {duration_text(outcome.seconds)}. At iteration"
        f" {outcome.kill.iteration} of the digital act, {escape(outcome.kill.victim)} was killed"
        " without warning; it came back for the acts after it.</p>"
    )


def _checks(found: Sequence[Check]) -> str:
    rows = (
        f'<tr><td class="{"held" if check.held else "broken"}">{"held" if check.held else "BROKEN"}</td>'
        f"<td>{escape(check.claim)}</td><td>{escape(check.figures)}</td></tr>"
        for check in found
    )
    return section("Checks", table(("", "claim", "figures"), rows))


def _pictures(outcome: Outcome) -> str:
    figures = (
        f'<figure><img src="{data_uri(picture)}" alt="{escape(title)}">'
        f"<figcaption><b>{escape(title)}</b><br>{escape(line)}</figcaption></figure>"
        for title, line, picture in captioned(outcome)
    )
    return section("Pictures", f'<div class="pictures">{"".join(figures)}</div>')


def _acts(acts: Sequence[Act]) -> str:
    names = (
        "act",
        "each product",
        "iterations",
        "PSNR",
        "slowest iteration",
        "client bytes",
        "mesh bytes",
        "energy",
        "bound",
        "analog",
    )
    note = (
        "<p>Client bytes are what the client sent and received, mesh bytes what daemons sent each other"
        " for its products. Energy is that of the simulated crossbars and of the arithmetic beside them;"
        " digital weights count none."
        " The bound is the loosest certified relative error of all products of an act; analog is the"
        " share of the multiplications that simulated crossbars did.</p>"
    )
    return section("Acts", table(names, map(_act, acts)) + note)


def _act(act: Act) -> str:
    bound = "-" if act.bound is None else f"{act.bound:.2e}"
    figures = (
        str(len(act.iterations)),
        f"{act.psnr_db:.2f} dB",
        duration_text(act.slowest_s),
        size_text(act.nbytes) if act.products else "-",
        size_text(act.mesh_bytes) if act.products else "-",
        f"{act.energy_j * 1e3:.3g} mJ" if act.energy_j else "-",
        bound if act.products else "-",
        f"{act.analog_fraction:.1%}" if act.products else "-",
    )
    return f"<tr><td>{escape(act.title)}</td><td>{escape(act.promise)}</td>{numbers(figures)}</tr>"


def _holders(holders: Sequence[Holder]) -> str:
    rows = (
        f"<tr><td>{escape(holder.name)}</td>"
        + numbers(
            (
                str(holder.digital_blocks),
                str(holder.rram_blocks),
                size_text(holder.budget_bytes),
                size_text(holder.sampled_peak_bytes),
                size_text(holder.kernel_peak_bytes),
            )
        )
        + "</tr>"
        for holder in holders
    )
    names = ("daemon", "blocks, digital", "blocks, rram", "budget", "peak, sampled", "peak, kernel")
    note = (
        "<p>Frame: budget. Filling: the highest resident memory of the process, sampled every 100 ms."
        " Mark: the kernel's own high-water mark.</p>"
    )
    return section("Who held what", bars(holders) + note + table(names, rows))


def _refusal(refusal: Refusal | None) -> str:
    if refusal is None:
        return section("Alone", "<p>The largest daemon took the whole matrix.</p>")
    sizes = (("need", refusal.need), ("free", refusal.free), ("nearest fit", refusal.nearest_fit))
    told = ", ".join(f"{name} {size_text(size)}" for name, size in sizes if size is not None)
    return section(
        "Alone",
        f"<p>Asked to hold the matrix alone, {escape(refusal.node)} refused:</p>"
        f"<blockquote>{escape(refusal.reason)}<br>{told}</blockquote>",
    )


def _uploads(outcome: Outcome) -> str:
    rows = (
        f"<tr><td>{escape(upload.backend)}</td>"
        + numbers((str(upload.replicas), size_text(upload.nbytes), duration_text(upload.seconds)))
        + "</tr>"
        for upload in outcome.uploads
    )
    names = ("backend", "replicas", "bytes sent", "time")
    return section("Bringing the matrix into the mesh", table(names, rows))
