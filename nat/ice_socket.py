"""One UDP socket of an attempt to punch, in the shape that aioice wants of a transport.

STUN goes through aioice's parser. QUIC and whatever else the peer sends come to the same port and pass by it: aioice
would copy each datagram into a queue that nobody reads.
"""

import asyncio
import struct
from typing import TYPE_CHECKING, cast

from aioice import stun
from aioice.ice import StunProtocol

from nat.datagrams import Address, Datagrams, bind
from nat.punched import FIRST_OF_QUIC, OnAnswer, Way

if TYPE_CHECKING:
    from nat.ice_checks import Checks

GATHER_S = 0.3
"""From where we are seen is not waited for any longer: others will see it by our checks."""
SERVERS_MAX = 8
"""Asked from one socket; further ones are not. One answer is enough."""
REQUEST_PADDING = "sedma" + "." * 35
"""Public nodes answer only to requests that are nearly as long as their answers."""
UNANSWERED_MAX = 8
"""Checks of a path that are remembered for their answers; for a further one the oldest is forgotten."""
REQUEST = b"\x00\x01"
LAST_OF_STUN = 3


class IceSocket:
    """Bound to one local address; OSError if it cannot be."""

    def __init__(self, host: str, checks: "Checks") -> None:
        self.protocol = StunProtocol(checks)
        self.datagrams = Datagrams(bind(host), self._came)
        self._asked: dict[Address, bytes] = {}
        """The last question to each address, while there is no path."""
        self._checks = checks
        self._open = True
        # A transport has more methods; these are the ones that are called.
        self.protocol.connection_made(cast(asyncio.DatagramTransport, self))

    @property
    def local(self) -> Address:
        return self.datagrams.local

    # -- what aioice calls ---------------------------------------------------------------------------

    def get_extra_info(self, name: str) -> object:
        return self.local if name == "sockname" else None

    def sendto(self, data: bytes, to: Address) -> None:
        if self._open and self._checks.may_send(data, to):
            if data[:2] == REQUEST and not self._checks.has_path:
                self._asked[to] = data
            self.datagrams.send([data], to)

    def close(self) -> None:
        if self._open:
            self._open = False
            self.datagrams.close()
            self.protocol.connection_lost(None)

    # -- what the checks want ------------------------------------------------------------------------

    async def mapped(self, servers: tuple[Address, ...]) -> Address | None:
        """From where this socket is seen, by the STUN server that answers first; None if none does in 300 ms."""
        is_v6 = ":" in self.local[0]
        servers = tuple(server for server in servers if (":" in server[0]) == is_v6)[:SERVERS_MAX]
        if not servers:
            return None
        questions = [asyncio.ensure_future(self._seen_by(server)) for server in servers]
        try:
            async with asyncio.timeout(GATHER_S):
                for answer in asyncio.as_completed(questions):
                    if (seen := await answer) is not None:
                        return seen
        except TimeoutError:
            return None
        finally:
            for question in questions:
                question.cancel()
            await asyncio.wait(questions)
        return None

    def ask_again(self, to: Address) -> None:
        """Send the last question to this address once more."""
        if (question := self._asked.get(to)) is not None:
            self.sendto(question, to)

    def ask(self, request: stun.Message, key: bytes, to: Address, on_answer: OnAnswer) -> None:
        """Send a check once; `on_answer` is told of an answer that is signed with this key and came from there."""
        request.add_message_integrity(key)
        waiting = self.protocol.transactions
        # Beside them may stand aioice's own, which it takes away itself.
        ours = [number for number, one in waiting.items() if isinstance(one, _Answer)]
        if len(ours) == UNANSWERED_MAX:
            del waiting[ours[0]]
        waiting[request.transaction_id] = cast(stun.Transaction, _Answer(to, key, on_answer))
        self.protocol.send_stun(request, to)

    def forget_questions(self) -> None:
        """There is a path: what was asked for it is not asked again."""
        self._asked.clear()

    # -- within --------------------------------------------------------------------------------------

    async def _seen_by(self, server: Address) -> Address | None:
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["SOFTWARE"] = REQUEST_PADDING
        try:
            response, _ = await self.protocol.request(request, server)
        except stun.TransactionError:
            return None
        seen = response.attributes.get("XOR-MAPPED-ADDRESS")
        # An offer with port 0 would be refused as nonsense, and we for it.
        return (seen[0], seen[1]) if seen is not None and seen[1] else None

    def _came(self, buffer: bytes, segment: int, sender: Address) -> None:
        way = Way(self.datagrams, sender)
        # The first bytes of all datagrams in it, at once.
        if min(buffer[::segment]) >= FIRST_OF_QUIC:
            self._checks.came(way, buffer, segment)
            return
        for start in range(0, len(buffer), segment):
            datagram = buffer[start : start + segment]
            if datagram[0] >= FIRST_OF_QUIC:
                self._checks.came(way, datagram, segment)
            elif datagram[0] > LAST_OF_STUN:
                self._checks.packet_came(way, datagram)
            elif self._open:
                self._hear_stun(datagram, sender)

    def _hear_stun(self, datagram: bytes, sender: Address) -> None:
        try:
            self.protocol.datagram_received(datagram, sender)
        except (struct.error, LookupError):
            # Attributes cut short, which aioice's parser does not look for.
            self._checks.came_garbled()


class _Answer:
    """Waits for the answer to one check of ours, in the place of a transaction of aioice."""

    def __init__(self, sender: Address, key: bytes, on_answer: OnAnswer) -> None:
        self._sender, self._key, self._on_answer = sender, key, on_answer
        self._done = False

    def response_received(self, message: stun.Message, addr: Address) -> None:
        if (
            not self._done
            and message.message_class == stun.Class.RESPONSE
            and addr == self._sender
            and message.check_message_integrity(self._key)
        ):
            self._done = True
            self._on_answer()
