"""How membership holds on bad networks, on virtual time: one JSON line for each figure and seed.

    python bench/membership.py [--seeds 10] [--only NAME ...]

Delays are 10-100 ms each way, drawn anew for each packet; `loss` is of datagrams, and of the segments of a link, which
are sent again. The swarm of `tests/node/communication/swarm.py` stands for network and links; nothing is signed.

  false-deaths   128 nodes, 300 s: healthy nodes that anybody declared dead
  blocked        the same, while 8 nodes run for 4 ms and then not for 16 s, again and again
  detection      1,000 nodes, 10 % loss; 10 vanish one after another: seconds until somebody declares it dead, and
                 from then until all know
  merge          128 nodes in two halves for 10 minutes: seconds from healing until all believe the same
  leave          1,000 nodes, 10 % loss: seconds until all know of a goodbye
  idle           1,000 nodes for 60 s: seconds of one core, bytes a second that each node sends
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from node.communication.roster import Change
from protocol.members import Cause
from tests.node.communication.swarm import Swarm

GONE = (Change.DIED, Change.LEFT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--only", nargs="*", choices=sorted(FIGURES), default=sorted(FIGURES))
    options = parser.parse_args()
    for name in options.only:
        for seed in range(options.first, options.first + options.seeds):
            FIGURES[name](seed)


def false_deaths(seed: int) -> None:
    for loss in (0.0, 0.1, 0.2, 0.3):
        swarm = Swarm(128, seed, loss=loss)
        began = time.perf_counter()
        swarm.run(300.0)
        _tell(
            "false-deaths",
            seed,
            loss=loss,
            dead=len({one.node for one in swarm.seen if one.change is Change.DIED}),
            refuted=sum(one.event == "self.refuted" for _, _, one in swarm.notes),
            packets_node_s=round(swarm.packets / 128 / 300, 2),
            wall_s=round(time.perf_counter() - began, 1),
        )


def blocked(seed: int) -> None:
    for loss in (0.0, 0.1):
        swarm = Swarm(128, seed, loss=loss)
        observers = range(8)
        for number in observers:
            _block_again(swarm, number)
        swarm.run(300.0)
        dead = {one.node for one in swarm.seen if one.change is Change.DIED}
        healthy = len(dead - set(observers))
        _tell("blocked", seed, loss=loss, healthy_dead=healthy, observers_dead=len(dead) - healthy)


def _block_again(swarm: Swarm, number: int) -> None:
    swarm.block(number, 16.0)
    swarm.at(swarm.now + 16.004, _block_again, swarm, number)


def detection(seed: int) -> None:
    nodes, killed, apart_s = 1000, 10, 15.0
    swarm = Swarm(nodes, seed, loss=0.1)
    for place in range(killed):
        swarm.at(10.0 + place * apart_s, swarm.vanish, place * 97)
    swarm.run(10.0 + killed * apart_s + 60.0)
    detected, known = [], []
    vanished = {place * 97: 10.0 + place * apart_s for place in range(killed)}
    for number, at in vanished.items():
        seen = [one.at for one in swarm.seen if one.node == number and one.change is Change.DIED]
        living = [one for one in seen if one >= at]
        assert len(living) >= nodes - killed, f"{number} is dead, and only {len(living)} know"
        detected.append(min(living) - at)
        known.append(max(living) - min(living))
    false = {one.node for one in swarm.seen if one.change is Change.DIED} - set(vanished)
    _tell(
        "detection",
        seed,
        first_median_s=round(statistics.median(detected), 2),
        first_max_s=round(max(detected), 2),
        known_to_all_median_s=round(statistics.median(known), 2),
        known_to_all_max_s=round(max(known), 2),
        false=len(false),
    )


def merge(seed: int) -> None:
    for nodes, loss in ((128, 0.0), (128, 0.1), (4, 0.1), (2, 0.1)):
        swarm = Swarm(nodes, seed, loss=loss)
        half = nodes // 2
        swarm.at(10.0, _part, swarm, half)
        swarm.run(610.0)
        sizes = {len(peer.membership.members) for peer in swarm.peers}
        swarm.apart = None
        healed_at = swarm.now
        while not _agrees(swarm) and swarm.now < healed_at + 120.0:
            swarm.run(swarm.now + 0.25)
        took_s = swarm.now - healed_at
        _tell("merge", seed, nodes=nodes, loss=loss, believed_there=sorted(sizes), took_s=took_s)


def _part(swarm: Swarm, half: int) -> None:
    swarm.apart = lambda one, other: (one < half) != (other < half)


def _agrees(swarm: Swarm) -> bool:
    everybody = {peer.id: peer.membership.own for peer in swarm.peers}
    return all(
        {**peer.membership.members, peer.id: peer.membership.own} == everybody
        and not any(peer.membership.is_suspect(node) for node in everybody)
        for peer in swarm.peers
    )


def leave(seed: int) -> None:
    swarm = Swarm(1000, seed, loss=0.1)
    swarm.run(5.0)
    leaver = swarm.peers[7]
    swarm.feed(leaver, leaver.membership.leave(Cause.LEFT, swarm.now))
    swarm.run(20.0)
    left = [one.at - 5.0 for one in swarm.seen if one.change in GONE and one.node == 7]
    _tell("leave", seed, knew=len(left), median_s=_at(left, 0.5), all_s=_at(left, 1.0))


def idle(seed: int) -> None:
    swarm = Swarm(1000, seed)
    began = time.process_time()
    swarm.run(60.0)
    took_s = time.process_time() - began
    counted = Swarm(1000, seed, count_bytes=True)
    counted.run(20.0)
    bytes_s = counted.packet_bytes / 1000 / 20.0
    _tell("idle", seed, cpu_s=round(took_s, 2), bytes_node_s=round(bytes_s, 1))


def _at(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def _tell(figure: str, seed: int, **fields: object) -> None:
    print(json.dumps({"figure": figure, "seed": seed, **fields}), flush=True)


FIGURES: dict[str, Callable[[int], None]] = {
    "false-deaths": false_deaths,
    "blocked": blocked,
    "detection": detection,
    "merge": merge,
    "leave": leave,
    "idle": idle,
}

if __name__ == "__main__":
    main()
