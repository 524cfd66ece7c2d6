"""Members, and switchboards of theirs, for the tests of paths."""

from collections.abc import AsyncIterator

import pytest

from node.runtime.paths import upkeep
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, linked_pair, listen, three_members, tls_station


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Member]:
    return three_members(tmp_path_factory.mktemp("members"))


@pytest.fixture
async def pair(members: list[Member]) -> AsyncIterator[tuple[Station, Station]]:
    """The first two are linked by TLS; the left one, which has dialled, knows where to dial again."""
    async with linked_pair(members) as (left, right):
        left.ear.addresses[right.id] = (right.address,)
        yield left, right


@pytest.fixture
async def alone(members: list[Member]) -> AsyncIterator[Station]:
    """The second one listens, and has no link."""
    station = tls_station(members[1])
    await listen(station, members[1])
    yield station
    await station.board.close("test over")


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that has no path any more is over soon."""
    monkeypatch.setattr(upkeep, "RESUME_S", 0.3)
