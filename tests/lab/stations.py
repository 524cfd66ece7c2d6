"""All stations of one laboratory: starts a process on each host, and keeps what each has told."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from protocol.ids import NodeId
from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab
from tests.lab.plan import Host
from tests.lab.words import Enter, Entered, Know, Open, Order, Whereabouts, Word, a, line, read
from tests.node.runtime.small_mesh import founder, joiner

ROOT = Path(__file__).parents[2]
START_S = 120.0
"""For all of them: a start takes a second of a core, which others may want too."""
ENTER_S = 20.0
SEEN_S = 0.5
"""Each has asked by then from where it is seen, where there is no delay to speak of."""
CLOSE_S = 10.0

W = TypeVar("W")


class Stumbled(AssertionError):
    """A station has ended, or said on standard error what no station says."""


class Station:
    """The process on one host, as it is seen from here."""

    def __init__(self, lab: Lab, host: Host, folder: Path, log: Path) -> None:
        self.host = host
        self.whereabouts: Whereabouts
        self.entered_s = 0.0
        """How long it took until others could reach it."""
        self._log = log
        self._words: list[Word] = []
        self._more = asyncio.Event()
        flags = ["--public"] if host.kind is Kind.OPEN else []
        with lab.on_host(host), log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.lab.station", str(folder), *flags],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    @property
    def node(self) -> NodeId:
        return self.whereabouts.node

    @property
    def said(self) -> str:
        """On standard error."""
        return self._log.read_text()

    def order(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line(order))
        self._process.stdin.flush()

    def forget(self, node: NodeId) -> None:
        """What was told of this member so far."""
        self._words = [word for word in self._words if getattr(word, "node", None) != node]

    async def told(
        self, choose: Callable[[Word], W | None], *, of: NodeId | None = None, within_s: float
    ) -> W | None:
        """The first word about this member that is chosen; None if none comes in that time."""
        until = time.monotonic() + within_s
        while True:
            for word in self._words:
                fits = of is None or getattr(word, "node", None) == of
                if fits and (chosen := choose(word)) is not None:
                    return chosen
            self._more.clear()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self._more.wait()
            except TimeoutError:
                return None

    async def listen(self) -> None:
        """Take in what it tells, until it ends."""
        assert self._process.stdout is not None
        async for told in _lines(self._process.stdout):
            # A union is no class, and this is the decoder's word for that.
            word: Word = read(told, Word)  # type: ignore[arg-type]
            self._words.append(word)
            if isinstance(word, Open):
                self.whereabouts = word.own
            elif isinstance(word, Entered):
                own = self.whereabouts
                self.whereabouts = Whereabouts(own.node, own.key, word.addresses)
                self.entered_s = self.entered_s or word.after_s
            self._more.set()

    def dismiss(self) -> None:
        """It shall end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self, within_s: float) -> None:
        """Once it was dismissed. Stumbled if it did not end well."""
        try:
            ended = str(self._process.wait(within_s))
        except subprocess.TimeoutExpired:
            ended = "nothing: it was told to end, and did not"
        finally:
            self._process.kill()
            self._process.wait()
        if ended != "0" or "Traceback" in self.said:
            raise Stumbled(f"{self.host} ended with {ended}: {self.said[-4000:]}")


class Stations:
    """`publics` and `others` stand in the order of the laboratory's hosts."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        hosts = [*lab.publics, *lab.hosts]
        folders = _members(folder, len(hosts))
        self.all = [
            Station(lab, host, one, folder / f"{number}-{host.kind}.log")
            for number, (host, one) in enumerate(zip(hosts, folders, strict=True))
        ]
        self.publics = self.all[: len(lab.publics)]
        self.others = self.all[len(lab.publics) :]

    def of(self, kind: Kind | Pair) -> list[Station]:
        return [one for one in self.others if one.host.kind is kind]

    async def enter(self) -> None:
        """All know the public ones, and are reached."""
        for one in self.all:
            if await one.told(a(Open), within_s=START_S) is None:
                raise Stumbled(f"{one.host} did not start: {one.said[-4000:]}")
        publics = tuple(one.whereabouts for one in self.publics)
        for public in self.publics:
            for one in self.all:
                public.order(Know(one.whereabouts))
        # One after the other: how long it takes is a figure.
        for one in self.all:
            one.order(Enter(publics))
            if await one.told(a(Entered), within_s=ENTER_S) is None:
                raise Stumbled(f"nobody can reach {one.host}: {one.said[-4000:]}")
        await asyncio.sleep(SEEN_S)

    def close(self) -> None:
        until = time.monotonic() + CLOSE_S
        stumbled: list[Stumbled] = []
        for one in self.all:
            one.dismiss()
        for one in self.all:
            try:
                one.close(max(until - time.monotonic(), 0.0))
            except Stumbled as wrong:
                stumbled.append(wrong)
        if stumbled:
            raise stumbled[0]


@contextlib.asynccontextmanager
async def stations(lab: Lab, folder: Path) -> AsyncIterator[Stations]:
    """On every host, entered."""
    with contextlib.closing(Stations(lab, folder)) as them:
        listening = [asyncio.ensure_future(one.listen()) for one in them.all]
        try:
            await them.enter()
            yield them
        finally:
            for one in them.all:
                one.dismiss()
            ended, late = await asyncio.wait(listening, timeout=CLOSE_S)
            for unheard in late:
                unheard.cancel()
            for heard in ended:
                # Raises what was wrong with a line that could not be read.
                heard.result()


def _members(folder: Path, count: int) -> Sequence[Path]:
    """Folders of so many members of one mesh."""
    now = time.time()
    first = founder(folder / "0", now)
    members = [first, *(joiner(folder / str(n), first, now) for n in range(1, count))]
    for member in members:
        member.data_dir.close()
    return [member.data_dir.path for member in members]


async def _lines(pipe: IO[bytes]) -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    async for told in reader:
        yield told
