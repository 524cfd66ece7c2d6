"""What is open is kept; of what has closed one is told once."""

from dataclasses import dataclass

from node.runtime.counted import Watched


@dataclass(eq=False)
class Wire:
    bytes_in: int = 0
    bytes_out: int = 0
    closing: bool = False


def test_each_that_closes_is_told_of_once() -> None:
    closed: list[Wire] = []
    watched = Watched[Wire](closed.append)
    first, second = Wire(), Wire()
    watched.add(first)
    watched.add(second)
    first.closing = True

    assert watched.open() == watched.open() == [second]
    assert closed == [first]


def test_those_that_come_and_go_are_not_kept_though_nobody_asks() -> None:
    watched = Watched[Wire](lambda one: None)
    for _ in range(100):
        watched.add(Wire(closing=True))

    assert len(watched) == 1
