"""A crowd at the door: the first are told of, the rest is counted, and the next minute begins anew."""

import asyncio
from functools import partial

import pytest

from node.runtime import strangers
from node.runtime.strangers import TOLD_MAX, Strangers
from tests.node.runtime.stations import Waiting


class Log(Waiting):
    """Keeps what is told at info level, and apart from it what is told at debug level."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, dict[str, object]]] = []
        self.whispered: list[tuple[str, dict[str, object]]] = []

    def info(self, event: str, /, **fields: object) -> None:
        self.told.append((event, fields))
        self.changed()

    def debug(self, event: str, /, **fields: object) -> None:
        self.whispered.append((event, fields))

    warning = exception = info

    def summed_up(self) -> list[object]:
        return [fields["count"] for event, fields in self.told if event == "strangers.refused"]

    def has_summed_up(self, times: int) -> bool:
        return len(self.summed_up()) == times


def come(door: Strangers, count: int) -> None:
    for number in range(count):
        door.turned_away("link.refused", remote=f"192.0.2.1:{number}", reason="no TLS")


async def test_a_few_are_told_whole_and_not_counted() -> None:
    log = Log()
    door = Strangers(log)

    come(door, TOLD_MAX)
    door.sum_up()

    assert log.told[0] == ("link.refused", {"remote": "192.0.2.1:0", "reason": "no TLS"})
    assert (len(log.told), log.whispered, log.summed_up()) == (TOLD_MAX, [], [])


async def test_of_a_crowd_the_rest_is_counted_and_each_can_be_seen_at_debug_level() -> None:
    log = Log()
    door = Strangers(log)

    come(door, TOLD_MAX + 1_000)
    door.sum_up()

    assert len(log.told) == TOLD_MAX + 1
    assert len(log.whispered) == 1_000
    assert log.summed_up() == [1_000]


async def test_each_minute_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "MINUTE_S", 0.01)
    log = Log()
    door = Strangers(log)

    for minute in range(1, 4):
        come(door, TOLD_MAX + minute)
        await log.until(partial(log.has_summed_up, minute))

    assert log.summed_up() == [1, 2, 3]
    assert len(log.told) == 3 * (TOLD_MAX + 1)


async def test_dropped_packets_are_told_of_in_one_line() -> None:
    log = Log()
    door = Strangers(log)

    for why in ("forged", "unknown", "forged"):
        door.packet_dropped(why)
    door.sum_up()
    door.sum_up()

    assert log.told == [
        ("packets.dropped", {"forged": 2, "unknown": 1, "within_s": strangers.MINUTE_S})
    ]
    assert log.whispered == []


async def test_nothing_is_told_when_nobody_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strangers, "MINUTE_S", 0.01)
    log = Log()
    door = Strangers(log)
    come(door, 1)
    await asyncio.sleep(0.03)
    door.sum_up()

    assert len(log.told) == 1
