"""What is told of the ways to a peer."""

from protocol.messages import Release
from protocol.paths import PathKind
from tests.node.runtime.stations import (
    HIGH,
    LOW,
    Station,
    listen,
    plain_station,
)

RELEASE = Release(put="p")


async def test_a_link_of_the_version_before_paths_is_told_by_its_address() -> None:
    left, right = plain_station(LOW), plain_station(HIGH)
    await listen(right)
    left.board.dial((right.address,), right.id)
    await left.up(right)

    seen = left.board.sight(right.id)

    assert seen is not None
    assert (seen.kind, seen.kinds, seen.rtt_s) == (PathKind.LAN, (PathKind.LAN,), None)
    assert left.ear.paths == [], "nothing can change"
    for one in (left, right):
        await one.board.close("test over")


async def test_all_links_with_a_peer_count_their_bytes(pair: tuple[Station, Station]) -> None:
    left, right = pair
    bodies = right.take_bodies()
    before = left.board.sight(right.id)
    assert before is not None
    left.ask(right, RELEASE, body=bytes(1_000_000))
    await right.ear.until(lambda: right.ear.bodies)

    after = left.board.sight(right.id)

    assert after is not None and len(next(iter(bodies.values()))) == 1_000_000
    assert after.bytes_out - before.bytes_out > 1_000_000
    assert len(left.board._pairs[right.id].connections) == 2, "it went over the second one"


async def test_nobody_is_seen_once_his_link_is_gone(pair: tuple[Station, Station]) -> None:
    left, right = pair
    await right.board.close("it goes")
    await left.is_down()

    assert left.board.sight(right.id) is None
