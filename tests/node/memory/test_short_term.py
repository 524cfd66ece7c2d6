import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.memory.short_term import RttSeen, ShardFailed, ShardServed, ShortTerm

SERVED = ShardServed(
    "a",
    macs=10**9,
    service_s=0.5,
    bytes=10**6,
    elapsed_s=0.76,
    queued_s=0.1,
    estimate_s=0.5,
)


def test_of_an_unknown_peer_nothing_is_forecast_but_good_faith() -> None:
    memory = ShortTerm()

    assert memory.forecast_rtt_s("a", now=0.0) is None
    assert memory.forecast_bandwidth_bytes_s("a", now=0.0) is None
    assert memory.forecast_speed_macs_s("a", now=0.0) is None
    assert memory.forecast_ratio_p95("a", now=0.0) is None
    assert memory.forecast_reliability("a", now=0.0) == pytest.approx(0.990, abs=1e-3)


def test_one_answer_tells_speed_and_bandwidth_apart() -> None:
    memory = ShortTerm()
    memory.record(RttSeen("a", 0.06), now=0.0)

    memory.record(SERVED, now=1.0)

    assert memory.forecast_speed_macs_s("a", now=1.0) == pytest.approx(2e9)
    assert memory.forecast_bandwidth_bytes_s("a", now=1.0) == pytest.approx(1e7)


def test_the_round_trip_is_the_least_of_the_last_half_minute_or_so() -> None:
    memory = ShortTerm()
    memory.record(RttSeen("a", 0.010), now=0.0)
    memory.record(RttSeen("a", 0.200), now=10.0)
    assert memory.forecast_rtt_s("a", now=20.0) == 0.010

    memory.record(RttSeen("a", 0.050), now=40.0)
    assert memory.forecast_rtt_s("a", now=50.0) == 0.010
    memory.record(RttSeen("a", 0.060), now=71.0)
    assert memory.forecast_rtt_s("a", now=71.0) == 0.050
    assert memory.forecast_rtt_s("a", now=200.0) is None


def test_small_transfers_say_nothing_about_bandwidth() -> None:
    memory = ShortTerm()

    memory.record(ShardServed("a", 10, 0.1, bytes=1000, elapsed_s=0.2), now=0.0)

    assert memory.forecast_bandwidth_bytes_s("a", now=0.0) is None


def test_a_transfer_too_fast_to_measure_counts_as_very_fast() -> None:
    memory = ShortTerm()

    memory.record(ShardServed("a", 10, 0.1, bytes=10**6, elapsed_s=0.1), now=0.0)

    assert memory.forecast_bandwidth_bytes_s("a", now=0.0) == pytest.approx(1e10)


def test_a_peer_that_became_slow_is_believed_within_twenty_seconds() -> None:
    memory = ShortTerm()
    for second in range(60):
        memory.record(ShardServed("a", 10**9, 0.1, 0, 0.1), now=float(second))
    for second in range(60, 80):
        memory.record(ShardServed("a", 10**9, 0.4, 0, 0.4), now=float(second))

    speed = memory.forecast_speed_macs_s("a", now=80.0)

    assert speed == pytest.approx(2.5e9, rel=0.15)


def test_simulated_arrays_have_a_speed_of_their_own() -> None:
    memory = ShortTerm()
    memory.record(ShardServed("a", 10**9, 0.1, 0, 0.1), now=0.0)
    memory.record(ShardServed("a", 10**9, 0.4, 0, 0.4, analog=True), now=0.0)

    assert memory.forecast_speed_macs_s("a", now=1.0) == pytest.approx(1e10)
    assert memory.forecast_speed_macs_s("a", now=1.0, analog=True) == pytest.approx(2.5e9)


def test_a_rate_not_heard_of_for_many_minutes_is_forgotten() -> None:
    memory = ShortTerm()
    memory.record(SERVED, now=0.0)

    assert memory.forecast_speed_macs_s("a", now=300.0) == pytest.approx(2e9)
    assert memory.forecast_speed_macs_s("a", now=1000.0) is None


def test_failures_lower_reliability_and_time_forgives() -> None:
    memory = ShortTerm()
    for _ in range(10):
        memory.record(ShardFailed("a"), now=0.0)

    assert memory.forecast_reliability("a", now=0.0) == pytest.approx(0.662, abs=1e-3)
    assert memory.forecast_reliability("a", now=6000.0) == pytest.approx(0.990, abs=1e-3)


def test_the_tail_is_told_once_there_are_enough_recent_answers() -> None:
    memory = ShortTerm()
    for index in range(15):
        memory.record(ShardServed("a", 0, 0.0, 0, elapsed_s=1.0 + index, estimate_s=1.0), now=0.0)
    assert memory.forecast_ratio_p95("a", now=0.0) is None

    for index in range(15, 64):
        memory.record(ShardServed("a", 0, 0.0, 0, elapsed_s=1.0 + index, estimate_s=1.0), now=0.0)
    assert memory.forecast_ratio_p95("a", now=0.0) == 61.0
    assert memory.forecast_ratio_p95("a", now=301.0) is None


def test_the_peer_longest_unheard_of_makes_room() -> None:
    memory = ShortTerm(peers_max=2)
    memory.record(RttSeen("a", 0.1), now=0.0)
    memory.record(RttSeen("b", 0.1), now=1.0)
    memory.record(RttSeen("a", 0.1), now=2.0)

    memory.record(RttSeen("c", 0.1), now=3.0)

    known = [name for name in "abc" if memory.forecast_rtt_s(name, now=3.0) is not None]
    assert known == ["a", "c"]


@given(
    st.lists(
        st.tuples(
            st.floats(0, 50), st.integers(1, 10**12), st.floats(1e-4, 100), st.floats(0, 100)
        ),
        min_size=1,
        max_size=40,
    )
)
def test_forecasts_stay_within_what_was_seen(
    seen: list[tuple[float, int, float, float]],
) -> None:
    memory = ShortTerm()
    now = 0.0
    for passed_s, macs, service_s, rtt_s in seen:
        now += passed_s
        memory.record(RttSeen("a", rtt_s), now)
        memory.record(ShardServed("a", macs, service_s, macs, service_s + rtt_s), now)

    speeds = [macs / service_s for _, macs, service_s, _ in seen]
    speed = memory.forecast_speed_macs_s("a", now)
    least_s = memory.forecast_rtt_s("a", now)
    assert speed is not None and min(speeds) * 0.999 <= speed <= max(speeds) * 1.001
    assert least_s is not None and least_s <= seen[-1][3]
    assert 0.0 < memory.forecast_reliability("a", now) < 1.0


def test_every_regime_has_a_cost_of_its_own_and_a_mixture_tells_of_none() -> None:
    memory = ShortTerm()
    for regime, service_s in (("fast", 0.1), ("integer", 0.4), ("digital+fast", 9.0)):
        served = ShardServed("a", 10**9, service_s, 0, service_s, analog=True, regime=regime)
        memory.record(served, now=0.0)

    assert memory.forecast_costs_s_mac("a", now=1.0) == pytest.approx(
        {"fast": 1e-10, "integer": 4e-10}
    )
    assert memory.forecast_costs_s_mac("b", now=1.0) == {}
    assert memory.forecast_costs_s_mac("a", now=1000.0) == {}
