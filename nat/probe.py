"""Finds out what lies between us and the world (RFC 5780), by questions to one or two public nodes.

Sockets above the main one are the driver's to open when they are first used, and to close when the probe is `over`.

    main socket    ->  A, B, A's other port     from where do you see me?       mapping, port kept
    second socket  ->  A                        the same; then, over the links:
                   <-  A's other port, B        send me a packet                filtering
    main, second   ->  each other's outside     does it come back in?           hairpin
    three more     ->  A, once                  after 10, 30, 60 s of silence:
                   <-  A                        send me a packet                lifetime

The main socket is the one that all our packets leave by, so its outside address is the one to tell. But it speaks with
every member, which opens every filter: what is let in unasked only a fresh socket can tell. Nobody is asked to send to
us from elsewhere by STUN itself (CHANGE-REQUEST), for whoever answered such requests could be turned on others.
"""

import random
from dataclasses import dataclass, replace

from nat import stun
from nat.behaviour import Behaviour
from nat.endpoint import Endpoint
from nat.knocks import AskKnock, Knocks
from nat.lifetime import Lifetime
from nat.questions import Questions, Transmit
from protocol.paths import Filtering, Mapping

MAPPING_S = 0.9
"""Who has not answered by then is left out, if anybody has."""
BLOCKED_S = 1.4
"""Nobody has answered by then: no UDP passes."""
HAIRPIN_PAUSES_S = (0.1, 0.3, 0.8)
"""After each round of packets; when the last is over none has come back in."""
MAIN, SECOND = 0, 1
SERVERS_MAX = 2


