"""What it costs that all nodes know each other's digests. One JSON line a figure.

    python bench/gossip_bytes.py [--nodes 1000] [--links 24] [--seconds 200] [--quick]

Virtual time, gossip alone, every message through the codec and counted with its frame: bytes that one node sends (it
receives as many) when nothing happens, and when the queue and the memory of every node move by a quarter each second.
Then the CPU time of a comparison that finds nothing, with both sides and the codec, and how old what is known of a
node's load is on the average.
"""

import argparse
import functools
import json
import random
import statistics
import sys
import time
from pathlib import Path

import msgspec

from protocol import codec
from protocol.digests import LoadDigest, MemoryDigest, NodeRecord
from protocol.gossip import Compare, Compared
from protocol.messages import RequestHeader, ResponseHeader

sys.path.insert(0, str(Path(__file__).parents[1]))
# The small world of the tests is reached only from the root of the repository.
from tests.node.communication.gossiping import Peer, World, calls

WARM_UP_S = 30.0
MOVE_S = 1.0


def settled(nodes: int, links: int) -> World:
    """All know all, and have long been linked."""
    world = World(nodes)
    world.converge()
    world.some_meet(links // 2)
    world.run(WARM_UP_S)
    return world


def quiet(nodes: int, links: int, seconds: float) -> float:
    """Bytes a second that a node sends when nothing happens."""
    world = settled(nodes, links)
    before = sum(world.sent_bytes.values())
    world.run(world.now + seconds)
    return (sum(world.sent_bytes.values()) - before) / nodes / seconds


def moving(nodes: int, links: int, seconds: float) -> tuple[float, dict[str, float], float]:
    """The same when every load moves; by kind of message; the mean age of what is known of a load."""
    world = settled(nodes, links)
    dice = random.Random(7)
    published: dict[tuple[str, int], float] = {}

    def move(peer: Peer) -> None:
        record = moved(peer.gossip.own, dice)
        world.feed(peer, peer.gossip.describe(record, world.now))
        published.setdefault((peer.id, peer.gossip.told.version), world.now)
        world.at(world.now + MOVE_S, functools.partial(move, peer))

    for peer in world.peers:
        world.at(world.now + dice.uniform(0.0, MOVE_S), functools.partial(move, peer))
    world.run(world.now + seconds)
    before, kinds = sum(world.sent_bytes.values()), dict(world.kinds)
    world.run(world.now + seconds)
    each = (sum(world.sent_bytes.values()) - before) / nodes / seconds
    by_kind = {kind: (world.kinds[kind] - kinds.get(kind, 0)) / nodes / seconds for kind in kinds}
    ages = [
        world.now - published[one, record.version]
        for peer in world.peers[::10]
        for one, record in peer.gossip.records.items()
    ]
    return each, by_kind, statistics.mean(ages)


def comparison_us(nodes: int, rounds: int) -> float:
    """CPU time of a comparison between two nodes that agree: both sides, encoded and decoded, in microseconds."""
    world = World(nodes)
    world.converge()
    asker, peer = world.peers[:2]
    world.link(asker, peer)
    world.run(WARM_UP_S)
    began = time.process_time()
    for number in range(rounds):
        compared(asker, peer, world.now + number)
    return (time.process_time() - began) / rounds * 1e6


def compared(asker: Peer, peer: Peer, now: float) -> None:
    """One comparison that finds nothing."""
    call = calls(asker.gossip.sync_now(peer.id, now))[0]
    header = RequestHeader(request=call.request, deadline_ms=4000)
    request = codec.decode(RequestHeader, codec.encode(header)).request
    assert isinstance(request, Compare)
    answer, _ = peer.gossip.asked(asker.id, request, now)
    back = codec.decode(ResponseHeader, codec.encode(ResponseHeader(response=answer))).response
    assert isinstance(back, Compared) and not back.stamps
    asker.desk.settle(call.call)
    asker.gossip.answered(call.call, peer.id, back, LoadDigest(), now + 1e-3)


def moved(own: NodeRecord, dice: random.Random) -> NodeRecord:
    """Another queue and other memory."""
    free = dice.randrange(1 << 28, 1 << 30)
    load = msgspec.structs.replace(own.load, queue_s=dice.uniform(0.0, 1.0))
    memory: MemoryDigest = msgspec.structs.replace(own.memory, free=free)
    return msgspec.structs.replace(own, load=load, memory=memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--links", type=int, default=24, help="of each node, on the average")
    parser.add_argument("--seconds", type=float, default=200.0)
    parser.add_argument("--quick", action="store_true", help="100 nodes for 60 s")
    options = parser.parse_args()
    nodes = 100 if options.quick else options.nodes
    seconds = 60.0 if options.quick else options.seconds
    shape = {"nodes": nodes, "links": options.links}
    us = comparison_us(nodes, 2000)
    print(json.dumps({"bench": "gossip_compare", **shape, "cpu_us": round(us, 1)}))
    idle = quiet(nodes, options.links, seconds)
    print(json.dumps({"bench": "gossip_idle", **shape, "sent_bytes_s": round(idle, 1)}))
    each, kinds, age_s = moving(nodes, options.links, seconds)
    figures = {
        "sent_bytes_s": round(each, 1),
        "by_kind": {kind: round(value, 1) for kind, value in sorted(kinds.items())},
        "load_age_s": round(age_s, 1),
    }
    print(json.dumps({"bench": "gossip_moving", **shape, **figures}))


if __name__ == "__main__":
    main()
