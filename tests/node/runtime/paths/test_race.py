"""All ways to one peer at once, by real TLS on loopback."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.runtime.paths import race
from tests.node.runtime.stations import Station, listen, three_members, tls_station


@pytest.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[Station]]:
    """The first two listen."""
    members = three_members(tmp_path)
    stations = [tls_station(member) for member in members]
    for station, member in zip(stations[:2], members, strict=False):
        await listen(station, member)
    yield stations
    for station in stations:
        await station.board.close("test over")


def nobody_there() -> str:
    """An address at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        return f"127.0.0.1:{one.getsockname()[1]}"


async def test_an_address_that_fails_at_once_holds_up_nobody(
    three: list[Station], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "STAGGER_S", 60.0)
    sought, other, dialler = three

    dialler.board.dial((nobody_there(), other.address, sought.address), sought.id)

    await dialler.up(sought)


async def test_each_address_that_fails_is_told_of(three: list[Station]) -> None:
    sought, other, dialler = three
    nobody = nobody_there()

    dialler.board.dial((nobody, other.address), sought.id)

    await dialler.ear.until(lambda: dialler.ear.failed)
    ((peer, reason),) = dialler.ear.failed
    assert peer == sought.id
    assert f"nothing listens at {nobody}" in reason
    assert f"{other.address} is now node {other.id[:8]}, not {sought.id[:8]}" in reason
