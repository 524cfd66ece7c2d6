"""Which path a link uses, when one is silent, and what it costs to keep them all."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nat.path import (
    DEAD_S,
    LATE_S,
    PATIENCE_S_MAX,
    PATIENCE_S_MIN,
    PROBE_S,
    SILENT_S,
    Choice,
    Drop,
    PathChoice,
    Ping,
    Use,
)
from protocol.paths import PathKind

LAN, IPV4, PUNCHED, RELAY = PathKind.LAN, PathKind.IPV4, PathKind.PUNCHED, PathKind.RELAY
STEP_S = 0.01


class Choosing:
    """A choice on virtual time; the peer answers on the paths that `answers` says, after `rtt_s`."""

    def __init__(self, *kinds: PathKind, rtt_s: float = 0.02, dialed: bool = True) -> None:
        self.choice = PathChoice(random.Random(1), dialed=dialed)
        self.now = 0.0
        self.rtt_s = rtt_s
        self.answers: Callable[[int], bool] = lambda path: True
        self.pings: list[tuple[float, int]] = []
        self.uses: list[tuple[float, int]] = []
        self.drops: list[tuple[float, int]] = []
        self.ticks = 0
        self._coming: list[tuple[float, int, int]] = []
        for number, kind in enumerate(kinds, 1):
            self.do(self.choice.opened(number, kind, self.now))

    def do(self, effects: list[Choice]) -> None:
        for effect in effects:
            match effect:
                case Ping():
                    self.pings.append((self.now, effect.path))
                    if self.answers(effect.path):
                        self._coming.append((self.now + self.rtt_s, effect.path, effect.token))
                case Use():
                    self.uses.append((self.now, effect.path))
                case Drop():
                    self.drops.append((self.now, effect.path))

    def run(self, until: float) -> "Choosing":
        """Only as far as something happens: idle hours cost nothing."""
        while True:
            moments = [moment for moment, _, _ in self._coming]
            if self.choice.deadline is not None:
                moments.append(self.choice.deadline)
            moment = max(min(moments, default=until), self.now)
            if moment >= until:
                self.now = until
                return self
            self.now = moment
            for one in [one for one in self._coming if one[0] <= moment]:
                self._coming.remove(one)
                _, path, token = one
                self.do(self.choice.heard(path, moment))
                self.choice.ponged(path, token, moment)
            self.ticks += 1
            self.do(self.choice.tick(moment))
            assert self.choice.deadline is None or self.choice.deadline > moment

    def send(self) -> None:
        self.choice.sent(self.now)


def silent(*paths: int) -> Callable[[int], bool]:
    return lambda path: path not in paths


# -- the best one is used ------------------------------------------------------------------------------


def test_the_first_path_is_used_whatever_it_is() -> None:
    one = Choosing(RELAY)

    assert one.uses == [(0.0, 1)]
    assert one.pings == [(0.0, 1)]


def test_a_better_path_is_used_as_soon_as_it_is_up_and_a_worse_one_kept() -> None:
    one = Choosing(RELAY, PUNCHED, RELAY, LAN)

    assert [path for _, path in one.uses] == [1, 2, 4]
    assert one.choice.kinds == [LAN, PUNCHED, RELAY, RELAY]


def test_of_two_alike_the_newer_is_used() -> None:
    assert [path for _, path in Choosing(IPV4, IPV4).uses] == [1, 2]


def test_when_the_path_in_use_is_gone_the_best_of_the_others_takes_over_at_once() -> None:
    one = Choosing(RELAY, PUNCHED, IPV4)
    one.do(one.choice.closed(3, 0.0))
    one.do(one.choice.closed(1, 0.0))

    assert [path for _, path in one.uses] == [1, 2, 3, 2]
    assert one.choice.closed(2, 0.0) == []
    assert one.choice.active is None


def test_what_is_said_of_a_path_that_is_gone_changes_nothing() -> None:
    one = Choosing(RELAY)
    one.do(one.choice.closed(1, 0.0))

    assert one.choice.heard(1, 1.0) == one.choice.closed(1, 1.0) == []
    one.choice.ponged(1, 1, 1.0)
    assert one.choice.tick(5.0) == []
    assert one.choice.deadline is None


# -- a silent one is left ------------------------------------------------------------------------------


def test_a_path_that_falls_silent_is_left_within_two_patiences_if_another_answers() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(2)
    one.send()
    one.run(10.0)

    moment, path = one.uses[-1]
    patience_s = PATIENCE_S_MIN + 4 * one.rtt_s
    assert path == 1
    assert moment - 5.0 <= 2 * patience_s + STEP_S
    assert one.choice.kinds == [RELAY]


def test_a_frozen_peer_moves_nothing() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(1, 2)
    one.send()
    one.run(5.0 + DEAD_S - 1.0)

    assert [path for _, path in one.uses] == [1, 2]
    assert one.drops == []
    one.answers = silent()
    one.run(60.0)
    assert [path for _, path in one.uses] == [1, 2]
    assert one.choice.kinds == [PUNCHED, RELAY]


def test_paths_of_a_peer_that_stays_frozen_are_given_up() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(1, 2)
    one.send()
    one.run(5.0 + 2 * DEAD_S)

    assert sorted(path for _, path in one.drops) == [1, 2]
    assert (one.choice.active, one.choice.kinds, one.choice.deadline) == (None, [], None)


def test_a_path_that_answers_again_is_used_again() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(2)
    one.send()
    one.run(9.0)
    one.answers = silent()
    one.run(9.0 + 2 * PROBE_S)

    assert [path for _, path in one.uses] == [1, 2, 1, 2]
    assert one.uses[-1][0] <= 9.0 + PROBE_S + one.rtt_s + STEP_S
    assert one.choice.kinds == [PUNCHED, RELAY]


def test_a_path_that_stays_silent_beside_another_is_given_up_in_ten_seconds() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(2)
    one.send()
    one.run(30.0)

    (drop,) = one.drops
    assert drop[1] == 2
    assert drop[0] - 5.0 <= SILENT_S + PROBE_S + STEP_S
    asked = sum(path == 2 for moment, path in one.pings if moment > 5.0)
    assert asked <= SILENT_S / PROBE_S + 3


def test_the_last_path_is_waited_for_longer_and_asked_on() -> None:
    one = Choosing(RELAY).run(5.0)
    one.answers = silent(1)
    one.send()
    one.run(5.0 + DEAD_S - 1.0)

    assert one.drops == []
    one.run(5.0 + DEAD_S + 2.0)
    assert [path for _, path in one.drops] == [1]


def test_a_warm_path_that_has_died_unseen_is_found_when_it_is_needed() -> None:
    """Both are asked at once, so nobody changes to one that is dead itself."""
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(1)
    one.send()
    one.choice.acknowledged(True, 5.02)
    one.run(6.0)
    one.answers = silent(1, 2)
    one.send()
    one.run(20.0)

    assert [path for _, path in one.uses] == [1, 2]


def test_a_newcomer_shows_which_of_its_kind_have_died_unseen() -> None:
    """A peer whose router has forgotten it dials again; its old connection says nothing for ever."""
    one = Choosing(RELAY, IPV4, IPV4).run(50.0)
    one.answers = silent(2)
    asked = len(one.pings)
    one.do(one.choice.opened(4, IPV4, one.now))
    assert [path for _, path in one.pings[asked:]] == [2, 3, 4]
    one.run(50.0 + PATIENCE_S_MAX + SILENT_S + PROBE_S)

    assert [path for _, path in one.drops] == [2]
    assert one.choice.kinds == [IPV4, IPV4, RELAY]


def test_the_quietest_path_is_never_the_one_in_use() -> None:
    one = Choosing(IPV4)
    assert one.choice.quietest is None
    for number in (2, 3):
        one.do(one.choice.opened(number, RELAY, one.now))
    one.do(one.choice.heard(2, 1.0))

    assert one.choice.quietest == 3


def test_a_tick_that_comes_late_accuses_nobody() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.send()
    assert one.choice.deadline is not None
    # The machine slept for an hour; no answer can have been read meanwhile.
    effects = one.choice.tick(one.choice.deadline + 3600.0)

    assert not any(isinstance(effect, Use | Drop) for effect in effects)
    assert one.choice.kinds == [PUNCHED, RELAY]


def test_a_tick_that_is_a_little_late_judges_all_the_same() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.answers = silent(2)
    one.send()
    for _ in range(5):
        assert one.choice.deadline is not None
        one.now = one.choice.deadline + 0.9 * LATE_S
        one.do(one.choice.heard(1, one.now - 0.1))
        one.do(one.choice.tick(one.now))

    assert one.uses[-1][1] == 1


@pytest.mark.parametrize(("rtt_s", "patience_s"), [(0.01, 0.44), (0.2, 1.2), (0.39, 1.96)])
def test_patience_grows_with_the_round_trip(rtt_s: float, patience_s: float) -> None:
    one = Choosing(RELAY, PUNCHED, rtt_s=rtt_s).run(20.0)
    one.answers = silent(2)
    one.send()
    one.run(40.0)

    moment = next(moment for moment, path in one.uses if moment >= 20.0 and path == 1)
    assert patience_s <= moment - 20.0 <= 2 * patience_s + STEP_S
    assert patience_s < PATIENCE_S_MAX


def test_what_has_been_acknowledged_doubts_nobody() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)
    one.send()
    one.choice.acknowledged(True, 5.01)
    before = len(one.pings)
    one.run(15.0)

    assert len(one.pings) == before


def test_a_round_trip_is_measured_by_the_last_question_only() -> None:
    one = Choosing(RELAY, rtt_s=0.05).run(1.0)

    assert one.choice.rtt_s(1) == pytest.approx(0.05)
    one.choice.ponged(1, 999, 1.0)
    assert one.choice.rtt_s(1) == pytest.approx(0.05)


def test_when_something_has_happened_all_paths_are_asked_at_once() -> None:
    one = Choosing(RELAY, PUNCHED).run(5.0)

    assert {effect.path for effect in one.choice.ask_all(5.0) if isinstance(effect, Ping)} == {1, 2}


# -- what it costs -------------------------------------------------------------------------------------


def test_idle_paths_beside_each_other_cost_less_than_a_packet_every_fifteen_seconds() -> None:
    """What a punched path costs, its own keeper says."""
    for kinds in ([LAN], [RELAY], [RELAY, IPV4], [RELAY, PUNCHED], [RELAY, PUNCHED, IPV4, LAN]):
        one = Choosing(*kinds).run(3600.0)

        assert len(one.pings) - len(kinds) <= 3600.0 / 15.0 / 2


def test_whoever_was_dialled_leaves_the_asking_to_the_other_side() -> None:
    """Its own interval begins anew with each question that comes in, and is longer than the other side's."""
    dialed, other = Choosing(LAN), Choosing(LAN, dialed=False)
    dialed.run(3600.0)
    asked = len(other.pings)
    for moment, _ in dialed.pings:
        other.run(moment)
        other.do(other.choice.heard(1, moment))

    assert len(dialed.pings) > 60
    assert len(other.pings) == asked