@dataclass(frozen=True, slots=True)
class Server:
    """A public node that answers STUN, and whom we can ask for packets over its link."""

    name: str
    at: Endpoint
    local: str
    """Our own address on the way there."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """As far as it is known now."""

    behaviour: Behaviour


Effect = Transmit | AskKnock | Learnt


class Probe:
    """One look at one family. Told of messages, knocks and time; answers with what to send and what is known."""

    def __init__(self, servers: tuple[Server, ...], main_port: int, dice: random.Random) -> None:
        assert 1 <= len(servers) <= SERVERS_MAX
        self.deadline: float | None = None
        self.found = Behaviour(local=Endpoint(servers[0].local, main_port), asked=len(servers))
        self._servers = servers
        self._dice = dice
        self._questions = Questions(dice)
        self._knocks = Knocks(dice)
        self._lifetime: Lifetime | None = None
        self._began_at = 0.0
        self._hairpin_at: float | None = None
        self._hairpins = 0
        """Rounds sent."""
        self._hairpin_token = dice.randbytes(stun.TRANSACTION_BYTES)
        self._first: Server | None = None
        """The first to answer: the one that is asked for all that one can tell."""

    @property
    def over(self) -> bool:
        """Nothing more will be found out."""
        return self.deadline is None

    # -- what happens --------------------------------------------------------------------------------

    def begin(self, now: float) -> list[Effect]:
        self._began_at = now
        effects: list[Effect] = []
        for server in self._servers:
            effects.append(self._questions.ask(server.name, MAIN, server.at, now))
        return self._end(effects)

    def heard(self, socket: int, message: stun.Message, now: float) -> list[Effect]:
        """An answer or an indication came to this socket."""
        effects: list[Effect] = []
        if message.kind is stun.Kind.INDICATION:
            effects += self._knocked(message.transaction, now)
        elif self._lifetime is not None and socket > SECOND:
            self._lifetime.heard(socket, message, now)
        elif (name := self._questions.heard(socket, message)) is not None:
            effects += self._answered(name, message, now)
        return self._end(effects)

    def knock_sent(self, token: bytes, now: float) -> list[Effect]:
        self._knocks.sent(token)
        if self._lifetime is not None:
            self._lifetime.knocks.sent(token)
        return self._end([])

    def knock_failed(self, token: bytes, now: float) -> list[Effect]:
        """The member asked does not send it, or cannot be asked."""
        self._knocks.failed(token)
        effects = self._judge_filtering(now)
        if self._lifetime is not None:
            self._lifetime.knocks.failed(token)
            effects += self._live_on(now)
        return self._end(effects)

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        # What came in while this machine was busy may be heard only after this: that time is given to the answers.
        self._began_at += now - self.deadline
        effects: list[Effect] = [*self._questions.tick(now), *self._knocks.tick(now)]
        if self.found.mapping is Mapping.UNKNOWN and not self.found.answered:
            effects += self._judge_mapping(now)
        effects += self._judge_filtering(now)
        effects += self._hairpin(now)
        if self._lifetime is not None:
            effects += self._live_on(now)
        return self._end(effects)

    # -- mapping -------------------------------------------------------------------------------------

    def _answered(self, name: str, message: stun.Message, now: float) -> list[Effect]:
        effects: list[Effect] = []
        server = next((one for one in self._servers if one.name == name), None)
        if self._first is None and server is not None:
            self._first = server
            if message.other is not None and message.other.port != server.at.port:
                other = Endpoint(server.at.host, message.other.port)
                effects.append(self._questions.ask("other", MAIN, other, now))
            effects.append(self._questions.ask("second", SECOND, server.at, now))
        if name == "second":
            effects += self._ask_filtering(now)
        if not self.found.answered:
            effects += self._judge_mapping(now)
        return effects

    def _judge_mapping(self, now: float) -> list[Effect]:
        names = [*(server.name for server in self._servers), "other"]
        waiting = any(self._questions.is_open(name) for name in names)
        seen = [one for name in names if (one := self._questions.mapped(name)) is not None]
        patience_s = MAPPING_S if seen else BLOCKED_S
        if waiting and now < self._began_at + patience_s:
            return []
        answered = sum(server.name in self._questions.answers for server in self._servers)
        mapped = tuple(dict.fromkeys(seen))
        mapping = self._mapping(mapped, len(seen))
        if mapping is Mapping.BLOCKED:
            self._questions.give_up()
        self._hairpin_at = now if mapped and mapping is not Mapping.NONE else None
        found = replace(self.found, mapping=mapping, mapped=mapped, answered=answered)
        return [*self._learn(found), *self._judge_filtering(now), *self._hairpin(now)]

    def _mapping(self, mapped: tuple[Endpoint, ...], sights: int) -> Mapping:
        if not mapped:
            return Mapping.BLOCKED
        if mapped == (self.found.local,):
            return Mapping.NONE
        if len(mapped) > 1:
            return Mapping.DEPENDENT
        return Mapping.INDEPENDENT if sights > 1 else Mapping.UNKNOWN

    # -- filtering -----------------------------------------------------------------------------------

    def _ask_filtering(self, now: float) -> list[Effect]:
        outside, first = self._questions.mapped("second"), self._first
        assert outside is not None and first is not None
        asks: list[Effect] = [
            self._knocks.ask("port", first.name, outside, now, alternate=True),
        ]
        for server in self._servers:
            if server.at.host != first.at.host:
                asks.append(self._knocks.ask("address", server.name, outside, now))
        return asks

    def _judge_filtering(self, now: float) -> list[Effect]:
        """Once all packets asked for have come or are given up, or the widest has come."""
        came = self._knocks.came
        if self.found.filtering is not Filtering.UNKNOWN or self._lifetime is not None:
            return []
        settled = "port" in came and ("address" in came or self._alone)
        if not self.found.answered or not (settled or came.get("address")):
            return []
        if came.get("address"):
            filtering = Filtering.INDEPENDENT
        elif came.get("port"):
            # Without a packet from another host, too, it may be either. NATs filter by address now and then, bare
            # firewalls hardly ever.
            bare = came.get("address") is None and self.found.mapping is Mapping.NONE
            filtering = Filtering.INDEPENDENT if bare else Filtering.ADDRESS
        else:
            filtering = Filtering.UNKNOWN if came["port"] is None else Filtering.PORT
        return [*self._learn(replace(self.found, filtering=filtering)), *self._begin_lifetime(now)]

    @property
    def _alone(self) -> bool:
        """There is no second host to send us anything."""
        return len({server.at.host for server in self._servers}) == 1

    # -- hairpin -------------------------------------------------------------------------------------

    def _hairpin(self, now: float) -> list[Effect]:
        """Both sockets send to each other's outside address, so no filter is in the way of what is turned back."""
        outside, main = self._questions.mapped("second"), self.found.mapped
        if self._hairpin_at is None or now < self._hairpin_at or outside is None:
            return []
        if self._hairpins == len(HAIRPIN_PAUSES_S):
            self._hairpin_at = None
            return self._learn(replace(self.found, hairpin=False))
        self._hairpin_at = now + HAIRPIN_PAUSES_S[self._hairpins]
        self._hairpins += 1
        datagram = stun.indication(self._hairpin_token)
        return [Transmit(MAIN, outside, datagram), Transmit(SECOND, main[0], datagram)]

    # -- packets that come ---------------------------------------------------------------------------

    def _knocked(self, token: bytes, now: float) -> list[Effect]:
        if token == self._hairpin_token and self.found.hairpin is None:
            self._hairpin_at = None
            return self._learn(replace(self.found, hairpin=True))
        self._knocks.heard(token)
        effects = self._judge_filtering(now)
        if self._lifetime is not None:
            self._lifetime.knocks.heard(token)
            effects += self._live_on(now)
        return effects

    # -- lifetime ------------------------------------------------------------------------------------

    def _begin_lifetime(self, now: float) -> list[Effect]:
        """Where nothing is mapped and all is let in there is nothing that could run out."""
        assert self._first is not None
        if (self.found.mapping, self.found.filtering) == (Mapping.NONE, Filtering.INDEPENDENT):
            return []
        self._lifetime = Lifetime(self._first.name, self._first.at, SECOND + 1, self._dice)
        return [*self._lifetime.begin(now)]

    def _live_on(self, now: float) -> list[Effect]:
        assert self._lifetime is not None
        effects: list[Effect] = [*self._lifetime.tick(now)]
        alive_s, dead_s = self._lifetime.bounds
        return [*effects, *self._learn(replace(self.found, alive_s=alive_s, dead_s=dead_s))]

    # -- every input ---------------------------------------------------------------------------------

    def _learn(self, found: Behaviour) -> list[Effect]:
        before, self.found = self.found, found
        return [] if found == before else [Learnt(found)]

    def _end(self, effects: list[Effect]) -> list[Effect]:
        moments = [self._questions.deadline, self._knocks.deadline]
        if not self.found.answered and self.found.mapping is not Mapping.BLOCKED:
            seen = bool(self._questions.answers)
            moments.append(self._began_at + (MAPPING_S if seen else BLOCKED_S))
        if self._questions.mapped("second") is not None:
            moments.append(self._hairpin_at)
        if self._lifetime is not None:
            moments.append(self._lifetime.deadline)
        self.deadline = min((at for at in moments if at is not None), default=None)
        return effects
