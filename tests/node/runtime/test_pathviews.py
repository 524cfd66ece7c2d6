"""A peer with the way to it, as people are told."""

import pytest
from msgspec.structs import replace

from nat.behaviour import NatClass
from nat.classes import Classes
from node.communication.reach import Reach
from node.runtime.paths.sight import Sight
from node.runtime.pathviews import with_path
from protocol.ids import NodeId
from protocol.paths import PathKind
from tests.node.execution.small_fleet import SmallFleet
from tests.node.runtime.test_metrics import PEER

RELAY = NodeId("r" * 52)
LAN = Sight(PathKind.LAN, (PathKind.LAN, PathKind.RELAY), 0.0004, None, "", 10, 20)
RELAYED = Sight(PathKind.RELAY, (PathKind.RELAY,), None, RELAY, "punching: late", 10, 20)


@pytest.fixture
def reach() -> Reach:
    """Behind a symmetric NAT."""
    own = SmallFleet().mesh.reach
    own.classes = Classes(NatClass.SYMMETRIC)
    return own


def name(node: NodeId) -> str:
    return {RELAY: "pub0"}[node]


def test_a_peer_without_a_link_is_told_as_it_was(reach: Reach) -> None:
    assert with_path(PEER, None, reach, name) is PEER


def test_a_direct_path_needs_no_explanation(reach: Reach) -> None:
    view = with_path(PEER, LAN, reach, name)

    assert (view.path, view.paths, view.via) == ("lan", ("lan", "relay"), "")
    assert view.path_rtt_ms == pytest.approx(0.4)
    assert (view.bytes_in, view.bytes_out) == (10, 20)
    assert view.relayed is None


def test_a_relayed_pair_is_explained_by_what_both_have_told(reach: Reach) -> None:
    view = with_path(replace(PEER, nat="IPv4 symmetric NAT"), RELAYED, reach, name)

    assert (view.path, view.via, view.why_not_direct) == ("relay", "pub0", "punching: late")
    assert view.relayed is not None
    assert view.relayed.what == (
        "cellar is reached by way of relay pub0: both NATs are symmetric, so no direct way can be punched"
    )
    assert view.relayed.fix.startswith("forward")


def test_a_link_that_has_just_lost_its_last_path_has_none(reach: Reach) -> None:
    view = with_path(PEER, Sight(None, (), None, None, "", 1, 2), reach, name)

    assert (view.path, view.paths, view.relayed) == ("", (), None)
