"""Products a second in a mesh, many in flight against one at a time. One JSON line a figure.

    python bench/products.py [--quick]

Four daemons on this machine hold a 4,096 x 4,096 matrix; one client sends X of 8 rows to one of them. Rounds of the two
kinds take turns, and the figure is the ratio of their medians.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path

import numpy as np

import sedma
from node.cli.demo.fleet import Fleet
from sedma.client import Answer, Client

MIB = 1 << 20
BUDGETS = (160 * MIB, 176 * MIB, 192 * MIB, 208 * MIB)
SIDE = 4_096
ROWS = 8
SEED = 1
JOINED_S = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args()
    rounds, count = (3, 40) if options.quick else (5, 200)
    _tell("machine", load=os.getloadavg())
    dice = np.random.default_rng(SEED)
    x = dice.standard_normal((ROWS, SIDE), np.float32)
    with (
        tempfile.TemporaryDirectory() as folder,
        Fleet(Path(folder) / "state", Path(folder) / "logs") as fleet,
        _joined(fleet) as client,
    ):
        for backend in ("digital", "rram"):
            client.put("w", dice.standard_normal((SIDE, SIDE), np.float32), backend=backend)
            _compare(client, x, backend, rounds, count)
            client.rm("w")


def _joined(fleet: Fleet) -> Client:
    """A client of the largest daemon, when all are one mesh."""
    first = fleet.start("node-0", BUDGETS[-1])
    fleet.wait_ready(first)
    client = sedma.connect(first.url, data_dir=first.data_dir)
    ticket = client.ticket()["ticket"]
    for number, budget in enumerate(BUDGETS[:-1], 1):
        fleet.wait_ready(fleet.start(f"node-{number}", budget, ticket))
    until = time.monotonic() + JOINED_S
    while sum(peer["state"] == "connected" for peer in client.peers()) < len(BUDGETS) - 1:
        if time.monotonic() > until:
            raise SystemExit(f"the daemons did not find each other in {JOINED_S:g} s")
        time.sleep(0.05)
    return client


def _compare(client: Client, x: np.ndarray, backend: str, rounds: int, count: int) -> None:
    rates: dict[int, list[float]] = {1: [], 8: []}
    for in_flight in rates:
        _rate(client, x, in_flight, count // 4)
    for _ in range(rounds):
        for in_flight, taken in rates.items():
            taken.append(_rate(client, x, in_flight, count))
    one, many = statistics.median(rates[1]), statistics.median(rates[8])
    _tell(
        f"products a second, {backend}, 8 in flight against 1",
        ratio=round(many / one, 2),
        floor=0.95,
        one=round(one, 1),
        eight=round(many, 1),
        rounds={number: [round(rate, 1) for rate in taken] for number, taken in rates.items()},
    )


def _rate(client: Client, x: np.ndarray, in_flight: int, count: int) -> float:
    began = time.perf_counter()
    under_way: deque[Future[Answer]] = deque()
    for _ in range(count):
        if len(under_way) == in_flight:
            under_way.popleft().result()
        under_way.append(client.submit("w", x))
    _wait(under_way)
    return count / (time.perf_counter() - began)


def _wait(futures: Iterable[Future[Answer]]) -> None:
    for future in futures:
        future.result()


def _tell(name: str, **figures: object) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
