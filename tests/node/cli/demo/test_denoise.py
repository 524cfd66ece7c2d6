import numpy as np
import pytest

from node.cli.demo.denoise import block_cosines, cosines, denoise


@pytest.mark.parametrize("side", [2, 3, 8, 12])
def test_the_cosines_are_orthonormal(side: int) -> None:
    transform = cosines(side)

    assert transform.dtype == np.float32
    np.testing.assert_allclose(transform @ transform.T, np.eye(side), atol=1e-6)


def test_the_transform_of_a_block_is_orthonormal_too() -> None:
    transform = block_cosines()

    assert transform.dtype == np.float32
    np.testing.assert_allclose(transform @ transform.T, np.eye(64), atol=1e-6)


def test_without_noise_a_picture_stays_as_it_is() -> None:
    picture = np.random.default_rng(1).random((16, 16), np.float32)

    clean, divergence = denoise(picture, sigma=0.0)

    np.testing.assert_allclose(clean, picture, atol=1e-6)
    assert divergence == pytest.approx(256.0)


def test_a_black_picture_makes_no_trouble() -> None:
    clean, _ = denoise(np.zeros((16, 16), np.float32), sigma=0.0)

    assert not clean.any()


def test_noise_on_a_smooth_picture_shrinks_to_a_third() -> None:
    dice = np.random.default_rng(2)
    wave = np.sin(2 * np.pi * np.arange(32, dtype=np.float32) / 32)
    scene = np.add.outer(wave, wave).astype(np.float32)
    noise = 0.1 * dice.standard_normal((32, 32), dtype=np.float32)

    clean, _ = denoise(scene + noise, sigma=0.1)

    assert clean.dtype == np.float32
    assert np.linalg.norm(clean - scene) < np.linalg.norm(noise) / 3


def test_the_divergence_is_what_small_changes_of_the_picture_show() -> None:
    dice = np.random.default_rng(3)
    picture = dice.standard_normal((16, 16), dtype=np.float32)
    probe, step = dice.standard_normal((16, 16), dtype=np.float32), np.float32(1e-3)

    before, divergence = denoise(picture, sigma=0.4)
    probes = [probe * sign for sign in (1, -1)]
    after = [denoise(picture + step * each, sigma=0.4)[0] for each in probes]

    # E[p . J p] over random signs p is the trace of J; a single draw of 256 comes within some per cent.
    along = float(np.sum(probe * (after[0] - after[1]))) / (2 * step)
    assert before.shape == (16, 16)
    assert along == pytest.approx(divergence, rel=0.2)
