"""Hosts of their own on one machine: network namespaces around a switch, with a firewall in it.

Each host is a namespace with one Ethernet port; the switch is a namespace with a bridge, and an address of its own from
which all hosts are reached whatever the firewall does. No address and no rule is outside of them. Names carry our pid:
what a run that was killed has left is removed by the next. It takes root, `ip` (iproute2) and `nft` (nftables).
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path("/run/netns")
PREFIX = "sedma"
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)

RULES = """
table bridge cut {{
  chain forward {{
    type filter hook forward priority 0; policy accept;
    iifname {{ {here} }} oifname {{ {there} }} drop
    iifname {{ {there} }} oifname {{ {here} }} drop
  }}
}}
"""


def why_not() -> str:
    """What is missing on this machine; empty if hosts can be made."""
    if os.geteuid() != 0:
        return "network namespaces are for root alone"
    for tool, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(tool) is None:
            return f"there is no {tool}: apt-get install {package}"
    try:
        network = Network(2)
    except subprocess.CalledProcessError as refused:
        return f"the kernel refuses: {' '.join(refused.cmd)}: {refused.stderr.strip()}"
    network.close()
    return ""


class Network:
    """So many hosts, numbered from 0."""

    def __init__(self, hosts: int) -> None:
        sweep()
        self.switch = f"{PREFIX}-{os.getpid()}-switch"
        self.hosts = [f"{PREFIX}-{os.getpid()}-h{number}" for number in range(hosts)]
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def address(self, host: int) -> str:
        return f"10.77.0.{host + 1}"

    def cut(self, here: Iterable[int], there: Iterable[int]) -> None:
        """The switch drops each packet between the two sides, in both directions."""
        sides = {"here": _ports(here), "there": _ports(there)}
        run("ip", "netns", "exec", self.switch, "nft", "-f", "-", told=RULES.format(**sides))

    def heal(self) -> None:
        run("ip", "netns", "exec", self.switch, "nft", "delete", "table", "bridge", "cut")

    @contextlib.contextmanager
    def on_switch(self) -> Iterator[None]:
        """See `inside`."""
        with inside(self.switch):
            yield

    @contextlib.contextmanager
    def on_host(self, host: int) -> Iterator[None]:
        """See `inside`."""
        with inside(self.hosts[host]):
            yield

    def close(self) -> None:
        """Ends what still runs on the hosts."""
        remove([*self.hosts, self.switch])

    def _build(self) -> None:
        run("ip", "netns", "add", self.switch)
        lines = ["link set lo up", "link add switch type bridge"]
        lines += ["addr add 10.77.0.254/24 dev switch", "link set switch up"]
        for number, name in enumerate(self.hosts):
            run("ip", "netns", "add", name)
            lines.append(f"link add h{number} type veth peer name eth0 netns {name}")
            lines.append(f"link set h{number} master switch up")
        batch(self.switch, lines)
        for number, name in enumerate(self.hosts):
            address = f"addr add {self.address(number)}/24 dev eth0"
            batch(name, ["link set lo up", address, "link set eth0 up"])
        # The firewall is tried at once: without it a test would fail after a minute of other work.
        self.cut([0], [1])
        self.heal()


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """The calling thread is in this namespace, and so are the threads and processes that it starts there.

    A socket stays for ever in the namespace in which it was made.
    """
    with Path("/proc/thread-self/ns/net").open() as home, (FOLDER / name).open() as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def sweep() -> None:
    """Remove what runs that are no more have left."""
    found = [path.name for path in FOLDER.glob(f"{PREFIX}-*-*")]
    remove([name for name in found if not Path("/proc", name.split("-")[1]).exists()])


def remove(names: Iterable[str]) -> None:
    """Those that are there, and whatever runs in them."""
    there = [FOLDER / name for name in names if (FOLDER / name).exists()]
    if not there:
        return
    spaces = set()
    for path in there:
        # Another run may sweep at the same time.
        with contextlib.suppress(FileNotFoundError):
            spaces.add((path.stat().st_dev, path.stat().st_ino))
    for process in Path("/proc").glob("[0-9]*"):
        # One that ends meanwhile has no namespace to look at, and one that we may not look at is not ours.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            space = (process / "ns/net").stat()
            if (space.st_dev, space.st_ino) in spaces:
                os.kill(int(process.name), signal.SIGKILL)
    try:
        run("ip", "-force", "-batch", "-", told="".join(f"netns del {one.name}\n" for one in there))
    except subprocess.CalledProcessError:
        if any(path.exists() for path in there):
            raise


def batch(name: str, lines: Iterable[str]) -> None:
    """Commands for `ip` in this namespace."""
    run("ip", "-n", name, "-batch", "-", told="\n".join(lines) + "\n")


def run(*words: str, told: str = "") -> str:
    return subprocess.run(words, input=told, capture_output=True, text=True, check=True).stdout


def _enter(namespace: int) -> None:
    if _LIBC.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _ports(hosts: Iterable[int]) -> str:
    return ", ".join(f'"h{host}"' for host in hosts)
