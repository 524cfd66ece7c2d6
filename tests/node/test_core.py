import pytest

from node.core import Node
from node.deployment.ledger import MIB
from node.effects import Effect, Refuse, Reply
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.world import World
from protocol.client import MatmulRequest, PlanRequest, PutRequest
from protocol.digests import LoadDigest, NodeRecord
from protocol.errors import ErrorCode, TaskError
from protocol.messages import FetchManifest, Probe, Probed, RequestHeader, Response
from tests.node.meshes import ended, join, resident

DISK = 1 << 40


def alone() -> tuple[World, Machine]:
    """One node that holds a 100 x 50 matrix named w."""
    world = World()
    member = join(world, "a")
    assert ended(world, member.put("w", 100, 50, replicas=1)) is None
    return world, member


def answer(effects: list[Effect]) -> Response | ErrorCode:
    (one,) = [effect for effect in effects if isinstance(effect, Reply | Refuse)]
    return one.response if isinstance(one, Reply) else one.error.code


def ask(node: Node, request: Probe | FetchManifest) -> Response | ErrorCode:
    header = RequestHeader(request=request, deadline_ms=1000)
    return answer(node.asked(1, node.own, header, 1.0))


def test_x_of_the_wrong_width_is_refused_with_the_width_it_needs() -> None:
    world, member = alone()

    with pytest.raises(TaskError, match="has 50 columns, but w is 100 x 50 and needs 100"):
        member.node.matmul(MatmulRequest(name="w"), 3, 50, world.now)
    with pytest.raises(TaskError, match=r"Y W\^T: .* needs 50"):
        member.node.matmul(MatmulRequest(name="w", transpose=True), 3, 100, world.now)


def test_weights_that_are_not_there_cannot_be_used_or_removed() -> None:
    world, member = alone()

    for attempt in (
        lambda: member.node.matmul(MatmulRequest(name="v"), 3, 50, world.now),
        lambda: member.node.remove("v", None, 0, world.now),
    ):
        with pytest.raises(TaskError, match="there are no weights named v; there are: w") as no:
            attempt()
        assert no.value.code is ErrorCode.NOT_FOUND


def test_who_names_an_old_version_neither_replaces_nor_removes_the_new_one() -> None:
    world, member = alone()
    (view,) = member.node.views.weights(world.now)
    request = PutRequest(name="w", if_match="1.0.somebody")

    with pytest.raises(TaskError, match=f"w is at {view.version}") as refused:
        member.node.put(request, (5, 5), 0, world.now)
    with pytest.raises(TaskError, match="look, then try again"):
        member.node.remove("w", "1.0.somebody", 0, world.now)

    assert refused.value.code is ErrorCode.CONFLICT
    assert member.node.remove("w", view.version, 0, world.now)


def test_a_put_whose_client_goes_away_leaves_nothing() -> None:
    world, member = alone()
    before = member.leased_bytes
    task = member.put("v", 3000, 3000, replicas=1)
    assert member.leased_bytes >= before + 4 * 3000 * 3000

    assert task.id is not None
    member.hear(member.node.cancel, task.id)
    world.run(1.0)

    assert task.code is ErrorCode.CANCELLED
    assert (member.leased_bytes, len(member.node.tasks)) == (before, 0)
    assert len(resident(member)) == 1


def test_a_probe_is_answered_with_nothing_but_the_load_that_rides_on_it() -> None:
    _, member = alone()

    assert ask(member.node, Probe()) == Probed()
    assert member.node.load(1.0).free == member.node.ledger.digest().free


def test_the_load_that_rides_on_a_refusal_is_believed_and_is_a_sign_of_life() -> None:
    world, member = alone()
    peer = join(world, "b")
    load = LoadDigest(queue_s=3.0, in_flight=4)

    member.hear(member.node.load_told, peer.id, load)

    assert member.node.mesh.gossip.load(peer.id).queue_s == 3.0
    assert member.node.asking.heard_at(peer.id) == world.now


def test_a_peer_that_asks_for_weights_nobody_knows_is_told_so() -> None:
    _, member = alone()

    assert ask(member.node, FetchManifest(name="v")) is ErrorCode.NOT_FOUND


def test_a_full_disk_is_told_as_no_room_for_weights() -> None:
    world, member = alone()
    member.hear(member.node.measured, 60 * MIB, DISK)
    version = told(member).version

    member.hear(member.node.measured, 60 * MIB, 3 * MIB)
    world.run(1.0)

    assert told(member).version > version
    assert told(member).load.free == 3 * MIB
    assert member.node.views.plan(PlanRequest(rows=1024, columns=1024), world.now).free == 3 * MIB
    assert not member.node.views.plan(PlanRequest(rows=1024, columns=1024), world.now).fits


def test_memory_that_changes_little_is_not_told_of() -> None:
    world, member = alone()
    member.hear(member.node.measured, 60 * MIB, DISK)
    world.run(1.0)
    before = told(member)

    member.hear(member.node.measured, 60 * MIB + 1000, DISK)
    world.run(1.0)
    assert told(member) == before
    member.hear(member.node.measured, 130 * MIB, DISK)
    world.run(1.0)

    assert told(member).version > before.version
    assert told(member).memory == member.node.ledger.digest()


def told(member: Machine) -> NodeRecord:
    """What others are told of it."""
    return member.node.mesh.gossip.told
