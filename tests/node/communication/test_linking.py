import random

from hypothesis import given
from hypothesis import strategies as st

from node.communication.linking import HELD_MAX, HELD_S, IDLE_S, POLITE_S, Linking
from node.effects import Call, Dial, Effect, Hang
from protocol.errors import ErrorCode
from protocol.ids import NodeId
from protocol.messages import Probe

A, B, C = NodeId("a"), NodeId("b"), NodeId("c")
AT_B = ("b:1",)


def linking(own: NodeId = A) -> Linking:
    return Linking(own, random.Random(1), redial_s=10.0)


def call(number: int, peer: NodeId = B, deadline_s: float = 30.0) -> Call:
    return Call(number, peer, Probe(), deadline_s)


def dials(effects: list[Effect]) -> list[Dial]:
    return [effect for effect in effects if isinstance(effect, Dial)]


def test_the_smaller_id_dials_at_once_and_the_larger_waits_a_moment() -> None:
    smaller, larger = linking(A), linking(B)

    smaller.want(B, AT_B, 0.0)
    larger.want(A, ("a:1",), 0.0)

    assert smaller.tick(0.0) == [Dial(AT_B, B)]
    assert larger.tick(0.0) == []
    assert larger.tick(POLITE_S) == [Dial(("a:1",), A)]


def test_an_address_is_dialled_again_for_ever_with_growing_pauses() -> None:
    a = linking()
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


def test_an_address_that_was_reached_is_dialled_again_once_all_links_are_lost() -> None:
    a = linking()
    a.seek(AT_B, None, 0.0)
    assert a.tick(0.0) == [Dial(AT_B, None)]
    a.link_up(B, 1.0)
    a.reached(AT_B)

    assert a.tick(5.0) == []
    a.link_down(B, "connection lost", 6.0)

    assert a.tick(6.0) == [Dial(AT_B, None)]


def test_a_link_that_is_lost_is_dialled_by_the_smaller_id_at_once_and_later_by_the_other() -> None:
    for own, peer, wait_s in ((A, B, 0.0), (B, A, POLITE_S)):
        one = linking(own)
        one.want(peer, ("x:1",), 0.0)
        one.tick(POLITE_S)
        one.link_up(peer, 2.0)
        one.link_down(peer, "connection lost", 50.0)

        assert not dials(one.tick(50.0 + wait_s - 0.01))
        assert dials(one.tick(50.0 + wait_s)) == [Dial(("x:1",), peer)]
        assert one.why_apart(peer) == "connection lost"


def test_a_node_known_from_disk_is_sought_again_when_its_link_is_lost() -> None:
    a = linking()
    a.seek(AT_B, B, 0.0)
    a.tick(0.0)
    a.link_up(B, 1.0)

    a.link_down(B, "connection lost", 2.0)

    assert a.tick(2.0) == [Dial(AT_B, B)]


def test_a_member_that_has_moved_is_dialled_where_it_is_now() -> None:
    a = linking()
    a.want(B, AT_B, 0.0)
    a.tick(0.0)
    a.dial_failed(AT_B, B, "refused", 0.1)

    a.want(B, ("b:2",), 1.0)

    assert a.tick(1.0) == [Dial(("b:2",), B)]


def test_who_is_not_wanted_is_not_dialled_any_more() -> None:
    a = linking()
    a.want(B, AT_B, 0.0)

    a.unwant(B)

    assert a.tick(100.0) == [] and a.deadline is None


def test_a_call_to_a_linked_peer_goes_out_and_one_to_another_waits_for_its_link() -> None:
    a = linking()
    a.link_up(C, 0.0)

    assert a.call(call(1, C), (), 1.0) == [call(1, C)]
    assert a.call(call(2), AT_B, 1.0) == [Dial(AT_B, B)]
    assert a.call(call(3), AT_B, 1.0) == []

    assert [e for e in a.link_up(B, 1.1) if isinstance(e, Call)] == [call(2), call(3)]


def test_calls_that_wait_fail_with_the_dial() -> None:
    a = linking()
    a.call(call(1), AT_B, 0.0)

    a.dial_failed(AT_B, B, "refused", 0.1)

    ((number, error),) = a.failed
    assert number == 1 and error.code is ErrorCode.UNAVAILABLE and "refused" in error.reason
    assert a.tick(100.0) == []


