import math

import numpy as np
import pytest

from compute.partition import Matrix
from node.cli.demo.camera import patterns, psnr_db
from node.cli.demo.recovery import Products, local_products, recover

SIDE = 32


def scene() -> Matrix:
    """Three smooth colours with an edge across them, (3, 1024)."""
    place = np.linspace(0.0, 1.0, SIDE, dtype=np.float32)
    slope = np.add.outer(place, place) / 2
    edge = np.where(np.subtract.outer(place, place) > 0.3, np.float32(0.4), np.float32(0.0))
    colours = [slope * share + edge for share in (0.6, 0.4, 0.2)]
    return np.stack([colour.reshape(-1) for colour in colours]).astype(np.float32)


def test_half_as_many_measurements_as_pixels_bring_the_picture_back() -> None:
    mirrors = patterns(SIDE * SIDE, SIDE * SIDE // 2, seed=1)
    measured = scene() @ mirrors

    qualities = [psnr_db(p, scene()) for p in recover(measured, local_products(mirrors), 20)]

    assert len(qualities) == 20
    assert qualities[0] < 20.0
    assert qualities[-1] > 50.0


def test_products_that_are_one_per_cent_off_still_bring_the_picture_back() -> None:
    mirrors = patterns(SIDE * SIDE, SIDE * SIDE // 2, seed=1)
    dice = np.random.default_rng(2)

    def rough(exact: Matrix) -> Matrix:
        noise = dice.standard_normal(exact.shape, dtype=np.float32)
        return exact + noise * np.float32(0.01 * np.sqrt(np.mean(np.square(exact))))

    exact = local_products(mirrors)
    products = Products(
        forward=lambda x: rough(exact.forward(x)), backward=lambda z: rough(exact.backward(z))
    )
    *_, last = recover(scene() @ mirrors, products, 20)

    assert psnr_db(last, scene()) > 40.0


def test_everything_stays_float32() -> None:
    mirrors = patterns(64, 32, seed=1)
    seen: list[np.dtype[np.float32]] = []

    def noting(product: Matrix) -> Matrix:
        seen.append(product.dtype)
        return product

    products = Products(
        forward=lambda x: noting(x) @ mirrors, backward=lambda z: noting(z) @ mirrors.T
    )
    pictures = list(recover(np.ones((3, 32), np.float32), products, 3))

    assert {np.dtype(np.float32)} == set(seen) | {picture.dtype for picture in pictures}


def test_the_first_iteration_spends_no_product_on_an_empty_picture() -> None:
    mirrors = patterns(64, 32, seed=1)
    calls: list[str] = []

    def forward(x: Matrix) -> Matrix:
        calls.append("forward")
        return x @ mirrors

    def backward(z: Matrix) -> Matrix:
        calls.append("backward")
        return z @ mirrors.T

    list(recover(np.ones((3, 32), np.float32), Products(forward, backward), 2))

    assert calls == ["backward", "forward", "backward"]


@pytest.mark.parametrize("measurements", [512, 509])
def test_each_pixel_meets_patterns_of_length_one(measurements: int) -> None:
    mirrors = patterns(1030, measurements, seed=3)

    assert mirrors.dtype == np.float32 and mirrors.shape == (1030, measurements)
    np.testing.assert_allclose(np.linalg.norm(mirrors, axis=1), 1.0, atol=1e-5)
    assert abs(float(mirrors.mean())) * math.sqrt(measurements) < 0.01


def test_the_same_seed_draws_the_same_patterns() -> None:
    assert np.array_equal(patterns(64, 32, seed=5), patterns(64, 32, seed=5))
    assert not np.array_equal(patterns(64, 32, seed=5), patterns(64, 32, seed=6))


def test_psnr_counts_decibels_below_full_white() -> None:
    black = np.zeros((3, 16), np.float32)

    assert psnr_db(black + np.float32(0.1), black) == pytest.approx(20.0, abs=1e-4)
    assert psnr_db(black - np.float32(5.0), black) == math.inf
