"""How nodes come together, with real daemons: tickets, refusals, restarts, and strangers at the door."""

import contextlib
import json
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import sedma
from protocol import codec
from protocol.frames import Frame, FrameType, TrafficClass, encode_frame
from protocol.ids import MeshId, NodeId
from protocol.messages import Exchange, Hello, Join, Probe, RequestHeader
from protocol.ticket import decode, make_token, read_token
from tests.live.conftest import Daemon, Daemons, eventually

QUICK = {"SEDMA_GOSSIP_REDIAL_S": "1.0"}
"""Nobody waits longer than this between two tries."""


def ticket(client: sedma.Client, **wanted: Any) -> str:
    minted: str = client.ticket(**wanted)["ticket"]
    return minted


def connected(client: sedma.Client) -> list[str]:
    return sorted(peer["id"] for peer in client.peers() if peer["state"] == "connected")


def all_linked(*clients: sedma.Client) -> None:
    """Each is connected to all others, and to nobody else."""
    ids = [client.status()["id"] for client in clients]

    def whole() -> bool:
        return all(
            connected(client) == sorted(set(ids) - {own})
            for client, own in zip(clients, ids, strict=True)
        )

    eventually(whole, f"{len(ids)} nodes know each other")


@pytest.fixture(scope="module")
def founder(lasting: Daemons) -> Daemon:
    return lasting("founder", environment=QUICK)


# -- coming in and coming back -----------------------------------------------------------------------


def test_a_node_joins_by_a_ticket_and_both_see_each_other(daemon: Daemons) -> None:
    a = daemon("a").client()
    b = daemon("b", join=ticket(a)).client()

    all_linked(a, b)

    (seen,) = a.peers()
    assert seen["name"] == "b"
    assert seen["addresses"] == b.status()["listen"]
    assert seen["budget_bytes"] == 256 << 20
    assert a.status()["mesh"] == b.status()["mesh"]


def test_a_plain_start_returns_to_the_mesh_without_the_ticket(daemon: Daemons) -> None:
    a = daemon("a").client()
    joined = daemon("b", join=ticket(a, uses=1))
    all_linked(a, joined.client())
    assert joined.stop() == 0

    again = daemon("b").client()

    all_linked(a, again)


def test_a_joiner_that_starts_first_says_why_it_waits_and_joins_once_the_minter_is_up(
    daemon: Daemons, tmp_path: Path
) -> None:
    first = daemon("a")
    at = first.client().status()["listen"][0]
    (tmp_path / "ticket").write_text(ticket(first.client()) + "\n")
    assert first.stop() == 0

    b = daemon("b", join=f"@{tmp_path / 'ticket'}", environment=QUICK)
    b.joining()
    why = f"nothing listens at {at}: start the node there, or check the port"
    eventually(lambda: b.get("/readyz")[1].get("reason") == why, "b says why it waits")
    assert b.get("/readyz")[0] == 503
    assert b.get("/livez")[0] == 200
    with pytest.raises(sedma.SedmaError, match="has not joined its mesh yet: nothing listens"):
        b.joining().ticket()

    all_linked(daemon("a", listen=at).client(), b.client())
    assert b.get("/readyz") == (200, {"ready": True})


def test_a_founder_that_was_killed_is_found_again_by_all(daemon: Daemons) -> None:
    founder = daemon("a", environment=QUICK)
    line = ticket(founder.client())
    at = founder.client().status()["listen"][0]
    b, c = (daemon(name, join=line, environment=QUICK).client() for name in "bc")
    all_linked(founder.client(), b, c)

    founder.stop(signal.SIGKILL)
    eventually(lambda: len(connected(b)) == len(connected(c)) == 1, "the founder is missed")
    assert any("lost" in peer["state"] or peer["why"] for peer in b.peers())

    all_linked(daemon("a", listen=at, environment=QUICK).client(), b, c)


def test_two_halves_that_lost_each_other_merge_over_one_link(daemon: Daemons) -> None:
    daemons = {"a": daemon("a")}
    line = ticket(daemons["a"].client(), may_invite=True)
    for name in "bcd":
        daemons[name] = daemon(name, join=line)
    all_linked(*(one.client() for one in daemons.values()))
    old = [one.client().status()["listen"][0] for one in daemons.values()]
    for one in daemons.values():
        assert one.stop() == 0

    # Everybody comes back at another port; nobody else may take the old ones meanwhile.
    taken = [held(address) for address in old]
    a, c = (daemon(name, environment=QUICK).client() for name in "ac")
    b = daemon("b", join=ticket(a), environment=QUICK).client()
    d_apart = daemon("d", join=ticket(c), environment=QUICK)
    all_linked(a, b)
    all_linked(c, d_apart.client())
    d_apart.stop()

    d = daemon("d", join=ticket(a), environment=QUICK).client()

    all_linked(a, b, c, d)
    for keeper in taken:
        keeper.close()


