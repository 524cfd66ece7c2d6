"""A random walk through all that can happen to a holder, judged by a model of who has been promised what."""

import random

from node.deployment.ledger import MIB
from node.work import Discard, KeepManifest
from protocol.messages import (
    FetchBlock,
    Manifest,
    ManifestHead,
    Multiply,
    Release,
    Reserve,
    Reserved,
    StoreBlock,
    StoreSketch,
    Taken,
)
from tests.node.execution.holder import (
    BLOCK_BYTES,
    BLOCKS,
    CONTENT,
    Holder,
    manifest,
    multiply,
    store,
    version,
    x_bytes,
)

HELD = len(BLOCKS) * BLOCK_BYTES
STEPS = 250
WEIGHTS = 12
"""Put, brought, deleted or forgotten in the course of a walk; three or so at a time."""
ROWS = (1, 2, 1_000, 1_200, 4_000)
"""Of X: a few bytes, more than half of what there is for requests in flight, and more than all of it."""
DEADLINES_MS = (0, 1_000, 10_000, 60_000, 60_000, 60_000)
LIKELY = {
    "reserve": 3,
    "store": 8,
    "sketch": 2,
    "fetch": 2,
    "multiply": 4,
    "body": 8,
    "finish": 10,
    "fail": 1,
    "left": 5,
    "leave": 2,
    "publish": 2,
    "release": 1,
    "delete": 1,
    "wait": 3,
}


class Walk:
    """Feeds a holder whatever may happen next, with a model of who has been promised what."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.holder = Holder(workers=self.dice.choice((1, 2)))
        self.holder.hold(0)
        self.promised = {"put0": HELD}
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        (name,) = self.dice.choices(list(LIKELY), list(LIKELY.values()))
        recent = self.steps * (WEIGHTS - 3) // STEPS
        of = self.dice.choice((0, recent, recent + 1, recent + 2))
        match name:
            case "reserve" | "release":
                self._promise(name, of)
            case "publish" | "delete":
                self._announce(name, of)
            case "wait":
                for put in self.holder.wait(self.dice.choice((0.1, 0.1, 1.0, 5.0, 31.0))):
                    del self.promised[put]
            case "store" | "sketch" | "fetch" | "multiply":
                self._ask(name, of)
            case _:
                self._go_on(name)

    def _ask(self, name: str, of: int) -> None:
        dice, deadline_ms = self.dice, self.dice.choice(DEADLINES_MS)
        match name:
            case "store":
                block, nbytes = dice.choice(BLOCKS), BLOCK_BYTES - 4 * (dice.random() < 0.1)
                self.holder.ask(store(of, block), nbytes, deadline_ms=deadline_ms)
            case "sketch":
                sketch = StoreSketch(put=f"put{of}", nbytes=1_024)
                self.holder.ask(sketch, 1_024, deadline_ms=deadline_ms)
            case "fetch":
                fetch = FetchBlock(content=CONTENT, nbytes=dice.choice((8, 4 * MIB, 5 * MIB)))
                self.holder.ask(fetch, deadline_ms=deadline_ms)
            case "multiply":
                m = dice.choice(ROWS)
                self.holder.ask(multiply(of, m), x_bytes(m), deadline_ms=deadline_ms)

    def _go_on(self, name: str) -> None:
        holder, dice = self.holder, self.dice
        match name:
            case "body" if holder.coming:
                holder.body(dice.choice(holder.coming))
            case "left" if holder.leaving:
                holder.left(dice.choice(list(holder.leaving)))
            case "leave" if still_open := self._open():
                holder.leave(dice.choice(still_open))
            case "finish" | "fail" if holder.jobs:
                job = dice.choice(list(holder.jobs))
                sure = isinstance(holder.jobs[job], Discard | KeepManifest)
                holder.finish(job, well=sure or name == "finish")

    def _open(self) -> list[int]:
        holder = self.holder
        return [n for n in holder.asked if n not in holder.answers and n not in holder.gone]

    def _promise(self, name: str, of: int) -> None:
        put, nbytes = f"put{of}", self.dice.choice((HELD, HELD, HELD, BLOCK_BYTES))
        request = Reserve(put=put, nbytes=nbytes) if name == "reserve" else Release(put=put)
        answer = self.holder.answers[self.holder.ask(request)]
        if answer == Reserved():
            self.promised[put] = nbytes
        if answer == Taken() and self.holder.catalogue.get(f"w{of}") is None:
            self.promised.pop(put, None)

    def _announce(self, name: str, of: int) -> None:
        known = self.holder.catalogue.manifests.get(f"w{of}")
        # A coordinator publishes once all blocks are stored.
        if name == "publish" and known is None and self.holder.holding.has(version(of), BLOCKS):
            self.holder.adopt(manifest(of))
        if name == "delete" and known is not None and not known.head.deleted:
            head = ManifestHead(name=f"w{of}", version=version(100 + of), deleted=True)
            self.holder.adopt(Manifest(head))
            del self.promised[f"put{of}"]

    # -- what must hold ------------------------------------------------------------------------------

    def check(self) -> None:
        holder = self.holder
        assert holder.leased == sum(self.promised.values()) + self._streamed()
        condemned = {
            (what.version, block)
            for what in holder.jobs.values()
            if isinstance(what, Discard)
            for block in what.blocks
        }
        for of in range(WEIGHTS):
            there = [
                block for block in BLOCKS if (version(of), block) in holder.programmed - condemned
            ]
            assert there == [block for block in BLOCKS if holder.holding.has(version(of), (block,))]
            assert len(there) * BLOCK_BYTES <= self.promised.get(f"put{of}", 0)

    def _streamed(self) -> int:
        """Leases of requests that have been let in: what is allocated, and X that went before its answer has left."""
        holder = self.holder
        stored = {
            holder.granted[request].id
            for request, what in holder.asked.items()
            if isinstance(what, StoreBlock) and request in holder.granted
        }
        spent = [
            holder.granted[request].nbytes
            for request in holder.leaving
            if isinstance(holder.asked[request], Multiply)
        ]
        return sum(b.nbytes for b in holder.buffers.values() if b.id not in stored) + sum(spent)

    def end(self) -> None:
        """All goes its way; then nothing may be left."""
        holder = self.holder
        for request in self._open():
            holder.leave(request)
        while holder.jobs or holder.leaving:
            holder.finish_all()
            for request in list(holder.leaving):
                holder.left(request)
        for of in range(WEIGHTS):
            self._announce("delete", of)
        holder.wait(1_000.0)
        holder.finish_all()
