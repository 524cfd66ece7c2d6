"""How near our links come to blocking sockets with no layer at all. One JSON line a figure.

    python bench/link.py [--quick]

Each side has a process and a core of its own. Ours and the bare sockets take turns, and a figure is the
median of the ratios of neighbours, because absolute rates on a shared machine double and halve by the minute.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.link_ends import (
    CONGESTION,
    Job,
    ReportPort,
    link_pings,
    link_receiver,
    link_sender,
    raw_echo,
    raw_pings,
    raw_receiver,
    raw_sender,
    write_certificates,
)

MIB = 1 << 20
CORES = sorted(os.sched_getaffinity(0))[:2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--core", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.core is not None:
        _serve_orders(options.core)
        return
    rounds, scale = (5, 1) if options.quick else (9, 4)
    with tempfile.TemporaryDirectory() as folder, Ends() as ends:
        write_certificates(Path(folder))
        _tell("machine", cores=CORES, congestion=CONGESTION, load=os.getloadavg())
        _throughput(ends, "16 MiB plain", 0.90, Job("raw", None, 16 * MIB, 24 * scale, 2), rounds)
        _throughput(
            ends,
            "16 MiB plain, one in flight",
            None,
            Job("raw", None, 16 * MIB, 24 * scale),
            rounds,
        )
        _throughput(ends, "16 MiB TLS", 0.95, Job("raw", folder, 16 * MIB, 8 * scale, 2), rounds)
        small = Job("raw", None, MIB // 16, 3200 * scale, 32)
        _throughput(ends, "64 KiB plain", 0.75, replace(small, ahead=True), rounds)
        _throughput(ends, "64 KiB plain, each asked for", None, small, rounds)
        for tls in (None, folder):
            _memory(Job("link", tls, 256 * MIB, 1))
        _latency(ends, Job("raw", None, MIB, 1000 * scale, 2), rounds)


# -- figures ---------------------------------------------------------------------------------------


def _throughput(ends: "Ends", name: str, floor: float | None, job: Job, rounds: int) -> None:
    rates: dict[str, list[float]] = {"raw": [], "link": []}
    for _ in range(rounds):
        for side, taken in rates.items():
            seconds, _ = ends.measure("throughput", replace(job, side=side))
            taken.append(job.nbytes * job.count / seconds / 1e6)
    ratios = [ours / bare for ours, bare in zip(rates["link"], rates["raw"], strict=True)]
    _tell(
        name,
        ratio=round(statistics.median(ratios), 3),
        ratios=[round(ratio, 2) for ratio in ratios],
        floor=floor,
        mb_s=round(statistics.median(rates["link"])),
        raw_mb_s=round(statistics.median(rates["raw"])),
        window=job.window,
    )


def _memory(job: Job) -> None:
    """Peak of the resident set while one tensor travels, less what stood before: both buffers do."""
    with Ends() as fresh:
        sender, receiver = fresh.measure("memory", job)
    _tell(
        f"extra memory, 256 MiB {'TLS' if job.tls else 'plain'}",
        sender_mib=round(sender / MIB, 2),
        receiver_mib=round(receiver / MIB, 2),
        limit_mib=2,
    )


def _latency(ends: "Ends", job: Job, rounds: int) -> None:
    p99: dict[str, list[float]] = {"raw": [], "link": []}
    p50: dict[str, list[float]] = {"raw": [], "link": []}
    for _ in range(rounds):
        for side in p99:
            trips = sorted(ends.measure("pings", replace(job, side=side))[0])
            p99[side].append(trips[len(trips) * 99 // 100] * 1e6)
            p50[side].append(trips[len(trips) // 2] * 1e6)
    ratios = [ours / bare for ours, bare in zip(p99["link"], p99["raw"], strict=True)]
    _tell(
        "64 B round trip beside bulk",
        p99_ratio=round(statistics.median(ratios), 2),
        p99_us=round(statistics.median(p99["link"])),
        raw_p99_us=round(statistics.median(p99["raw"])),
        p50_us=round(statistics.median(p50["link"])),
        raw_p50_us=round(statistics.median(p50["raw"])),
    )


def _tell(name: str, **figures: object) -> None:
    _tell_line({"name": name, **figures})


# -- two processes ---------------------------------------------------------------------------------

RECEIVERS: dict[tuple[str, str], Callable[[Job, ReportPort], None]] = {
    ("throughput", "raw"): raw_receiver,
    ("throughput", "link"): link_receiver,
    ("pings", "raw"): raw_echo,
    ("pings", "link"): partial(link_receiver, links=2),
}
SENDERS: dict[tuple[str, str], Callable[[Job, int], float | list[float]]] = {
    ("throughput", "raw"): raw_sender,
    ("throughput", "link"): link_sender,
    ("pings", "raw"): raw_pings,
    ("pings", "link"): link_pings,
}


class End:
    """A process of its own, on a core of its own, that does one job after the other."""

    def __init__(self, core: int) -> None:
        command = [sys.executable, __file__, "--core", str(core)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def order(self, kind: str, job: Job, port: int | None) -> None:
        assert self._process.stdin is not None
        print(json.dumps([kind, asdict(job), port]), file=self._process.stdin, flush=True)

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("one end died; its error stands above")
        return json.loads(line)

    def __enter__(self) -> "End":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input, which ends it


class Ends:
    """A receiver and a sender."""

    def __init__(self) -> None:
        self._receiver, self._sender = End(CORES[-1]), End(CORES[0])

    def measure(self, kind: str, job: Job) -> tuple[Any, Any]:
        """What the sender and the receiver found."""
        self._receiver.order(kind, job, None)
        self._sender.order(kind, job, self._receiver.answer())
        return self._sender.answer(), self._receiver.answer()

    def __enter__(self) -> "Ends":
        return self

    def __exit__(self, *_: object) -> None:
        for end in (self._sender, self._receiver):
            end.__exit__()


def _serve_orders(core: int) -> None:
    """The life of one end: a port, if it is to listen, then what it found; until no more orders come."""
    os.sched_setaffinity(0, {core})
    for line in sys.stdin:
        kind, job, port = json.loads(line)
        _tell_line(_obey(kind, Job(**job), port))


def _obey(kind: str, job: Job, port: int | None) -> object:
    if kind == "memory":
        return _peak_growth(job, port)
    if port is None:
        RECEIVERS[kind, job.side](job, _tell_line)
        return None
    return SENDERS[kind, job.side](job, port)


def _peak_growth(job: Job, port: int | None) -> int:
    """Bytes by which the resident set grew at most, from when link and buffers stood."""
    before = 0

    def start() -> None:
        nonlocal before
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_bytes("VmHWM")

    if port is None:
        link_receiver(job, _tell_line, ready=start)
    else:
        link_sender(job, port, ready=start)
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field + ":"))
    return int(line.split()[1]) * 1024


def _tell_line(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
