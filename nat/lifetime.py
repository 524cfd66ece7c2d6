"""How long a mapping lives in silence: of three sockets each is quiet for another time, and is then sent a packet.

Each has a socket of its own because the packet that comes may begin the mapping's life anew, or lengthen it: routers
keep a flow longer that has gone both ways for a while. What is found is the life of a flow of one question and one
answer, the shortest that there is.
"""

import random

from nat import stun
from nat.endpoint import Endpoint
from nat.knocks import AskKnock, Knocks
from nat.questions import Questions, Transmit

SILENCES_S = (10.0, 25.0, 60.0)
"""The second is less than the 30 s of Linux and of most routers: asked after just so long, those have forgotten."""


class Lifetime:
    """`bounds`: alive after so long, gone after so long; None where not known."""

    def __init__(self, server: str, at: Endpoint, first_socket: int, dice: random.Random) -> None:
        self.knocks = Knocks(dice)
        self._questions = Questions(dice)
        self._server = server
        self._at = at
        self._first_socket = first_socket
        self._knock_at: dict[str, float] = {}
        """By the name of the socket, for those that keep silent now."""

    @property
    def deadline(self) -> float | None:
        moments = [self._questions.deadline, self.knocks.deadline, *self._knock_at.values()]
        return min((at for at in moments if at is not None), default=None)

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        alive_s: float | None = None
        for silence_s in SILENCES_S:
            came = self.knocks.came.get(str(silence_s))
            if came is False:
                return alive_s, silence_s
            if came:
                alive_s = silence_s
        return alive_s, None

    def begin(self, now: float) -> list[Transmit]:
        return [
            self._questions.ask(str(silence_s), self._first_socket + place, self._at, now)
            for place, silence_s in enumerate(SILENCES_S)
        ]

    def heard(self, socket: int, message: stun.Message, now: float) -> None:
        if (name := self._questions.heard(socket, message)) is not None:
            self._knock_at[name] = now + float(name)

    def tick(self, now: float) -> list[Transmit | AskKnock]:
        """Go on; to be called whenever a knock has come or failed, too."""
        effects: list[Transmit | AskKnock] = [*self._questions.tick(now)]
        effects += self.knocks.tick(now)
        for name in [name for name, at in self._knock_at.items() if at <= now]:
            del self._knock_at[name]
            outside = self._questions.mapped(name)
            assert outside is not None
            effects.append(self.knocks.ask(name, self._server, outside, now))
        return effects
