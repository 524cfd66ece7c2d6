import pytest

from tests.node.execution.bench_mesh import Weights
from tests.node.execution.mirrors import W, two_of_three


@pytest.fixture(scope="module")
def digital(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("digital"), W, "digital", two_of_three)


@pytest.fixture(scope="module")
def rram(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(tmp_path_factory.mktemp("rram"), W, "rram", two_of_three)
