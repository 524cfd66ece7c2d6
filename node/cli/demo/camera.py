"""A simulated single-pixel camera looking at a real photograph.

Such a camera has one light sensor behind an array of tiny mirrors. It shows a random pattern of mirrors,
notes how much light arrives, and repeats; here half as often as the picture has pixels. The photograph is
real (china.jpg, by danielbuechele on Flickr, CC BY 2.0, which ships inside scikit-learn), the camera is not:
its patterns are seeded dice, and what it "sees" is one exact product with them.

    Y = X W     X: (3 colours, 9216 pixels), W: (9216 pixels, 4608 patterns), entries +-1/sqrt(4608)

With that scale each pixel's row of W has length one, which message passing asks for.
"""

import math

import numpy as np

from compute.partition import Matrix

SIDE = 96
"""Pixels along each edge of the picture."""

PIXELS = SIDE * SIDE
MEASUREMENTS = PIXELS // 2
CROP = (50, 0, 477, 427)
"""Left, upper, right, lower in china.jpg, in pixels: the whole pavilion, in a square."""

ROWS_AT_ONCE = 512
"""Rows of patterns drawn in one go, so that no second copy of them ever stands beside the first."""


def photo() -> Matrix:
    """The scene: (3, 9216) float32 in 0..1, one row a colour; needs scikit-learn and Pillow."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    whole = Image.fromarray(load_sample_image("china.jpg"))
    small = whole.crop(CROP).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    levels = np.asarray(small, dtype=np.float32) / np.float32(255.0)
    return np.ascontiguousarray(levels.reshape(PIXELS, 3).T)


def patterns(pixels: int, measurements: int, seed: int) -> Matrix:
    """Random mirrors: (pixels, measurements) float32, every entry +-1/sqrt(measurements)."""
    dice = np.random.default_rng(seed)
    mirrors = np.empty((pixels, measurements), np.float32)
    length = np.float32(1.0 / math.sqrt(measurements))
    for first in range(0, pixels, ROWS_AT_ONCE):
        strip = mirrors[first : first + ROWS_AT_ONCE]
        coins = dice.integers(0, 256, (len(strip), -(-measurements // 8)), dtype=np.uint8)
        strip[:] = np.unpackbits(coins, axis=1, count=measurements)
        strip *= 2.0 * length
        strip -= length
    return mirrors


def psnr_db(picture: Matrix, scene: Matrix) -> float:
    """Peak signal to noise ratio of a picture clipped to 0..1, in decibels; infinite where they agree."""
    error = np.clip(picture, 0.0, 1.0) - scene
    mean_square = float(np.mean(np.square(error), dtype=np.float64))
    return math.inf if mean_square == 0.0 else -10.0 * math.log10(mean_square)
