"""Sixteen hosts on one switch, of which some die, one freezes and half are cut off, while products are asked for.

Times of all phases are printed (pytest -s, or after a failure).
"""

import signal
import time

import numpy as np
import pytest

from tests.live.sixteen import Product, Sixteen, Stream, choices

CUT_S = 15.0
LATE_S = 3.0
"""The latest that an answer may come, whatever happens meanwhile."""


def summary(phases: dict[str, float], products: list[Product]) -> list[str]:
    """For each phase, its products and how long they took."""
    begins = [*phases.values(), float("inf")]
    lines = []
    for (name, begin), end in zip(phases.items(), begins[1:], strict=False):
        took_ms = [1e3 * one.took_s for one in products if begin <= one.began < end]
        if took_ms:
            median, p99 = np.percentile(took_ms, [50, 99])
            tail = f"median {median:.0f} ms, p99 {p99:.0f} ms, slowest {max(took_ms):.0f} ms"
            lines.append(f"{name}: {len(took_ms)} products, {tail}")
    return lines


@pytest.mark.timeout(240)
def test_sixteen_hosts_lose_no_product_to_kills_a_freeze_a_cut_and_restarts(
    sixteen: Sixteen,
) -> None:
    hosts = sixteen.hosts
    phases: dict[str, float] = {}

    def phase(name: str) -> None:
        phases[name] = time.monotonic()
        print(name)

    print(f"all see all after {sixteen.agree(30.0):.1f} s")
    sixteen.put()
    phase("whole")
    stream = Stream(choices(hosts, hosts))
    time.sleep(3.0)

    phase("kills")
    killed, frozen = [hosts[0], hosts[2], hosts[4], hosts[7], hosts[9]], hosts[10]
    rest = [host for host in hosts if host not in (*killed, frozen)]
    stream.turn_to(choices(rest, rest))
    for host in killed:
        host.end(signal.SIGKILL)
    frozen.freeze()
    for host, (first_s, all_s) in sixteen.lost([*killed, frozen], 30.0).items():
        print(f"  {host} is lost to the first after {first_s:.1f} s, to all after {all_s:.1f} s")

    phase("cut")
    left, right = [h for h in rest if h.is_left], [h for h in rest if not h.is_left]
    stream.turn_to(choices(left, left) + choices(right, right))
    lefts = [h.number for h in hosts if h.is_left]
    sixteen.network.cut(lefts, [h.number for h in hosts if not h.is_left])
    apart_s = sixteen.agree(30.0, left, right)
    print(f"  each side sees itself alone after {apart_s:.1f} s")
    time.sleep(max(CUT_S - apart_s, 0.0))
    phase("healed")
    sixteen.network.heal()
    print(f"  all see all after {sixteen.agree(30.0):.1f} s")

    phase("thaw and start")
    stream.turn_to(choices(rest, rest))
    frozen.thaw()
    for host in killed:
        host.start()
    print(f"  all see all after {sixteen.agree(30.0):.1f} s")
    phase("restart")
    for side, other in ((left, right), (right, left)):
        stream.turn_to(choices(other, hosts))
        for host in side:
            host.end(signal.SIGTERM)
        for host in side:
            host.start()
        print(f"  all see all after {sixteen.agree(30.0):.1f} s")
    stream.turn_to(choices(hosts, hosts))
    time.sleep(3.0)

    products = stream.end()
    print("\n".join(summary(phases, products)))
    assert [one for one in products if one.wrong] == []
    assert max(one.took_s for one in products) <= LATE_S
    assert [fault for host in hosts for fault in host.faults()] == []
