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


def test_what_a_link_has_carried_still_counts_once_it_is_gone() -> None:
    traffic, first, second = Traffic(), Wire(dialed=True), Wire(dialed=False)
    traffic.watch(first)
    traffic.watch(second)
    first.bytes_in, second.bytes_out = 100, 7

    assert traffic.totals() == Totals(bytes_in=100, bytes_out=7, dialed=1, accepted=1)
    first.closing = True
    assert traffic.totals() == Totals(bytes_in=100, bytes_out=7, dialed=0, accepted=1)
    assert traffic.totals() == Totals(bytes_in=100, bytes_out=7, dialed=0, accepted=1)


def test_links_that_come_and_go_are_not_kept() -> None:
    traffic = Traffic()
    for _ in range(100):
        traffic.watch(Wire(dialed=False, bytes_in=1, closing=True))

    assert len(traffic._open) == 1
    assert traffic.totals() == Totals(bytes_in=100, bytes_out=0, dialed=0, accepted=0)
