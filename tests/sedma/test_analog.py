import subprocess
import sys

import numpy as np
import pytest

from sedma import analog


def test_a_matrix_is_multiplied_in_ones_own_process() -> None:
    weights = np.sign(np.random.default_rng(1).standard_normal((64, 32), np.float32))
    x = np.ones((2, 64), np.float32)

    answer = analog.AnalogMatrix(weights, device="rram-wan2022", seed=7).matmul(x, rtol=1e-2)

    error = np.linalg.norm(answer.value - x @ weights) / np.linalg.norm(x @ weights)
    assert error <= answer.certificate.bound <= 1e-2


def test_all_names_lead_somewhere_and_no_other_does() -> None:
    assert all(getattr(analog, name) is not None for name in analog.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Crossbra'"):
        analog.Crossbra  # noqa: B018


def test_nothing_is_simulated_before_it_is_asked_for() -> None:
    asked = "import sys, sedma.analog; sys.exit(any(name.startswith('compute') for name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
