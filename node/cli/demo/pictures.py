"""Pictures as files: PNG for the report, and one strip with captions for the README."""

import base64
import io

from PIL import Image, ImageDraw, ImageFont

from compute.partition import Matrix
from node.cli.demo.outcome import Outcome
from node.cli.demo.screen import levels

ZOOM = 3
MARGIN = 16
CAPTION = 44
"""Height below each picture, in pixels: two lines."""


def image(picture: Matrix) -> Image.Image:
    """(3, pixels) in 0..1 as an RGB image, one pixel for one."""
    return Image.fromarray(levels(picture, 1))


def data_uri(picture: Matrix) -> str:
    """The picture inside an address, so that a page needs no second file."""
    png = io.BytesIO()
    image(picture).save(png, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")


def captioned(outcome: Outcome) -> list[tuple[str, str, Matrix]]:
    """(title, line below, picture) of the four that are shown side by side."""
    acts = outcome.acts
    shown = [("original", "the scene", outcome.scene)]
    for act in (acts.digital, acts.naive, acts.certified):
        line = f"{act.psnr_db:.1f} dB, {len(act.iterations)} iterations"
        shown.append((act.title, line, act.picture))
    return shown


def strip(outcome: Outcome) -> Image.Image:
    """Original, digital, naive and certified side by side, on white, with captions."""
    shown = captioned(outcome)
    images = [image(picture) for _, _, picture in shown]
    side = images[0].width * ZOOM
    canvas = Image.new(
        "RGB", (len(shown) * (side + MARGIN) + MARGIN, side + 2 * MARGIN + CAPTION), "white"
    )
    draw = ImageDraw.Draw(canvas)
    for place, (title, line, _) in enumerate(shown):
        left = MARGIN + place * (side + MARGIN)
        zoomed = images[place].resize((side, side), Image.Resampling.NEAREST)
        canvas.paste(zoomed, (left, MARGIN))
        below = MARGIN + side + 6
        draw.text((left, below), title, fill="black", font=ImageFont.load_default(17))
        draw.text((left, below + 22), line, fill="dimgray", font=ImageFont.load_default(14))
    return canvas
