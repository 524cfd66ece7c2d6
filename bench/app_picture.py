"""One picture of the recovered photographs: a row for each device."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from bench.app_photo import Outcome
from compute.partition import Matrix
from node.cli.demo.pictures import image

SHOWN = 192
"""Pixels along the edge of each photograph, as shown."""

MARGIN = 12
CAPTION = 42
"""Height below each photograph, in pixels: two lines."""


def strip(outcomes: Sequence[tuple[str, Outcome]]) -> Image.Image:
    """Original, digital, naive and shipped side by side, for each (device, outcome)."""
    width, height = SHOWN + MARGIN, SHOWN + CAPTION + MARGIN
    canvas = Image.new("RGB", (4 * width + MARGIN, len(outcomes) * height + MARGIN), color="white")
    for row, (device, outcome) in enumerate(outcomes):
        for column, (title, line, picture) in enumerate(_captioned(device, outcome)):
            place = (MARGIN + column * width, MARGIN + row * height)
            _draw(canvas, place, picture, title, line)
    return canvas


def _captioned(device: str, outcome: Outcome) -> list[tuple[str, str, Matrix]]:
    side = image(outcome.scene).width
    db = {name: f"{value:.1f} dB" for name, value in outcome.psnrs_db.items()}
    analog = f"{100.0 * outcome.shipped_meter.analog_fraction:.0f} % analog"
    return [
        ("original", f"{side} x {side} pixels", outcome.scene),
        ("digital", db["digital"], outcome.digital),
        ("naive", f"{db['naive']}, {device}", outcome.naive),
        ("as shipped", f"{db['shipped']}, {analog}", outcome.shipped),
    ]


def _draw(
    canvas: Image.Image, place: tuple[int, int], picture: Matrix, title: str, line: str
) -> None:
    left, top = place
    canvas.paste(image(picture).resize((SHOWN, SHOWN), Image.Resampling.NEAREST), (left, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((left, top + SHOWN + 4), title, fill="black", font=ImageFont.load_default(16))
    draw.text((left, top + SHOWN + 23), line, fill="dimgray", font=ImageFont.load_default(13))
