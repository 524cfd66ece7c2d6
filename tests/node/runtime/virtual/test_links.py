"""What becomes of links and calls on a network that does not always carry them."""

import pytest

from node.effects import Call, CancelCall, Dial, Hang, Refuse, SendPacket
from node.runtime.virtual.machine import Machine
from node.runtime.virtual.network import Conditions
from node.runtime.virtual.world import World
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId
from protocol.members import Ping
from protocol.messages import Probe, Probed
from tests.node.runtime.scripted import script, scripted

DELAY_S = 0.01
"""One way, in these worlds."""


def dial(machine: Machine, other: Machine, peer: NodeId | None = None) -> None:
    machine.feed([Dial((other.address,), peer or other.id)])


def pair(seed: int = 1, conditions: Conditions | None = None) -> tuple[World, Machine, Machine]:
    """Two machines with a link, dialed by the first."""
    world, (a, b) = scripted("a", "b", seed=seed, conditions=conditions)
    dial(a, b)
    world.run(1.0)
    assert b.id in a.links and a.id in b.links
    return world, a, b


def probe(machine: Machine, other: Machine, number: int = 1, deadline_s: float = 4.0) -> None:
    machine.feed([Call(number, other.id, Probe(), deadline_s)])


def failures(machine: Machine) -> list[tuple[int, ErrorCode]]:
    return [
        (number, error.code)
        for number, error in script(machine).named("call_failed")
        if isinstance(number, int) and isinstance(error, ErrorInfo)
    ]


# -- dialing -----------------------------------------------------------------------------------------


def test_a_dial_takes_three_round_trips_and_the_target_knows_half_of_one_earlier() -> None:
    world, (a, b) = scripted("a", "b")

    dial(a, b)
    world.run(1.0)

    assert script(b).when("link_up") == [pytest.approx(5 * DELAY_S)]
    assert script(a).when("link_up") == [pytest.approx(6 * DELAY_S)]
    assert script(b).named("link_up") == [(a.id, False)]
    assert script(a).named("link_up") == [(b.id, True)]


def test_a_process_that_is_not_there_is_told_at_once_and_a_machine_without_power_is_waited_for() -> (
    None
):
    world, (a, b, c) = scripted("a", "b", "c")
    b.kill()
    c.vanish()

    dial(a, b)
    dial(a, c)
    world.run(5.0)

    assert script(a).when("dial_failed") == [pytest.approx(2 * DELAY_S), pytest.approx(3.0)]
    (_, _, refused), (_, _, silent) = script(a).named("dial_failed")
    assert refused == "b:7879: connection refused"
    assert silent == "c:7879: no answer within 3 s"


@pytest.mark.parametrize("way", ["ab", "ba"])
def test_a_dial_into_a_cut_is_given_up_whichever_direction_it_has(way: str) -> None:
    world, (a, b) = scripted("a", "b")
    world.cut(way[0], way[1], one_way=True)

    dial(a, b)
    world.run(5.0)
    world.heal()
    dial(a, b)
    world.run(1.0)

    assert script(a).when("dial_failed") == [pytest.approx(3.0)]
    assert script(a).when("link_up") == [pytest.approx(5.0 + 6 * DELAY_S)]
    assert len(script(b).named("link_up")) == 1


def test_who_finds_another_node_than_it_sought_says_so() -> None:
    world, (a, b, c) = scripted("a", "b", "c")

    dial(a, b, peer=c.id)
    a.feed([Dial(("nowhere:1", a.address, c.address), None)])
    world.run(1.0)

    ((_, _, reason),) = script(a).named("dial_failed")
    assert isinstance(reason, str) and "b:7879 is now node" in reason
    assert script(a).named("reached") == [(("nowhere:1", a.address, c.address),)]


@pytest.mark.parametrize("later_s", [0.0, 0.005, 0.03, 0.055])
def test_two_that_dial_each_other_are_told_of_one_link(later_s: float) -> None:
    world, (a, b) = scripted("a", "b")

    dial(a, b)
    world.run(later_s)
    dial(b, a)
    world.run(1.0)

    for one, other in ((a, b), (b, a)):
        assert [told[0] for told in script(one).named("link_up")] == [other.id]
        assert not script(one).named("link_down") and not script(one).named("dial_failed")
    probe(a, b)
    probe(b, a)
    world.run(1.0)
    assert len(script(a).named("answered")) == len(script(b).named("answered")) == 1
    assert a.links[b.id].other is b.links[a.id]


