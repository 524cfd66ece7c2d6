"""What was found out as one HTML page that needs nothing else: no second file, no script, no network."""

import base64
from html import escape

from node.cli.characterization import charts, maps
from node.cli.characterization.drawing import Draw, png
from node.cli.characterization.findings import Findings
from node.cli.characterization.measuring import Characterization
from node.cli.characterization.words import HEADS, line, summary, title
from node.pages.page import note, page, row, section, table

SHARPNESS = 2
"""Pixels of a picture for one of the page."""
STYLE = """
body { max-width: 1040px } th + th { text-align: right }
figure { margin: 0; overflow-x: auto } figure img { max-width: 100%; height: auto; background: #fff }
"""

OPENING = (
    "Random normal weights were written into simulated arrays, and multiplied by random normal inputs: raw, and"
    " under a tolerance. Everything is of one chip, which the seed names; errors are held against the product in"
    " float64."
)
MAPS = (
    "The two arrays of the first tile, as they are laid out. A weight is the difference of a plus and a minus cell."
    " Stuck cells are known from a test: rows and columns lie where they do least harm, and the partner of a stuck"
    " cell makes up for it as far as it can; their targets are where they are. Wires take most from cells far from"
    " the drivers (left) and from the readout (bottom). What products see of a pair has passed the wires, and each"
    " column's gain; the worst pairs are left to digital arithmetic."
)
ERRORS = (
    "The law of pairs is what the device's figures for writing and drift predict, each pair normal about its own"
    " mean; cells that cannot fall below zero conductance are reckoned with, cells that the writing loop gave up are"
    " not. The law of outputs is normal, with the spread that was predicted from what the arrays were measured to"
    " be when they were written and from read noise and converters."
)
TOLERANCE = (
    "Each answer says how wrong it can be (bound) and is held against the truth here. Regimes: fast reads each array"
    " as it stands, with averaging; sliced reads further arrays that hold what the first ones miss; integer works bit"
    " by bit; digital is float32 or float64 arithmetic, which costs the arrays nothing. The dashed line is a float32"
    " multiply and add in 45 nm, without what it takes to fetch the weight (Horowitz, ISSCC 2014). Below the regime"
    " stands the share of multiply-adds (MACs) done in arrays. Energy and time are those of the arrays alone, all"
    " tiles at work at once."
)


def html(found: Characterization) -> bytes:
    """The whole page."""
    findings = found.findings
    parts = [f"<h1>{escape(title(findings))}</h1>", note(OPENING), _numbers(findings)]
    if found.tile is not None:
        drawn = _figure(maps.WIDTH, maps.HEIGHT, lambda canvas: maps.draw(canvas, found), "Maps")
        parts.append(section("One tile, cell by cell", drawn + note(MAPS)))
    drawn = _figure(
        charts.ERRORS_WIDTH,
        charts.HEIGHT,
        lambda canvas: charts.errors(canvas, found),
        "Histograms of the errors of pairs and of outputs, against the predicted laws",
    )
    parts.append(section("Errors against the law", drawn + note(ERRORS)))
    drawn = _figure(
        charts.TOLERANCE_WIDTH,
        charts.HEIGHT,
        lambda canvas: charts.tolerance(canvas, findings),
        "Error, bound, energy and time against the tolerance; the table has the same numbers",
    )
    costs = note(f"Unit costs: {findings.costs}.")
    body = drawn + _table(findings) + note(TOLERANCE) + costs
    parts.append(section("What a tolerance costs", body))
    return page(f"sedma: {title(findings)}", parts, STYLE).encode()


def _numbers(findings: Findings) -> str:
    cells = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
        for name, value in summary(findings)
    )
    return f"<table><tbody>{cells}</tbody></table>"


def _table(findings: Findings) -> str:
    heads = [head.removesuffix(">") for head in HEADS]
    return table(heads, (_row(line(one)) for one in findings.products))


def _row(figures: tuple[str, ...]) -> str:
    return row(figures[0], figures[1:])


def _figure(width: int, height: int, draw: Draw, meaning: str) -> str:
    picture = base64.b64encode(png(width, height, draw, SHARPNESS)).decode("ascii")
    return (
        f'<figure><img width="{width}" height="{height}" alt="{escape(meaning)}"'
        f' src="data:image/png;base64,{picture}"></figure>'
    )
