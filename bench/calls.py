"""What a call between nodes costs when it asks for nothing. One JSON line a figure.

    python bench/calls.py [--quick]

The answering side is a whole daemon (`sedma-node up`) on a core of its own: TLS, decoding, the deciding core, the load
digest on the answer. The asking side is a member of its mesh. Round trips take turns with those of two blocking
sockets without encryption, and the figure is the median of the ratios of neighbours.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

import sedma
from node.cli.demo.fleet import Fleet
from node.runtime import tls
from node.runtime.datadir import DataDir
from node.runtime.joining import ask_to_join
from node.runtime.paths.doorway import ALPN_PATH
from node.runtime.registrar import Registrar
from node.runtime.switchboard import Switchboard
from node.runtime.tcp_link import Security
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.gossip import Tell, Told
from protocol.ids import NodeId
from protocol.messages import (
    Join,
    Joined,
    Probe,
    Request,
    RequestHeader,
    Response,
)
from protocol.paths import PathKind
from protocol.ticket import decode

CORES = sorted(os.sched_getaffinity(0))[:2]
PING_BYTES = 64
IN_FLIGHT = 256
CALL_S = 30.0
BUDGET_BYTES = 256 << 20
SOFTWARE = "sedma bench"

ECHO = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while (data := connection.recv(65536)):
    connection.sendall(data)
"""


class Member:
    """Hears what the daemon says; answers its gossip with nothing."""

    def __init__(self) -> None:
        self.linked: asyncio.Future[NodeId] = asyncio.get_running_loop().create_future()
        self.switchboard: Switchboard | None = None

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        self.linked.set_result(peer)

    def reached(self, addresses: tuple[str, ...]) -> None:
        pass

    def link_down(self, peer: NodeId, reason: str) -> None:
        print(f"the link is gone: {reason}", file=sys.stderr)

    def dial_failed(self, addresses: tuple[str, ...], peer: NodeId | None, reason: str) -> None:
        self.linked.set_exception(ConnectionError(reason))

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None:
        assert self.switchboard is not None
        if isinstance(header.request, Tell):
            self.switchboard.reply(request, Told(), None)
        else:
            error = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason="a benchmark holds nothing")
            self.switchboard.refuse(request, error)

    def body_received(self, request: int) -> None:
        pass

    def request_gone(self, request: int, reason: str) -> None:
        pass

    def replied(self, request: int) -> None:
        pass

    def note(self, event: str, **fields: object) -> None:
        print(event, fields, file=sys.stderr)

    turned_away = note

    def load(self) -> LoadDigest:
        return LoadDigest()

    def path_is(self, peer: NodeId, kind: PathKind) -> None:
        """There is one alone."""

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        """A benchmark chooses nobody."""

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return ()

    async def redeem(self, join: Join) -> Joined:
        raise TaskError(ErrorCode.FORBIDDEN, "a benchmark lets nobody in")


class Caller:
    """Asks one peer the same thing again and again."""

    def __init__(self, switchboard: Switchboard, peer: NodeId, request: Request) -> None:
        self._switchboard, self._peer, self._request = switchboard, peer, request
        self.trip_s: list[float] = []
        """How long each call took, where only one is under way at a time."""
        self._left = 0
        self._open = 0
        self._asked_at = 0.0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, count: int, in_flight: int) -> float:
        """Seconds for so many calls."""
        self._left, self._open = count, 0
        self.trip_s.clear()
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        for _ in range(in_flight):
            self._ask()
        await self._done
        return time.perf_counter() - began

    def _ask(self) -> None:
        self._left -= 1
        self._open += 1
        self._asked_at = time.perf_counter()
        self._switchboard.call(
            self._peer, self._request, CALL_S, answered=self._answered, failed=self._failed
        )

    def _answered(self, response: Response, load: LoadDigest) -> None:
        self.trip_s.append(time.perf_counter() - self._asked_at)
        self._open -= 1
        if self._left:
            self._ask()
        elif not self._open:
            self._done.set_result(None)

    def _failed(self, error: ErrorInfo) -> None:
        if not self._done.done():
            self._done.set_exception(TaskError.of(error))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    options = parser.parse_args()
    rounds, scale = (3, 1) if options.quick else (9, 4)
    _tell("machine", cores=CORES, load=os.getloadavg())
    with (
        tempfile.TemporaryDirectory() as folder,
        Fleet(Path(folder) / "state", Path(folder) / "logs") as fleet,
    ):
        daemon = fleet.start("daemon", BUDGET_BYTES)
        fleet.wait_ready(daemon)
        os.sched_setaffinity(daemon.process.pid, {CORES[-1]})
        os.sched_setaffinity(0, {CORES[0]})
        with sedma.connect(daemon.url, data_dir=daemon.data_dir) as client:
            ticket = client.ticket()["ticket"]
        uvloop.run(_measure(ticket, Path(folder) / "member", rounds, scale))


async def _measure(text: str, path: Path, rounds: int, scale: int) -> None:
    data_dir = DataDir(path)
    ticket = decode(text)
    registrar = Registrar(data_dir.path)
    try:
        identity = await registrar.prepare()
        join = await registrar.ask_join(ticket)
        joined = await ask_to_join(ticket, join, identity.id, SOFTWARE)
        membership = await registrar.adopt(ticket.mesh, joined, time.time())
    finally:
        await registrar.close()
        data_dir.close()
    member = Member()
    security = Security(tls.client_context(membership, (ALPN_PATH,)), tls.peer_id)
    switchboard = Switchboard(identity.id, membership.mesh, SOFTWARE, member, security)
    member.switchboard = switchboard
    switchboard.dial(ticket.addresses, None)
    caller = Caller(switchboard, await member.linked, Probe())
    await caller.run(2000, IN_FLIGHT)
    await _round_trips(caller, rounds, 500 * scale)
    await _pipelined(caller, rounds, 5000 * scale)
    await switchboard.close("the benchmark is over")


async def _round_trips(caller: Caller, rounds: int, count: int) -> None:
    ours, raw = [], []
    with _echo() as echo:
        os.sched_setaffinity(echo.pid, {CORES[-1]})
        assert echo.stdout is not None
        with socket.create_connection(("127.0.0.1", int(echo.stdout.readline()))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(rounds):
                raw.append(_median_us([_ping(connection) for _ in range(count)]))
                await caller.run(count, 1)
                ours.append(_median_us(caller.trip_s))
    ratios = [mine / bare for mine, bare in zip(ours, raw, strict=True)]
    _tell(
        "no-op call over TLS, p50 against a raw plain round trip",
        ratio=round(statistics.median(ratios), 2),
        limit=3.0,
        p50_us=round(statistics.median(ours)),
        raw_p50_us=round(statistics.median(raw)),
    )


def _echo() -> "subprocess.Popen[str]":
    """The bare rival; nothing else runs meanwhile but one round trip at a time, so blocking harms nobody."""
    return subprocess.Popen([sys.executable, "-c", ECHO], stdout=subprocess.PIPE, text=True)


async def _pipelined(caller: Caller, rounds: int, count: int) -> None:
    rates = [count / await caller.run(count, IN_FLIGHT) for _ in range(rounds)]
    _tell(
        f"no-op calls a second over TLS, {IN_FLIGHT} in flight",
        calls_s=round(statistics.median(rates)),
        floor=10_000,
        rounds=[round(rate) for rate in rates],
    )


def _ping(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(b"x" * PING_BYTES)
    came = 0
    while came < PING_BYTES:
        came += len(connection.recv(PING_BYTES))
    return time.perf_counter() - began


def _median_us(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1e6


def _tell(name: str, **figures: object) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
