"""A UDP socket that hands over many datagrams in one call of the kernel, and takes as many.

Python spends about 2 s on a gigabyte that leaves as datagrams of 1,452 bytes, each by a call of its own. Linux cuts a
large buffer into datagrams by itself (GSO) and joins those of one sender that came together (GRO): the calls become
forty times fewer. Where a kernel or a network card has neither, each datagram goes by itself.
"""

import asyncio
import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable

Address = tuple[str, int]

UDP_SEGMENT = 103
UDP_GRO = 104
"""Socket options of Linux that Python has no names for (linux/udp.h)."""
SOL_UDP = 17
IP_MTU_DISCOVER = 10
IP_PMTUDISC_PROBE = 3
IPV6_MTU_DISCOVER = 23

SEGMENTS_MAX = 64
"""Datagrams in one buffer (UDP_MAX_SEGMENTS of the kernel)."""
BATCH_BYTES_MAX = 65_000
"""Bytes in one buffer: what fits into one IP packet before it is cut."""
READS_MAX = 16
"""Buffers read in one turn of the loop: what else waits there waits no longer than some milliseconds."""
SOCKET_BUFFER_BYTES = 1 << 20
"""Asked of the kernel, which may give less: a burst shall not be lost while the loop is busy."""

NO_SEGMENTATION = {errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT}
"""How a card or a kernel says that it cannot cut."""
FULL = {errno.EAGAIN, errno.ENOBUFS}

_SIZE = struct.Struct("=H")
_GRO_SIZE = struct.Struct("@i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_GRO_SIZE.size)

OnDatagrams = Callable[[bytes, int, Address], None]
"""Told of a buffer, of the bytes of each datagram in it but the last, which may be shorter, and of their sender."""


class Datagrams:
    """One bound UDP socket. What the kernel will not send is lost, as it may be on any way, and counted."""

    def __init__(self, bound: socket.socket, on_datagrams: OnDatagrams) -> None:
        self.on_datagrams = on_datagrams
        self.on_writable: Callable[[], None] | None = None
        self.troubles: Counter[str] = Counter()
        """What the kernel did not send, or was told by the network, in words for people."""
        name = bound.getsockname()
        self.local: Address = (name[0], name[1])
        self._socket = bound
        self._loop = asyncio.get_running_loop()
        self._cuts = _has_segmentation(bound)
        self._waiting = False
        self._loop.add_reader(bound, self._read)

    def send(self, datagrams: list[bytes], to: Address) -> int:
        """How many are done with. While it is not all, the socket is full, and `on_writable` will be told."""
        done = 0
        while done < len(datagrams):
            count = _run_length(datagrams, done) if self._cuts else 1
            try:
                self._send_run(datagrams[done : done + count], to)
            except OSError as wrong:
                if wrong.errno in FULL:
                    self._wait_until_writable()
                    return done
                if count > 1 and wrong.errno in NO_SEGMENTATION:
                    self._cuts = False
                    continue
                # Too large for the way (a probe of QUIC), no way there just now, a firewall of this machine: lost.
                self.troubles[f"not sent: {_words(wrong)}"] += count
            done += count
        return done

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._waiting:
            self._loop.remove_writer(self._socket)
        self._socket.close()

    # -- within --------------------------------------------------------------------------------------

    def _send_run(self, run: list[bytes], to: Address) -> None:
        if len(run) == 1:
            self._socket.sendto(run[0], to)
        else:
            cut = (SOL_UDP, UDP_SEGMENT, _SIZE.pack(len(run[0])))
            self._socket.sendmsg(run, [cut], 0, to)

    def _wait_until_writable(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        self._waiting = False
        self._loop.remove_writer(self._socket)
        if self.on_writable is not None:
            self.on_writable()

    def _read(self) -> None:
        for _ in range(READS_MAX):
            try:
                buffer, ancillary, _, remote = self._socket.recvmsg(1 << 16, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError as wrong:
                # The network's answer to something that we have sent: who waits for a reply finds out.
                self.troubles[f"sent back: {_words(wrong)}"] += 1
                continue
            if buffer:
                self.on_datagrams(
                    buffer, _segment_bytes(ancillary, len(buffer)), (remote[0], remote[1])
                )
            if self._socket.fileno() < 0:
                return


def bind(host: str, port: int = 0) -> socket.socket:
    """A socket on this address of ours; OSError if it cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER_BYTES)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        _never_fragment(bound)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _never_fragment(bound: socket.socket) -> None:
    """QUIC finds out by itself how large a datagram may be, so a larger one shall be lost (RFC 8899)."""
    if bound.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    else:
        bound.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)


def _has_segmentation(bound: socket.socket) -> bool:
    try:
        bound.setsockopt(SOL_UDP, UDP_GRO, 1)
        bound.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


def _words(wrong: OSError) -> str:
    return os.strerror(wrong.errno or 0)


def _run_length(datagrams: list[bytes], start: int) -> int:
    """How many from here may leave as one buffer: equal in size, but that the last may be shorter."""
    size = len(datagrams[start])
    most = min(SEGMENTS_MAX, BATCH_BYTES_MAX // max(size, 1))
    end = start + 1
    while end < len(datagrams) and end - start < most:
        following = len(datagrams[end])
        if following > size:
            break
        end += 1
        if following < size:
            break
    return end - start


def _segment_bytes(ancillary: list[tuple[int, int, bytes]], received: int) -> int:
    for level, kind, data in ancillary:
        if level == SOL_UDP and kind == UDP_GRO and len(data) >= _GRO_SIZE.size:
            return int(_GRO_SIZE.unpack_from(data)[0])
    return received
