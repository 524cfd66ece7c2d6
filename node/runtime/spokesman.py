"""Carries out what the Node asks of the switchboard: connections, calls to peers, answers to theirs.

A call that is answered or has failed is told of once, and not at all if it was cancelled before.
"""

from collections.abc import Callable
from typing import assert_never

from node.effects import Call, CancelCall, Dial, Grant, Hang, Refuse, Reply
from node.runtime.arena import Arena
from node.runtime.calls import OutgoingCall
from node.runtime.farewell import Farewell
from node.runtime.switchboard import Switchboard
from node.runtime.tally import Tally
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.messages import Response

Spoken = Dial | Hang | Call | CancelCall | Grant | Reply | Refuse


class Spokesman:
    """Of one node. `answered` and `failed` are told of calls, by their number."""

    def __init__(
        self,
        arena: Arena,
        tally: Tally,
        farewell: Farewell,
        *,
        answered: Callable[[int, NodeId, Response, LoadDigest], None],
        failed: Callable[[int, ErrorInfo], None],
    ) -> None:
        self.switchboard: Switchboard | None = None
        """Once there is a way to peers."""
        self._arena = arena
        self._tally = tally
        self._farewell = farewell
        self._answered = answered
        self._failed = failed
        self._calls: dict[int, OutgoingCall] = {}

    @property
    def calls(self) -> set[int]:
        """Those that are under way."""
        return set(self._calls)

    def carry_out(self, effect: Spoken) -> None:
        switchboard = self.switchboard
        assert switchboard is not None, f"there is no way to peers yet: {effect}"
        match effect:
            case Dial():
                switchboard.dial(effect.addresses, effect.peer)
            case Hang():
                switchboard.hang(effect.peer, effect.reason, effect.quiet_s)
            case Call():
                self._call(switchboard, effect)
            case CancelCall():
                if (call := self._over(effect.call)) is not None:
                    call.cancel()
            case Grant():
                switchboard.grant(effect.request, self._arena.bytes(effect.into))
            case Reply(body=None):
                switchboard.reply(effect.request, effect.response, None)
            case Reply(body=body):
                assert body is not None
                switchboard.reply(effect.request, effect.response, self._arena.bytes(body))
            case Refuse():
                self._tally.refused("peer", effect.error.code.value)
                switchboard.refuse(effect.request, effect.error)
            case _:
                assert_never(effect)

    def _call(self, switchboard: Switchboard, effect: Call) -> None:
        number, peer = effect.call, effect.peer

        def answered(response: Response, load: LoadDigest) -> None:
            if self._over(number) is not None:
                self._answered(number, peer, response, load)

        def failed(error: ErrorInfo) -> None:
            if self._over(number) is not None:
                self._failed(number, error)

        self._calls[number] = switchboard.call(
            peer,
            effect.request,
            effect.deadline_s,
            answered=answered,
            failed=failed,
            body=None if effect.body is None else self._arena.bytes(effect.body),
            into=None if effect.into is None else self._arena.bytes(effect.into),
            trace=effect.trace,
        )

    def _over(self, call: int) -> OutgoingCall | None:
        """It is answered, failed or cancelled; None if it was over before."""
        self._farewell.call_over(call)
        return self._calls.pop(call, None)
