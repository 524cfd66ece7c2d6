"""What one simulated process and its peers ask of each other, by the numbers that its node knows."""

from typing import TYPE_CHECKING

from node.effects import Call, CancelCall, Grant, Refuse, Reply
from node.runtime.virtual.calls import Calling
from node.runtime.virtual.links import End
from node.runtime.virtual.shop import Body
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.messages import ErrorHeader, RequestHeader, Response, ResponseHeader

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World


class Talk:
    """Calls of ours, and requests of others that are not answered yet."""

    def __init__(self, world: "World", machine: "Machine") -> None:
        self._world = world
        self._machine = machine
        self._calls: dict[int, Calling] = {}
        self._requests: dict[int, Calling] = {}
        self._last_request = 0

    @property
    def requests(self) -> int:
        """Of peers, under way here."""
        return len(self._requests)

    @property
    def numbers(self) -> list[int]:
        """Of these requests, as the node knows them."""
        return list(self._requests)

    # -- ours ----------------------------------------------------------------------------------------

    def call(self, effect: Call) -> None:
        machine, sent = self._machine, effect.body
        calling = self._calls[effect.call] = Calling(
            machine=machine,
            caller=self,
            number=effect.call,
            peer=effect.peer,
            end=machine.links.get(effect.peer),
            body=None if sent is None else machine.shop.body(sent),
            body_bytes=0 if sent is None else sent.nbytes,
            into=effect.into,
        )
        self._world.calls.call(calling, effect.request, effect.deadline_s, effect.trace)

    def cancel(self, effect: CancelCall) -> None:
        if (calling := self._calls.pop(effect.call, None)) is not None:
            self._world.calls.cancel(calling)

    def call_answered(
        self, calling: Calling, response: Response, load: LoadDigest, body: Body
    ) -> None:
        del self._calls[calling.number]
        machine = self._machine
        if calling.into is not None:
            machine.shop.fill(calling.into, body)
        machine.hear(machine.node.answered, calling.number, calling.peer, response, load)

    def call_failed(self, calling: Calling, error: ErrorInfo) -> None:
        del self._calls[calling.number]
        self._machine.hear(self._machine.node.call_failed, calling.number, error)

    # -- others' -------------------------------------------------------------------------------------

    def asked(self, calling: Calling, header: RequestHeader) -> None:
        """A peer's request arrives."""
        self._last_request += 1
        number = calling.request = self._last_request
        self._requests[number] = calling
        self._machine.hear(self._machine.node.asked, number, calling.machine.id, header)

    def gone(self, calling: Calling) -> None:
        """The peer has given it up."""
        number, calling.request = calling.request, 0
        if self._requests.pop(number, None) is not None:
            self._machine.hear(self._machine.node.request_gone, number)

    def grant(self, effect: Grant) -> None:
        self._world.calls.grant(self._requests[effect.request], effect.into)

    def reply(self, effect: Reply) -> None:
        machine = self._machine
        sent = effect.body
        nbytes = 0 if sent is None else sent.nbytes
        served = self._close(effect.request)
        if served is not None:
            body = None if sent is None else machine.shop.body(sent)
            load = machine.node.load(machine.now)
            header = ResponseHeader(response=effect.response, load=load, body_bytes=nbytes)
            self._world.calls.answer(served, header, body, effect.request)
        elif nbytes:
            args = (effect.request, machine.life)
            self._world.after(0.0, machine.inbox, machine.replied, args)

    def refuse(self, effect: Refuse) -> None:
        if (served := self._close(effect.request)) is not None:
            load = self._machine.node.load(self._machine.now)
            self._world.calls.refuse(served, ErrorHeader(error=effect.error, load=load))

    # -- links ---------------------------------------------------------------------------------------

    def lose(self, end: End, reason: str) -> None:
        """All that was under way on this link is lost: first what we asked, then what was asked of us."""
        for calling in list(end.calls):
            self._world.calls.fail(calling, reason)
        for calling in [one for one in self._requests.values() if one.server is end]:
            self.gone(calling)

    # -- within --------------------------------------------------------------------------------------

    def _close(self, number: int) -> Calling | None:
        """The request that is answered now; None if its peer is gone."""
        calling = self._requests.pop(number, None)
        if calling is not None:
            calling.request = 0
        return calling
