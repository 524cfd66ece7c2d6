"""The command `sweep` against the daemon's real HTTP side, with numpy behind it instead of a mesh."""

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from node.api.server import RunningApi, start_api
from node.cli.main import app
from node.cli.normal import normal_inputs, normal_weights
from node.cli.sweeping import chips, crowd
from node.cli.sweeping.chips import SLOTS, Bench, Chip, Product, Reading, Stopped, Terms
from node.cli.sweeping.flight import fly
from node.service import MatrixAnswer, MatrixBody
from protocol.client import MatmulRequest, PutRequest, WeightsView
from protocol.errors import ErrorCode, TaskError
from sedma.client import Client
from sedma.transport import Endpoint, Transport
from tests.node.api.numpy_service import TOKEN, Log, NumpyService


class Chips(NumpyService):
    """Holds so many matrices at once, on the devices and seeds that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.places = 100
        self.fills_up = False
        """Products wait until all places are taken and somebody has found none."""
        self._is_full, self._has_refused = asyncio.Event(), asyncio.Event()
        self._coming = 0
        self.most_held = 0
        self.fail_on: int | None = None
        """Products with the chip of this seed fail."""
        self.swap_on: int | None = None
        """Somebody else puts something else under the name of this chip."""
        self.requests: dict[str, PutRequest] = {}
        self.versions: Counter[str] = Counter()

    async def put(self, request: PutRequest, body: MatrixBody) -> WeightsView:
        # What is on its way has its place already: others come while a body is read.
        if len(self.held) + self._coming >= self.places:
            self._has_refused.set()
            raise TaskError(ErrorCode.NO_ROOM, "no room for these weights", need=9, free=1)
        self._coming += 1
        try:
            entry = await super().put(request, body)
        finally:
            self._coming -= 1
        self.most_held = max(self.most_held, len(self.held))
        if self.most_held == self.places:
            self._is_full.set()
        self.requests[request.name] = request
        self.versions[request.name] += 1
        return self._entry(request.name, entry.converted)

    async def matmul(self, request: MatmulRequest, body: MatrixBody) -> MatrixAnswer:
        if self.fills_up:
            await self._is_full.wait()
            await self._has_refused.wait()
        put = self.requests.get(request.name)
        if put is not None and put.seed == self.fail_on:
            raise TaskError(ErrorCode.UNAVAILABLE, "the holder was lost")
        if put is not None and put.seed == self.swap_on:
            self.versions[request.name] += 1
        return await super().matmul(request, body)

    def _entry(self, name: str, converted: tuple[str, ...]) -> WeightsView:
        put = self.requests.get(name)
        told = super()._entry(name, converted)
        device = "rram-wan2022" if put is None or put.device is None else put.device
        return msgspec.structs.replace(told, device=device, version=str(self.versions[name]))


@pytest.fixture
async def service() -> Chips:
    return Chips()


@pytest.fixture
async def api(service: Chips, tmp_path: Path) -> AsyncIterator[RunningApi]:
    running = await start_api(service, "127.0.0.1", 0, TOKEN, Log())
    (tmp_path / "api.url").write_text(running.url)
    (tmp_path / "api.token").write_text(TOKEN)
    yield running
    await running.close()


async def sweep(folder: Path, *words: object) -> Result:
    line = ["sweep", "--data-dir", str(folder), *map(str, words)]
    if "--size" not in line and not any(word in line for word in ("w", "zero")):
        line += ["--size", "12", "7"]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app(), line))


def lines(result: Result, kind: str) -> list[dict[str, object]]:
    told = [json.loads(line) for line in result.stdout.splitlines()]
    return [one for one in told if one["kind"] == kind]


# -- the whole command -------------------------------------------------------------------------------


async def test_each_chip_is_put_with_its_device_and_seed_read_and_removed(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    cells = tmp_path / "cells.toml"
    cells.write_text('base = "rram-wan2022"\nname = "attic"\n[faults]\nstuck_low = 0.02\n')

    result = await sweep(
        tmp_path, "--device", "rram-harsh", "--device", cells, "--device", "rram-harsh", "--json",
        "--seeds", 10, "--seed", 5, "--rtol", "1e-2,none", "--only", "gpu",
    )  # fmt: skip

    assert result.exit_code == 0, result.stderr
    puts = [one for one in service.asked if isinstance(one, PutRequest)]
    own = '{"base":"rram-wan2022","name":"attic","faults":{"stuck_low":0.02}}'
    assert Counter((one.device, one.seed) for one in puts) == Counter(
        (device, seed) for device in ("rram-harsh", own) for seed in range(5, 15)
    )
    assert {(one.backend, one.only) for one in puts} == {("rram", ("gpu",))}
    assert len({one.name for one in puts if one.device == own}) == SLOTS
    read = lines(result, "product")
    assert Counter((one["device"], one["rtol"]) for one in read) == {
        (device, rtol): 10 for device in ("rram-harsh", own) for rtol in (0.01, None)
    }
    assert all(0.0 <= float(str(one["error"])) < 1e-6 for one in read)
    told = lines(result, "figures")
    assert [(one["label"], one["rtol"], one["chips"]) for one in told] == [
        ("rram-harsh", 0.01, 10),
        ("rram-harsh", None, 10),
        ("attic", 0.01, 10),
        ("attic", None, 10),
    ]
    assert service.held == {}


async def test_a_tolerance_that_is_written_twice_is_read_once(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    result = await sweep(tmp_path, "--seeds", 1, "--rtol", "1e-2, 0.01,none,none", "--json")

    assert result.exit_code == 0, result.stderr
    assert [one["rtol"] for one in lines(result, "product")] == [0.01, None]


async def test_people_read_a_table(api: RunningApi, service: Chips, tmp_path: Path) -> None:
    result = await sweep(tmp_path, "--seeds", 2, "--rtol", "0.5,none")

    table = [re.split(r"\s{2,}", line.strip()) for line in result.stdout.splitlines()[:3]]
    assert table[0][:4] == ["DEVICE", "RTOL", "CHIPS", "ERROR"]
    assert [line[:3] for line in table[1:]] == [
        ["rram-wan2022", "0.5", "2"],
        ["rram-wan2022", "none", "2"],
    ]
    assert "YIELD: chips that keep the tolerance with at least 90%" in result.stdout


async def test_weights_of_the_mesh_are_taken_and_stay(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    service.held = {"w": np.ones((5, 3), np.float32), "zero": np.zeros((5, 3), np.float32)}

    assert (await sweep(tmp_path, "w", "--seeds", 2)).exit_code == 0
    zero = await sweep(tmp_path, "zero", "--seeds", 2)
    both = await sweep(tmp_path, "w", "--size", 2, 2)

    assert (zero.exit_code, both.exit_code) == (2, 2)
    assert "zero: is zero everywhere" in zero.stderr
    assert "--size: say either the NAME" in both.stderr
    assert set(service.held) == {"w", "zero"}


async def test_with_less_room_fewer_chips_are_there_at_once(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    service.places = 2
    service.fills_up = True

    result = await sweep(tmp_path, "--seeds", 9, "--at-once", 6, "--rtol", "1e-2", "--json")

    assert result.exit_code == 0, result.stderr
    assert sorted(one["seed"] for one in lines(result, "product")) == list(range(9))  # type: ignore[type-var]
    assert service.most_held == 2
    assert service.held == {}


async def test_without_any_room_it_ends_after_some_tries(
    api: RunningApi, service: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "WAIT_S", 1e-3)
    service.places = 0

    result = await sweep(tmp_path, "--seeds", 3)

    assert result.exit_code == 4
    assert "no room for these weights" in result.stderr


async def test_a_failure_shows_what_was_read_and_leaves_nothing_behind(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    service.fail_on = 2

    result = await sweep(tmp_path, "--seeds", 9, "--at-once", 1, "--rtol", "1e-2")

    assert result.exit_code == 1
    assert "after 2 of 9 chips:\nerror: the holder was lost" in result.stderr
    assert result.stdout.splitlines()[1].split()[:3] == ["rram-wan2022", "0.01", "2"]
    assert service.held == {}


async def test_weights_that_stay_behind_are_named_with_how_to_remove_them(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    async def stuck(name: str, if_match: str | None) -> None:
        raise TaskError(ErrorCode.UNAVAILABLE, "not now")

    service.remove = stuck  # type: ignore[method-assign]

    result = await sweep(tmp_path, "--seeds", 1, "--rtol", "none")

    (name,) = service.held
    assert f"{name} could not be removed: see to it with `sedma-node rm {name}`" in result.stderr


async def test_a_chip_that_somebody_else_changed_is_no_reading(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    service.swap_on = 1

    result = await sweep(tmp_path, "--seeds", 3, "--at-once", 1, "--rtol", "1e-2")

    assert result.exit_code == 1
    assert "became another version while it was read" in result.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--rtol", "1e-2,some"), "--rtol 1e-2,some: write numbers between 0 and 1, or none"),
        (("--rtol", "2"), "--rtol 2: write numbers between 0 and 1"),
        (("--deadline", "2h"), "--deadline 2h: write more than 0s and at most"),
        (("--size", "0", "9"), "--size 0 9: write two numbers from 1 to"),
        (("--size", "1048576", "1048576"), "are free: fewer --rows or less --size"),
        (
            ("--rows", "1000000000000"),
            "1000000000000 rows of X and weights of 256 x 256 take",
        ),
        (("--device", "no.toml"), "--device no.toml: no such file"),
        (("--report", "out.pdf"), "--report out.pdf: write a file that ends in .html or .png"),
        (("--report", "no/out.png"), "no/out.png: cannot be written"),
        (("../w", "--seeds", "1"), "../w: is no name of weights"),
    ],
)
async def test_what_cannot_be_is_told_before_anything_is_put(
    api: RunningApi, service: Chips, tmp_path: Path, words: tuple[str, ...], reason: str
) -> None:
    line = ["sweep", "--data-dir", str(tmp_path), *words]
    result = await asyncio.to_thread(lambda: CliRunner().invoke(app(), line))

    assert (result.exit_code, service.asked) == (2, [])
    assert reason in result.stderr


# -- reports -----------------------------------------------------------------------------------------


async def test_a_report_without_what_draws_it_is_refused_before_the_work(
    api: RunningApi, service: Chips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    result = await sweep(tmp_path, "--report", tmp_path / "out.png")

    assert (result.exit_code, service.asked) == (2, [])
    assert "pip install 'sedma[plots]'" in result.stderr
    assert not (tmp_path / "out.png").exists()


async def test_a_report_holds_all_that_was_read(
    api: RunningApi, service: Chips, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    page, picture = tmp_path / "out.html", tmp_path / "out.png"

    assert (await sweep(tmp_path, "--seeds", 3, "--report", page)).exit_code == 0
    words = ("--seeds", 3, "--rtol", "none", "--report", picture)
    assert (await sweep(tmp_path, *words)).exit_code == 0

    text = page.read_text()
    assert "12 x 7 normal weights, 16 rows of X, 3 chips from seed 0 on" in text
    assert text.count("<tr>") == 1 + 3
    assert "data:image/png;base64," in text and "http" not in text.replace("http-equiv", "")
    assert picture.read_bytes().startswith(b"\x89PNG")


# -- ends ------------------------------------------------------------------------------------------


async def test_ctrl_c_ends_it_with_nothing_left_in_the_mesh(
    api: RunningApi, service: Chips
) -> None:
    client = Client(Transport(Endpoint(api.url, TOKEN)))
    product = Product.of(normal_weights(1, (12, 7)), normal_inputs(1, 3, 12))
    bench = Bench(client, product, Terms((1e-2, None), 10.0))

    def pressed(readings: list[Reading]) -> None:
        raise KeyboardInterrupt

    def run() -> None:
        with pytest.raises(KeyboardInterrupt):
            fly(bench, chips.chips(["d"], range(20), "x"), 4, pressed)
        with pytest.raises(Stopped):
            bench.read(Chip.of("d", 0, "x"))
        client.close()

    await asyncio.to_thread(run)
    assert service.held == {} and bench.left == []
    assert 1 <= len(service.requests) <= 5
