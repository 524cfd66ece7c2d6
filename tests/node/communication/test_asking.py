import random

from node.communication.asking import QUIET_S, Asking
from node.communication.desk import Desk
from node.communication.policies import Prequal
from node.effects import Call, Effect
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId
from protocol.messages import Probe, Probed

A, B = NodeId("a"), NodeId("b")
LATE = ErrorInfo(code=ErrorCode.DEADLINE, reason="no answer")


class Asked:
    """Peers that are asked, and what they answer."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.asking = Asking(self.desk, Prequal(random.Random(1)))

    def sent(self, effects: list[Effect]) -> list[tuple[int, NodeId]]:
        calls = [effect for effect in effects if isinstance(effect, Call)]
        assert all(isinstance(call.request, Probe) for call in calls)
        return [(call.call, call.peer) for call in calls]

    def answer(self, call: int, peer: NodeId, now: float) -> None:
        waiter = self.desk.settle(call)
        assert waiter is self.asking
        self.asking.answered(call, peer, Probed(), LoadDigest(), now)


def test_nobody_is_asked_twice_at_a_time() -> None:
    asked = Asked()
    ((first, peer), _) = asked.sent(asked.asking.ask([A, B], 0.0))

    assert asked.sent(asked.asking.ask([A, B], 0.1)) == []
    asked.answer(first, peer, 0.2)
    assert [peer for _, peer in asked.sent(asked.asking.ask([A, B], 0.3))] == [A]
    assert asked.asking.after_decisions == 3


def test_who_owes_an_answer_for_too_long_is_silent_until_it_is_heard() -> None:
    asked, rtt_s = Asked(), 0.1
    asked.asking.see_to(A, 1.0)
    silent_at = 1.0 + QUIET_S + 2 * rtt_s

    assert asked.asking.silent_at(A, rtt_s, 1.5) == silent_at
    assert asked.asking.silent_s(A, rtt_s, silent_at) == 0.0
    assert asked.asking.silent_s(A, rtt_s, silent_at + 0.5) == QUIET_S + 2 * rtt_s + 0.5
    asked.asking.heard(A, silent_at + 0.6)
    assert asked.asking.silent_s(A, rtt_s, silent_at + 0.7) == 0.0


def test_a_probe_that_runs_out_of_time_leaves_its_peer_silent_and_it_is_asked_again() -> None:
    asked = Asked()
    ((call, _),) = asked.sent(asked.asking.see_to(A, 0.0))
    asked.desk.settle(call)
    asked.asking.call_failed(call, LATE, 4.0)

    assert asked.asking.silent_s(A, 0.0, 4.0) == 4.0
    ((again, _),) = asked.sent(asked.asking.see_to(A, 4.0))
    assert asked.asking.silent_s(A, 0.0, 5.0) == 5.0
    asked.answer(again, A, 5.0)
    assert asked.asking.silent_s(A, 0.0, 5.0) == 0.0
    assert asked.asking.for_life == 2


def test_with_its_link_goes_what_a_peer_owed() -> None:
    asked = Asked()
    ((call, _),) = asked.sent(asked.asking.see_to(A, 0.0))
    asked.asking.lost(A)

    assert asked.asking.silent_s(A, 0.0, 9.0) == 0.0
    assert asked.desk.settle(call) is None
    assert len(asked.asking.see_to(A, 9.0)) == 1