def test_a_dial_to_who_is_linked_already_ends_well() -> None:
    world, a, b = pair()

    a.feed([Dial((b.address,), None)])
    world.run(1.0)

    assert script(a).named("reached") == [((b.address,),)]
    assert len(script(a).named("link_up")) == len(script(b).named("link_up")) == 1


def test_a_frozen_machine_lets_dialers_wait() -> None:
    world, (a, b) = scripted("a", "b")
    b.freeze()

    dial(a, b)
    world.run(2.9)
    assert not script(a).named("dial_failed")
    world.run(0.2)
    assert len(script(a).named("dial_failed")) == 1

    b.thaw()
    world.run(1.0)
    assert not script(b).named("link_up")


# -- calls -------------------------------------------------------------------------------------------


def test_a_call_takes_a_round_trip_and_its_answer_brings_the_load() -> None:
    world, a, b = pair()
    began = world.now

    probe(a, b)
    world.run(1.0)

    ((number, peer, response, load),) = script(a).named("answered")
    assert (number, peer, response) == (1, b.id, Probed())
    assert script(a).when("answered") == [pytest.approx(began + 2 * DELAY_S)]
    assert load == script(b).load(began + DELAY_S)


def test_without_a_link_a_call_fails_in_a_moment() -> None:
    world, (a, b) = scripted("a", "b")

    probe(a, b)
    assert not failures(a)
    world.run(0.001)

    assert failures(a) == [(1, ErrorCode.UNAVAILABLE)]


def test_a_call_that_is_not_answered_ends_at_its_deadline_and_the_peer_hears_of_it() -> None:
    world, a, b = pair()
    script(b).answers = False
    began = world.now

    probe(a, b, deadline_s=2.0)
    world.run(5.0)

    assert failures(a) == [(1, ErrorCode.DEADLINE)]
    assert script(a).when("call_failed") == [pytest.approx(began + 2.0)]
    assert script(b).when("request_gone") == [pytest.approx(began + 2.0 + DELAY_S)]


def test_a_call_that_is_cancelled_is_told_to_the_peer_alone() -> None:
    world, a, b = pair()
    script(b).answers = False

    probe(a, b)
    world.run(0.5)
    a.feed([CancelCall(1)])
    world.run(5.0)

    assert script(b).named("request_gone") == [(1,)]
    assert not failures(a) and not script(a).named("answered")


def test_a_refusal_comes_back_as_it_was_said() -> None:
    world, a, b = pair()
    script(b).answers = False
    error = ErrorInfo(code=ErrorCode.OVERLOADED, reason="not now", retry_after_s=2.0)

    probe(a, b)
    world.run(0.5)
    refused_at = world.now
    b.feed([Refuse(1, error)])
    world.run(1.0)

    assert script(a).named("call_failed") == [(1, error)]
    assert script(a).named("load_told") == [(b.id, LoadDigest(queue_s=refused_at))]


def test_losses_make_calls_late_and_never_lose_them() -> None:
    world, a, b = pair(conditions=Conditions(DELAY_S, jitter=0.0, loss=0.2), seed=4)

    for number in range(1, 201):
        probe(a, b, number)
    began = world.now
    world.run(10.0)

    assert [args[0] for args in script(a).named("answered")] == list(range(1, 201))
    late = [at - began for at in script(a).when("answered")]
    assert max(late) > 0.2 and late == sorted(late)


# -- links that break --------------------------------------------------------------------------------


def test_who_hangs_up_is_told_in_a_moment_and_the_other_after_one_way() -> None:
    world, a, b = pair()
    script(b).answers = False
    probe(a, b)
    world.run(0.5)
    began = world.now

    a.feed([Hang(b.id, "enough")])
    world.run(1.0)

    assert script(a).named("link_down") == [(b.id, "enough")]
    assert script(b).named("link_down") == [(a.id, "enough")]
    assert script(a).when("link_down") == [began]
    assert script(b).when("link_down") == [pytest.approx(began + DELAY_S)]
    assert failures(a) == [(1, ErrorCode.UNAVAILABLE)]
    assert script(b).named("request_gone") == [(1,)]


