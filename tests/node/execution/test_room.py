import pytest

from node.deployment.ledger import MIB, Lease, Ledger, Purpose
from node.effects import Effect, note
from node.execution.room import Room
from protocol.errors import ErrorCode, TaskError


def room() -> tuple[Room, list[Lease]]:
    return Room(Ledger(100 * MIB)), []


def test_memory_is_granted_in_the_order_it_was_asked_for() -> None:
    one, leases = room()

    def granted(lease: Lease, now: float) -> list[Effect]:
        leases.append(lease)
        return [note("granted", owner=lease.owner)]

    most = one.largest(Purpose.ACTIVATIONS)
    assert one.ask("a", Purpose.ACTIVATIONS, most, 0.0, granted)
    assert one.ask("b", Purpose.ACTIVATIONS, 10, 0.0, granted) == []
    assert one.ask("c", Purpose.ACTIVATIONS, 10, 0.0, granted) == []
    assert [effect.fields for effect in one.give_back(leases[0], 1.0)] == [  # type: ignore[union-attr]
        {"owner": "b"},
        {"owner": "c"},
    ]


def test_coordinators_leave_half_of_the_reserve_to_served_shards() -> None:
    one, leases = room()

    def granted(lease: Lease, now: float) -> list[Effect]:
        leases.append(lease)
        return []

    one.ask("a", Purpose.ACTIVATIONS, one.largest(Purpose.ACTIVATIONS), 0.0, granted)
    one.ask("shard", Purpose.STREAM, 6 * MIB, 0.0, granted)

    assert [lease.owner for lease in leases] == ["a", "shard"]


def test_where_the_process_has_grown_into_the_reserve_either_kind_gets_half_of_what_is_left() -> (
    None
):
    """So a small request of a node that is nearly full goes on, and those of others too."""
    ledger, leases = Ledger(100 * MIB), list[Lease]()
    one = Room(ledger)
    ledger.reserve("w", Purpose.WEIGHTS, ledger.free_for(Purpose.WEIGHTS), 0.0)
    grown = ledger.overhead_bytes + ledger.within_reach(Purpose.STREAM) - 4 * MIB
    ledger.memory_measured(grown + ledger.accounted_bytes - ledger.overhead_bytes, 1.0)
    assert ledger.within_reach(Purpose.STREAM) == 4 * MIB

    def granted(lease: Lease, now: float) -> list[Effect]:
        leases.append(lease)
        return []

    one.ask("a", Purpose.ACTIVATIONS, 2 * MIB, 2.0, granted)
    one.ask("b", Purpose.ACTIVATIONS, MIB, 2.0, granted)
    one.ask("shard", Purpose.STREAM, 2 * MIB, 2.0, granted)

    assert [lease.owner for lease in leases] == ["a", "shard"]
    for lease in leases.copy():
        one.give_back(lease, 3.0)
    assert [lease.owner for lease in leases] == ["a", "shard", "b"]


def test_what_could_never_be_granted_is_refused_at_once() -> None:
    one, _ = room()

    with pytest.raises(TaskError) as refused:
        one.ask("a", Purpose.STREAM, 101 * MIB, 0.0, lambda lease, now: [])

    assert refused.value.code is ErrorCode.NO_ROOM
    assert refused.value.info.nearest_fit == one.largest(Purpose.STREAM)


def test_requests_wait_for_each_other_before_anything_has_to_give_way_to_them() -> None:
    ledger, leases = Ledger(100 * MIB), list[Lease]()
    one = Room(ledger)
    weights = ledger.reserve("w", Purpose.WEIGHTS, ledger.free_for(Purpose.WEIGHTS), 0.0)
    ledger.give_way(weights.id)
    reserve = ledger.activation_reserve

    def granted(lease: Lease, now: float) -> list[Effect]:
        leases.append(lease)
        return []

    one.ask("a", Purpose.STREAM, reserve, 0.0, granted)
    one.ask("b", Purpose.STREAM, reserve, 0.0, granted)
    assert [lease.owner for lease in leases] == ["a"] and ledger.holds(weights.id)
    one.give_back(leases[0], 1.0)
    assert [lease.owner for lease in leases] == ["a", "b"] and ledger.holds(weights.id)

    # Even with nothing else in flight there would be too little for this one.
    one.ask("large", Purpose.STREAM, reserve + 1, 2.0, granted)
    assert ledger.evicted == [weights]
    assert leases[-1].owner == "large"


def test_who_has_withdrawn_is_passed_over() -> None:
    one, leases = room()

    def granted(lease: Lease, now: float) -> list[Effect]:
        leases.append(lease)
        return []

    one.ask("a", Purpose.ACTIVATIONS, one.largest(Purpose.ACTIVATIONS), 0.0, granted)
    one.ask("b", Purpose.ACTIVATIONS, 10, 0.0, granted)
    one.withdraw("b")
    one.give_back(leases[0], 1.0)

    assert [lease.owner for lease in leases] == ["a"]
    assert one.waiting == 0
