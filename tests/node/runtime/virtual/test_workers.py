import heapq
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from node.runtime.virtual.workers import Piece, Workers


class Ticker:
    """A clock that goes from one thing to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = 0

    def after(self, delay_s: float, act: Callable[..., None], *args: object) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay_s, self._order, act, args))

    def run(self) -> None:
        while self._heap:
            self.now, _, act, args = heapq.heappop(self._heap)
            act(*args)


def ends(ticker: Ticker, workers: Workers, needs_s: list[float]) -> list[float]:
    """When each of these pieces, begun at once, ended."""
    ended: dict[Piece, float] = {}

    def note(piece: Piece) -> None:
        ended[piece] = ticker.now

    pieces = [workers.begin(need_s, note) for need_s in needs_s]
    ticker.run()
    return [ended[piece] for piece in pieces]


def test_pieces_run_side_by_side_on_as_many_workers_as_there_are() -> None:
    ticker = Ticker()

    assert ends(ticker, Workers(ticker, 2), [1.0, 2.0, 3.0]) == [1.0, 2.0, 4.0]


def test_a_slower_pace_stretches_what_is_left_of_all() -> None:
    ticker = Ticker()
    workers = Workers(ticker, 2)
    ticker.after(0.5, workers.set_pace, 0.25)

    assert ends(ticker, workers, [1.0, 2.0]) == [2.5, 6.5]


def test_who_stands_still_goes_on_where_it_was() -> None:
    ticker = Ticker()
    workers = Workers(ticker, 1)
    ticker.after(0.5, workers.set_pace, 0.0)
    ticker.after(10.5, workers.set_pace, 1.0)

    assert ends(ticker, workers, [1.0, 1.0]) == [11.0, 12.0]


def test_a_piece_that_waits_can_be_dropped_and_one_that_runs_cannot() -> None:
    ticker = Ticker()
    workers = Workers(ticker, 1)
    ended: list[float] = []
    first, second = (workers.begin(1.0, lambda piece: ended.append(ticker.now)) for _ in range(2))

    workers.drop(first)
    workers.drop(second)
    ticker.run()

    assert ended == [1.0]


def test_after_a_stop_nothing_is_told() -> None:
    ticker = Ticker()
    workers = Workers(ticker, 1)
    ended: list[Piece] = []
    for _ in range(3):
        workers.begin(1.0, ended.append)

    workers.stop()
    ticker.run()

    assert not ended and workers.waiting == 0


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=12),
    st.integers(1, 4),
    st.lists(st.tuples(st.floats(0.0, 20.0), st.sampled_from([0.0, 0.5, 1.0, 2.0])), max_size=4),
)
def test_no_work_is_lost_or_done_twice_whatever_the_pace(
    needs_s: list[float], count: int, paces: list[tuple[float, float]]
) -> None:
    ticker = Ticker()
    workers = Workers(ticker, count)
    changes = [(0.0, 1.0), *sorted(paces, key=lambda change: change[0]), (20.0, 1.0)]
    for at, pace in changes:
        ticker.after(at, workers.set_pace, pace)

    last = max(ends(ticker, workers, needs_s))

    # What one worker could have done by then: at least its part of the work, and at most all of it.
    until = [at for at, _ in changes[1:]] + [max(last, 20.0)]
    could_s = sum(
        pace * max(min(stop, last) - at, 0.0)
        for (at, pace), stop in zip(changes, until, strict=True)
    )
    assert sum(needs_s) / count - 1e-6 <= could_s <= sum(needs_s) + 1e-6
