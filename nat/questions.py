"""Requests to public nodes that are under way: each is sent again, ever later, until it is answered or given up."""

import random
from dataclasses import dataclass

from nat import stun
from nat.endpoint import Endpoint

PAUSES_S = (0.1, 0.2, 0.4, 0.4)
"""After each sending, before the next. RFC 8489 begins with 0.5 s, for whom a second does not matter."""


@dataclass(frozen=True, slots=True)
class Transmit:
    """Send this from one of our sockets; the driver opens those above 0 when they are first used."""

    socket: int
    to: Endpoint
    datagram: bytes


@dataclass(slots=True)
class _Question:
    name: str
    transmit: Transmit
    due_at: float | None
    """When to send it again; None: not any more."""
    resent: int = 0


class Questions:
    """Told what to ask and what is answered; `answers` has the latter by the names of the former."""

    def __init__(self, dice: random.Random) -> None:
        self.answers: dict[str, stun.Message] = {}
        self.deadline: float | None = None
        self._dice = dice
        self._open: dict[bytes, _Question] = {}

    def ask(self, name: str, socket: int, to: Endpoint, now: float) -> Transmit:
        transaction = self._dice.randbytes(stun.TRANSACTION_BYTES)
        transmit = Transmit(socket, to, stun.request(transaction))
        self._open[transaction] = _Question(name, transmit, now + PAUSES_S[0])
        self._rearm()
        return transmit

    def is_open(self, name: str) -> bool:
        return any(one.name == name for one in self._open.values())

    def heard(self, socket: int, message: stun.Message) -> str | None:
        """Which question this answers; None for an answer that nobody waits for, or to another socket's question."""
        question = self._open.get(message.transaction)
        if question is None or question.transmit.socket != socket or message.mapped is None:
            return None
        del self._open[message.transaction]
        self.answers[question.name] = message
        self._rearm()
        return question.name

    def mapped(self, name: str) -> Endpoint | None:
        answer = self.answers.get(name)
        return None if answer is None else answer.mapped

    def give_up(self) -> None:
        """Whatever is not answered by now never will be."""
        self._open.clear()
        self._rearm()

    def tick(self, now: float) -> list[Transmit]:
        due = [one for one in self._open.values() if one.due_at is not None and one.due_at <= now]
        for question in due:
            question.resent += 1
            left = PAUSES_S[question.resent :]
            question.due_at = now + left[0] if left else None
        self._rearm()
        return [question.transmit for question in due]

    def _rearm(self) -> None:
        moments = (one.due_at for one in self._open.values())
        self.deadline = min((at for at in moments if at is not None), default=None)
