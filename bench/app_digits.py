"""Handwritten digits, told apart by a small network whose weights stand in simulated crossbars.

The digits are those that ship inside scikit-learn: 1,797 pictures of 8 x 8 pixels in 0..16, taken as they are (Alpaydin
and Kaynak 1998). 540 of them are held out; on the others a network of 64-128-10 is trained in float32. Then its two
matrices are written into arrays; adding the biases and taking the larger of zero and a sum stay digital.

The seed shuffles the split, starts the network, and makes the chips.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.app_meter import RTOL, Meter, Metered
from compute.analog import AnalogMatrix
from compute.chance import stream_key
from compute.partition import Matrix

HELD_OUT = 540
PIXELS, HIDDEN, CLASSES = 64, 128, 10

EPOCHS = 60
BATCH = 32
RATE = 1e-3
DECAYS = (0.9, 0.999)
"""Of the means that Adam keeps (Kingma and Ba 2015), gradient and square."""

Labels = npt.NDArray[np.intp]
Multiply = Callable[[Matrix], Matrix]


@dataclass(frozen=True, slots=True)
class Pictures:
    x: Matrix
    """(M, 64), 0..16."""
    digits: Labels


@dataclass(frozen=True, slots=True)
class Network:
    """max(X W1 + b1, 0) W2 + b2; the largest of ten sums is the digit."""

    weights: tuple[Matrix, Matrix]
    biases: tuple[Matrix, Matrix]

    def errors(self, pictures: Pictures, multiply: Sequence[Multiply]) -> int:
        """Pictures that are taken for another digit; `multiply` does the two products."""
        hidden = np.maximum(multiply[0](pictures.x) + self.biases[0], np.float32(0.0))
        sums = multiply[1](hidden) + self.biases[1]
        return int(np.count_nonzero(sums.argmax(axis=1) != pictures.digits))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Errors of 540, and what the products took."""

    digital: int
    naive: int
    shipped: int
    naive_meter: Meter
    shipped_meter: Meter


def classify(device: str, seed: int) -> Outcome:
    """Train, write into arrays, and look at the pictures that were held out, all in one product a layer."""
    learnt, held_out = split(seed)
    network = train(learnt, seed)
    matrices = [
        AnalogMatrix(weights, device, seed=stream_key(seed, layer))
        for layer, weights in enumerate(network.weights)
    ]
    naive, naive_meter = _errors(network, held_out, matrices, None)
    shipped, shipped_meter = _errors(network, held_out, matrices, RTOL)
    digital = network.errors(held_out, [_times(each) for each in network.weights])
    return Outcome(digital, naive, shipped, naive_meter, shipped_meter)


def _times(weights: Matrix) -> Multiply:
    return lambda x: x @ weights


def _errors(
    network: Network, pictures: Pictures, matrices: Sequence[AnalogMatrix], rtol: float | None
) -> tuple[int, Meter]:
    meter = Meter()
    return network.errors(
        pictures, [Metered(each, rtol, meter).forward for each in matrices]
    ), meter


def split(seed: int) -> tuple[Pictures, Pictures]:
    """Those to learn from and those held out; needs scikit-learn."""
    from sklearn.datasets import load_digits

    x, digits = load_digits(return_X_y=True)
    order = np.random.default_rng((seed, 0)).permutation(len(x))
    held_out, learnt = order[:HELD_OUT], order[HELD_OUT:]
    x = x.astype(np.float32)
    return Pictures(x[learnt], digits[learnt]), Pictures(x[held_out], digits[held_out])


def train(pictures: Pictures, seed: int) -> Network:
    """Cross-entropy, by Adam on small batches."""
    dice = np.random.default_rng((seed, 1))
    network = _start(pictures.x, dice)
    values = [*network.weights, *network.biases]
    means = [np.zeros_like(value) for value in values]
    squares = [np.zeros_like(value) for value in values]
    step = 0
    for _ in range(EPOCHS):
        order = dice.permutation(len(pictures.x))
        for first in range(0, len(order), BATCH):
            step += 1
            rate = RATE * np.sqrt(1.0 - DECAYS[1] ** step) / (1.0 - DECAYS[0] ** step)
            chosen = order[first : first + BATCH]
            slopes = _slopes(network, pictures.x[chosen], pictures.digits[chosen])
            for value, slope, mean, square in zip(values, slopes, means, squares, strict=True):
                mean += (1.0 - DECAYS[0]) * (slope - mean)
                square += (1.0 - DECAYS[1]) * (slope * slope - square)
                value -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))
    return network


def _start(x: Matrix, dice: np.random.Generator) -> Network:
    """Sums of unit size at first (He et al. 2015), for inputs of the size that these have."""
    size = float(np.sqrt(np.mean(np.square(x))))
    first = dice.standard_normal((PIXELS, HIDDEN), np.float32) * np.float32(
        np.sqrt(2.0 / PIXELS) / size
    )
    second = dice.standard_normal((HIDDEN, CLASSES), np.float32) * np.float32(np.sqrt(2.0 / HIDDEN))
    return Network(
        (first, second), (np.zeros((1, HIDDEN), np.float32), np.zeros((1, CLASSES), np.float32))
    )


def _slopes(network: Network, x: Matrix, digits: Labels) -> list[Matrix]:
    """Of the mean cross-entropy, by the two matrices, then by the two biases."""
    hidden = np.maximum(x @ network.weights[0] + network.biases[0], np.float32(0.0))
    sums = hidden @ network.weights[1] + network.biases[1]
    odds = np.exp(sums - sums.max(axis=1, keepdims=True))
    wrong = odds / odds.sum(axis=1, keepdims=True)
    wrong[np.arange(len(x)), digits] -= 1.0
    wrong /= np.float32(len(x))
    back = (wrong @ network.weights[1].T) * (hidden > 0.0)
    return [
        x.T @ back,
        hidden.T @ wrong,
        back.sum(axis=0, keepdims=True),
        wrong.sum(axis=0, keepdims=True),
    ]
