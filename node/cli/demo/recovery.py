"""Recovers a picture from fewer measurements than it has pixels, by approximate message passing.

Each iteration compares the measurements with what the present picture would have given, maps the difference
back onto pixels, and takes out what looks like noise (Donoho, Maleki, Montanari 2009; with a denoiser:
Metzler, Maleki, Baraniuk 2016). With m measurements and a denoiser D:

    Z <- Y - X W + Z div D / m      the last term (Onsager's) keeps the error white, as D expects it
    X <- D(X + Z W^T),  sigma = ||Z|| / sqrt(m)

The two products are all that the matrix is needed for. They are handed in, so the same iterations run on
local numpy and on a mesh that holds W in parts. Everything is float32.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from compute.partition import Matrix
from node.cli.demo.denoise import denoise

Multiply = Callable[[Matrix], Matrix]


@dataclass(frozen=True, slots=True)
class Products:
    """Where the multiplying is done."""

    forward: Multiply
    """X (3, pixels) to X W (3, measurements)."""
    backward: Multiply
    """Z (3, measurements) to Z W^T (3, pixels)."""


def local_products(weights: Matrix) -> Products:
    """Plain numpy on this machine: what the mesh is compared with."""
    return Products(forward=lambda x: x @ weights, backward=lambda z: z @ weights.T)


def recover(measured: Matrix, products: Products, iterations: int) -> Iterator[Matrix]:
    """Yield the picture (colours, pixels) after each iteration; pixels must make a square."""
    measurements = measured.shape[1]
    residual = measured
    picture, divergence = _clean(products.backward(residual), residual)
    yield picture
    for _ in range(iterations - 1):
        onsager = residual * (divergence / np.float32(measurements))
        residual = measured - products.forward(picture) + onsager
        picture, divergence = _clean(picture + products.backward(residual), residual)
        yield picture


def _clean(noisy: Matrix, residual: Matrix) -> tuple[Matrix, Matrix]:
    """Denoise colour by colour: the picture, and each colour's divergence as (colours, 1)."""
    side = math.isqrt(noisy.shape[1])
    assert side * side == noisy.shape[1]
    sigmas = np.sqrt(np.mean(np.square(residual), axis=1))
    cleaned = [
        denoise(colour.reshape(side, side), float(sigma))
        for colour, sigma in zip(noisy, sigmas, strict=True)
    ]
    picture = np.stack([colour.reshape(-1) for colour, _ in cleaned])
    return picture, np.array([[divergence] for _, divergence in cleaned], np.float32)
