from node.execution.views import peer_views, weights_view
from protocol.digests import LoadDigest
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
