"""Who does not belong: members of another mesh, other versions, strangers without a right to anything."""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from node.runtime.datadir import DataDir
from node.runtime.strangers import TOLD_MAX
from protocol import codec
from protocol.frames import Frame, FrameType, TrafficClass, encode_frame
from protocol.ids import MeshId, NodeId
from protocol.limits import PROTOCOL_MAX, PROTOCOL_MIN
from protocol.messages import Hello, Join, RequestHeader
from protocol.ticket import decode, make_token, read_token
from tests.live.daemons import QUICK, Daemon, Daemons, connected, eventually, ticket


@pytest.fixture(scope="module")
def founder(lasting: Daemons) -> Daemon:
    return lasting("founder", environment=QUICK)


# -- those who do not fit ----------------------------------------------------------------------------


def test_a_member_of_another_mesh_is_rejected_and_both_logs_say_why(
    daemon: Daemons, founder: Daemon
) -> None:
    status = founder.client().status()
    other = daemon("foreign")
    other.client()
    other.stop()
    with DataDir(other.data_dir) as data_dir:
        data_dir.members.keep_places(((status["id"], tuple(status["listen"])),))

    other = daemon("foreign", environment=QUICK)
    own = other.client().status()["id"]

    told = eventually(lambda: other.noted("dial.failed"), "the foreign node says why")
    assert "belongs to another mesh" in told[0]["reason"]
    why = "our certificate is of another mesh than its"
    eventually(lambda: reasons(founder, "link.refused", why), "the founder says why")
    assert own not in [peer["id"] for peer in founder.client().peers()]


def test_versions_that_do_not_overlap_are_told_on_both_sides(
    daemon: Daemons, founder: Daemon, tmp_path: Path
) -> None:
    member = daemon("newer", join=ticket(founder.client()))
    own = member.client().status()["id"]
    member.stop()
    (tmp_path / "sitecustomize.py").write_text(
        "import protocol.limits as limits\nlimits.PROTOCOL_MIN, limits.PROTOCOL_MAX = 7, 9\n"
    )
    later = QUICK | {"PYTHONPATH": str(tmp_path)}

    member = daemon("newer", environment=later)

    theirs = f"node {own[:8]} (sedma 0.1.0) speaks protocol versions 7 to 9, node"
    eventually(lambda: reasons(founder, "peer.rejected", theirs), "the founder says why")
    eventually(lambda: reasons(member, "dial.failed", "protocol versions"), "so does the other")
    why = member.client().status()["joining"]
    assert "protocol versions" in why
    assert "update node" in why

    said = daemon("stranger", join=ticket(founder.client()), environment=later).ended()

    assert "error: cannot join: " in said
    assert "protocol versions" in said
    assert "update node" in said


def reasons(one: Daemon, event: str, reason: str) -> list[dict[str, Any]]:
    """What its log tells of such events for this reason."""
    return [note for note in one.noted(event) if reason in note["reason"]]


# -- strangers at the door ---------------------------------------------------------------------------


class Stranger:
    """Somebody with a socket, who has seen a ticket's certificate but has no right to anything."""

    def __init__(self, at: str, ca: bytes | None = None) -> None:
        host, port = at.split(":")
        self.socket: socket.socket = socket.create_connection((host, int(port)), timeout=8)
        if ca is not None:
            context = ssl.create_default_context(cadata=ca)
            context.check_hostname = False
            try:
                self.socket = context.wrap_socket(self.socket)
            except BaseException:
                self.socket.close()
                raise

    def say(
        self, kind: FrameType, header: Hello | RequestHeader | None = None, stream: int = 0
    ) -> None:
        data = b"" if header is None else codec.encode(header)
        self.socket.sendall(encode_frame(Frame(kind, TrafficClass.CONTROL, stream, data)))

    def greet(self, mesh: str | None, node: str = "a" * 52) -> None:
        hello = Hello(
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            software="stranger",
            mesh=None if mesh is None else MeshId(mesh),
            node=NodeId(node),
        )
        self.say(FrameType.HELLO, hello)

    def hears(self) -> bytes:
        """All that still comes before the other side hangs up."""
        heard = b""
        with self.socket, contextlib.suppress(ConnectionError, ssl.SSLError):
            while more := self.socket.recv(65_536):
                heard += more
        return heard


