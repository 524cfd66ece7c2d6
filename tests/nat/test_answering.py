"""What a public node answers to whoever asks: short, rarely, and to nobody else."""

from nat import stun
from nat.answering import (
    ALL_ANSWERS_PER_S,
    ANSWERS_PER_S,
    GROWTH_MAX,
    Answering,
)
from nat.endpoint import Endpoint

ID = b"0123456789ab"
REQUEST = stun.request(ID)
BARE = b"\x00\x01\0\0" + REQUEST[4:20]
WITH_SOFTWARE = b"\x00\x01\0\x08" + REQUEST[4:20] + b"\x80\x22\0\x04some"
HERE = Endpoint("203.0.113.9", 4000)
V6 = Endpoint("2001:db8::9", 4000)


def ask(
    answering: Answering, remote: Endpoint, now: float = 0.0, datagram: bytes = REQUEST
) -> bytes | None:
    return answering.asked(datagram, stun.parse(datagram), remote, 7880, now)


def test_who_asks_hears_from_where_it_is_seen_and_which_port_answers_too() -> None:
    answer = ask(Answering(0.0), HERE)

    assert answer is not None
    said = stun.parse(answer)
    assert (said.mapped, said.other) == (HERE, Endpoint("0.0.0.0", 7880))


def test_no_answer_is_longer_than_one_and_a_half_questions() -> None:
    for remote in (HERE, V6):
        for datagram in (REQUEST, WITH_SOFTWARE, BARE):
            answer = ask(Answering(0.0), remote, datagram=datagram)
            assert answer is None or len(answer) <= GROWTH_MAX * len(datagram)


def test_a_short_question_is_answered_in_short_and_a_bare_one_not_at_all() -> None:
    answering = Answering(0.0)

    answer = ask(answering, HERE, datagram=WITH_SOFTWARE)

    assert answer is not None
    assert stun.parse(answer).other is None
    assert ask(answering, HERE, datagram=BARE) is None
    assert answering.counters == {"stun_answered": 1, "stun.too_short": 1}


def test_one_address_gets_twenty_answers_a_second() -> None:
    answering = Answering(0.0)

    first = [ask(answering, HERE) for _ in range(100)]
    later = [ask(answering, HERE, now=0.5) for _ in range(100)]

    assert sum(one is not None for one in first) == ANSWERS_PER_S
    assert sum(one is not None for one in later) == ANSWERS_PER_S / 2
    assert answering.counters["stun.too_many"] == 200 - 1.5 * ANSWERS_PER_S


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    answering = Answering(0.0)

    answers = [ask(answering, Endpoint(f"2001:db8::{n:x}", 1)) for n in range(1, 50)]

    assert sum(one is not None for one in answers) == ANSWERS_PER_S


def test_all_together_get_a_thousand_a_second() -> None:
    answering = Answering(0.0)

    answers = [ask(answering, Endpoint(f"203.0.{n // 250}.{n % 250}", 1)) for n in range(1500)]

    assert sum(one is not None for one in answers) == ALL_ANSWERS_PER_S
    assert answering.counters["stun.too_many_in_all"] == 500
