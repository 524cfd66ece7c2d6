"""The daemon has things signed without ever loading what signs, whatever becomes of the signer."""

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from node.runtime import credentials, registrar
from node.runtime.certificates import LEAF_VALID
from node.runtime.credentials import Membership
from node.runtime.datadir import DataDir
from node.runtime.identity import Identity
from node.runtime.registrar import WAITING_MAX, Registrar
from node.runtime.registry import Asked, Prepare
from protocol.errors import ConfigError, ErrorCode, PeerError, TaskError
from protocol.messages import Join
from protocol.ticket import SIGNATURE_BYTES, decode, read_token
from tests.node.runtime.small_mesh import founder

NOW = time.time()
DOOR = ("192.0.2.1:7879",)
YEAR_S = LEAF_VALID.total_seconds()


@dataclass(frozen=True, slots=True)
class Desk:
    """A node as far as it signs; `close` as at its end."""

    data_dir: DataDir
    registrar: Registrar

    async def found(self) -> Membership:
        await self.registrar.prepare()
        return await self.registrar.found(NOW)

    async def mint(self, membership: Membership, uses: int = 16, may_invite: bool = False) -> str:
        line, _ = await self.registrar.mint(membership, DOOR, 60.0, uses, may_invite, NOW)
        return line

    async def ask(self, line: str) -> Join:
        await self.registrar.prepare()
        return await self.registrar.ask_join(decode(line))

    async def close(self) -> None:
        await self.registrar.close()
        self.data_dir.close()


def desk(path: Path) -> Desk:
    return Desk(DataDir(path), Registrar(path))


@pytest.fixture
async def anna(tmp_path: Path) -> AsyncIterator[Desk]:
    opened = desk(tmp_path / "anna")
    yield opened
    await opened.close()


@pytest.fixture
async def bert(tmp_path: Path) -> AsyncIterator[Desk]:
    opened = desk(tmp_path / "bert")
    yield opened
    await opened.close()


def child_of(registrar: Registrar) -> int:
    child = registrar.child_id
    assert child is not None
    return child


async def ended(child: int) -> None:
    """Returns when the process has ended; fails if it lives on."""
    try:
        handle = os.pidfd_open(child)
    except ProcessLookupError:
        return
    try:
        assert await asyncio.to_thread(select.select, [handle], [], [], 10.0) != ([], [], [])
    finally:
        os.close(handle)


# -- what it does ------------------------------------------------------------------------------------


async def test_a_new_node_gets_a_name_and_founds_a_mesh(anna: Desk) -> None:
    identity = await anna.registrar.prepare()
    membership = await anna.registrar.found(NOW)

    assert credentials.load(anna.data_dir, identity) == membership
    assert membership.is_founder
    assert membership.ca_key.stat().st_mode & 0o777 == 0o600


async def test_a_node_with_all_its_files_starts_without_a_child(tmp_path: Path) -> None:
    member = founder(tmp_path, NOW)
    registrar = Registrar(tmp_path)

    assert await registrar.prepare() == member.identity
    assert await registrar.renew(member.membership, NOW) == member.membership
    assert registrar.child_id is None
    await registrar.close()


async def test_a_ticket_lets_another_node_in(anna: Desk, bert: Desk) -> None:
    mesh = await anna.found()
    line, expires_at = await anna.registrar.mint(mesh, DOOR, 60.0, 1, False, NOW)
    ticket = decode(line)

    joined = await anna.registrar.redeem(await bert.ask(line), NOW)
    membership = await bert.registrar.adopt(ticket.mesh, joined, NOW)

    assert (ticket.addresses, expires_at) == (DOOR, read_token(ticket.token).claims.expires_at)
    assert membership.mesh == mesh.mesh
    assert not membership.can_invite


async def test_a_leaf_in_its_last_quarter_is_renewed(anna: Desk) -> None:
    membership = await anna.found()
    late = NOW + 0.9 * YEAR_S

    renewed = await anna.registrar.renew(membership, late)

    assert renewed.expires_at == pytest.approx(late + YEAR_S, abs=2.0)


async def test_joiners_that_come_at_once_are_counted_one_by_one(anna: Desk, tmp_path: Path) -> None:
    line = await anna.mint(await anna.found(), uses=3)
    joins = [await new_join(tmp_path / f"{number}", line) for number in range(8)]

    answers = await asyncio.gather(
        *(anna.registrar.redeem(join, NOW) for join in joins), return_exceptions=True
    )

    refused = [answer.code for answer in answers if isinstance(answer, TaskError)]
    assert refused == [ErrorCode.TICKET_USED_UP] * 5