def test_a_call_waits_no_longer_than_it_may() -> None:
    a = linking()
    a.call(call(1, deadline_s=1.0), AT_B, 0.0)
    a.call(call(2), AT_B, 0.0)

    a.tick(1.0)
    assert [number for number, _ in a.failed] == [1]

    a.tick(HELD_S)
    assert [number for number, _ in a.failed] == [1, 2]


def test_a_call_that_waited_can_be_cancelled() -> None:
    a = linking()
    a.call(call(1), AT_B, 0.0)

    assert a.cancel(1) and not a.cancel(1)
    assert not [e for e in a.link_up(B, 0.1) if isinstance(e, Call)]


def test_only_so_many_calls_wait_for_one_link() -> None:
    a = linking()
    for number in range(HELD_MAX + 1):
        a.call(call(number), AT_B, 0.0)

    assert [number for number, _ in a.failed] == [HELD_MAX]


def test_a_call_to_nobody_known_fails_at_once() -> None:
    a = linking()

    assert a.call(call(1), (), 0.0) == []
    assert "no address" in a.failed[0][1].reason


def test_a_link_that_was_dialled_for_a_call_is_closed_when_it_is_not_used() -> None:
    a = linking()
    a.call(call(1), AT_B, 0.0)
    a.link_up(B, 0.1)
    a.call(call(2), AT_B, 30.0)

    assert a.tick(0.1 + IDLE_S) == []
    (hang,) = a.tick(30.0 + IDLE_S)

    assert isinstance(hang, Hang) and hang.peer == B
    assert a.tick(31.0 + IDLE_S) == []


@given(st.floats(0.0, 1e6))
def test_an_unused_link_is_closed_at_the_very_moment_that_the_deadline_tells(at: float) -> None:
    a = linking()
    a.call(call(1), AT_B, at)
    a.link_up(B, at)
    effects: list[Effect] = []

    # Sums and differences of such numbers are rounded each in their own way.
    while a.deadline is not None and a.deadline < at + IDLE_S:
        effects += a.tick(a.deadline)
    assert effects == [] and a.deadline == at + IDLE_S
    assert a.tick(a.deadline) == [Hang(B, "it was not used for a while")]
    assert a.deadline is None


def test_a_link_that_is_wanted_stays() -> None:
    a = linking()
    a.want(B, AT_B, 0.0)
    a.tick(0.0)
    a.link_up(B, 0.1)

    assert a.tick(1000.0) == []


def test_one_that_says_it_is_near_is_dialled_at_once_whatever_pause_there_was() -> None:
    for own, peer, wait_s in ((A, B, 0.0), (B, A, POLITE_S)):
        one = linking(own)
        one.want(peer, ("x:1",), 0.0)
        now = POLITE_S
        for _ in range(12):
            one.tick(now)
            one.dial_failed(("x:1",), peer, "it does not answer", now)
            assert one.deadline is not None
            now = one.deadline
        now -= 1.5

        assert not dials(one.tick(now))
        one.nearby(peer, now)
        assert dials(one.tick(now + wait_s)) == [Dial(("x:1",), peer)]


def test_that_one_is_near_is_nothing_to_who_is_linked_or_does_not_want_it() -> None:
    one = linking()
    one.want(B, AT_B, 0.0)
    one.tick(0.0)
    one.link_up(B, 0.0)

    one.nearby(B, 1.0)
    one.nearby(C, 1.0)

    assert not dials(one.tick(100.0))
    assert list(one.wanted) == [B]


def test_a_dial_to_where_the_peer_was_says_nothing_of_where_it_is_now() -> None:
    one = linking()
    one.want(B, AT_B, 0.0)
    one.tick(0.0)
    one.want(B, ("new:1",), 0.5)
    assert dials(one.tick(0.5)) == [Dial(("new:1",), B)]
    one.call(call(1), ("new:1",), 0.5)

    one.dial_failed(AT_B, B, "it does not answer", 3.0)

    assert one.failed == []
    assert one.why_apart(B) == ""
    assert not dials(one.tick(3.2)), "the other dial is under way"
    assert call(1) in one.link_up(B, 3.3)
