"""The relay is tested on the loop that the daemon runs on and on the stock one."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.node.runtime.relaying.small_relay import Mesh

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, NewLoop]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    return Mesh.make(tmp_path_factory.mktemp("mesh"))
