"""So many at once, so many in the long run, for no more keys than are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nat.buckets import Bucket, Buckets


def test_as_many_as_in_a_period_may_happen_at_once_and_then_as_time_goes_on() -> None:
    bucket = Bucket(20, 60.0, now=100.0)

    assert sum(bucket.take(100.0) for _ in range(50)) == 20
    assert sum(bucket.take(130.0) for _ in range(50)) == 10
    assert sum(bucket.take(1000.0) for _ in range(50)) == 20


def test_what_did_not_happen_is_given_back() -> None:
    bucket = Bucket(1, 1.0, now=0.0)
    assert bucket.take(0.0)

    bucket.give_back()

    assert bucket.take(0.0) and not bucket.take(0.0)


@given(st.lists(st.floats(0.0, 10.0), max_size=200))
def test_in_no_span_of_time_does_more_happen_than_twice_what_is_allowed(
    pauses: list[float],
) -> None:
    bucket, now = Bucket(5, 10.0, now=0.0), 0.0
    moments = []
    for pause in pauses:
        now += pause
        if bucket.take(now):
            moments.append(now)

    for first in moments:
        assert sum(first <= moment < first + 10.0 for moment in moments) <= 10


def test_each_key_has_its_own() -> None:
    buckets = Buckets(2, 1.0, keys_max=10)

    assert [buckets.take("anna", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("bert", 0.0)
    buckets.give_back("anna")
    assert buckets.take("anna", 0.0)


@pytest.mark.parametrize(("between", "remembered"), [(8, True), (9, False)])
def test_the_key_that_was_used_longest_ago_makes_room(between: int, remembered: bool) -> None:
    buckets = Buckets(1, 1.0, keys_max=9)
    buckets.take("anna", 0.0)
    for number in range(between):
        buckets.take(number, 0.0)

    assert buckets.take("anna", 0.0) is not remembered
