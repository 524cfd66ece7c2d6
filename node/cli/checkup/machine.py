"""What the machine gives: memory, open files, the buffer for packets, and how its TCP reckons with loss."""

import contextlib
import resource
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from node.cli.checkup.finding import Finding, ok, problem, warning
from node.cli.checkup.kernel import memory_limit, text_of, udp_drops
from node.config import Settings
from protocol.errors import ConfigError
from protocol.quantities import size_text

FILES_MIN = 512
"""Two connections to each of 64 others, as many again while both sides dial, 64 strangers, the clients and their
matrices."""

SWAPPED_BYTES_MAX = 16 << 20
"""So much of a process may lie in swap without harm: what it has not touched since its start."""

PACKET_COST_BYTES = 2304
"""What a packet of 1,200 bytes takes of a socket's buffer, by the kernel's account; it doubles what is asked."""

PACKETS_MIN = 64
"""A round of gossip in a mesh of some dozens, come while the loop is held up."""

CONGESTION = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes."""

    budget: int
    taken: int
    """Of it, by the daemon; nothing before it runs."""
    available: int
    swapped: int
    """Of the daemon's process, now on disk."""
    limit: int | None
    """Of the control group."""


def of_memory(
    settings: Settings, status: Mapping[str, Any] | None, pid: int | None
) -> Iterator[Finding]:
    """`status` and `pid` are the daemon's; without them it is judged what `up` would offer."""
    if status is not None:
        budget, taken = status["budget_bytes"], status["rss_bytes"]
    else:
        from node.deployment.ledger import Ledger
        from node.runtime.budget import budget_bytes

        taken = 0
        try:
            budget = budget_bytes(settings.share.memory_bytes)
            Ledger(budget, settings.memory.activations_bytes)
        except ConfigError as wrong:
            yield problem(
                "memory", str(wrong), "`sedma-node up` cannot start", "change share.memory"
            )
            return
    swapped = 0
    if pid is not None:
        try:
            swapped = psutil.Process(pid).memory_full_info().swap
        except psutil.Error:
            yield ok("swap", f"process {pid} cannot be looked at from here")
    available = psutil.virtual_memory().available
    yield from judge_memory(Memory(budget, taken, available, swapped, memory_limit(pid)))


def of_files(pid: int | None) -> Finding:
    if pid is None:
        return judge_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0], None)
    try:
        daemon = psutil.Process(pid)
        return judge_files(daemon.rlimit(resource.RLIMIT_NOFILE)[0], daemon.num_fds())
    except psutil.Error:
        return ok("open files", f"process {pid} cannot be looked at from here")


def of_packets(status: Mapping[str, Any] | None, pid: int | None) -> Finding:
    from node.runtime.packets import RECEIVE_BUFFER_BYTES

    dropped = None
    if status is not None and status["packets"] and pid is not None:
        with contextlib.suppress(psutil.Error):
            ours = {one.laddr.port for one in psutil.Process(pid).net_connections("udp")}
            dropped = sum(udp_drops(port, pid) for port in ours)
    granted = udp_buffer(RECEIVE_BUFFER_BYTES)
    return judge_udp_buffer(RECEIVE_BUFFER_BYTES, granted, dropped)


def judge_memory(memory: Memory) -> Iterator[Finding]:
    budget, available = size_text(memory.budget), size_text(memory.available)
    told = f"{budget} offered, {size_text(memory.taken)} taken; {available} available"
    growth = memory.budget - memory.taken
    if memory.limit is not None and memory.limit < memory.budget:
        yield problem(
            "memory",
            f"{told}; the control group ends at {size_text(memory.limit)}",
            "the kernel kills the daemon before it has taken what it offers",
            "offer less with --memory (share.memory), or raise the limit (systemd: MemoryMax)",
        )
    elif growth > memory.available:
        yield warning(
            "memory",
            told,
            "once others put weights here, the machine swaps or the kernel ends a process",
            f"offer less with --memory (share.memory): {size_text(memory.taken + memory.available)} at most",
        )
    else:
        yield ok("memory", told)
    if memory.swapped > SWAPPED_BYTES_MAX:
        yield warning(
            "swap",
            f"{size_text(memory.swapped)} of the daemon lie in swap",
            "products wait for the disk, and others choose this node by a speed that it does not have",
            "offer less with --memory (share.memory), or end other programs",
        )


def judge_files(limit: int, used: int | None) -> Finding:
    if limit == resource.RLIM_INFINITY:
        return ok("open files", "as many as are wanted")
    told = f"{limit} open files allowed" if used is None else f"{used} of {limit} open files in use"
    if limit < FILES_MIN or (used is not None and used > 0.8 * limit):
        return warning(
            "open files",
            told,
            "when they run out, links and clients are turned away",
            f"ulimit -n {max(4 * FILES_MIN, 2 * limit)} before `up` (systemd: LimitNOFILE)",
        )
    return ok("open files", told)


def udp_buffer(asked: int) -> int:
    """What the kernel grants of it to a socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked)
        # The kernel tells twice what it grants, for its own account of each packet.
        return trial.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def judge_udp_buffer(asked: int, granted: int, dropped: int | None) -> Finding:
    """`dropped`: packets lost for want of room since the daemon began; None where no daemon was looked at."""
    packets = 2 * granted // PACKET_COST_BYTES
    told = f"{size_text(granted)} of {size_text(asked)} granted, some {packets:,} packets"
    told += f"; {dropped:,} dropped" if dropped is not None else ""
    fix = f"sysctl -w net.core.rmem_max={asked}, then start the daemon again"
    if dropped or packets < PACKETS_MIN:
        means = "packets were lost" if dropped else "packets are lost"
        return warning(
            "UDP buffer",
            told,
            f"{means} while the daemon was busy: others may suspect this node of being gone",
            fix
            if granted < asked
            else "see sedma_loop_lag_max_seconds in /metrics: the loop is held up",
        )
    if granted < asked:
        return ok("UDP buffer", told, "enough, unless the daemon is held up for seconds", fix)
    return ok("UDP buffer", told)


def judge_congestion(folder: Path = CONGESTION) -> Finding:
    """All links are TCP, and take what the machine has. Neither kind is wrong: it depends on the lines.

    On loopback, a GiB at a time and in turns, bbr carried 2.6 GB/s, cubic 3.9 and reno 6.0 (medians of four).
    """
    chosen = (text_of(folder / "tcp_congestion_control") or "").strip()
    available = (text_of(folder / "tcp_available_congestion_control") or "").split()
    if not chosen:
        return ok("congestion", "the kernel does not tell its algorithm")
    if chosen == "bbr":
        return ok(
            "congestion",
            "bbr",
            "loss alone does not slow a link down; on one machine it carries about half of what cubic does",
            "if all nodes are near each other: sysctl -w net.ipv4.tcp_congestion_control=cubic",
        )
    load = "" if "bbr" in available else "modprobe tcp_bbr && "
    return ok(
        "congestion",
        chosen,
        "each loss slows a link down, which is felt on long lines alone",
        f"if nodes are far from each other: {load}sysctl -w net.ipv4.tcp_congestion_control=bbr",
    )
