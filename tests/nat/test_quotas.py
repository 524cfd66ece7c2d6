"""Who may send how much through a relay, and who is next."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nat.quotas import ADDRESS_SHARES, TOTAL_BURST_S, Bucket, Quotas

ANNA, BERT, CARL = b"anna", b"bert", b"carl"


def served(quotas: Quotas, wants: dict[bytes, tuple[str, int]], seconds: float) -> Counter[bytes]:
    """Bytes passed of each user who always wants to send another message of that size from that address."""
    passed: Counter[bytes] = Counter()
    now, waiting = 0.0, set()
    while now < seconds:
        for user, (address, nbytes) in wants.items():
            while user not in waiting:
                if quotas.asked(user, address, nbytes, now):
                    passed[user] += nbytes
                else:
                    waiting.add(user)
        assert quotas.deadline is not None
        now = max(now, quotas.deadline)
        if now > seconds:
            break
        for user in quotas.tick(now):
            passed[user] += wants[user][1]
            waiting.remove(user)
    return passed


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = Bucket(rate=100.0, burst=1000.0)

    bucket.take(1000, now=0.0)
    assert bucket.ready_at == 0.0
    bucket.take(50, now=0.0)
    assert bucket.ready_at == 0.5
    assert not bucket.is_full(now=10.0)
    assert bucket.is_full(now=10.5)


def test_a_user_gets_its_burst_and_then_its_rate() -> None:
    quotas = Quotas(rate=1000.0, burst=5000.0, total=1e9)

    passed = served(quotas, {ANNA: ("a", 100)}, seconds=10.0)

    assert abs(passed[ANNA] - 15_000) <= 200


def test_a_user_who_waits_for_its_own_quota_holds_up_nobody_else() -> None:
    quotas = Quotas(rate=1000.0, burst=0.0, total=1e9)
    assert quotas.asked(ANNA, "a", 1000, now=0.0)
    assert not quotas.asked(ANNA, "a", 1000, now=0.5)

    assert quotas.asked(BERT, "b", 1000, now=0.5)
    assert quotas.deadline == 1.0
    assert quotas.tick(now=0.9) == []
    assert quotas.tick(now=1.0) == [ANNA]


def test_users_of_one_address_share_what_an_address_may() -> None:
    quotas = Quotas(rate=1000.0, burst=0.0, total=1e9)
    users = {bytes([number]): ("same", 100) for number in range(2 * ADDRESS_SHARES)}

    passed = served(quotas, users, seconds=20.0)

    assert abs(passed.total() - ADDRESS_SHARES * 20_000) <= 1000
    assert max(passed.values()) - min(passed.values()) <= 200


def test_the_total_is_shared_alike_and_what_one_leaves_goes_to_the_others() -> None:
    quotas = Quotas(rate=1000.0, burst=1000.0, total=1200.0)
    light = Quotas(rate=100.0, burst=0.0, total=1200.0)
    users = {ANNA: ("a", 10), BERT: ("b", 100), CARL: ("c", 300)}

    passed = served(quotas, users, seconds=100.0)

    for user in users:
        assert abs(passed[user] - 40_000) <= 1000
    assert abs(served(light, users, seconds=100.0).total() - 30_000) <= 1000


def test_a_user_who_wants_little_never_waits_for_those_who_want_much() -> None:
    quotas = Quotas(rate=1e6, burst=0.0, total=1000.0)
    flooding = {bytes([number]): (str(number), 500) for number in range(8)}
    served(quotas, flooding, seconds=5.0)

    # All of them wait; who comes now is the first of all as soon as anything may pass.
    assert not quotas.asked(ANNA, "a", 10, now=5.0)
    due = quotas.deadline
    assert due is not None

    assert 5.0 < due <= 5.5
    assert quotas.tick(now=due)[0] == ANNA


def test_who_comes_back_still_owes_what_it_owed() -> None:
    quotas = Quotas(rate=1000.0, burst=0.0, total=1e9)
    assert quotas.asked(ANNA, "a", 2000, now=0.0)
    assert not quotas.asked(ANNA, "a", 1, now=0.1)

    quotas.forget(ANNA)

    assert quotas.deadline is None
    assert not quotas.asked(ANNA, "elsewhere", 1, now=0.2)
    assert quotas.deadline == 2.0


def test_a_user_who_comes_from_ever_new_addresses_is_not_remembered_at_each() -> None:
    quotas = Quotas(rate=1000.0, burst=1000.0, total=1e9)

    for number in range(1000):
        assert quotas.asked(ANNA, str(number), 10, now=float(number))

    assert len(quotas._addresses) <= 2


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_nobody_gets_more_than_may_be_and_nobody_is_forgotten(seed: int, users: int) -> None:
    dice = random.Random(seed)
    rate, burst, total = dice.uniform(50, 1e3), dice.uniform(0, 1e3), dice.uniform(100, 1e3)
    quotas = Quotas(rate, burst, total)
    sizes = {bytes([number]): (dice.choice("ab"), dice.randint(1, 200)) for number in range(users)}

    passed = served(quotas, sizes, seconds=20.0)

    assert passed.total() <= total * (20.0 + TOTAL_BURST_S) + 201
    for user, (_, nbytes) in sizes.items():
        # One message more is under way when the time is up; a debt may be one message deep.
        assert passed[user] <= rate * 20.0 + burst + 2 * nbytes
        assert passed[user] > 0
