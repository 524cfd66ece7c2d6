"""A service that multiplies with numpy behind a real server on loopback."""

from collections.abc import AsyncIterator

import pytest

from node.api.server import RunningApi, start_api
from tests.node.api.numpy_service import TOKEN, Log, NumpyService


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def service() -> NumpyService:
    return NumpyService()


@pytest.fixture
async def api(service: NumpyService, log: Log) -> AsyncIterator[RunningApi]:
    running = await start_api(service, "127.0.0.1", 0, TOKEN, log)
    yield running
    await running.close()