def held(address: str) -> socket.socket:
    """A socket that has this address and does not listen: whoever dials it is refused."""
    host, port = address.split(":")
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((host, int(port)))
    return keeper


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_with_peers_within_two_seconds(daemon: Daemons, number: int) -> None:
    a = daemon("a")
    b = daemon("b", join=ticket(a.client()))
    all_linked(a.client(), b.client())

    began = time.monotonic()
    assert b.stop(number) == 0

    assert time.monotonic() - began < 2.0
    eventually(lambda: a.noted("peer.lost"), "a hears of it")
    assert "stopping" in a.noted("peer.lost")[0]["reason"]


# -- inviting ----------------------------------------------------------------------------------------


def test_who_may_invite_mints_for_a_third_and_who_may_not_is_told_so(daemon: Daemons) -> None:
    a = daemon("a").client()
    b = daemon("b", join=ticket(a, may_invite=True)).client()
    assert b.status()["can_invite"]

    c = daemon("c", join=ticket(b)).client()

    all_linked(a, b, c)
    assert not c.status()["can_invite"]
    with pytest.raises(sedma.SedmaError, match="may not invite others: ask at the node") as told:
        c.ticket()
    assert told.value.code == "forbidden"
    with pytest.raises(sedma.SedmaError, match="only the node that founded the mesh"):
        b.ticket(may_invite=True)


# -- refusals ----------------------------------------------------------------------------------------


def test_an_expired_ticket_ends_the_joiner_with_what_to_do(
    daemon: Daemons, founder: Daemon
) -> None:
    minted = founder.client().ticket(ttl_s=0.001)
    eventually(lambda: time.time() > minted["expires_at"], "the ticket expires")

    late = daemon("late", join=minted["ticket"])

    said = late.ended()
    assert "error: cannot join: the ticket expired" in said
    assert "mint a new one with `sedma-node ticket`" in said
    assert "expired" in refusal_of(late, founder)


def test_a_used_up_ticket_ends_the_joiner_with_what_to_do(daemon: Daemons, founder: Daemon) -> None:
    line = ticket(founder.client(), uses=1)
    daemon("first", join=line).client()

    second = daemon("second", join=line)

    said = second.ended()
    assert "error: cannot join: the ticket was for 1 node" in said
    assert "`sedma-node ticket --uses N`" in said
    assert "as many have joined" in refusal_of(second, founder)


def refusal_of(joiner: Daemon, minter: Daemon) -> str:
    """Why it was refused, as the minter's log tells."""
    own = (joiner.data_dir / "node.id").read_text()[:8]
    (reason,) = [one["reason"] for one in minter.noted("ticket.refused") if one["node"] == own]
    return str(reason)


def test_a_ticket_of_another_mesh_ends_a_member_with_what_to_do(
    daemon: Daemons, founder: Daemon
) -> None:
    other = daemon("other")
    mesh = other.client().status()["mesh"]
    other.stop()

    said = daemon("other", join=ticket(founder.client())).ended()

    assert f"error: this node belongs to mesh {mesh[:8]}, the ticket is for mesh" in said
    assert "join with another --data-dir, or remove" in said


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda line: line[:-9], "the ticket is cut short"),
        (lambda line: line[:200] + "x" + line[201:], "copy the whole line again"),
        (lambda line: line.replace("sedma1:", "sedma2:"), "update the older of the two nodes"),
        (lambda line: "please let me in", "a ticket begins with 'sedma1:'"),
        (lambda line: json.dumps({"ticket": line}), "a ticket begins with 'sedma1:'"),
    ],
    ids=["cut", "altered", "newer", "no ticket", "json"],
)
def test_a_damaged_ticket_ends_the_joiner_with_what_to_do(
    daemon: Daemons, founder: Daemon, damage: Any, told: str
) -> None:
    said = daemon("clumsy", join=damage(ticket(founder.client()))).ended()

    assert told in said


def test_a_ticket_that_a_mail_program_wrapped_still_joins(daemon: Daemons, founder: Daemon) -> None:
    line = ticket(founder.client())
    wrapped = "\n  ".join(line[start : start + 72] for start in range(0, len(line), 72))

    client = daemon("wrapped", join=wrapped).client()

    assert client.status()["mesh"] == founder.client().status()["mesh"]


