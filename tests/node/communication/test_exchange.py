import random

import msgspec

from node.communication.desk import Desk
from node.communication.exchange import ANSWER_S, NEWCOMER_S, POLITE_S, Exchange
from node.effects import Call, Dial, Hang, KeepPeers, Note
from node.memory.short_term import ShortTerm
from protocol import codec
from protocol.digests import LoadDigest, NodeRecord, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import MeshId, NodeId
from protocol.limits import (
    ADDRESSES_MAX,
    HEADER_BYTES_MAX,
    HELD_MAX,
    LABELS_MAX,
    TEXT_BYTES_MAX,
)
from protocol.messages import Exchange as ExchangeRequest
from protocol.messages import Exchanged, RequestHeader, ResponseHeader

MESH = MeshId("m" * 64)


def record(name: str, incarnation: int = 1) -> NodeRecord:
    return NodeRecord(
        id=NodeId(name), mesh=MESH, incarnation=incarnation, version=0, addresses=(f"{name}:1",)
    )


def large_record(name: str) -> NodeRecord:
    """As much as a record may say."""
    return msgspec.structs.replace(
        record(name),
        id=NodeId(name.rjust(52, "n")),
        name="x" * TEXT_BYTES_MAX,
        software="x" * TEXT_BYTES_MAX,
        labels=("x" * TEXT_BYTES_MAX,) * LABELS_MAX,
        addresses=("x" * TEXT_BYTES_MAX,) * ADDRESSES_MAX,
        ready=(WeightsVersion(1 << 50, 1 << 30, "x" * 52),) * HELD_MAX,
    )


def exchange(name: str) -> Exchange:
    return Exchange(
        record(name), Desk(), ShortTerm(), random.Random(1), interval_s=0.5, redial_s=10.0
    )


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


def test_the_round_trip_is_the_least_of_those_measured_lately() -> None:
    a, b = exchange("a"), exchange("b")
    b.link_up(a.own.id, 0.0)

    tell(a, first_call(a, "b", 0.0), b, 0.01)
    for began_at, answered_at in ((5.0, 5.2), (10.0, 10.3)):
        (call,) = [effect for effect in a.tick(began_at) if isinstance(effect, Call)]
        tell(a, call, b, answered_at)

    assert a.rtt_s == {NodeId("b"): 0.01}


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


def test_what_was_told_in_vain_is_told_again() -> None:
    a = exchange("a")
    a.asked(NodeId("b"), ExchangeRequest(records=(record("c"),)), 0.0)
    call = first_call(a, "b", 0.0)

    a.call_failed(call.call, ErrorInfo(code=ErrorCode.OVERLOADED, reason="busy"), 1.0)
    assert a.deadline is not None
    (again,) = [effect for effect in a.tick(a.deadline + POLITE_S) if isinstance(effect, Call)]

    assert isinstance(again.request, ExchangeRequest) and isinstance(call.request, ExchangeRequest)
    assert again.request.records == call.request.records != ()


def test_more_news_than_one_message_holds_follows_soon() -> None:
    a = exchange("a")
    for index in range(100):
        a.asked(NodeId("b"), ExchangeRequest(records=(large_record(f"{index:03}"),)), 0.0)
    calls = [first_call(a, "b", 0.0)]

    while len(told := [one for call in calls for one in _records(call)]) < 101:
        now = float(len(calls))
        after = a.answered(calls[-1].call, NodeId("b"), Exchanged(), LoadDigest(), now)
        (rest,) = [effect for effect in after if isinstance(effect, Call)]
        calls.append(rest)

    assert len({one.id for one in told}) == 101
    assert all(1 <= len(_records(call)) < 100 for call in calls)


