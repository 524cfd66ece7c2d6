import random
from itertools import pairwise

from node.communication.graveyard import (
    GRAVES_MAX,
    INTERVAL_S,
    KEPT_S,
    PAUSE_MAX_S,
    Graveyard,
)
from node.effects import Grave
from protocol.ids import NodeId
from protocol.members import Cause
from tests.node.communication.swarm import record


def graveyard(*causes: Cause) -> Graveyard:
    made = Graveyard(random.Random(1))
    for number, cause in enumerate(causes):
        made.bury(record(number).id, record(number), 1, cause, now=0.0)
    return made


def searches(graves: Graveyard, nodes: int, until: float) -> list[tuple[float, NodeId]]:
    found, now = [], 0.0
    while (now := graves.next_turn(now)) < until:
        node = graves.search(nodes, now)
        if node is not None:
            found.append((now, node))
    return found


def test_the_dead_are_looked_for_at_random_about_each_ten_seconds() -> None:
    found = searches(graveyard(*[Cause.SILENT] * 100), nodes=1000, until=1000.0)

    assert 80 <= len(found) <= 120
    assert len({node for _, node in found}) > 50


def test_who_has_left_is_not_looked_for_and_who_was_stopped_is() -> None:
    found = searches(graveyard(Cause.LEFT, Cause.STOPPED), nodes=10, until=300.0)

    assert {node for _, node in found} == {record(1).id}


def test_one_grave_is_looked_for_ever_more_rarely_by_each_of_many() -> None:
    found = [at for at, _ in searches(graveyard(Cause.SILENT), nodes=1000, until=50_000.0)]

    late = [after - before for before, after in pairwise(found[20:])]
    assert PAUSE_MAX_S / 3 < sum(late) / len(late) < PAUSE_MAX_S


def test_few_look_as_often_as_it_takes_for_somebody_to_look_each_ten_seconds() -> None:
    found = [at for at, _ in searches(graveyard(Cause.SILENT), nodes=2, until=10_000.0)]

    gaps = [after - before for before, after in pairwise(found)]
    assert sum(gaps) / len(gaps) < 2 * 2 * INTERVAL_S


def test_searches_take_turns_by_packet_and_by_link() -> None:
    graves = graveyard(Cause.SILENT)
    ways, now = [], 0.0
    for _ in range(40):
        now = graves.next_turn(now)
        if (node := graves.search(1, now)) is not None:
            ways.append(graves.graves[node].by_link)

    assert ways[:6] == [False, True] * 3


def test_graves_outlive_the_process_and_are_forgotten_after_three_days() -> None:
    graves = graveyard(Cause.SILENT, Cause.STOPPED)
    kept = graves.kept(now=3600.0)
    assert kept == (
        Grave(record(0), Cause.SILENT, age_s=3600.0),
        Grave(record(1), Cause.STOPPED, age_s=3600.0),
    )

    later = Graveyard(random.Random(2))
    later.restore(kept, now=50.0)
    assert later.forget_old(50.0 + KEPT_S - 3601.0) == []
    assert later.forget_old(50.0 + KEPT_S - 3599.0) == [record(0).id, record(1).id]
    assert later.graves == {}


def test_what_is_too_old_on_disk_is_not_taken_up() -> None:
    graves = Graveyard(random.Random(1))
    graves.restore([Grave(record(0), Cause.SILENT, age_s=KEPT_S)], now=0.0)

    assert graves.graves == {}


def test_of_too_many_graves_the_oldest_is_forgotten() -> None:
    graves = Graveyard(random.Random(1))
    for number in range(GRAVES_MAX + 1):
        graves.bury(NodeId(f"n{number}"), record(0), 1, Cause.SILENT, now=float(number))

    assert len(graves.graves) == GRAVES_MAX
    assert graves.forget_old(float(GRAVES_MAX)) == [NodeId("n0")]
    assert NodeId("n0") not in graves.graves
