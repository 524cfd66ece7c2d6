from node.execution.views import peer_views, weights_view
from protocol.digests import DeviceProfile, LoadDigest, RegimeCosts
from protocol.members import Cause, Dead, Suspect
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


def test_peers_are_known_connected_suspect_lost_or_gone_by_their_own_word() -> None:
    world = SmallFleet()

    def state() -> tuple[str, str, str]:
        (view,) = peer_views(world.mesh, world.fleet, 0.0)
        return view.state, view.cause, view.why

    world.hear(record(B))
    assert state() == ("known", "", "")
    world.mesh.dial_failed(("b:1",), B, "refused", 0.0)
    assert state() == ("known", "", "refused")
    world.link(B)
    assert state() == ("connected", "", "")
    world.mesh.membership.told((Suspect(B, 1, C),), C, 0.0)
    assert state() == ("suspect", "", "")
    world.mesh.membership.told((Dead(B, 1),), C, 0.0)
    world.unlink(B)
    assert state() == ("lost", "silent", "connection lost")
    world.meet(B, incarnation=2, gone=Cause.STOPPED)
    assert state() == ("stopped", "stopped", "connection lost")
    world.meet(B, incarnation=3, gone=Cause.LEFT)
    assert state() == ("left", "left", "")


def test_a_peer_is_shown_with_what_it_told_and_how_long_ago() -> None:
    world = SmallFleet()
    world.hear(record(B, nat="IPv4 symmetric NAT"), now=1.0)
    world.load(B, LoadDigest(queue_s=2.0, in_flight=3, free=5), now=2.0)

    (view,) = peer_views(world.mesh, world.fleet, 2.5)

    assert (view.queue_s, view.in_flight, view.free_bytes) == (1.5, 3, 5)
    assert view.nat == "IPv4 symmetric NAT"
    assert (view.age_s, view.rtt_ms, view.incarnation) == (1.5, None, 1)


def test_a_peer_is_shown_with_its_arrays_and_what_its_regimes_cost() -> None:
    world = SmallFleet()
    world.hear(
        record(
            B,
            device=DeviceProfile(
                "rram",
                "rram-harsh",
                4,
                arrays=12,
                healthy=0.4,
                sigma=(0.01, 0.02, 0.03),
                stuck=0.1,
                writes=7,
                costs=RegimeCosts(fast=2e-9),
            ),
        )
    )

    (view,) = peer_views(world.mesh, world.fleet, 0.0)

    assert (view.arrays.device, view.arrays.arrays, view.arrays.healthy) == ("rram-harsh", 12, 0.4)
    assert (view.arrays.sigma, view.arrays.stuck) == ((0.01, 0.02, 0.03), 0.1)
    assert view.arrays.writes == 7
    assert view.arrays.seconds_per_mac == {"fast": 2e-9}
