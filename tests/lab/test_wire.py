"""A wire is as slow and as bad as it was asked to be."""

import contextlib
import math
import socket
import statistics
import struct
import time
from collections.abc import Iterator

import pytest

from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.probe import SILENCE_S, SOON_S, Endpoint, Internet, endpoint, heard
from tests.lab.slow_wire import finds_neighbours
from tests.lab.wire import Wire

DELAY_MS = 20.0
JITTER_MS = 4.0
LOSS = 0.1
ROUNDS = 25
WITHIN_MS = 2.0

SLOW = Wire(delay_ms=DELAY_MS)
ASKED = [
    (Kind.OPEN, SLOW),
    (Kind.DUAL_STACK, SLOW),
    (Kind.CGN, Wire(delay_ms=DELAY_MS, jitter_ms=JITTER_MS)),
    (Kind.PORT, Wire(loss=LOSS)),
]
BURST = 100
BURSTS = 20
STANDARD_ERRORS = 5.0

SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("=qq")


@pytest.fixture(scope="module")
def lab(machine: None) -> Iterator[Lab]:
    wires = {number: wire for number, (_, wire) in enumerate(ASKED)}
    with contextlib.closing(Lab([kind for kind, _ in ASKED], wires=wires)) as one:
        yield one


def round_trips_ms(client: socket.socket, server: socket.socket) -> list[float]:
    for one in (client, server):
        one.settimeout(SOON_S)
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    found = []
    for _ in range(ROUNDS):
        there_ns, sender = crossing_ns(client, endpoint(server), server)
        back_ns, _ = crossing_ns(server, sender, client)
        found.append((there_ns + back_ns) / 1e6)
    return found


def crossing_ns(source: socket.socket, to: Endpoint, target: socket.socket) -> tuple[int, Endpoint]:
    """By the kernel's clock: on a busy machine a process learns of a packet later than that came."""
    began_ns = time.time_ns()
    source.sendto(b"ping", to)
    _, extra, _, sender = target.recvmsg(16, socket.CMSG_SPACE(TIMESPEC.size))
    ((_, _, stamp),) = extra
    seconds, nanoseconds = TIMESPEC.unpack(stamp)
    return seconds * 10**9 + nanoseconds - began_ns, sender[:2]


@pytest.mark.parametrize("kind", [Kind.OPEN, Kind.DUAL_STACK, Kind.CGN])
def test_a_round_trip_takes_twice_the_delay(kind: Kind, lab: Lab, internet: Internet) -> None:
    client = internet.udp_socket(lab.of(kind)[0])

    found = round_trips_ms(client, internet.udp[0][0])

    assert abs(statistics.median(found) - 2 * DELAY_MS) <= WITHIN_MS


def test_a_round_trip_in_ipv6_takes_as_long(lab: Lab, internet6: Internet) -> None:
    client = internet6.udp_socket(lab.of(Kind.DUAL_STACK)[0])

    found = round_trips_ms(client, internet6.udp[0][0])

    assert abs(statistics.median(found) - 2 * DELAY_MS) <= WITHIN_MS


def test_between_two_slow_hosts_the_delays_add_up(lab: Lab, internet: Internet) -> None:
    (far,), (near,) = lab.of(Kind.DUAL_STACK), lab.of(Kind.OPEN)

    found = round_trips_ms(internet.udp_socket(far), internet.udp_socket(near))

    assert abs(statistics.median(found) - 4 * DELAY_MS) <= WITHIN_MS


def test_with_jitter_some_round_trips_take_longer_than_others(lab: Lab, internet: Internet) -> None:
    client = internet.udp_socket(lab.of(Kind.CGN)[0])

    found = round_trips_ms(client, internet.udp[0][0])

    assert statistics.stdev(found) >= JITTER_MS / 2
    assert min(found) >= 2 * (DELAY_MS - JITTER_MS)
    assert statistics.quantiles(found)[2] <= 2 * (DELAY_MS + JITTER_MS)


def test_no_frame_overtakes_another(lab: Lab, internet: Internet) -> None:
    client, server = internet.udp_socket(lab.of(Kind.CGN)[0]), internet.udp[0][0]

    said = [internet.send(client, endpoint(server)) for _ in range(BURST)]

    assert [data for data, _ in heard(server, SILENCE_S)] == said


def test_so_many_are_lost_as_was_asked(lab: Lab, internet: Internet) -> None:
    client, server = internet.udp_socket(lab.of(Kind.PORT)[0]), internet.udp[0][0]
    arrived = 0
    for _ in range(BURSTS):
        for _ in range(BURST):
            internet.send(client, endpoint(server))
        arrived += len(list(heard(server, SILENCE_S)))

    sent = BURST * BURSTS
    error = math.sqrt(sent * LOSS * (1 - LOSS))
    assert abs(sent - arrived - sent * LOSS) <= STANDARD_ERRORS * error


def test_neither_arp_nor_its_like_is_late_or_lost() -> None:
    def frame(kind: int, payload: bytes) -> bytes:
        return bytes(12) + kind.to_bytes(2) + payload

    def ipv6(inner: int, first: int) -> bytes:
        return frame(0x86DD, bytes([0x60, 0, 0, 0, 0, 8, inner, 255]) + bytes(32) + bytes([first]))

    assert finds_neighbours(frame(0x0806, bytes(28)))
    assert finds_neighbours(ipv6(58, 135) + bytes(7))
    assert finds_neighbours(ipv6(58, 136) + bytes(7))
    assert not finds_neighbours(ipv6(58, 128) + bytes(7))
    assert not finds_neighbours(ipv6(17, 135) + bytes(7))
    assert not finds_neighbours(frame(0x0800, bytes([0x45]) + bytes(40)))