async def new_join(path: Path, line: str) -> Join:
    joiner = desk(path)
    join = await joiner.ask(line)
    await joiner.close()
    return join


# -- errors come back as what they are ---------------------------------------------------------------


async def test_a_refusal_comes_back_whole(anna: Desk, bert: Desk) -> None:
    line = await anna.mint(await anna.found())
    join = await bert.ask(line)

    with pytest.raises(TaskError, match="ticket expired 2 hours ago") as caught:
        await anna.registrar.redeem(join, NOW + 60.0 + 7_300.0)
    assert caught.value.code is ErrorCode.TICKET_EXPIRED


async def test_a_damaged_key_is_the_users_to_repair(anna: Desk) -> None:
    await anna.registrar.prepare()
    anna.data_dir.key.write_text("no key")

    with pytest.raises(ConfigError, match="is damaged"):
        await anna.registrar.found(NOW)


async def test_an_answer_of_another_mesh_is_the_peers_fault(
    anna: Desk, bert: Desk, tmp_path: Path
) -> None:
    mesh = await anna.found()
    joined = await anna.registrar.redeem(await bert.ask(await anna.mint(mesh)), NOW)
    other = founder(tmp_path / "other", NOW)

    with pytest.raises(PeerError, match="not the one that the ticket names"):
        await bert.registrar.adopt(other.membership.mesh, joined, NOW)


async def test_who_was_merely_let_in_is_told_so_without_a_child(anna: Desk, bert: Desk) -> None:
    line = await anna.mint(await anna.found())
    joined = await anna.registrar.redeem(await bert.ask(line), NOW)
    membership = await bert.registrar.adopt(decode(line).mesh, joined, NOW)
    fresh = Registrar(bert.data_dir.path)

    with pytest.raises(TaskError, match="may not invite others"):
        await fresh.mint(membership, DOOR, 60.0, 1, False, NOW)
    assert fresh.child_id is None


async def test_a_disk_that_refuses_is_named(anna: Desk) -> None:
    await anna.registrar.prepare()
    anna.data_dir.mesh.rmdir()

    with pytest.raises(ConfigError, match="data directory .*No such file"):
        await anna.registrar.found(NOW)


@pytest.mark.parametrize(
    ("token", "reason"),
    [("x.y", "cannot be read"), ("\N{SNOWMAN}", "cannot be read"), ("a" * 4_096, "cannot be read")],
)
async def test_nonsense_from_a_stranger_is_refused_and_the_child_lives(
    anna: Desk, token: str, reason: str
) -> None:
    await anna.found()
    child = child_of(anna.registrar)
    join = Join(token=token, public_key=bytes(32), proof=bytes(SIGNATURE_BYTES))

    with pytest.raises(TaskError, match=reason) as caught:
        await anna.registrar.redeem(join, NOW)
    assert caught.value.code is ErrorCode.TICKET_INVALID
    await anna.registrar.prepare()
    assert child_of(anna.registrar) == child


async def test_a_key_that_is_no_key_is_refused(anna: Desk) -> None:
    token = decode(await anna.mint(await anna.found())).token

    for public_key in (bytes(32), b"\xff" * 32, bytes([2, *bytes(31)])):
        join = Join(token=token, public_key=public_key, proof=b"\x01" * SIGNATURE_BYTES)
        with pytest.raises(TaskError, match="does not own its key"):
            await anna.registrar.redeem(join, NOW)


async def test_too_many_joiners_at_once_are_told_to_come_again(anna: Desk) -> None:
    await anna.found()
    join = Join(token="x.y", public_key=bytes(32), proof=bytes(SIGNATURE_BYTES))

    answers = await asyncio.gather(
        *(anna.registrar.redeem(join, NOW) for _ in range(WAITING_MAX + 2)), return_exceptions=True
    )

    codes = [answer.code for answer in answers if isinstance(answer, TaskError)]
    assert codes.count(ErrorCode.OVERLOADED) == 2
    assert codes.count(ErrorCode.TICKET_INVALID) == WAITING_MAX


# -- the child's life --------------------------------------------------------------------------------


async def test_one_child_does_what_comes_in_a_row(anna: Desk) -> None:
    membership = await anna.found()
    child = child_of(anna.registrar)

    await asyncio.gather(*(anna.mint(membership) for _ in range(3)))

    assert child_of(anna.registrar) == child


async def test_an_idle_child_ends_and_the_next_request_starts_another(
    anna: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrar, "LINGER_S", 0.0)
    membership = await anna.found()
    first = child_of(anna.registrar)
    await ended(first)

    assert await anna.mint(membership)
    assert child_of(anna.registrar) != first


