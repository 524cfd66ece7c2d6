"""Hears from the kernel (Linux) when an address or an interface of this machine comes, goes or changes.

A change comes as a burst of messages: an interface goes down, its addresses go, another comes up. We tell of it once,
when it has been quiet for a moment, or when that takes too long. What the messages say is not read: whoever is told
looks for himself.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

QUIET_S = 0.3
BURST_S_MAX = 3.0
"""A burst that lasts for so long is told of before it has ended."""
GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR (linux/rtnetlink.h)."""
READ_BYTES = 65_536
READS_MAX = 64


class NetworkChanges:
    """Calls back after each burst of changes. OSError where there is no such thing to listen to."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tell_until = 0.0
        """Of the burst that is under way: it is told of by then."""
        self._socket = _listener()
        self._loop.add_reader(self._socket, self._read)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        if self._timer is not None:
            self._timer.cancel()

    def _read(self) -> None:
        for _ in range(READS_MAX):
            try:
                self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError as wrong:
                # More was told than the buffer holds: something has changed, then.
                if wrong.errno != errno.ENOBUFS:
                    raise
        now = self._loop.time()
        if self._timer is None:
            self._tell_until = now + BURST_S_MAX
        else:
            self._timer.cancel()
        self._timer = self._loop.call_at(min(now + QUIET_S, self._tell_until), self._tell)

    def _tell(self) -> None:
        self._timer = None
        self._changed()


def _listener() -> socket.socket:
    family = getattr(socket, "AF_NETLINK", None)
    if family is None:
        raise OSError(errno.EAFNOSUPPORT, "only Linux tells of changes to the network")
    one = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        one.setblocking(False)
        one.bind((0, GROUPS))
    except OSError:
        one.close()
        raise
    return one
