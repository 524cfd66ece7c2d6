"""Carries Ethernet frames between two TAP devices, late and not all of them: the process behind a `Cable`.

    slow_wire.py NAMESPACE PORT NAMESPACE PORT DELAY_MS JITTER_MS LOSS SEED

It makes both devices, says so in one line, and ends when its standard input does. It stands alone, so that many
of them start quickly. TAP devices offer the kernel no segmentation: what is carried has the size that it would have
on a real wire.
"""

import collections
import ctypes
import errno
import fcntl
import os
import random
import select
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP_NO_PI = 0x0002 | 0x1000

PRIORITY = 1
"""The lowest of real time, which is still before all others: a wire takes no longer when the machine is busy."""

FRAME_BYTES_MAX = 65_536
BATCH_MAX = 64
"""So many frames are taken from one end before the other is looked at."""

WAITING_MAX = 4_096
"""Frames on their way in one direction; any more are lost, as in a router."""

IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
ICMPV6 = 58
ROUTER_SOLICITATION, REDIRECT = 133, 137


class Direction:
    """What is on its way from one end to the other."""

    def __init__(
        self, source: int, sink: int, wire: tuple[float, float, float], dice: random.Random
    ) -> None:
        self._source, self._sink = source, sink
        self._delay_s, self._jitter_s, self._loss = wire
        self._dice = dice
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()
        self._last_due = 0.0

    @property
    def deadline(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def take(self) -> None:
        for _ in range(BATCH_MAX):
            try:
                frame = os.read(self._source, FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            if finds_neighbours(frame):
                self._give(frame)
            elif self._dice.random() >= self._loss and len(self._waiting) < WAITING_MAX:
                self._waiting.append((self._due(time.monotonic()), frame))

    def deliver(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            self._give(self._waiting.popleft()[1])

    def _due(self, now: float) -> float:
        takes_s = self._delay_s + self._dice.uniform(-self._jitter_s, self._jitter_s)
        self._last_due = max(self._last_due, now + takes_s)
        return self._last_due

    def _give(self, frame: bytes) -> None:
        try:
            os.write(self._sink, frame)
        except OSError as error:
            # That end is not up, or not any more: nobody is there to miss the frame.
            if error.errno not in (errno.EIO, errno.EAGAIN):
                raise


def finds_neighbours(frame: bytes) -> bool:
    """ARP and its like in IPv6: on a real line nobody has to ask for them at the far end."""
    kind = frame[12:14]
    if kind == IPV6 and len(frame) > 54 and frame[20] == ICMPV6:
        return ROUTER_SOLICITATION <= frame[54] <= REDIRECT
    return kind not in (IPV4, IPV6)


def tap(namespace: str, name: str) -> int:
    """A device of this name there; it is gone when this is closed."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}") as there:  # noqa: PTH123 - pathlib takes longer than all the rest
        if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP_NO_PI))
    return device


def carry(here: int, there: int, wire: tuple[float, float, float], dice: random.Random) -> None:
    """Until standard input ends."""
    directions = {
        here: Direction(here, there, wire, dice),
        there: Direction(there, here, wire, dice),
    }
    stop = sys.stdin.fileno()
    while True:
        deadlines = [one.deadline for one in directions.values() if one.deadline is not None]
        wait_s = max(min(deadlines) - time.monotonic(), 0.0) if deadlines else None
        ready, _, _ = select.select([stop, here, there], [], [], wait_s)
        if stop in ready:
            return
        for end, direction in directions.items():
            if end in ready:
                direction.take()
            direction.deliver()


def main() -> None:
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(PRIORITY))
    here, there = tap(*sys.argv[1:3]), tap(*sys.argv[3:5])
    delay_ms, jitter_ms, loss = map(float, sys.argv[5:8])
    print("ready", flush=True)
    wire = (delay_ms / 1000.0, jitter_ms / 1000.0, loss)
    carry(here, there, wire, random.Random(int(sys.argv[8])))


if __name__ == "__main__":
    main()
