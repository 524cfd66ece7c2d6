"""Everything on one picture."""

from node.cli.characterization import charts, maps
from node.cli.characterization.drawing import Canvas, png
from node.cli.characterization.measuring import Characterization
from node.cli.characterization.words import summary, title
from node.pages.pictures import INK

HEAD = 30
COLOURS = 256
WIDTH = charts.ERRORS_WIDTH + charts.TOLERANCE_WIDTH


def sheet(found: Characterization) -> bytes:
    """PNG."""
    with_maps = 0 if found.tile is None else maps.HEIGHT

    def draw(canvas: Canvas) -> None:
        canvas.text(10, 8, title(found.findings), fontsize=11, fontweight="bold", color=INK)
        maps.draw(canvas.at(0, HEAD), found)
        if with_maps:
            _numbers(canvas.at(3 * maps.PITCH + maps.LEFT, HEAD + maps.LOWER), found)
        below = canvas.at(0, HEAD + with_maps)
        charts.errors(below, found)
        charts.tolerance(below.at(charts.ERRORS_WIDTH, 0), found.findings)

    return png(WIDTH, HEAD + with_maps + charts.HEIGHT, draw, scale=1, colours=COLOURS)


def _numbers(canvas: Canvas, found: Characterization) -> None:
    for line, (name, value) in enumerate(summary(found.findings)):
        canvas.text(0, 26 + 20 * line, name, color=INK)
        canvas.text(118, 26 + 20 * line, value, color=INK)
