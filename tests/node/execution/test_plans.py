import pytest

from node.deployment.ledger import MIB
from node.execution.plans import plan_of_put, plan_of_weights
from node.memory.short_term import RttSeen
from protocol.client import PlanRequest, PlanView
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId
from tests.node.execution.small_fleet import VERSION, A, B, C, SmallFleet, manifest, record


def plan(world: SmallFleet, **asked: object) -> PlanView:
    request = PlanRequest(backend="digital", **asked)  # type: ignore[arg-type]
    return plan_of_put(request, world.fleet, "", 0.0)


def test_a_plan_names_each_node_s_share() -> None:
    world = SmallFleet()
    world.link(B)
    world.hear(record(B))

    view = plan(world, rows=4096, columns=1024, replicas=2)

    assert view.fits and view.reason == ""
    assert view.need == 2 * 16 * MIB
    assert [(share.name, share.blocks, share.nbytes) for share in view.shares] == [
        ("a", 4, 16 * MIB),
        ("b", 4, 16 * MIB),
    ]


def test_a_plan_that_does_not_fit_says_why_and_what_would() -> None:
    world = SmallFleet()
    free = world.ledger.digest().free

    view = plan(world, rows=65536, columns=1024)

    assert not view.fits and view.reason
    assert (view.free, view.shares) == (free, ())
    assert plan(world, rows=view.nearest_fit // 4096, columns=1024).fits


def test_a_plan_of_nothing_is_refused_with_what_to_say() -> None:
    with pytest.raises(TaskError, match="name, or rows and columns") as refused:
        plan(SmallFleet(), rows=5)

    assert refused.value.code is ErrorCode.BAD_REQUEST


def test_a_plan_estimates_a_product_once_a_speed_is_known() -> None:
    world = SmallFleet()
    world.link(B)
    world.hear(record(B))
    world.memory.record(RttSeen(B, 0.1), 0.0)
    both = world.fleet.free_bytes(record(A)) // (4 * 4096) // 1024 * 1024 + 1024
    assert plan(world, rows=4096, columns=both).seconds is None

    world.load(B, LoadDigest(speed_macs_s=1e9, free=100 * MIB))

    one, many = (plan(world, rows=4096, columns=both, m=m).seconds for m in (1, 1000))
    assert one is not None and many is not None
    assert 0.1 < one < many


def test_a_plan_of_weights_that_stand_counts_on_their_holders() -> None:
    world = SmallFleet()
    world.link(B)
    world.hear(record(B, ready=(VERSION,)))
    world.load(B, LoadDigest(speed_macs_s=1e6, free=100 * MIB))
    request = PlanRequest(name="w", m=10)

    def planned(*holders: tuple[NodeId, ...]) -> PlanView:
        return plan_of_weights(manifest(*holders), request, world.fleet, 0.0)

    alone, shared, orphaned = planned((B,), (B,)), planned((A, B), (A, B)), planned((B,), (C,))
    assert alone.seconds is not None and shared.seconds is not None
    assert alone.seconds > shared.seconds > 2 * 10 * 1024 * 8 / 1e6 / 2
    assert alone.fits and [(s.name, s.blocks) for s in alone.shares] == [("b", 2)]
    assert orphaned.seconds is None
    assert not orphaned.fits and orphaned.reason == "1 of 2 blocks have no holder in reach"
    assert orphaned.need == 2 * 4 * 1024 * 8


def need_on(device: str | None) -> int:
    request = PlanRequest(backend="rram", device=device, rows=300, columns=300)
    return plan_of_put(request, SmallFleet().fleet, "rram-wan2022", 0.0).need


def test_a_plan_is_of_the_device_that_is_asked_for() -> None:
    worse = '{"base": "rram-wan2022", "faults": {"stuck_low": 0.05}}'

    assert need_on(None) == need_on("rram-wan2022")
    assert need_on("ideal") < need_on(None) < need_on(worse)


def test_a_plan_of_a_device_that_cannot_be_is_refused() -> None:
    with pytest.raises(TaskError, match=r"faults.stuck: no such key") as refused:
        need_on('{"faults": {"stuck": 1}}')

    assert refused.value.code is ErrorCode.BAD_REQUEST
