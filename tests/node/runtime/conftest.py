"""The doing side is tested on the loop that the daemon runs on; links on the stock one too."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

NewLoop = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, NewLoop]:
    loops: dict[str, NewLoop] = {"uvloop": uvloop.new_event_loop}
    if item.path.name in ("test_links.py", "test_handed_over.py"):
        loops["asyncio"] = asyncio.new_event_loop
    return loops
