import pytest

from node.deployment.ledger import MIB
from node.execution.views import peer_views, plan_view, weights_view
from protocol.client import PlanRequest, PlanView
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId
from tests.node.execution.small_fleet import VERSION, A, B, C, SmallFleet, manifest, record


def test_weights_are_shown_with_their_holders_and_what_nobody_has_in_memory() -> None:
    world = SmallFleet()
    world.link(B)
    world.hear(record(B, ready=(VERSION,)))

    view = weights_view(manifest((B,), (B, C), (C,)), world.fleet, 0.0)

    assert (view.shape, view.blocks, view.nbytes) == ((3072, 8), 3, 4 * 3072 * 8)
    assert view.holders == {B: 2, C: 2}
    assert view.missing == 1


def test_blocks_of_this_node_are_not_missing() -> None:
    world = SmallFleet()
    held = manifest((A,), (A,))
    assert weights_view(held, world.fleet, 0.0).missing == 2

    world.hold(held)

    assert weights_view(held, world.fleet, 0.0).missing == 0


def test_peers_are_connected_known_lost_or_gone() -> None:
    world = SmallFleet()

    def state() -> tuple[str, str]:
        (view,) = peer_views(world.exchange, world.fleet, 0.0)
        return view.state, view.why

    world.hear(record(B))
    assert state() == ("known", "")
    world.exchange.dial_failed(("b:1",), B, "refused", 0.0)
    assert state() == ("lost", "refused")
    world.link(B)
    assert state() == ("connected", "")
    world.unlink(B)
    assert state() == ("lost", "connection lost")
    world.hear(record(B, version=2, left=True))
    assert state() == ("left", "")


def test_a_peer_is_shown_with_what_it_told_and_how_long_ago() -> None:
    world = SmallFleet()
    world.hear(record(B), now=1.0)
    world.load(B, LoadDigest(queue_s=2.0, in_flight=3, free=5), now=2.0)

    (view,) = peer_views(world.exchange, world.fleet, 2.5)

    assert (view.queue_s, view.in_flight, view.free_bytes) == (1.5, 3, 5)
    assert (view.age_s, view.rtt_ms) == (1.5, None)


def plan(world: SmallFleet, **asked: object) -> PlanView:
    request = PlanRequest(backend="digital", **asked)  # type: ignore[arg-type]
    return plan_view(request, None, world.exchange, world.fleet, "")


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
    world.exchange.rtt_s[B] = 0.1
    both = world.fleet.free_bytes(record(A)) // (4 * 4096) // 1024 * 1024 + 1024
    assert plan(world, rows=4096, columns=both).seconds is None

    world.load(B, LoadDigest(speed_macs_s=1e9, free=100 * MIB))

    one, many = (plan(world, rows=4096, columns=both, m=m).seconds for m in (1, 1000))
    assert one is not None and many is not None
    assert 0.1 < one < many


def test_a_plan_of_weights_that_stand_counts_on_their_holders() -> None:
    world = SmallFleet()
    world.link(B)
    world.hear(record(B))
    world.load(B, LoadDigest(speed_macs_s=1e6, free=100 * MIB))
    request = PlanRequest(name="w", backend="digital", m=10)

    def seconds(*holders: tuple[NodeId, ...]) -> float | None:
        return plan_view(request, manifest(*holders), world.exchange, world.fleet, "").seconds

    alone, shared = seconds((B,), (B,)), seconds((A, B), (A, B))
    assert alone is not None and shared is not None
    assert alone > 2 * 10 * 1024 * 8 / 1e6 > shared
    assert seconds((B,), (C,)) is None
