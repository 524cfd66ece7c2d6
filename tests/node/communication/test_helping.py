from node.communication.helping import HELPED_MAX
from node.communication.paths import TIMEOUT_UNKNOWN_S
from node.communication.probing import SEQUENCES
from protocol.members import Ack, Nack, Ping, PingFor
from tests.node.communication.memberships import membership, node, packets, run, sends


def test_a_helper_pings_the_target_and_passes_its_answer_on() -> None:
    made = membership(3)

    (ping,) = packets(made.heard(node(1), PingFor(7, node(2)), 0.0), to=2)
    assert isinstance(ping, Ping)
    assert ping.sequence >= SEQUENCES

    assert packets(made.heard(node(2), Ack(ping.sequence), 0.1), to=1) == [Ack(7)]
    later = [packet for _, _, packet in sends(run(made, 3.0))]
    assert Nack(7) not in later and Ack(7) not in later


def test_a_helper_without_an_answer_says_so_and_passes_a_late_one_on() -> None:
    made = membership(3)
    (ping,) = packets(made.heard(node(1), PingFor(7, node(2)), 0.0), to=2)
    assert isinstance(ping, Ping)

    assert made.deadline is not None
    assert made.deadline <= TIMEOUT_UNKNOWN_S
    said = [packet for _, effect in run(made, 0.4) for packet in packets([effect], to=1)]
    assert [packet for packet in said if not isinstance(packet, Ping)] == [Nack(7)]
    assert Ack(7) in packets(made.heard(node(2), Ack(ping.sequence), 0.5), to=1)


def test_an_answer_that_comes_far_too_late_is_nobodys() -> None:
    made = membership(3)
    (ping,) = packets(made.heard(node(1), PingFor(7, node(2)), 0.0), to=2)
    assert isinstance(ping, Ping)
    run(made, 5.0)

    assert Ack(7) not in packets(made.heard(node(2), Ack(ping.sequence), 5.0))


def test_whoever_does_not_know_the_target_says_no_at_once() -> None:
    made = membership(3)

    assert packets(made.heard(node(1), PingFor(7, node(99)), 0.0)) == [Nack(7)]


def test_the_target_itself_says_yes_at_once() -> None:
    made = membership(3)

    assert packets(made.heard(node(1), PingFor(7, node(0)), 0.0)) == [Ack(7)]


def test_past_its_limit_help_is_refused() -> None:
    made = membership(3)
    for number in range(HELPED_MAX):
        made.heard(node(1), PingFor(number, node(2)), 0.0)

    assert packets(made.heard(node(1), PingFor(7, node(2)), 0.0)) == [Nack(7)]


def test_who_did_not_run_for_a_while_owes_no_answers_any_more() -> None:
    made = membership(3)
    made.heard(node(1), PingFor(7, node(2)), 0.0)

    said = packets(made.tick(30.0), to=1)

    assert Nack(7) not in said
