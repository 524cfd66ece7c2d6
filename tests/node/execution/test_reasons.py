from node.execution.reasons import REASON_CHARS_KEPT, STEPS_KEPT, Reasons, shape
from protocol.ids import NodeId

OWN, PEER = NodeId("own"), "peer"


def test_steps_tell_when_what_happened_and_are_counted_by_kind() -> None:
    reasons = Reasons(OWN, now=10.0)

    reasons.step("hedged", PEER, "it was late", now=12.5, to="other")
    reasons.step("moved", PEER, "no sign of life", now=13.0)

    view = reasons.view()
    assert [(one.at_s, one.what, one.to) for one in view.steps] == [
        (2.5, "hedged", "other"),
        (3.0, "moved", ""),
    ]
    assert (view.hedges, view.rescues, view.failures) == (1, 1, 0)


def test_parts_that_are_done_again_are_counted_by_how() -> None:
    reasons = Reasons(OWN, now=0.0)

    for how in ("stronger", "stronger", "digital"):
        reasons.step(how, PEER, "it was wrong", now=1.0)

    view = reasons.view()
    assert (view.stronger, view.digital, view.failures) == (2, 1, 0)


def test_of_too_many_steps_the_first_are_kept_and_all_are_counted() -> None:
    reasons = Reasons(OWN, now=0.0)
    for number in range(STEPS_KEPT + 9):
        reasons.step("failed", PEER, str(number), now=float(number))

    view = reasons.view()
    assert [one.why for one in view.steps] == [str(number) for number in range(STEPS_KEPT)]
    assert view.failures == STEPS_KEPT + 9


def test_a_peer_s_long_reason_is_kept_in_part() -> None:
    reasons = Reasons(OWN, now=0.0)

    reasons.step("failed", PEER, "x" * 60_000, now=1.0)

    (step,) = reasons.view().steps
    assert len(step.why) == REASON_CHARS_KEPT


def test_the_shape_says_whether_one_node_does_it_all() -> None:
    assert shape({"own": [], "peer": []}, OWN) == "split"
    assert shape({"own": []}, OWN) == "local"
    assert shape({"peer": []}, OWN) == "whole"
