"""The daemon's side of signing: asks a child process, and lets it go when there is no more to sign.

Founding, joining, minting and redeeming are rare, and the `cryptography` package that they take
costs 11 MiB and 0.1 s. So `registry.py` does them in a process of its own, which starts with the
first of them and ends after LINGER_S without another; a plain start of a member asks it nothing.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import TypeVar

import msgspec

from node.runtime import credentials, identity
from node.runtime.credentials import Membership
from node.runtime.datadir import Paths
from node.runtime.identity import Identity
from node.runtime.registry import (
    Adopt,
    Answered,
    Asked,
    AskJoin,
    Done,
    Failed,
    Found,
    JoinRequest,
    Mint,
    Minted,
    Outcome,
    Prepare,
    Redeem,
    Redeemed,
    Refused,
    Renew,
    Work,
)
from protocol.errors import ConfigError, ErrorCode, PeerError, TaskError
from protocol.ids import MeshId
from protocol.messages import Join, Joined
from protocol.ticket import Ticket

LINGER_S = 2.0
"""How long the child waits for more to do: nodes that start together also join together."""
ANSWER_S = 10.0
"""The longest one request may take, the child's start included; then the child is killed."""
END_S = 1.0
"""What a child gets to end by itself; then it is killed."""
WAITING_MAX = 256
"""Requests that wait for their turn; a joiner who comes then is told to come again."""
RETRY_S = 2.0
LINE_BYTES_MAX = 256 * 1024
"""Of an answer; the longest holds three texts of 16 KiB."""

MODULE = "node.runtime.registry"

_ANSWERED = msgspec.json.Decoder(Answered)
_T = TypeVar("_T", Done, JoinRequest, Minted, Redeemed)


class Registrar:
    """Signs for the node in this data directory, which the caller holds open and locked.

    Whatever needs the child may raise TaskError UNAVAILABLE: it died, was too slow, or the registrar
    is closed. The next request then starts another child.
    """

    def __init__(self, path: Path) -> None:
        self._paths = Paths(path)
        self._child: _Child | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False

    @property
    def child_id(self) -> int | None:
        """The process id of the child that was started last, None before the first."""
        return None if self._child is None else self._child.process.pid

    async def warm_up(self) -> None:
        """Start the child now if this node has yet to found or to join: it loads while we do."""
        kept = identity.load(self._paths)
        if kept is not None and credentials.load(self._paths, kept) is not None:
            return
        async with self._turn:
            (await self._running()).linger()

    async def prepare(self) -> Identity:
        """Who this node is; drawn now if it is new. ConfigError when its files are damaged."""
        if (kept := identity.load(self._paths)) is not None:
            return kept
        await self._ask(Prepare(), Done)
        return self._identity()

    async def found(self, now_wall: float) -> Membership:
        """Begin a mesh of which this node holds the CA; it must not belong to one yet."""
        await self._ask(Found(now_wall), Done)
        return self._membership()

    async def ask_join(self, ticket: Ticket) -> Join:
        """What to send to the node that minted this ticket."""
        return (await self._ask(AskJoin(ticket), JoinRequest)).join

    async def adopt(self, mesh: MeshId, joined: Joined, now_wall: float) -> Membership:
        """Keep what the minter answered. PeerError if it is not what the ticket promised, ConfigError
        if this node belongs to another mesh already."""
        await self._ask(Adopt(mesh, joined, now_wall), Done)
        return self._membership()

    async def renew(self, membership: Membership, now_wall: float) -> Membership:
        """With a new leaf, if it is due and this node may sign it; the same membership otherwise."""
        if not credentials.renewal_due(membership, now_wall):
            return membership
        await self._ask(Renew(now_wall), Done)
        return self._membership()

    async def mint(
        self,
        membership: Membership,
        addresses: tuple[str, ...],
        ttl_s: float,
        uses: int,
        may_invite: bool,
        now_wall: float,
    ) -> tuple[str, float]:
        """A ticket's line, and when it expires (Unix time). TaskError FORBIDDEN without the right."""
        credentials.check_may_invite(membership)
        minted = await self._ask(Mint(addresses, ttl_s, uses, may_invite, now_wall), Minted)
        return minted.ticket, minted.expires_at

    async def redeem(self, join: Join, now_wall: float) -> Joined:
        """Certificates for a joiner; TaskError with what to tell it.

        ConfigError when our own files are damaged: tell that to our log, not to a stranger.
        """
        if self._waiting >= WAITING_MAX:
            raise TaskError(
                ErrorCode.OVERLOADED,
                f"{WAITING_MAX} others are being let in here: try again in a few seconds",
                retry_after_s=RETRY_S,
            )
        return (await self._ask(Redeem(join, now_wall), Redeemed)).joined

    async def close(self) -> None:
        """End the child; it answers what it was just asked, who waits for a turn is refused."""
        self._closed = True
        if self._child is not None:
            await self._child.end()
        async with self._turn:
            # One that was starting meanwhile.
            if self._child is not None:
                await self._child.end()

    def _identity(self) -> Identity:
        kept = identity.load(self._paths)
        assert kept is not None
        return kept

    def _membership(self) -> Membership:
        membership = credentials.load(self._paths, self._identity())
        assert membership is not None
        return membership

    async def _ask(self, work: Work, kind: type[_T]) -> _T:
        self._waiting += 1
        try:
            async with self._turn:
                outcome = await self._in_turn(work)
        finally:
            self._waiting -= 1
        return _expected(outcome, kind)

    async def _in_turn(self, work: Work) -> Outcome:
        try:
            async with asyncio.timeout(ANSWER_S):
                child = await self._running()
                return await child.answer(work)
        except TimeoutError as late:
            if self._child is not None:
                await self._child.kill()
            raise _unavailable(f"took more than {ANSWER_S:g} s") from late

    async def _running(self) -> "_Child":
        if self._child is None or not self._child.is_usable:
            if self._child is not None:
                await self._child.end()
            if not self._closed:
                self._child = await _start(self._paths.path)
        if self._closed:
            raise _unavailable("has ended, for the node is stopping")
        assert self._child is not None
        return self._child


