"""Ports that are free, taken, forbidden or not ours."""

import errno
import os
import socket

import pytest

from node.cli.checkup.ports import (
    Wanted,
    findings_before_start,
    findings_of_daemon,
    judge,
    judge_sockets,
)
from node.config import ApiConfig, MeshConfig, Settings
from tests.node.ports import taken

NOBODY = 1 << 23
"""More than any process id."""
LINKS = Wanted("links", "TCP", "0.0.0.0:7879", "mesh.listen", "--listen")
PACKETS = Wanted("packets", "UDP", "0.0.0.0:7879", "mesh.listen", "--listen")


def settings(peers: int = 0, programs: int = 0) -> Settings:
    return Settings(
        mesh=MeshConfig(listen=f"127.0.0.1:{peers}"), api=ApiConfig(listen=f"127.0.0.1:{programs}")
    )


def test_free_ports_are_fine() -> None:
    (told,) = findings_before_start(settings())

    assert told.state == "ok"
    assert told.found == "free: TCP 127.0.0.1:0, UDP 127.0.0.1:0, TCP 127.0.0.1:0"


def test_a_port_that_is_taken_is_told_with_who_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        first, second = findings_before_start(settings(programs=port))

    assert (first.state, second.state) == ("problem", "ok")
    assert first.found.startswith(f"TCP 127.0.0.1:{port} (programs): Address already in use, by ")
    assert f"(process {os.getpid()})" in first.found
    assert "--api 127.0.0.1:PORT (api.listen)" in first.fix


def test_udp_that_is_taken_is_no_more_than_a_warning() -> None:
    with taken(socket.SOCK_DGRAM) as port:
        first, _ = findings_before_start(settings(peers=port))

    assert first.state == "warning"
    assert f"process {os.getpid()}" in first.found


@pytest.mark.parametrize(
    ("number", "fix"),
    [
        (errno.EACCES, "write --listen 0.0.0.0:PORT (mesh.listen) with a port above 1023"),
        (errno.EADDRNOTAVAIL, "write --listen 0.0.0.0:7879 (mesh.listen)"),
        (errno.EADDRINUSE, "free it, or write --listen 0.0.0.0:PORT (mesh.listen)"),
    ],
)
def test_the_fix_fits_what_is_wrong(number: int, fix: str) -> None:
    told = judge(LINKS, OSError(number, os.strerror(number)), "")

    assert told.state == "problem"
    assert told.fix.startswith(fix)


def test_the_second_address_for_links_is_looked_at_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        also = MeshConfig(listen="127.0.0.1:0", also_listen=f"127.0.0.1:{port}")
        first, second = findings_before_start(
            Settings(mesh=also, api=ApiConfig(listen="127.0.0.1:0"))
        )

    assert (first.state, second.state) == ("problem", "ok")
    assert first.found.startswith(f"TCP 127.0.0.1:{port} (links): Address already in use, by ")
    assert 'mesh.also_listen = "127.0.0.1:PORT"' in first.fix


def test_who_may_not_take_a_low_port_is_told_how_to_be_allowed() -> None:
    told = judge(
        Wanted("links", "TCP", "[::]:443", "mesh.also_listen"),
        PermissionError(errno.EACCES, ""),
        "",
    )

    assert told.fix == (
        'write mesh.also_listen = "[::]:PORT" with a port above 1023,'
        " or allow this one: sysctl -w net.ipv4.ip_unprivileged_port_start=443"
    )


def test_where_there_is_no_ipv6_all_interfaces_are_those_of_ipv4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the daemon listens there: the default address is [::]."""

    class WithoutIPv6(socket.socket):
        def __init__(
            self, family: int = -1, kind: int = -1, proto: int = -1, fileno: int | None = None
        ) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, kind, proto, fileno)

    monkeypatch.setattr(socket, "socket", WithoutIPv6)
    everywhere = Settings(mesh=MeshConfig(listen="[::]:0"), api=ApiConfig(listen="127.0.0.1:0"))

    assert [one.state for one in findings_before_start(everywhere)] == ["ok"]


def test_an_unknown_host_is_told_in_words() -> None:
    wrong = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    told = judge(LINKS, wrong, "")

    assert told.found == "TCP 0.0.0.0:7879 (links): Name or service not known"
    assert told.fix.endswith("or an address of this machine")


def test_what_a_process_listens_on_is_seen() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as api,
        taken(socket.SOCK_STREAM) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets,
    ):
        packets.bind(("127.0.0.1", port))
        url = f"http://127.0.0.1:{api.getsockname()[1]}"
        (told,) = findings_of_daemon(os.getpid(), url, packets=True)

    assert told.state == "ok"
    assert f"UDP {port} for packets, {url} for programs" in told.found


def test_a_process_that_cannot_be_looked_at_is_told_as_such() -> None:
    (told,) = findings_of_daemon(NOBODY, "http://127.0.0.1:1", packets=True)

    assert told.state == "ok"
    assert "cannot be looked at from here" in told.found


def test_a_daemon_without_udp_is_a_warning() -> None:
    told = judge_sockets(7, "http://127.0.0.1:1", {7879}, set(), has_udp=False)

    assert told.state == "warning"
    assert "TCP 7879 for links, UDP none" in told.found


def test_a_daemon_that_no_node_can_reach_yet_is_a_warning() -> None:
    assert judge_sockets(7, "http://127.0.0.1:1", set(), set(), has_udp=False).state == "warning"
