"""How nodes come together, with real daemons: tickets, restarts, and what a clumsy user is told."""

import json
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sedma
from tests.live.daemons import QUICK, Daemon, Daemons, connected, eventually, ticket
from tests.node.ports import free


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

    # Linked is one step, and what the other tells of itself the next.
    (seen,) = eventually(lambda: [peer for peer in a.peers() if peer["name"]], "a knows b's name")
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
    at = f"127.0.0.1:{free()}"
    first = daemon("a", listen=at)
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
    at = f"127.0.0.1:{free()}"
    founder = daemon("a", listen=at, environment=QUICK)
    line = ticket(founder.client())
    b, c = (daemon(name, join=line, environment=QUICK).client() for name in "bc")
    all_linked(founder.client(), b, c)

    founder.stop(signal.SIGKILL)
    eventually(lambda: len(connected(b)) == len(connected(c)) == 1, "the founder is missed")
    assert any("lost" in peer["state"] or peer["why"] for peer in b.peers())

    all_linked(daemon("a", listen=at, environment=QUICK).client(), b, c)


def test_nodes_that_move_one_after_the_other_never_lose_each_other(daemon: Daemons) -> None:
    first = daemon("a")
    b = daemon("b", join=ticket(first.client()), environment=QUICK)
    all_linked(first.client(), b.client())
    first.stop()
    a = daemon("a", environment=QUICK).client()
    all_linked(a, b.client())
    b.stop()

    # `a` knows where b was; where `a` is now, b has to remember.
    all_linked(a, daemon("b", environment=QUICK).client())


def test_two_halves_that_lost_each_other_merge_over_one_link(daemon: Daemons) -> None:
    old = {name: f"127.0.0.1:{free()}" for name in "abcd"}
    daemons = {"a": daemon("a", listen=old["a"])}
    line = ticket(daemons["a"].client(), may_invite=True)
    for name in "bcd":
        daemons[name] = daemon(name, join=line, listen=old[name])
    all_linked(*(one.client() for one in daemons.values()))
    for one in daemons.values():
        assert one.stop() == 0

    # Everybody comes back at another port; nobody else may take the old ones meanwhile.
    taken = [held(address) for address in old.values()]
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
    eventually(lambda: a.client().peers()[0]["state"] == "stopped", "a hears of it", within_s=2.0)
    assert [told["cause"] for told in a.noted("peer.died")] == ["stopped"]
    assert not a.noted("peer.lost")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_amid_the_start_ends_it_as_cleanly(daemon: Daemons, number: int) -> None:
    node = daemon()
    # It holds its data directory, and has most of its code still to load.
    eventually((node.data_dir / "lock").exists, "the start has begun")

    assert node.stop(number) == 0

    assert "Traceback" not in node.said
    assert not (node.data_dir / "api.url").exists()


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
    assert "error: cannot join: the ticket was for 1 node, and" in said
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


def test_weights_of_a_mesh_that_was_left_stay_out_of_the_one_that_is_joined(
    daemon: Daemons,
) -> None:
    here, guest = daemon("here"), daemon("guest")
    client = here.client()
    client.put("w", np.ones((8, 8), np.float32), backend="digital")
    guest.client().put("w", np.ones((2, 2), np.float32), backend="digital")
    guest.client().put("mine", np.ones((2, 2), np.float32), backend="digital")
    guest.stop()
    shutil.rmtree(guest.data_dir / "mesh")

    moved = daemon("guest", join=ticket(client))
    all_linked(client, moved.client())

    # Manifests are compared once two are linked.
    found = eventually(moved.client().weights, "the mesh's weights are known")
    assert [w.info["shape"] for w in found] == [[8, 8]]
    assert [w.name for w in client.weights()] == ["w"]
    assert moved.noted("weights.left_behind")


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
def test_a_damaged_ticket_is_a_wrong_command_line_and_the_joiner_says_what_to_do(
    daemon: Daemons, founder: Daemon, damage: Any, told: str
) -> None:
    said = daemon("clumsy", join=damage(ticket(founder.client()))).ended(2)

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
