"""Ports that somebody else has, for one protocol alone, and ports that nobody gets by chance."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

TRIED = range(20_000, 32_000)
"""Below those that kernels give to connections: nobody takes one for the other protocol meanwhile."""
TRIES = 100


@contextmanager
def taken(kind: socket.SocketKind) -> Iterator[int]:
    """One of 127.0.0.1 that is taken in TCP (SOCK_STREAM) or in UDP (SOCK_DGRAM), and free in the other."""
    others = {socket.SOCK_STREAM: socket.SOCK_DGRAM, socket.SOCK_DGRAM: socket.SOCK_STREAM}
    with socket.socket(socket.AF_INET, kind) as one:
        port = next(port for port in random.sample(TRIED, TRIES) if _binds(one, others[kind], port))
        if kind is socket.SOCK_STREAM:
            one.listen()
        yield port


def free() -> int:
    """One of 127.0.0.1 that is free in TCP and in UDP, and stays so while a daemon that had it starts again."""
    for port in random.sample(TRIED, TRIES):
        with (
            suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        ):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"none of {TRIES} ports is free")


def _binds(one: socket.socket, other: socket.SocketKind, port: int) -> bool:
    """Whether it has the port now, and the other protocol could have it."""
    with socket.socket(socket.AF_INET, other) as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        one.bind(("127.0.0.1", port))
        return True
    return False
