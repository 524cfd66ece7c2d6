"""A node leaves its mesh for good, is told what that costs, and can come back; one that merely stops says so too."""

import signal
import subprocess
import sys
import time

import numpy as np

import sedma
from node.runtime.members_store import MembersStore
from tests.live.daemons import QUICK, Daemon, Daemons, connected, eventually, ticket

W = np.ones((300, 200), np.float32)


def leave(daemon: Daemon, *flags: str) -> subprocess.CompletedProcess[str]:
    words = ["leave", *flags, "--data-dir", str(daemon.data_dir)]
    return subprocess.run(
        [sys.executable, "-m", "node.cli.main", *words], capture_output=True, text=True, check=False
    )


def states(client: sedma.Client) -> dict[str, str]:
    return {peer["id"]: peer["state"] for peer in client.peers()}


def test_who_has_left_starts_no_more_without_a_ticket_and_joins_again_with_one(
    daemon: Daemons,
) -> None:
    a = daemon("a").client()
    leaver = daemon("b", join=ticket(a))
    own = leaver.client().status()["id"]
    eventually(lambda: connected(a) == [own], "they know each other")

    assert leave(leaver).returncode == 0
    leaver.ended(0)
    eventually(lambda: a.peers()[0]["state"] == "left", "a has heard of it", within_s=2.0)

    said = daemon("b").ended()
    assert "this node has left mesh" in said
    assert "--join TICKET" in said
    back = daemon("b", join=ticket(a)).client()
    eventually(lambda: connected(a) == [own], "b is back, as the same node")
    assert back.status()["mesh"] == a.status()["mesh"]


def test_a_disk_that_refuses_once_does_not_keep_a_node_from_leaving_later(daemon: Daemons) -> None:
    one = daemon("a")
    one.client()
    in_the_way = one.data_dir / "left"
    in_the_way.mkdir()

    refused = leave(one)
    in_the_way.rmdir()
    left = leave(one)

    assert refused.returncode == 1
    assert "this node cannot leave" in refused.stderr
    assert (left.returncode, left.stderr) == (0, "")
    one.ended(0)


def test_weights_that_would_be_lost_are_named_first(daemon: Daemons) -> None:
    only = daemon("a")
    only.client().put("precious", W, backend="digital")

    refused = leave(only)
    forced = leave(only, "--force")

    assert refused.returncode == 1
    assert "parts of precious are on this node alone" in refused.stderr
    assert forced.stdout.endswith("lost to the mesh: precious\n")
    only.ended(0)


def test_a_founder_is_told_that_it_takes_the_right_to_invite_with_it(daemon: Daemons) -> None:
    founder = daemon("a")
    member = daemon("b", join=ticket(founder.client())).client()
    eventually(lambda: connected(member), "they know each other")

    refused = leave(founder)
    assert "without it nobody can let others in" in refused.stderr
    assert leave(founder, "--force").returncode == 0

    (put_aside,) = founder.data_dir.glob("mesh-left-*")
    assert (put_aside / "ca.key").exists()


def test_who_was_there_and_who_is_gone_is_known_after_a_restart(daemon: Daemons) -> None:
    founder = daemon("a", environment=QUICK)
    line = ticket(founder.client())
    leaver = daemon("b", join=line)
    stayer = daemon("c", join=line, environment=QUICK)
    ids = [one.client().status()["id"] for one in (founder, leaver, stayer)]
    for one in (founder, stayer):
        eventually(lambda: len(connected(one.client())) == 2, "they know each other")  # noqa: B023
    assert leave(leaver).returncode == 0
    eventually(lambda: states(stayer.client())[ids[1]] == "left", "c has heard of it")
    assert founder.stop() == 0
    kept = MembersStore(stayer.data_dir / "members.db")
    eventually(lambda: len(kept.load(time.time()).graves) == 2, "c has it on disk")

    stayer.stop(signal.SIGKILL)
    alone = daemon("c", environment=QUICK).client()

    assert states(alone) == {ids[0]: "stopped", ids[1]: "left"}
