import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block
from node.communication.admission import HOPELESS, in_vain, shed
from node.communication.choosing import choose, query
from node.communication.scoring import RETRY_S, Candidate, Cost
from protocol.errors import ErrorCode, TaskError
from tests.node.communication.test_scoring import peer


def refused(nodes: list[Candidate], left_s: float, macs: int = 10**9) -> TaskError | None:
    """Of a product of one block that all of them hold."""
    block = Block(0, 0)
    names = [one.node for one in nodes]
    asked = query({block: names}, nodes, {block: Cost(0, 0, macs)})
    return shed(asked, choose(asked), left_s)


def test_what_no_holder_can_do_in_time_is_refused_with_when_to_come_back() -> None:
    error = refused([peer("a", queue_s=3.0), peer("b", queue_s=5.0)], left_s=2.0)

    assert error is not None and error.code is ErrorCode.OVERLOADED
    assert error.info.retry_after_s == pytest.approx(3.0)
    assert "3 s behind others' work, and 2 s are left" in error.info.reason


def test_one_holder_that_can_is_enough() -> None:
    assert refused([peer("a", queue_s=30.0), peer("b", queue_s=0.5)], left_s=2.0) is None


def test_an_estimate_that_is_a_little_too_long_refuses_nobody() -> None:
    assert refused([peer("a", queue_s=1.3)], left_s=2.0) is None
    assert refused([peer("a", queue_s=1.6)], left_s=2.0) is not None


@given(
    st.lists(
        st.tuples(
            st.floats(0, 100), st.floats(0, 1), st.sampled_from((0.0, 1e6, 1e9)), st.floats(0, 1)
        ),
        min_size=1,
        max_size=4,
    ),
    st.floats(0, 100),
    st.integers(0, 10**12),
)
def test_nobody_is_refused_for_a_guess_or_by_an_idle_mesh(
    nodes: list[tuple[float, float, float, float]], left_s: float, macs: int
) -> None:
    busy = [
        peer(f"n{i}", queue_s=queue_s, rtt_s=rtt_s, speed_macs_s=speed, reliability=reliability)
        for i, (queue_s, rtt_s, speed, reliability) in enumerate(nodes)
    ]
    idle = [peer(f"n{i}", speed_macs_s=1e3, reliability=0.1) for i in range(len(nodes))]

    assert refused(idle, left_s, macs) is None
    error = refused(busy, left_s, macs)
    if error is not None:
        assert all(one.speed_macs_s for one in busy)
        once_s = min(one.queue_s + macs / one.speed_macs_s for one in busy) + 1
        # The way takes a second at most, a failure that second and all once more; near ties are drawn.
        assert 1.1 * (2 * once_s + RETRY_S) > HOPELESS * left_s


def test_a_holder_refuses_only_what_would_wait_in_vain() -> None:
    assert in_vain(queue_s=1.0, service_s=1.5, left_s=2.0) == 1.0
    assert in_vain(queue_s=0.4, service_s=1.5, left_s=2.0) is None
    assert in_vain(queue_s=0.0, service_s=9.0, left_s=2.0) is None