@pytest.fixture
def door(founder: Daemon) -> tuple[str, bytes, str]:
    """Where the founder listens, its mesh's certificate, and the mesh's id."""
    line = decode(ticket(founder.client()))
    return line.addresses[0], line.ca, line.mesh


def test_a_stranger_that_says_it_is_a_member_is_shown_out(
    door: tuple[str, bytes, str], founder: Daemon
) -> None:
    at, ca, mesh = door
    stranger = Stranger(at, ca)

    stranger.greet(mesh)

    assert b"shows no certificate" in stranger.hears()
    eventually(
        lambda: [n for n in founder.noted("peer.rejected") if "no certificate" in n["reason"]],
        "the founder's log tells of it",
    )


@pytest.mark.parametrize(
    ("join", "told"),
    [
        (lambda token: Join(token=token, public_key=b"k" * 32, proof=b"p" * 64), b"own its key"),
        (lambda token: Join(token=token[:-1], public_key=b"k" * 32, proof=b"p" * 64), b"token"),
        (lambda token: Join(token="", public_key=b"\0" * 32, proof=b"\0" * 64), b"cannot be read"),
    ],
    ids=["no proof", "cut token", "no token"],
)
def test_a_token_without_proof_of_the_key_lets_nobody_in(
    founder: Daemon, door: tuple[str, bytes, str], join: Callable[[str], Join], told: bytes
) -> None:
    at, ca, _ = door
    token = decode(ticket(founder.client())).token
    stranger = Stranger(at, ca)
    stranger.greet(None)

    header = RequestHeader(request=join(token), deadline_ms=5000)
    stranger.say(FrameType.REQ, header, stream=1)

    heard = stranger.hears()
    assert told in heard
    assert b"BEGIN CERTIFICATE" not in heard


def test_a_token_with_more_rights_than_were_signed_lets_nobody_in(
    founder: Daemon, door: tuple[str, bytes, str]
) -> None:
    at, ca, _ = door
    key = Ed25519PrivateKey.generate()
    token = read_token(decode(ticket(founder.client(), uses=1)).token)
    claims = msgspec.structs.replace(token.claims, may_invite=True, uses=10_000)
    forged = make_token(claims, token.signature)
    stranger = Stranger(at, ca)
    stranger.greet(None)

    join = Join(
        token=forged,
        public_key=key.public_key().public_bytes_raw(),
        proof=key.sign(forged.encode()),
    )
    stranger.say(FrameType.REQ, RequestHeader(request=join, deadline_ms=5000), stream=1)

    heard = stranger.hears()
    assert b"signature does not hold" in heard
    assert b"BEGIN CERTIFICATE" not in heard


def test_who_does_not_speak_tls_is_refused_in_words(
    founder: Daemon, door: tuple[str, bytes, str]
) -> None:
    stranger = Stranger(door[0])

    stranger.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    stranger.hears()

    why = "does not speak TLS: check host and port"
    eventually(lambda: reasons(founder, "link.refused", why), "the founder says why")


@pytest.mark.parametrize("with_tls", [False, True], ids=["sockets", "strangers"])
def test_a_crowd_of_silent_strangers_keeps_nobody_else_out(
    daemon: Daemons, founder: Daemon, door: tuple[str, bytes, str], with_tls: bool
) -> None:
    at, ca, _ = door
    with contextlib.ExitStack() as crowd:
        for _ in range(80):
            stranger = Stranger(at, ca if with_tls else None)
            crowd.enter_context(stranger.socket)

        began = time.monotonic()
        daemon(f"guest{with_tls}", join=ticket(founder.client()), environment=QUICK).client()

        assert time.monotonic() - began < 4.0


def test_a_crowd_without_a_certificate_does_not_fill_the_log(daemon: Daemons) -> None:
    node = daemon("flooded")
    at = node.client().status()["listen"][0]

    for _ in range(TOLD_MAX + 30):
        stranger = Stranger(at)
        stranger.socket.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        stranger.hears()
    assert node.stop() == 0

    assert len(node.noted("link.refused")) == TOLD_MAX
    assert [note["count"] for note in node.noted("strangers.refused")] == [30]
    assert len(node.said.splitlines()) < TOLD_MAX + 15


def test_after_all_that_the_founder_is_well(daemon: Daemons, founder: Daemon) -> None:
    guest = daemon("guest", join=ticket(founder.client())).client()

    eventually(lambda: founder.client().status()["id"] in connected(guest), "they are linked")
    assert "Traceback" not in founder.said
    assert founder.stop() == 0
