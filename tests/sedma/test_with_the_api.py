"""The client against the daemon's real HTTP side, with numpy behind it instead of a mesh."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import sedma
from node.api.server import RunningApi, start_api
from node.cli.main import app
from tests.node.api.numpy_service import TOKEN, Log, NumpyService

DICE = np.random.default_rng(7)
W = DICE.standard_normal((300, 200), dtype=np.float32)
X = DICE.standard_normal((40, 300), dtype=np.float32)


@pytest.fixture
async def service() -> NumpyService:
    return NumpyService()


@pytest.fixture
async def api(service: NumpyService) -> AsyncIterator[RunningApi]:
    running = await start_api(service, "127.0.0.1", 0, TOKEN, Log())
    yield running
    await running.close()


async def test_client_and_daemon_understand_each_other(api: RunningApi) -> None:
    def talk() -> None:
        with sedma.connect(api.url, token=TOKEN) as client:
            w = client.put("w", W, replicas=2, backend="digital", seed=1, only=["gpu"])
            y = client.matmul("w", X, rtol=1e-3, deadline=5.0)
            assert np.allclose(y, X @ W, atol=1e-3)
            assert client.task(y.task)["account"]["seconds"] == 0.1
            assert y.certificate is not None
            assert np.allclose(np.asarray(X) @ W @ W.T, y @ w.T, rtol=1e-2, atol=1e-1)
            assert (X[0] @ w).shape == (200,)
            assert np.array_equal(client["w"].get(), W)
            assert client.matmul("w", X, rtol=None).shape == (40, 200)
            assert [one.name for one in client.weights()] == ["w"]
            assert client.plan(shape=(300, 200), m=4)["shape"] == [300, 200]
            assert client.ticket(ttl_s=60.0, uses=1)["ticket"]
            assert isinstance(client.peers(), list)
            for rtol in (0.0, -1e-2, 1.0, 2.0, np.inf, np.nan):
                with pytest.raises(sedma.SedmaError, match="write a number between 0 and 1"):
                    client.matmul("w", X, rtol=rtol)
            client.rm("w")
            with pytest.raises(sedma.SedmaError) as caught:
                client.get("w")
            assert caught.value.code == "not_found"

    await asyncio.to_thread(talk)


async def test_a_matrix_without_room_is_refused_before_it_is_sent(
    api: RunningApi, service: NumpyService
) -> None:
    service.room_bytes = 1 << 20
    told: list[int] = []

    def talk() -> None:
        huge = np.zeros((8192, 4096), dtype=np.float32)
        with sedma.connect(api.url, token=TOKEN) as client:
            with pytest.raises(sedma.NoRoom) as caught:
                client.put("w", huge, progress=lambda sent, _: told.append(sent))
            assert caught.value.need is not None
            assert client.put("w", W[:8]).shape == (8, 200)

    await asyncio.to_thread(talk)
    assert max(told) < 64 << 20


async def test_without_the_token_nothing_is_changed(api: RunningApi) -> None:
    def talk() -> None:
        with sedma.connect(api.url) as stranger:
            with pytest.raises(sedma.SedmaError) as caught:
                stranger.put("w", W)
            assert caught.value.code == "unauthorized"
            assert stranger.status()["state"] == "ready"

    await asyncio.to_thread(talk)


async def test_commands_and_daemon_understand_each_other(api: RunningApi, tmp_path: Path) -> None:
    (tmp_path / "api.url").write_text(api.url)
    (tmp_path / "api.token").write_text(TOKEN)
    np.save(tmp_path / "w.npy", W)
    np.save(tmp_path / "x.npy", X)
    y = tmp_path / "y.npy"

    def run(*words: object) -> str:
        line = [*map(str, words), "--data-dir", str(tmp_path)]
        result = CliRunner().invoke(app(), line)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def talk() -> None:
        run("put", "w", tmp_path / "w.npy", "--backend", "digital", "--avoid", "a", "--avoid", "b")
        for command in ("status", "peers", "weights", "ticket"):
            assert run(command)
            json.loads(run(command, "--json"))
        assert "200" in run("plan", tmp_path / "w.npy", "-m", 3)
        run("matmul", "w", tmp_path / "x.npy", "-o", y, "--rtol", "none", "--deterministic")
        assert np.allclose(np.load(y), X @ W, atol=1e-3)
        run("get", "w", "-o", y)
        assert np.array_equal(np.load(y), W)
        run("rm", "w")

    await asyncio.to_thread(talk)
