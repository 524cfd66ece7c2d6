"""Daemons and meshes of them for one test, or for all tests of a file."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import namespaces
from tests.live.daemons import Daemons
from tests.live.namespaces import Network
from tests.live.sixteen import HOSTS, Sixteen
from tests.live.small_mesh import Mesh


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemons]:
    """Starts daemons for one test."""
    daemons = Daemons(tmp_path)
    yield daemons
    daemons.close()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemons]:
    """Starts daemons that all tests of one file share."""
    daemons = Daemons(tmp_path_factory.mktemp("lasting"))
    yield daemons
    daemons.close()


@pytest.fixture(scope="module")
def _mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Mesh]]:
    """One mesh serves all tests of a file; one that cannot be mended is replaced."""
    standing: list[Mesh] = []
    yield standing
    for mesh in standing:
        mesh.close()


@pytest.fixture
def mesh(_mesh: list[Mesh], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Four daemons that are linked and hold nothing."""
    if not _mesh:
        _mesh.append(Mesh(tmp_path_factory.mktemp("mesh")))
    yield _mesh[0]
    try:
        _mesh[0].mend()
    except BaseException:
        _mesh.pop().close()
        raise


@pytest.fixture
def sixteen(tmp_path: Path) -> Iterator[Sixteen]:
    """Sixteen daemons on hosts of their own; the test itself is on their switch."""
    if why := namespaces.why_not():
        pytest.skip(why)
    with (
        contextlib.closing(Network(HOSTS)) as network,
        network.on_switch(),
        contextlib.closing(Sixteen(network, tmp_path)) as mesh,
    ):
        yield mesh