ACTIONS = ("run", "send", "ack", "hear", "open", "close", "silence", "answer", "late", "ask")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(ACTIONS),
            st.integers(1, 4),
            st.sampled_from(PathKind),
            st.floats(0.0, 40.0, allow_nan=False),
        ),
        max_size=40,
    )
)
def test_whatever_happens_a_choice_never_turns_in_a_circle_and_uses_a_path_that_is_there(
    story: list[tuple[str, int, PathKind, float]],
) -> None:
    one = Choosing(RELAY)
    quiet, there = set[int](), {1: RELAY}
    one.answers = lambda path: path not in quiet
    number = 1
    for action, path, kind, s in story:
        match action:
            case "run":
                # `run` sees to it that every deadline after a tick is in the future.
                one.run(one.now + s)
            case "send":
                one.send()
            case "ack":
                one.choice.acknowledged(s > 20.0, one.now)
            case "hear":
                one.do(one.choice.heard(path, one.now))
            case "open":
                number += 1
                there[number] = kind
                one.do(one.choice.opened(number, kind, one.now))
            case "close":
                there.pop(path, None)
                one.do(one.choice.closed(path, one.now))
            case "silence":
                quiet.add(path)
            case "answer":
                quiet.discard(path)
            case "late":
                one.now += s
            case _:
                one.do(one.choice.ask_all(one.now))
        for _, dropped in one.drops:
            there.pop(dropped, None)
        active = one.choice.active
        assert active is None or active in there
        assert not one.choice.kinds or (active and there[active] is one.choice.kinds[0])
    before = one.ticks
    one.run(one.now + 10.0)
    # No path is asked much more than twice in a second, and each question brings a few looks.
    assert one.ticks - before <= 10 * 12 * (len(there) + len(one.drops) + 1)
