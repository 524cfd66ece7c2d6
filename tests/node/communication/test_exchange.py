import random

from node.communication.desk import Desk
from node.communication.exchange import ANSWER_S, POLITE_S, Exchange
from node.effects import Call, Dial, Hang, Note
from protocol.digests import LoadDigest, NodeRecord
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import MeshId, NodeId
from protocol.messages import Exchange as ExchangeRequest

MESH = MeshId("m" * 64)


def record(name: str, incarnation: int = 1) -> NodeRecord:
    return NodeRecord(
        id=NodeId(name), mesh=MESH, incarnation=incarnation, version=0, addresses=(f"{name}:1",)
    )


def exchange(name: str) -> Exchange:
    return Exchange(record(name), Desk(), random.Random(1), interval_s=0.5, redial_s=10.0)


def tell(teller: Exchange, call: Call, hearer: Exchange, now: float) -> list[Dial | Call]:
    """Carry one message over and its answer back; what both sides want next."""
    assert isinstance(call.request, ExchangeRequest)
    answer, effects = hearer.asked(teller.own.id, call.request, now)
    effects += teller.answered(call.call, hearer.own.id, answer, LoadDigest(), now)
    return [effect for effect in effects if isinstance(effect, Dial | Call)]


def first_call(one: Exchange, peer: str, now: float) -> Call:
    calls = [e for e in one.link_up(NodeId(peer), now) if isinstance(e, Call)]
    return calls[0]


def test_two_that_meet_know_each_other_after_one_message_and_its_answer() -> None:
    a, b = exchange("a"), exchange("b")
    b.link_up(a.own.id, 0.0)

    tell(a, first_call(a, "b", 0.0), b, 0.01)

    assert a.records[NodeId("b")] == b.own
    assert b.records[NodeId("a")] == a.own


def test_who_hears_of_a_third_dials_it_the_smaller_id_at_once() -> None:
    a, b = exchange("a"), exchange("b")
    b.link_up(a.own.id, 0.0)
    b.link_up(NodeId("c"), 0.0)
    b.asked(NodeId("c"), ExchangeRequest(records=(record("c"),)), 0.0)

    wanted = tell(a, first_call(a, "b", 0.0), b, 0.01)

    assert Dial(("c:1",), NodeId("c")) in wanted


def test_the_larger_id_waits_a_moment_for_the_other_to_dial() -> None:
    c = exchange("c")
    c.link_up(NodeId("b"), 0.0)
    c.asked(NodeId("b"), ExchangeRequest(records=(record("a"),)), 0.0)

    assert not [e for e in c.tick(0.0) if isinstance(e, Dial)]
    assert [e for e in c.tick(POLITE_S) if isinstance(e, Dial)]


def test_an_address_is_dialled_again_for_ever_with_growing_pauses() -> None:
    a = exchange("a")
    a.seek(("x:1",), None, 0.0)
    now, pauses = 0.0, []

    for _ in range(30):
        assert a.tick(now) == [Dial(("x:1",), None)]
        a.dial_failed(("x:1",), None, "refused", now)
        assert a.deadline is not None
        pauses.append(a.deadline - now)
        now = a.deadline

    assert pauses[0] <= 0.1 and 5.0 <= pauses[-1] <= 10.0
    assert a.obstacles() == ["refused"]


def test_a_neighbour_that_does_not_answer_is_hung_up_on() -> None:
    a = exchange("a")
    call = first_call(a, "b", 0.0)

    error = ErrorInfo(code=ErrorCode.DEADLINE, reason="late")

    assert a.call_failed(call.call, error, ANSWER_S) == [
        Hang(NodeId("b"), f"no answer for {ANSWER_S:g} s")
    ]


def test_an_older_record_never_replaces_a_newer_one() -> None:
    a = exchange("a")
    for incarnation in (2, 1):
        a.asked(NodeId("b"), ExchangeRequest(records=(record("c", incarnation),)), 0.0)

    assert a.records[NodeId("c")].incarnation == 2


def test_a_copy_of_our_own_key_elsewhere_is_said_aloud() -> None:
    a = exchange("a")

    _, effects = a.asked(NodeId("b"), ExchangeRequest(records=(record("a", 9),)), 0.0)

    assert [e.event for e in effects if isinstance(e, Note)] == ["identity.duplicated"]


def test_records_of_another_mesh_are_not_taken() -> None:
    a = exchange("a")
    foreign = NodeRecord(id=NodeId("z"), mesh=MeshId("other"), incarnation=1, version=0)

    a.asked(NodeId("b"), ExchangeRequest(records=(foreign,)), 0.0)

    assert a.records == {}