async def test_a_child_that_died_while_idle_fails_one_request_at_most(anna: Desk) -> None:
    membership = await anna.found()
    first = child_of(anna.registrar)
    os.kill(first, signal.SIGKILL)
    await ended(first)
    # Whether the loop has heard of it by now is a race.
    with contextlib.suppress(TaskError):
        await anna.mint(membership)

    assert await anna.mint(membership)
    assert child_of(anna.registrar) != first


async def test_a_child_that_dies_fails_its_request_and_the_next_has_another(anna: Desk) -> None:
    membership = await anna.found()
    first = child_of(anna.registrar)
    os.kill(first, signal.SIGSTOP)
    minting = asyncio.ensure_future(anna.mint(membership))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)

    with pytest.raises(TaskError, match=r"ended early \(exit code -9\)") as caught:
        await minting
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert await anna.mint(membership)
    assert child_of(anna.registrar) != first


async def test_a_child_that_hangs_is_killed(anna: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    membership = await anna.found()
    first = child_of(anna.registrar)
    os.kill(first, signal.SIGSTOP)
    with monkeypatch.context() as patched:
        patched.setattr(registrar, "ANSWER_S", 0.05)
        with pytest.raises(TaskError, match=r"took more than 0\.05 s"):
            await anna.mint(membership)

    await ended(first)
    assert await anna.mint(membership)


async def test_a_request_that_is_given_up_does_not_shift_the_answers(anna: Desk) -> None:
    membership = await anna.found()
    child = child_of(anna.registrar)
    os.kill(child, signal.SIGSTOP)
    given_up = asyncio.ensure_future(anna.mint(membership, may_invite=True))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    os.kill(child, signal.SIGCONT)

    line = await anna.mint(membership)

    assert not read_token(decode(line).token).claims.may_invite
    assert child_of(anna.registrar) == child


async def test_closing_ends_the_child_and_refuses_what_comes_later(anna: Desk) -> None:
    membership = await anna.found()
    asked = [asyncio.ensure_future(anna.mint(membership)) for _ in range(2)]
    await asyncio.sleep(0)

    await anna.registrar.close()

    first, second = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(first, str)
    assert isinstance(second, TaskError) and "the node is stopping" in second.info.reason
    await ended(child_of(anna.registrar))
    with pytest.raises(TaskError, match="the node is stopping"):
        await anna.mint(membership)


async def test_the_child_outlives_ctrl_c_and_not_the_daemon(anna: Desk) -> None:
    await anna.registrar.prepare()

    assert os.getsid(child_of(anna.registrar)) != os.getsid(0)


# -- what it costs -----------------------------------------------------------------------------------

ALL_STEPS = """
import asyncio, sys, time
from pathlib import Path
from node.runtime.datadir import DataDir
from node.runtime.registrar import Registrar
from protocol.ticket import decode

async def main():
    now = time.time()
    paths = [Path(sys.argv[1]), Path(sys.argv[2])]
    for path in paths:
        DataDir(path)
    anna, bert = map(Registrar, paths)
    await anna.prepare(), await bert.prepare()
    mesh = await anna.found(now)
    line, _ = await anna.mint(mesh, ("192.0.2.1:7879",), 60.0, 1, True, now)
    joined = await anna.redeem(await bert.ask_join(decode(line)), now)
    member = await bert.adopt(mesh.mesh, joined, now)
    late = now + 0.9 * 365 * 86_400
    assert (await bert.renew(member, late)).expires_at > member.expires_at
    await anna.close(), await bert.close()

asyncio.run(main())
assert not [name for name in sys.modules if name.startswith("cryptography")]
"""

CHILD = """
import sys
from node.runtime import registry
registry.main()
heavy = {"numpy", "aiohttp", "asyncio", "uvloop", "structlog", "psutil", "ssl"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""


def test_the_daemon_never_loads_what_signs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", ALL_STEPS, tmp_path / "anna", tmp_path / "bert"], check=True
    )


def test_the_child_loads_no_more_than_signing_takes(tmp_path: Path) -> None:
    DataDir(tmp_path).close()
    line = msgspec.json.encode(Asked(1, Prepare())) + b"\n"

    subprocess.run([sys.executable, "-c", CHILD, tmp_path], input=line, check=True)


def test_the_child_needs_no_lock(tmp_path: Path) -> None:
    with DataDir(tmp_path):
        found = asyncio.run(_prepare(tmp_path))

    assert found.key.exists()


async def _prepare(path: Path) -> Identity:
    desk = Registrar(path)
    try:
        return await desk.prepare()
    finally:
        await desk.close()
