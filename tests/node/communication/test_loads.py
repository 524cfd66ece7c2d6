import msgspec

from node.communication.loads import Loads
from protocol.digests import LoadDigest
from tests.node.communication.gossiping import node, record


def test_the_freshest_of_answer_and_record_holds() -> None:
    loads = Loads()
    told = msgspec.structs.replace(record(1), load=LoadDigest(queue_s=2.0))

    loads.answered(node(1), LoadDigest(queue_s=1.0), 1.0)
    assert loads.load(node(1)) == LoadDigest(queue_s=1.0)
    loads.told(told, 2.0)
    assert loads.load(node(1)) == LoadDigest(queue_s=2.0, free=told.memory.free)
    assert loads.age_s(node(1), 5.0) == 3.0
    loads.answered(node(1), LoadDigest(queue_s=3.0), 4.0)
    assert loads.load(node(1)) == LoadDigest(queue_s=3.0)


def test_of_a_peer_that_was_never_heard_of_nothing_is_known() -> None:
    loads = Loads()
    loads.answered(node(1), LoadDigest(), 1.0)
    loads.forget(node(1))

    assert loads.load(node(1)) is None
    assert loads.age_s(node(1), 5.0) is None