def test_a_message_fits_its_header_however_much_its_records_say() -> None:
    a = exchange("a")
    for index in range(1000):
        a.asked(NodeId("b"), ExchangeRequest(records=(large_record(f"{index:03}"),)), 0.0)
    call = first_call(a, "b", 0.0)
    assert isinstance(call.request, ExchangeRequest)

    header = RequestHeader(request=call.request, deadline_ms=4000, trace="t" * 32)
    answer, _ = a.asked(NodeId("c"), ExchangeRequest(), 1.0)

    assert len(codec.encode(header)) <= HEADER_BYTES_MAX
    assert len(codec.encode(ResponseHeader(response=answer))) <= HEADER_BYTES_MAX


def test_an_address_that_was_reached_is_dialled_again_once_all_links_are_lost() -> None:
    b = exchange("b")
    b.seek(("a:1",), None, 0.0)
    assert b.tick(0.0) == [Dial(("a:1",), None)]
    b.link_up(NodeId("a"), 1.0)
    b.reached(("a:1",))

    assert not [effect for effect in b.tick(5.0) if isinstance(effect, Dial)]
    b.link_down(NodeId("a"), "connection lost", 6.0)

    assert Dial(("a:1",), None) in b.tick(6.0)


def test_a_link_that_is_lost_is_dialled_by_the_smaller_id_at_once_and_later_by_the_other() -> None:
    for own, peer, wait_s in (("a", "b", 0.0), ("b", "a", POLITE_S)):
        one = exchange(own)
        one.link_up(NodeId(peer), 0.0)
        one.asked(NodeId(peer), ExchangeRequest(records=(record(peer),)), 0.0)
        one.link_down(NodeId(peer), "connection lost", 50.0)

        assert one.deadline == 50.0 + wait_s
        assert one.why_apart(NodeId(peer)) == "connection lost"


def test_a_node_known_from_disk_is_sought_though_it_never_said_who_it_is() -> None:
    a = exchange("a")
    a.seek(("b:1",), NodeId("b"), 0.0)
    a.tick(0.0)
    a.link_up(NodeId("b"), 1.0)

    a.link_down(NodeId("b"), "connection lost", 2.0)

    assert a.tick(2.0) == [Dial(("b:1",), NodeId("b"))]


def test_of_a_newcomer_the_others_are_told_at_once() -> None:
    a, b = exchange("a"), exchange("b")
    tell(a, first_call(a, "b", 0.0), b, 0.0)
    (call,) = (one for one in a.tick(NEWCOMER_S) if isinstance(one, Call))
    tell(a, call, b, NEWCOMER_S)

    a.link_up(NodeId("c"), 1.0)
    a.asked(NodeId("c"), ExchangeRequest(records=(record("c"),)), 1.0)

    (call,) = (one for one in a.tick(1.0 + NEWCOMER_S) if isinstance(one, Call))
    assert call.peer == "b"
    assert isinstance(call.request, ExchangeRequest)
    assert [one.id for one in call.request.records] == ["c"]


def test_a_node_that_has_moved_is_kept_where_it_is_now() -> None:
    a = exchange("a")
    a.link_up(NodeId("b"), 0.0)
    a.asked(NodeId("b"), ExchangeRequest(records=(record("b"),)), 0.0)
    moved = msgspec.structs.replace(record("b", incarnation=2), addresses=("b:2",))

    _, effects = a.asked(NodeId("b"), ExchangeRequest(records=(moved,)), 1.0)
    _, again = a.asked(NodeId("b"), ExchangeRequest(records=(record("b", 3),)), 2.0)

    assert [e.peers for e in effects if isinstance(e, KeepPeers)] == [(("b", ("b:2",)),)]
    assert [e.peers for e in again if isinstance(e, KeepPeers)] == [(("b", ("b:1",)),)]


def test_who_left_is_not_dialled_any_more() -> None:
    a = exchange("a")
    gone = msgspec.structs.replace(record("b", 2), left=True)

    a.asked(NodeId("c"), ExchangeRequest(records=(record("b"),)), 0.0)
    a.asked(NodeId("c"), ExchangeRequest(records=(gone,)), 0.0)

    assert a.tick(100.0) == []


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


def _records(call: Call) -> tuple[NodeRecord, ...]:
    assert isinstance(call.request, ExchangeRequest)
    return call.request.records
