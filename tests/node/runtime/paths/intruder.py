"""A member that opens a path as any other does, and then says on it what no node of ours would say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from nat.records import RecordKind, encode_record
from node.runtime import tls
from node.runtime.paths.arrival import Unattached
from node.runtime.paths.dialing import PathDialer
from node.runtime.paths.doorway import ALPN_PATH
from node.runtime.paths.end import PathEnd
from node.runtime.paths.multipath import Multipath
from node.runtime.tcp_link import Security
from protocol import codec
from protocol.paths import Attach, Ending, PathKind
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station, Waiting

LINK = bytes(range(16))
FRESH = Attach(LINK, True, PathKind.LAN, 0, True)


class Intruder(Waiting, Unattached):
    """Keeps what comes in on its path, and answers nothing."""

    received = 0

    def __init__(self) -> None:
        super().__init__()
        self.end: PathEnd
        self.heard_of: list[tuple[RecordKind, int, bytes]] = []
        self.stream = bytearray()
        self.lost: list[str] = []
        self._memory = memoryview(bytearray(64 * 1024))

    def say(
        self, kind: RecordKind, number: int = 0, received: int = 0, payload: bytes = b""
    ) -> None:
        self.end.transport.write(encode_record(kind, number, received, payload))

    def attach(self, attach: Attach = FRESH) -> None:
        self.say(RecordKind.ATTACH, payload=codec.encode(attach))

    async def is_cut(self) -> None:
        await self.until(lambda: self.lost)

    async def is_attached(self) -> None:
        await self.until(lambda: RecordKind.ATTACHED in [kind for kind, _, _ in self.heard_of])

    @property
    def refusal(self) -> str:
        """What the other side has said when it would not."""
        said = [payload for kind, _, payload in self.heard_of if kind is RecordKind.ENDING]
        return codec.decode(Ending, said[0]).reason if said else ""

    def record(self, end: PathEnd, kind: RecordKind, number: int, payload: bytes) -> None:
        self.heard_of.append((kind, number, payload))
        self.changed()

    def get_buffer(self, hint: int) -> memoryview:
        return self._memory

    def buffer_updated(self, nbytes: int) -> None:
        self.stream += self._memory[:nbytes]
        self.received += nbytes
        self.changed()

    def path_lost(self, end: PathEnd, reason: str, *, refused: bool) -> None:
        self.lost.append(reason)
        self.changed()


@contextlib.asynccontextmanager
async def intruder(member: Member, there: Station) -> AsyncIterator[Intruder]:
    """On a path to there that is attached to nothing yet."""
    security = Security(tls.client_context(member.membership, (ALPN_PATH,)), tls.peer_id)
    opened = await PathDialer(security).path(there.address)
    one = Intruder()
    one.end = opened.end
    opened.end.owner = one
    try:
        yield one
    finally:
        opened.end.abort()
        await asyncio.sleep(0)


def carriers(station: Station) -> list[Multipath]:
    return list(station.board.ways._links.values())


def ends(station: Station) -> list[PathEnd]:
    return [end for carrier in carriers(station) for end in carrier._ends.values()]
