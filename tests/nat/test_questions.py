"""Questions are asked again until they are answered, and only what answers one is taken for an answer."""

import itertools
import random

import pytest

from nat import stun
from nat.endpoint import Endpoint
from nat.questions import PAUSES_S, Questions, Transmit
from nat.stun import Kind, Message

SERVER = Endpoint("198.51.100.1", 7879)
SEEN = Endpoint("203.0.113.77", 7879)


def asked(questions: Questions, socket: int = 0, now: float = 0.0) -> bytes:
    """The transaction of a question just asked."""
    transmit = questions.ask("anna", socket, SERVER, now)
    return stun.parse(transmit.datagram).transaction


def answer(transaction: bytes) -> Message:
    return Message(Kind.RESPONSE, transaction, SEEN)


def test_an_answer_is_kept_by_the_name_of_the_question() -> None:
    questions = Questions(random.Random(1))

    assert questions.heard(0, answer(asked(questions))) == "anna"

    assert questions.mapped("anna") == SEEN
    assert questions.deadline is None


def test_a_question_is_asked_again_ever_later_and_not_for_ever() -> None:
    questions = Questions(random.Random(1))
    transmit = questions.ask("anna", 0, SERVER, now=5.0)

    sent: list[tuple[float, list[Transmit]]] = []
    while questions.deadline is not None:
        sent.append((questions.deadline, questions.tick(questions.deadline)))

    assert [at for at, _ in sent] == pytest.approx(
        [*itertools.accumulate(PAUSES_S, initial=5.0)][1:]
    )
    assert all(again == [transmit] for _, again in sent)
    assert 1 + len(sent) <= 20, "to an address that has not answered"


def test_after_a_long_sleep_a_question_is_asked_once_more_and_not_all_at_once() -> None:
    questions = Questions(random.Random(1))
    questions.ask("anna", 0, SERVER, now=0.0)

    assert len(questions.tick(100.0)) == 1
    assert questions.tick(100.0) == []
    assert questions.deadline is not None and questions.deadline > 100.0


def test_what_nobody_asked_for_is_not_believed() -> None:
    questions = Questions(random.Random(1))
    transaction = asked(questions)

    assert questions.heard(0, answer(b"x" * 12)) is None
    assert questions.heard(1, answer(transaction)) is None, "to another socket"
    assert questions.heard(0, Message(Kind.INDICATION, transaction)) is None
    assert questions.is_open("anna")


def test_a_second_answer_changes_nothing() -> None:
    questions = Questions(random.Random(1))
    transaction = asked(questions)
    questions.heard(0, answer(transaction))

    assert questions.heard(0, Message(Kind.RESPONSE, transaction, SERVER)) is None
    assert questions.mapped("anna") == SEEN


def test_what_was_given_up_is_asked_no_more() -> None:
    questions = Questions(random.Random(1))
    transaction = asked(questions)

    questions.give_up()

    assert questions.deadline is None
    assert questions.heard(0, answer(transaction)) is None
