"""The ports: that of the other nodes (TCP for links, UDP for packets) and that of the HTTP interface."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from node.cli.checkup.finding import Finding, ok, problem, warning
from node.config import Settings, host_port

KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A port that `up` would take."""

    what: str
    kind: str
    """TCP | UDP"""
    address: str
    """host:port"""
    key: str
    """The setting that names it."""
    flag: str = ""
    """Of `up`, where it has one for that setting."""

    def at(self, address: str) -> str:
        """How people write that it is to be taken at this host:port."""
        return f"{self.flag} {address} ({self.key})" if self.flag else f'{self.key} = "{address}"'


def wanted(settings: Settings) -> tuple[Wanted, ...]:
    peers, programs = settings.mesh.listen, settings.api.listen
    also = settings.mesh.also_listen
    return (
        Wanted("links", "TCP", peers, "mesh.listen", "--listen"),
        Wanted("packets", "UDP", peers, "mesh.listen", "--listen"),
        *([Wanted("links", "TCP", also, "mesh.also_listen")] if also is not None else []),
        Wanted("programs", "TCP", programs, "api.listen", "--api"),
    )


def findings_before_start(settings: Settings) -> Iterator[Finding]:
    """No daemon runs here: each port is taken for a moment, and let go again."""
    free = []
    for one in wanted(settings):
        wrong = _why_not(one)
        if wrong is None:
            free.append(f"{one.kind} {one.address}")
        else:
            yield judge(one, wrong, _holder(one) if wrong.errno == errno.EADDRINUSE else "")
    if free:
        yield ok("ports", f"free: {', '.join(free)}")


def judge(one: Wanted, wrong: OSError, holder: str) -> Finding:
    host, port = host_port(one.address)
    found = f"{one.kind} {one.address} ({one.what}): {wrong.strerror}"
    found += f", {holder}" if holder else ""
    named = f"[{host}]" if ":" in host else host
    fix = f"free it, or write {one.at(f'{named}:PORT')} with another port, 0 for any free one"
    if wrong.errno == errno.EACCES:
        fix = f"write {one.at(f'{named}:PORT')} with a port above 1023, or allow this one: "
        fix += f"sysctl -w net.ipv4.ip_unprivileged_port_start={port}"
    elif wrong.errno == errno.EADDRNOTAVAIL or isinstance(wrong, socket.gaierror):
        fix = f"write {one.at(f'0.0.0.0:{port}')}, or an address of this machine"
    if one.kind == "UDP":
        means = "links carry all, and the others notice later when this node is gone"
        return warning("ports", found, means, fix)
    return problem("ports", found, "`sedma-node up` cannot start", fix)


def findings_of_daemon(pid: int, api: str, packets: bool) -> Iterator[Finding]:
    """What the process listens on. `api`: its URL; `packets`: it says that it has UDP."""
    try:
        sockets = psutil.Process(pid).net_connections("inet")
    except psutil.Error:
        yield ok("ports", f"held by process {pid}, which cannot be looked at from here")
        return
    listening = {one.laddr.port for one in sockets if one.status == psutil.CONN_LISTEN}
    bound = {one.laddr.port for one in sockets if one.type == socket.SOCK_DGRAM}
    links = listening - {int(api.rpartition(":")[2])}
    yield judge_sockets(pid, api, links, bound & links, packets)


def judge_sockets(pid: int, api: str, links: set[int], packets: set[int], has_udp: bool) -> Finding:
    tcp = ", ".join(map(str, sorted(links))) or "none"
    udp = ", ".join(map(str, sorted(packets))) or "none"
    found = f"process {pid} has TCP {tcp} for links, UDP {udp} for packets, {api} for programs"
    if not links:
        return warning(
            "ports",
            found,
            "no other node can reach this one yet: it has not come into its mesh",
            "see what `sedma-node status` says of its state",
        )
    if not has_udp:
        return warning(
            "ports",
            found,
            "UDP was not to be had at its start: links carry all, and deaths are noticed later",
            "free UDP on that port and start again, or take another port with --listen (mesh.listen)",
        )
    return ok("ports", found)


def _why_not(one: Wanted) -> OSError | None:
    host, port = host_port(one.address)
    if host == "::" and not socket.has_dualstack_ipv6():
        # Then the daemon listens on all interfaces by IPv4 alone.
        host = "0.0.0.0"  # noqa: S104
    try:
        found = socket.getaddrinfo(host, port, type=KINDS[one.kind], flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as taken:
            if one.kind == "TCP":
                # As the daemon does: what is left of connections that are closed keeps nobody out.
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(address)
            if one.kind == "TCP":
                taken.listen(1)
    except OSError as wrong:
        return wrong
    return None


def _holder(one: Wanted) -> str:
    """Its name and process id, as far as the kernel tells this user."""
    _, port = host_port(one.address)
    with contextlib.suppress(psutil.Error):
        for other in psutil.net_connections(one.kind.lower()):
            connected = one.kind == "TCP" and other.status != psutil.CONN_LISTEN
            if other.laddr and other.laddr.port == port and not connected:
                if other.pid is None:
                    return "by a process of another user"
                return f"by {psutil.Process(other.pid).name()} (process {other.pid})"
    return ""
