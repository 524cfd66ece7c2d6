"""Packets that others send us because we asked them to, over their link: whether they come tells what is let in.

A packet that does not come says something only if it has surely been sent, so whoever was asked says that it was. One
that is lost on the way would say the wrong thing: it is asked for twice.
"""

import random
from dataclasses import dataclass

from nat.endpoint import Endpoint
from nat.stun import TRANSACTION_BYTES

AGAIN_S = 0.5
GIVE_UP_S = 1.0
"""After that: the way there over the link, and the packet's way back."""


@dataclass(frozen=True, slots=True)
class AskKnock:
    """Ask this member to send an indication with this token. Answer: knock_sent or knock_failed."""

    member: str
    to: Endpoint
    token: bytes
    alternate: bool
    """From its other port, to which we have never sent anything."""


@dataclass(slots=True)
class _Knock:
    name: str
    ask: AskKnock
    due_at: float
    """When to ask again, or to give up."""
    repeated: bool = False
    sent: bool = False


class Knocks:
    """`came` has, by name, whether the packet came; None: nobody knows, for it may never have been sent."""

    def __init__(self, dice: random.Random) -> None:
        self.came: dict[str, bool | None] = {}
        self.deadline: float | None = None
        self._dice = dice
        self._open: dict[bytes, _Knock] = {}

    def ask(
        self, name: str, member: str, to: Endpoint, now: float, *, alternate: bool = False
    ) -> AskKnock:
        token = self._dice.randbytes(TRANSACTION_BYTES)
        ask = AskKnock(member, to, token, alternate)
        self._open[token] = _Knock(name, ask, now + AGAIN_S)
        self._rearm()
        return ask

    def sent(self, token: bytes) -> None:
        if (knock := self._open.get(token)) is not None:
            knock.sent = True

    def failed(self, token: bytes) -> None:
        """It was not sent this time, and will not be the next time."""
        knock = self._open.get(token)
        if knock is not None and not knock.sent:
            self._settle(token, None)

    def heard(self, token: bytes) -> None:
        if token in self._open:
            self._settle(token, True)

    def tick(self, now: float) -> list[AskKnock]:
        asks: list[AskKnock] = []
        for token, knock in list(self._open.items()):
            if knock.due_at > now:
                continue
            if knock.repeated:
                self._settle(token, False if knock.sent else None)
            else:
                knock.repeated = True
                knock.due_at = now + GIVE_UP_S
                asks.append(knock.ask)
        self._rearm()
        return asks

    def _settle(self, token: bytes, came: bool | None) -> None:
        self.came[self._open.pop(token).name] = came
        self._rearm()

    def _rearm(self) -> None:
        self.deadline = min((one.due_at for one in self._open.values()), default=None)
