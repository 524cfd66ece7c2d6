"""Bytes of links that are gone still count."""

from dataclasses import dataclass

from node.runtime.traffic import Totals, Traffic


@dataclass
class Wire:
    """As much of a link as `Traffic` looks at."""

    dialed: bool
    bytes_in: int = 0
    bytes_out: int = 0
    closing: bool = False
    path: str = "lan"


def path_of(wire: Wire) -> str:
    return wire.path


def test_what_a_link_has_carried_still_counts_once_it_is_gone() -> None:
    first, second = Wire(dialed=True), Wire(dialed=False)
    traffic: Traffic[Wire] = Traffic()
    traffic.watch(first)
    traffic.watch(second)
    first.bytes_in, second.bytes_out = 100, 7

    assert traffic.totals(path_of) == Totals(100, 7, {(True, "lan"): 1, (False, "lan"): 1})
    first.closing = True
    assert traffic.totals(path_of) == Totals(100, 7, {(False, "lan"): 1})
    assert traffic.totals(path_of) == Totals(100, 7, {(False, "lan"): 1})


def test_a_link_counts_for_the_path_that_carries_it_now() -> None:
    wire = Wire(dialed=True, path="relay")
    traffic: Traffic[Wire] = Traffic()
    traffic.watch(wire)

    assert traffic.totals(path_of).links == {(True, "relay"): 1}
    wire.path = "punched"
    assert traffic.totals(path_of).links == {(True, "punched"): 1}


def test_links_that_come_and_go_all_count() -> None:
    traffic: Traffic[Wire] = Traffic()
    for _ in range(100):
        traffic.watch(Wire(dialed=False, bytes_in=1, closing=True))

    assert traffic.totals(path_of) == Totals(100, 0, {})
