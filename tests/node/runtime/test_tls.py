"""Real handshakes: who is let in, who is seen, and what each side is told when it is not."""

import asyncio
import errno
import os
import socket
import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from node.runtime import tls
from protocol.errors import ConfigError
from protocol.ids import NodeId
from protocol.ticket import Ticket
from tests.node.runtime.small_mesh import (
    DAY_S,
    Handshake,
    Member,
    founder,
    joiner,
    shake_hands,
)

NOW = time.time()
YEAR_S = 365 * DAY_S

RESTART = """
import sys
from pathlib import Path
from node.runtime import credentials, identity, tls
from node.runtime.datadir import DataDir
with DataDir(Path(sys.argv[1])) as data_dir:
    membership = credentials.load(data_dir, identity.load_or_create(data_dir))
    assert membership is not None
    tls.server_context(membership), tls.client_context(membership)
assert not [name for name in sys.modules if name.startswith("cryptography")]
"""


def meet(dialler: Member, listener: Member) -> Handshake:
    return shake_hands(
        tls.client_context(dialler.membership), tls.server_context(listener.membership)
    )


def test_members_see_each_others_ids(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW)

    for dialler, listener in ((anna, bert), (bert, anna)):
        met = meet(dialler, listener)
        assert (met.dialler_error, met.listener_error) == (None, None)
        assert tls.peer_id(met.dialler) == listener.identity.id
        assert tls.peer_id(met.listener) == dialler.identity.id
        assert met.dialler.version() == "TLSv1.3"


def test_whom_an_inviter_let_in_is_a_member_to_all(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW, may_invite=True)
    carl = joiner(tmp_path / "carl", bert, NOW)
    dora = joiner(tmp_path / "dora", anna, NOW)

    for dialler, listener in ((carl, bert), (carl, anna), (dora, carl), (bert, carl)):
        met = meet(dialler, listener)
        assert (met.dialler_error, met.listener_error) == (None, None)
        assert tls.peer_id(met.dialler) == listener.identity.id
        assert tls.peer_id(met.listener) == dialler.identity.id


def test_an_inviter_that_renewed_its_own_leaf_is_still_a_member(tmp_path: Path) -> None:
    from node.runtime import credentials

    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW - 300 * DAY_S, may_invite=True)
    renewed = credentials.renew(bert.data_dir, bert.identity, bert.membership, NOW)

    met = meet(replace(bert, membership=renewed), anna)

    assert (met.dialler_error, met.listener_error) == (None, None)
    assert tls.peer_id(met.listener) == bert.identity.id


def test_a_joiner_is_let_in_as_a_stranger_and_knows_its_host(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)

    met = shake_hands(
        tls.joining_context(anna.ticket(now=NOW)), tls.server_context(anna.membership)
    )

    assert (met.dialler_error, met.listener_error) == (None, None)
    assert tls.peer_id(met.listener) is None
    assert tls.peer_id(met.dialler) == anna.identity.id


def test_a_joiner_also_knows_a_host_that_an_inviter_let_in(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW, may_invite=True)
    carl = joiner(tmp_path / "carl", bert, NOW)

    met = shake_hands(
        tls.joining_context(bert.ticket(now=NOW)), tls.server_context(carl.membership)
    )

    assert tls.peer_id(met.dialler) == carl.identity.id


def test_a_joiner_shows_its_token_to_no_other_mesh(tmp_path: Path) -> None:
    anna, mallory = founder(tmp_path / "anna", NOW), founder(tmp_path / "mallory", NOW)

    met = shake_hands(
        tls.joining_context(anna.ticket(now=NOW)), tls.server_context(mallory.membership)
    )

    assert met.dialler_error is not None
    assert "belongs to another mesh" in tls.explain(met.dialler_error, "192.0.2.1:7879")


def test_a_dialler_from_another_mesh_is_refused_on_its_own_side_first(tmp_path: Path) -> None:
    anna, other = founder(tmp_path / "anna", NOW), founder(tmp_path / "other", NOW)

    met = meet(anna, other)

    assert met.dialler_error is not None
    assert met.listener_error is not None
    assert "belongs to another mesh" in tls.explain(met.dialler_error, "192.0.2.1:7879")
    assert "our certificate is of another mesh" in tls.explain(met.listener_error, "192.0.2.9:1")


def test_a_listener_refuses_a_certificate_of_another_mesh(tmp_path: Path) -> None:
    anna, other = founder(tmp_path / "anna", NOW), founder(tmp_path / "other", NOW)
    dialling = tls.client_context(other.membership)
    dialling.load_verify_locations(anna.membership.ca_file)

    met = shake_hands(dialling, tls.server_context(anna.membership))

    assert met.dialler_error is not None
    assert met.listener_error is not None
    assert "our certificate is of another mesh" in tls.explain(met.dialler_error, "192.0.2.1:7879")
    assert "belongs to another mesh" in tls.explain(met.listener_error, "192.0.2.9:1")


