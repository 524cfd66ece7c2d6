"""The kernel tells of addresses that come and go: once for each burst. On a host of its own, if we may have one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.runtime.network_changes import BURST_S_MAX, QUIET_S, NetworkChanges
from tests.live.namespaces import Network, batch, inside, why_not

pytestmark = pytest.mark.skipif(bool(reason := why_not()), reason=reason)


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    network = Network(2)
    name = network.hosts[0]
    with inside(name):
        # It would tell of its link-local address a second or two later, when nobody else has claimed it.
        Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("1")
    yield name
    network.close()


async def heard(host: str, *changes: str) -> int:
    """How often we are told of these changes, which one process makes: between two of them the machine may be slow."""
    told: list[float] = []
    loop = asyncio.get_running_loop()
    with inside(host):
        listening = NetworkChanges(lambda: told.append(loop.time()))
    try:
        await asyncio.to_thread(batch, host, list(changes))
        await asyncio.sleep(3 * QUIET_S)
    finally:
        listening.close()
    return len(told)


async def test_a_quiet_network_tells_nothing(host: str) -> None:
    assert await heard(host) == 0


async def test_an_address_that_comes_and_goes_in_a_burst_is_told_once(host: str) -> None:
    change, back = "addr add 10.99.0.1/32 dev lo", "addr del 10.99.0.1/32 dev lo"

    assert await heard(host, change, back, change, back) == 1


async def test_an_ipv6_address_and_an_interface_are_told_of_too(host: str) -> None:
    assert await heard(host, "addr add 2001:db8::9/128 dev lo") == 1
    assert await heard(host, "link set eth0 down") == 1


async def test_a_network_that_never_comes_to_rest_is_told_of_all_the_same(host: str) -> None:
    """As on a machine that starts and stops containers all the time."""
    told = asyncio.Event()
    with inside(host):
        listening = NetworkChanges(told.set)
    change, back = "addr add 10.99.0.3/32 dev lo", "addr del 10.99.0.3/32 dev lo"
    try:
        async with asyncio.timeout(2 * BURST_S_MAX):
            while not told.is_set():
                await asyncio.to_thread(batch, host, [change, back])
    finally:
        listening.close()


async def test_nothing_is_told_after_the_end(host: str) -> None:
    told: list[None] = []
    with inside(host):
        listening = NetworkChanges(lambda: told.append(None))
    batch(host, ["addr add 10.99.0.2/32 dev lo"])
    await asyncio.sleep(0.05)

    listening.close()
    await asyncio.sleep(2 * QUIET_S)

    assert told == []
