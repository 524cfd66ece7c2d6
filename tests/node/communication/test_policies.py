import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block
from node.communication.choosing import Deal, Query, query
from node.communication.policies import (
    CHOOSERS,
    POOL_AGE_S,
    STALE_S,
    Chooser,
    Ours,
    PeakEwma,
    Prequal,
    chooser,
)
from node.communication.scoring import Candidate, Cost
from protocol.digests import LoadDigest
from protocol.errors import ConfigError

COST = Cost(1000, 1000, 10**8)


def node(name: str, **seen: float) -> Candidate:
    figures = {"rtt_s": 0.01, "bandwidth_bytes_s": 1e8, "queue_s": 0.0, "speed_macs_s": 1e9}
    return Candidate(name, reliability=1.0, **(figures | seen))  # type: ignore[arg-type]


def asked(*nodes: Candidate, blocks: int = 1) -> Query:
    names = [one.node for one in nodes]
    holders = {Block(0, column): names for column in range(blocks)}
    return query(holders, nodes, dict.fromkeys(holders, COST))


def chosen(by: Chooser, one: Query, now: float = 0.0) -> str:
    (only,) = by.choose(one, now).hands
    return only


@pytest.mark.parametrize("name", CHOOSERS)
@given(seed=st.integers(0, 1000), columns=st.integers(1, 6), count=st.integers(2, 4))
def test_every_way_gives_each_block_to_one_of_its_holders(
    name: str, seed: int, columns: int, count: int
) -> None:
    dice = random.Random(seed)
    nodes = [node(f"n{i}", queue_s=dice.random(), rtt_s=dice.random()) for i in range(count)]
    holders = {
        Block(0, column): dice.sample([one.node for one in nodes], 2) for column in range(columns)
    }
    one = query(holders, nodes, dict.fromkeys(holders, COST))

    deal = chooser(name, dice).choose(one, 0.0)

    given_out = {block: node for node, blocks in deal.hands.items() for block in blocks}
    assert given_out.keys() == holders.keys()
    assert all(given_out[block] in holders[block] for block in holders)
    assert sum(map(len, deal.hands.values())) == columns
    assert deal.option.last_s > 0.0 and deal.why


def test_only_ours_sheds() -> None:
    assert [name for name in CHOOSERS if chooser(name, random.Random(1)).sheds] == ["ours"]


def test_a_way_that_does_not_exist_is_told_which_do() -> None:
    with pytest.raises(ConfigError, match="write one of ours, "):
        chooser("best", random.Random(1))


def test_the_simple_ways_look_at_one_thing_each() -> None:
    near = node("near", rtt_s=0.001, queue_s=9.0, told_s=9.0, told_in_flight=9)
    idle = node("idle", rtt_s=0.2, queue_s=9.0, told_s=0.1, told_in_flight=5)
    few = node("few", rtt_s=0.1, queue_s=0.1, told_s=5.0, told_in_flight=1)
    one = asked(near, idle, few)

    assert chosen(chooser("nearest", random.Random(1)), one) == "near"
    assert chosen(chooser("least_loaded", random.Random(1)), one) == "idle"
    two = Counter(chosen(chooser("power_of_two", random.Random(i)), one) for i in range(300))
    assert two["few"] > two["idle"] > 0 and not two["near"]
    assert len({chosen(chooser("random", random.Random(i)), one) for i in range(30)}) == 3


def test_peak_ewma_remembers_a_slow_answer_for_a_while() -> None:
    by, one = PeakEwma(), asked(node("a"), node("b"))
    by.served("a", 0.1, 0.0)
    by.served("b", 0.2, 0.0)
    assert chosen(by, one, 0.1) == "a"

    by.served("a", 5.0, 0.2)
    assert chosen(by, one, 0.3) == "b"
    by.served("b", 0.2, 60.0)
    assert chosen(by, one, 60.0) == "a"


def test_prequal_takes_the_quickest_of_the_cold_that_it_has_probed() -> None:
    by, one = Prequal(random.Random(1)), asked(node("a"), node("b"), node("c"))
    by.probed("a", LoadDigest(queue_s=1.0, in_flight=1, speed_macs_s=1e9), 0.0)
    by.probed("b", LoadDigest(queue_s=0.5, in_flight=1, speed_macs_s=1e9), 0.0)
    by.probed("c", LoadDigest(queue_s=0.0, in_flight=9, speed_macs_s=1e9), 0.0)

    assert chosen(by, one, 0.1) == "b", "c is hot"
    told = asked(node("a", told_s=0.1), node("b", told_s=0.2), node("c", told_s=0.3))
    assert chosen(by, told, 0.1 + POOL_AGE_S) == "a", "old probes are not believed"


def test_ours_asks_the_best_two_peers_whose_loads_are_old() -> None:
    by = Ours(None)
    nodes = [
        node("here", rtt_s=0.0, age_s=9.0),
        node("new", rtt_s=0.01, age_s=0.1),
        node("old", rtt_s=0.02, age_s=STALE_S + 0.1),
        node("far", rtt_s=0.5, age_s=9.0),
    ]
    one = replace(asked(*nodes), own="here")
    deal: Deal = by.choose(one, 0.0)

    assert by.probes(one, deal) == ["old"]
