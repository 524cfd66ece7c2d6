"""Sixteen hosts on one switch, of which some die, one freezes and half are cut off, while products are asked for.

What each phase took is printed: pytest -s shows it.
"""

import signal
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.live.sixteen import Host, Product, Sixteen, Stream, choices

LATE_S = 3.0
"""The latest that an answer may come, whatever happens meanwhile."""
SPREAD_S = 2.2
"""From the first who counts a node as lost until all do."""
MERGED_S = 30.0
"""From the end of a cut until all see all; STARTED_S the same after starts, which wait for two cores."""
STARTED_S = 60.0
CUT_S = 15.0
QUIET_S = 3.0
"""So long products are asked for before the first fault and after the last."""


@dataclass(slots=True)
class Tale:
    """What happened, in phases; told as it happens."""

    phases: list[tuple[str, float]] = field(default_factory=list)

    def phase(self, name: str) -> None:
        self.phases.append((name, time.monotonic()))
        print(f"\n{name}", end="")

    def tell(self, what: str) -> None:
        print(f"\n    {what}", end="")

    def end(self, products: list[Product]) -> None:
        """For each phase, its products and how long they took."""
        ends = [*(begins for _, begins in self.phases[1:]), float("inf")]
        for (name, begins), ends_at in zip(self.phases, ends, strict=True):
            took_ms = [1e3 * one.took_s for one in products if begins <= one.began < ends_at]
            if took_ms:
                median, p99 = np.percentile(took_ms, [50, 99])
                tail = f"median {median:.0f} ms, p99 {p99:.0f} ms, slowest {max(took_ms):.0f} ms"
                print(f"\n{name}: {len(took_ms)} products, {tail}", end="")
        print()


@pytest.mark.timeout(300)
def test_sixteen_hosts_lose_no_product_to_kills_a_freeze_a_cut_and_restarts(
    sixteen: Sixteen,
) -> None:
    hosts, tale = sixteen.hosts, Tale()
    killed, frozen = [hosts[number] for number in (0, 2, 4, 7, 9)], hosts[10]
    rest = [host for host in hosts if host not in (*killed, frozen)]
    tale.phase("sixteen have started")
    tale.tell(f"all see all after {sixteen.agree(STARTED_S):.1f} s")
    sixteen.put()
    tale.phase("quiet")
    with Stream(choices(hosts, hosts)) as stream:
        time.sleep(QUIET_S)
        _lose(sixteen, stream, tale, killed, frozen)
        _cut(sixteen, stream, tale, rest)
        _bring_back(sixteen, stream, tale, killed, frozen)
        _restart(sixteen, stream, tale, rest)
        tale.phase("quiet again")
        stream.turn_to(choices(hosts, hosts))
        time.sleep(QUIET_S)

    products = stream.products
    tale.end(products)
    assert {one.name for one in products[-200:]} == {host.pair for host in hosts}
    assert [one for one in products if one.wrong] == []
    assert max(one.took_s for one in products) <= LATE_S
    assert "".join(host.faults() for host in hosts) == ""


def _lose(sixteen: Sixteen, stream: Stream, tale: Tale, killed: list[Host], frozen: Host) -> None:
    """Five die at once, and one more does not answer any more."""
    tale.phase("five are killed, one is frozen")
    gone = [*killed, frozen]
    rest = [host for host in sixteen.hosts if host not in gone]
    stream.turn_to(choices(rest, rest))
    for host in killed:
        host.end(signal.SIGKILL)
    frozen.freeze()
    for host, (first_s, all_s) in sixteen.lost(gone, within_s=20.0).items():
        tale.tell(f"{host} is lost to the first after {first_s:.1f} s, to all after {all_s:.1f} s")
        assert all_s - first_s <= SPREAD_S


def _cut(sixteen: Sixteen, stream: Stream, tale: Tale, rest: list[Host]) -> None:
    """A firewall between left and right; each side is asked for what it holds."""
    tale.phase("left and right are cut apart")
    left, right = _sides(rest)
    stream.turn_to(choices(left, left) + choices(right, right))
    began = time.monotonic()
    sixteen.network.cut(*([host.number for host in side] for side in _sides(sixteen.hosts)))
    tale.tell(f"each side sees itself alone after {sixteen.agree(30.0, left, right):.1f} s")
    time.sleep(max(began + CUT_S - time.monotonic(), 0.0))
    tale.phase("the cut is healed")
    sixteen.network.heal()
    tale.tell(f"all see all after {sixteen.agree(MERGED_S):.1f} s")


def _bring_back(
    sixteen: Sixteen, stream: Stream, tale: Tale, killed: list[Host], frozen: Host
) -> None:
    tale.phase("the killed start, the frozen one thaws")
    rest = sixteen.running
    stream.turn_to(choices(rest, rest))
    frozen.thaw()
    for host in killed:
        host.start()
    tale.tell(f"all see all after {sixteen.agree(STARTED_S):.1f} s")


def _restart(sixteen: Sixteen, stream: Stream, tale: Tale, rest: list[Host]) -> None:
    """Stopped as an operator would, one side after the other."""
    for name, side, other in zip(("left", "right"), _sides(rest), _sides(rest)[::-1], strict=True):
        tale.phase(f"the {name} side restarts")
        stream.turn_to(choices(other, sixteen.hosts))
        for host in side:
            host.end(signal.SIGTERM)
        for host in side:
            host.start()
        tale.tell(f"all see all after {sixteen.agree(STARTED_S):.1f} s")


def _sides(hosts: list[Host]) -> tuple[list[Host], list[Host]]:
    return [host for host in hosts if host.is_left], [host for host in hosts if not host.is_left]
