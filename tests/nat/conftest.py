"""What has sockets is tested on the loop that the daemon runs on and on the stock one."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, NewLoop]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