def test_a_process_that_is_killed_resets_its_links_and_one_without_power_says_nothing() -> None:
    for end, told in ((Machine.kill, 1), (Machine.vanish, 0)):
        world, a, b = pair()
        end(b)
        world.run(60.0)
        assert len(script(a).named("link_down")) == told


def test_on_a_link_that_is_cut_everything_stalls_until_somebody_hangs_up() -> None:
    world, a, b = pair()
    world.cut("a", "b")

    probe(a, b)
    world.run(30.0)
    assert failures(a) == [(1, ErrorCode.DEADLINE)]
    assert not script(b).named("asked") and not script(a).named("link_down")

    a.feed([Hang(b.id, "no answer", quiet_s=1e9)])
    assert not script(a).named("link_down")
    a.feed([Hang(b.id, "no answer", quiet_s=4.0)])
    world.run(30.0)
    assert script(a).named("link_down") == [(b.id, "no answer")]
    assert not script(b).named("link_down") and a.id in b.links


def test_what_waited_on_a_cut_link_arrives_at_a_retry_after_it_is_mended() -> None:
    world, a, b = pair()
    world.cut("a", "b")
    began = world.now
    probe(a, b, deadline_s=60.0)

    world.run(2.0)
    world.mend("a", "b")
    world.run(10.0)

    # Sent again after 0.2, 0.6, 1.4 and 3 s.
    assert script(b).when("asked") == [pytest.approx(began + 3.0)]
    assert len(script(a).named("answered")) == 1


def test_a_way_that_is_cut_in_one_direction_carries_the_other() -> None:
    world, a, b = pair()
    world.cut("b", "a", one_way=True)

    probe(a, b)
    a.feed([SendPacket(b.id, (), Ping(1))])
    b.feed([SendPacket(a.id, (), Ping(2))])
    world.run(30.0)

    assert len(script(b).named("asked")) == 1
    assert failures(a) == [(1, ErrorCode.DEADLINE)]
    assert script(b).named("packet") == [(a.id, Ping(1))] and not script(a).named("packet")


def test_who_speaks_on_a_link_that_the_other_side_has_forgotten_hears_so() -> None:
    world, a, b = pair()
    b.vanish()
    world.run(10.0)
    b.start()
    assert not script(a).named("link_down")

    probe(a, b)
    world.run(1.0)

    assert failures(a) == [(1, ErrorCode.UNAVAILABLE)]
    assert script(a).named("link_down") == [(b.id, "connection reset by peer")]


def test_a_new_link_takes_the_place_of_one_that_its_dialer_has_lost() -> None:
    world, a, b = pair()
    world.cut("a", "b")
    a.feed([Hang(b.id, "no answer")])
    world.run(1.0)
    world.mend("a", "b")

    dial(a, b)
    world.run(1.0)

    assert [name for name, _, _ in script(b).heard if name != "restore_members"] == [
        "introduce",
        "link_up",
        "link_down",
        "link_up",
    ]
    assert a.links[b.id].other is b.links[a.id]


def test_after_a_quarter_of_an_hour_a_link_on_which_nothing_gets_through_ends_by_itself() -> None:
    world, a, b = pair()
    world.cut("a", "b")
    probe(a, b)

    world.run(900.0)
    assert not script(a).named("link_down")
    world.run(60.0)

    assert script(a).named("link_down") == [(b.id, "connection timed out")]


def test_a_link_to_a_machine_that_has_been_started_again_is_a_new_one() -> None:
    world, a, b = pair()
    b.kill()
    b.start()

    dial(b, a)
    world.run(1.0)

    assert [name for name, _, _ in script(a).heard if name != "restore_members"] == [
        "introduce",
        "link_up",
        "link_down",
        "link_up",
    ]
    assert a.links[b.id].other is b.links[a.id]