class _Child:
    """One process: asked one thing at a time, left to end when it has been idle."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._requests = process.stdin
        self._answers = process.stdout
        self._number = 0
        self._retired = False
        self._idle: asyncio.TimerHandle | None = None

    @property
    def is_usable(self) -> bool:
        return not self._retired and self.process.returncode is None

    async def answer(self, work: Work) -> Outcome:
        """TaskError UNAVAILABLE if the process ends before it has answered."""
        self._stay()
        self._number += 1
        try:
            self._requests.write(msgspec.json.encode(Asked(self._number, work)) + b"\n")
            await self._requests.drain()
            return await self._read(self._number)
        except (ConnectionError, EOFError) as gone:
            await self.end()
            raise _unavailable(f"ended early (exit code {self.process.returncode})") from gone
        finally:
            self.linger()

    async def end(self) -> None:
        """Let it finish what it is doing, for END_S at most."""
        self._retire()
        try:
            async with asyncio.timeout(END_S):
                await self.process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        self._retire()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def _read(self, number: int) -> Outcome:
        """The answer of this number; those before it are of requests that were given up."""
        while True:
            line = await self._answers.readuntil()
            answered = _ANSWERED.decode(line)
            if answered.number == number:
                return answered.outcome

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def linger(self) -> None:
        """Nothing is to be done at the moment: end it if that stays so."""
        if not self._retired:
            self._idle = asyncio.get_running_loop().call_later(LINGER_S, self._retire)

    def _retire(self) -> None:
        """The end of its input is the end of the process."""
        self._stay()
        self._retired = True
        self._requests.close()


async def _start(path: Path) -> _Child:
    # -P: a folder called `node` where we were started must not be taken for ours. A session of its own:
    # Ctrl-C in the terminal is for the daemon, which may still have something to ask.
    command = (sys.executable, "-P", "-m", MODULE, str(path))
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES_MAX, start_new_session=True
        )
    except OSError as wrong:
        raise _unavailable(f"cannot be started: {wrong}") from wrong
    return _Child(process)


def _expected(outcome: Outcome, kind: type[_T]) -> _T:
    match outcome:
        case Failed():
            raise TaskError.of(outcome.info)
        case Refused():
            raise (ConfigError if outcome.whose == "config" else PeerError)(outcome.reason)
        case _:
            assert isinstance(outcome, kind)
            return outcome


def _unavailable(what: str) -> TaskError:
    return TaskError(
        ErrorCode.UNAVAILABLE,
        f"the process that signs for this node {what}: try again; the node's log tells more",
    )