def test_an_expired_leaf_is_named_on_both_sides(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    old = joiner(tmp_path / "old", anna, NOW - YEAR_S - DAY_S)

    dialled, listened = meet(old, anna), meet(anna, old)

    assert dialled.dialler_error is not None
    assert dialled.listener_error is not None
    assert listened.dialler_error is not None
    assert "finds our certificate expired" in tls.explain(dialled.dialler_error, "a:1")
    assert "has expired" in tls.explain(dialled.listener_error, "a:1")
    assert "has expired" in tls.explain(listened.dialler_error, "a:1")


def test_a_leaf_from_the_future_points_at_the_clocks(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    early = joiner(tmp_path / "early", anna, NOW + 3 * DAY_S)

    dialled, listened = meet(early, anna), meet(anna, early)

    assert dialled.dialler_error is not None
    assert listened.dialler_error is not None
    assert "set the clocks" in tls.explain(dialled.dialler_error, "a:1")
    assert "clock is behind" in tls.explain(listened.dialler_error, "a:1")


def test_a_clock_that_lags_by_hours_does_no_harm(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW + 0.9 * DAY_S)
    bert = joiner(tmp_path / "bert", anna, NOW + 0.9 * DAY_S)

    assert meet(bert, anna).dialler_error is None


def test_an_inviters_intermediate_is_no_pass_of_its_own(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW, may_invite=True)
    bert.membership.chain_file.write_bytes(bert.membership.invite_file.read_bytes())

    assert meet(bert, anna).listener_error is not None


def test_an_older_tls_is_refused(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.load_verify_locations(anna.membership.ca_file)
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    met = shake_hands(old, tls.server_context(anna.membership))

    assert met.dialler_error is not None
    assert "does not speak TLS 1.3" in tls.explain(met.dialler_error, "a:1")


def test_a_restart_needs_no_cryptography_package(tmp_path: Path) -> None:
    founder(tmp_path, NOW).data_dir.close()

    subprocess.run([sys.executable, "-c", RESTART, os.fspath(tmp_path)], check=True)


def test_files_of_different_nodes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW)
    mixed = replace(anna.membership, key=bert.identity.key)

    with pytest.raises(ConfigError, match="restore the files of one node"):
        tls.server_context(mixed)


def test_a_ticket_with_a_broken_ca_is_refused() -> None:
    with pytest.raises(ConfigError, match="mint a new ticket"):
        tls.joining_context(Ticket(ca=b"no certificate", addresses=("a:1",), token="t"))


def test_ids_are_seen_through_uvloop_sockets(tmp_path: Path) -> None:
    anna = founder(tmp_path / "anna", NOW)
    bert = joiner(tmp_path / "bert", anna, NOW)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_ids_over_sockets(anna, bert))

    assert seen == (bert.identity.id, anna.identity.id)


async def _ids_over_sockets(
    listener: Member, dialler: Member
) -> tuple[NodeId | None, NodeId | None]:
    arrived: asyncio.Future[NodeId | None] = asyncio.get_running_loop().create_future()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set_result(tls.peer_id(writer.get_extra_info("ssl_object")))
        writer.close()

    server = await asyncio.start_server(
        accept, "127.0.0.1", 0, ssl=tls.server_context(listener.membership)
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls.client_context(dialler.membership)
        )
        host = tls.peer_id(writer.get_extra_info("ssl_object"))
        guest = await arrived
        await reader.read()
        writer.close()
        await writer.wait_closed()
    return guest, host


def test_something_that_is_not_tls_points_at_the_port(tmp_path: Path) -> None:
    dialling = tls.client_context(founder(tmp_path, NOW).membership)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(ssl.SSLError) as caught:
        dialling.wrap_bio(incoming, outgoing).do_handshake()

    assert "does not speak TLS: check host and port" in tls.explain(caught.value, "a:22")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "nothing listens at a:1"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "a:1 hung up"),
        (ConnectionResetError(), "a:1 hung up"),
        (TimeoutError(), "no answer from a:1"),
        (OSError(errno.EHOSTUNREACH, "no route"), "no way to a:1"),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "the host in a:1 has no address"),
        (OSError(errno.EMFILE, "too many {files}"), "a:1: too many {files}"),
        (ssl.SSLError(1, "[X] {odd}"), "handshake with a:1 failed: [X] {odd}"),
    ],
)
def test_failures_of_the_network_are_told_in_words(error: OSError, said: str) -> None:
    assert said in tls.explain(error, "a:1")
