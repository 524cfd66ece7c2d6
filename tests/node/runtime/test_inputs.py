"""What comes in reaches the Node, and what is asked of it is answered."""

import random

import pytest

from node.core import Node
from node.deployment.ledger import Ledger
from node.effects import Effect, Note
from node.policy import Policy
from node.runtime.inputs import LOAD_FRESH_S, Inputs
from node.runtime.signatures import Ed25519
from node.runtime.tally import Tally
from protocol.digests import NodeRecord
from protocol.ids import NodeId, node_id
from protocol.messages import Join, Joined
from protocol.paths import PathKind

PEER = NodeId("p" * 52)


class Log:
    def info(self, event: str, /, **fields: object) -> None: ...

    debug = warning = exception = info


async def nobody_comes(join: Join) -> Joined:
    raise AssertionError(join)


class Place:
    """A Node without hands: what it answers with is kept."""

    def __init__(self) -> None:
        signatures = Ed25519(bytes(32))
        record = NodeRecord(id=node_id(signatures.key), incarnation=1, version=0, name="n")
        policy = Policy("digital", "", 2, 0.0, 1.0, 1.0)
        self.node = Node(record, Ledger(1 << 28, None), policy, signatures, random.Random(1))
        self.tally = Tally()
        self.fed: list[Effect] = []
        self.inputs = Inputs(self.node, self.fed.extend, self.tally, Log(), nobody_comes)


@pytest.fixture
async def place() -> Place:
    return Place()


async def test_what_the_node_answers_with_is_carried_out(place: Place) -> None:
    place.inputs.link_up(PEER, True)

    assert "peer.linked" in [one.event for one in place.fed if isinstance(one, Note)]


async def test_the_node_learns_by_what_path_a_peer_is_reached(place: Place) -> None:
    place.inputs.link_up(PEER, True)

    def relayed() -> bool:
        (one,) = [one for one in place.node.fleet.everybody(0.0) if one.node == PEER]
        return one.relayed

    place.inputs.path_is(PEER, PathKind.RELAY)
    assert relayed()
    place.inputs.path_is(PEER, PathKind.PUNCHED)
    assert not relayed()


async def test_the_load_on_many_answers_in_a_row_is_reckoned_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(place.inputs._loop, "time", lambda: now)
    first = place.inputs.load()

    assert place.inputs.load() is first
    now += 2 * LOAD_FRESH_S
    assert place.inputs.load() is not first


async def test_whoever_was_turned_away_at_the_door_is_counted(place: Place) -> None:
    place.inputs.turned_away("link.refused", remote="192.0.2.1:1", reason="no certificate")

    assert place.tally.refusals["stranger", "link.refused"] == 1
