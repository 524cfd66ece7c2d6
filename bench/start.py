"""How soon a node is ready, how soon four have found each other, and what they take while idle. JSON lines.

    python bench/start.py [--rounds 5]

Daemons are processes of their own on loopback, started as a user starts them. The first start warms the file
cache and is not counted. Times run from exec to the answer, looked for every 2 ms.
"""

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sedma.places import TOKEN_FILE, URL_FILE

MIB = 1 << 20
NODES = 4
QUIET_S = 5.0
PATIENCE_S = 30.0
POLL_S = 0.002


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is told")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        ready_s(folder / "warm")
        _tell("machine", cores=len(os.sched_getaffinity(0)), load=os.getloadavg())
        first = [ready_s(folder / f"new{turn}") for turn in range(rounds)]
        _tell_times("ready, founding a mesh", first, floor=0.8)
        again = [ready_s(folder / "warm") for _ in range(rounds)]
        _tell_times("ready, coming back", again, floor=0.8)
        joined = [joined_s(folder / f"mesh{turn}") for turn in range((rounds + 1) // 2)]
        _tell_times(f"{NODES} started at once, all joined", joined, floor=2.0)
        _tell("idle, alone", floor_mib=80, **memory(folder / "alone", 1))
        _tell(f"idle, one of {NODES}", floor_mib=50, **memory(folder / "four", NODES))


# -- figures ---------------------------------------------------------------------------------------


def ready_s(folder: Path) -> float:
    """From exec to 200 on /readyz."""
    with Daemon(folder) as daemon:
        return until(daemon.is_ready) - daemon.began_at


def joined_s(folder: Path) -> float:
    """A ticket was minted before; from the first exec until each of four has all others connected."""
    listen = f"127.0.0.1:{free_port()}"
    with Daemon(folder / "0", listen) as minter:
        until(minter.is_ready)
        ticket = minter.ticket()
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(folder / "0", listen))]
        for number in range(1, NODES):
            joiner = Daemon(folder / str(number), ticket=ticket)
            daemons.append(stack.enter_context(joiner))
        return until_all_joined(daemons) - daemons[0].began_at


def memory(folder: Path, nodes: int) -> dict[str, object]:
    """MiB of each of so many nodes of one mesh, after a while in which nobody asked them anything."""
    with ExitStack() as stack:
        daemons = [stack.enter_context(Daemon(folder / "0"))]
        until(daemons[0].is_ready)
        ticket = daemons[0].ticket() if nodes > 1 else None
        for number in range(1, nodes):
            joiner = Daemon(folder / str(number), ticket=ticket)
            daemons.append(stack.enter_context(joiner))
        until_all_joined(daemons)
        time.sleep(QUIET_S)
        maps = [daemon.memory_mib() for daemon in daemons]
    return {
        f"{kind.lower()}_mib": [round(one[kind], 1) for one in maps]
        for kind in ("Pss", "Rss", "Private_Dirty")
    }


# -- daemons ---------------------------------------------------------------------------------------


class Daemon:
    """`sedma-node up` with nothing else on its mind; as a context it is stopped at the end."""

    def __init__(
        self, data_dir: Path, listen: str = "127.0.0.1:0", ticket: str | None = None
    ) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(parents=True, exist_ok=True)
        words = ["--data-dir", str(data_dir), "--memory", "256MiB", "--listen", listen]
        words += ["--api", "127.0.0.1:0", *(["--join", ticket] if ticket else [])]
        command = [sys.executable, "-P", "-m", "node.cli.main", "up", *words]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SEDMA_")}
        self._log = data_dir.with_suffix(".log")
        with self._log.open("ab") as log:
            self.began_at = time.monotonic()
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def is_ready(self) -> bool:
        return self._ask("GET", "/readyz")[0] == 200

    def connected(self) -> int:
        status, peers = self._ask("GET", "/v1/peers")
        return sum(peer["state"] == "connected" for peer in peers) if status == 200 else 0

    def ticket(self) -> str:
        status, minted = self._ask("POST", "/v1/tickets", b"{}")
        assert status == 200, minted
        return str(minted["ticket"])

    def memory_mib(self) -> dict[str, float]:
        """The lines of smaps_rollup."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        lines = (line.split() for line in text.splitlines()[1:])
        return {words[0].rstrip(":"): int(words[1]) * 1024 / MIB for words in lines}

    def _ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """(0, None) while nobody answers."""
        if self.process.poll() is not None:
            raise SystemExit(f"a daemon ended: {self._log.read_text()}")
        try:
            url = (self.data_dir / URL_FILE).read_text().strip()
            token = (self.data_dir / TOKEN_FILE).read_text().strip()
        except FileNotFoundError:
            return 0, None
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except ConnectionError:
            return 0, None
        finally:
            connection.close()


def until(holds: Callable[[], bool]) -> float:
    """When it held, by the monotonic clock."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > give_up:
            raise SystemExit(f"not within {PATIENCE_S:g} s")
        time.sleep(POLL_S)
    return time.monotonic()


def until_all_joined(daemons: list[Daemon]) -> float:
    """One after the other: who has them all keeps them."""
    for daemon in daemons:
        until(lambda daemon=daemon: daemon.connected() == len(daemons) - 1)  # type: ignore[misc]
    return time.monotonic()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _tell_times(name: str, seconds: list[float], floor: float) -> None:
    told = [round(one, 3) for one in seconds]
    _tell(name, median_s=round(statistics.median(seconds), 3), seconds=told, floor_s=floor)


def _tell(name: str, **figures: object) -> None:
    print(json.dumps({"name": name, **figures}), flush=True)


if __name__ == "__main__":
    main()