def test_a_port_in_use_ends_the_node_before_it_has_founded_anything(
    daemon: Daemons, founder: Daemon
) -> None:
    client = founder.client()
    peers_at, api_at = client.status()["listen"][0], client.url.removeprefix("http://")
    port = peers_at.rpartition(":")[2]

    said = daemon("clumsy", listen=peers_at).ended()

    assert f"error: cannot listen on 127.0.0.1, port {port}: Address already in use" in said
    assert "write `--api 127.0.0.1:0` for any free port" in daemon("clumsy", api=api_at).ended()
    # It belongs to no mesh yet, so it may still join one.
    guest = daemon("clumsy", join=ticket(client)).client()
    assert guest.status()["mesh"] == client.status()["mesh"]


def test_a_second_daemon_on_the_data_directory_of_a_joiner_that_waits_is_told_who_has_it(
    daemon: Daemons,
) -> None:
    gone = daemon("gone")
    line = ticket(gone.client())
    gone.stop()
    waiting = daemon("node", join=line)
    waiting.joining()

    said = daemon("node", join=line).ended()

    assert f"in use by another daemon (process {waiting.process.pid})" in said
    assert waiting.stop(signal.SIGINT) == 0


# -- those who do not fit ----------------------------------------------------------------------------


def test_a_member_of_another_mesh_is_rejected_and_both_logs_say_why(
    daemon: Daemons, founder: Daemon
) -> None:
    status = founder.client().status()
    other = daemon("foreign")
    other.client()
    other.stop()
    known = [[status["id"], status["listen"]]]
    (other.data_dir / "peers.json").write_text(json.dumps(known))

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

    assert "error: cannot join: node" in said
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
            protocol_min=1,
            protocol_max=1,
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


def test_a_stranger_may_ask_for_nothing_but_to_join(door: tuple[str, bytes, str]) -> None:
    at, ca, _ = door
    stranger = Stranger(at, ca)
    stranger.greet(None)

    stranger.say(FrameType.REQ, RequestHeader(request=Probe(), deadline_ms=1000), stream=1)
    stranger.say(FrameType.REQ, RequestHeader(request=Exchange(), deadline_ms=1000), stream=3)
    stranger.say(FrameType.HELLO)

    heard = stranger.hears()
    assert heard.count(b"whoever has no certificate of this mesh may only join it") == 2
    assert b"a second HELLO" in heard


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


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\xff\xff", bytes(range(256)) * 64, b""],
    ids=["http", "half a hello", "noise", "nothing"],
)
def test_who_does_not_speak_tls_is_refused_in_words(
    founder: Daemon, door: tuple[str, bytes, str], noise: bytes
) -> None:
    before = len(founder.noted("link.refused"))
    stranger = Stranger(door[0])

    with contextlib.suppress(ConnectionError):
        stranger.socket.sendall(noise)
    stranger.socket.shutdown(socket.SHUT_WR)
    stranger.hears()

    eventually(lambda: len(founder.noted("link.refused")) > before, "the founder says why")
    assert "Traceback" not in founder.said


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\xff" * 24,
        bytes([1, 1, 0, 0]) + bytes(4) + b"\xff\xff\xff\xff" + bytes(12),
        bytes(24),
        encode_frame(Frame(FrameType.REQ, TrafficClass.RPC, 1, b"\x80")),
        encode_frame(Frame(FrameType.HELLO, TrafficClass.CONTROL, 0, b"\xc1" * 65_536)),
    ],
    ids=["noise", "endless header", "zeros", "request before hello", "nonsense hello"],
)
def test_a_stranger_that_breaks_the_protocol_is_cut_off_with_a_note(
    founder: Daemon, door: tuple[str, bytes, str], bytes_sent: bytes
) -> None:
    before = len(founder.noted("peer.broke_protocol"))
    stranger = Stranger(door[0], door[1])

    with contextlib.suppress(ConnectionError):
        stranger.socket.sendall(bytes_sent)

    stranger.hears()
    eventually(lambda: len(founder.noted("peer.broke_protocol")) > before, "a note says so")


@pytest.mark.parametrize("with_tls", [False], ids=["silent sockets"])
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


def test_after_all_that_the_founder_is_well(daemon: Daemons, founder: Daemon) -> None:
    guest = daemon("guest", join=ticket(founder.client())).client()

    eventually(lambda: founder.client().status()["id"] in connected(guest), "they are linked")
    assert "Traceback" not in founder.said
    assert founder.stop() == 0
