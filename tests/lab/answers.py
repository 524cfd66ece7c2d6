"""What a station answers its peers: probes, bodies that it takes in and forgets, and wishes to be dialled back."""

import asyncio
from collections.abc import Callable

from nat.favours import Favours
from node.communication.reach import DialedOut
from node.effects import DialOut
from node.runtime.outlook import Outlook
from node.runtime.switchboard import Switchboard
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import ContentId, NodeId
from protocol.messages import DialBack, Probe, Probed, RequestHeader, Stored, StoreSketch

CONTENT = ContentId("0" * 64)


class Answers:
    def __init__(
        self, switchboard: Switchboard, outlook: Outlook, listens: Callable[[], tuple[str, ...]]
    ) -> None:
        """`listens`: where we listen now."""
        self._switchboard = switchboard
        self._outlook = outlook
        self._listens = listens
        self._loop = asyncio.get_running_loop()
        self._favours = Favours(self._loop.time())
        self._bodies: dict[int, bytearray] = {}
        self._dialling_back: set[int] = set()
        """By the number of the request."""

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None:
        match header.request:
            case Probe():
                self._switchboard.reply(request, Probed(), None)
            case StoreSketch():
                body = self._bodies[request] = bytearray(header.body_bytes)
                self._switchboard.grant(request, memoryview(body))
            case DialBack() as wish:
                addresses, knocks = self._favours.granted(
                    peer, wish, self._listens(), self._loop.time()
                )
                self._dialling_back.add(request)
                self._outlook.carry_out(DialOut(request, peer, addresses, knocks))
            case other:
                reason = f"a station of the laboratory does not answer {type(other).__name__}"
                wrong = ErrorInfo(code=ErrorCode.BAD_REQUEST, reason=reason)
                self._switchboard.refuse(request, wrong)

    def dialled_out(self, fact: DialedOut) -> None:
        if fact.request in self._dialling_back:
            self._dialling_back.remove(fact.request)
            self._switchboard.reply(fact.request, fact.outcome, None)

    def body_received(self, request: int) -> None:
        del self._bodies[request]
        self._switchboard.reply(request, Stored(content=CONTENT), None)

    def gone(self, request: int) -> None:
        """Nobody waits for this answer any more."""
        self._bodies.pop(request, None)
        self._dialling_back.discard(request)
