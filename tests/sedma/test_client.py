import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import sedma
from sedma.client import Client

if TYPE_CHECKING:
    from tests.sedma.conftest import Mesh

DICE = np.random.default_rng(7)
W = DICE.standard_normal((30, 20), dtype=np.float32)
X = DICE.standard_normal((4, 30), dtype=np.float32)


@pytest.fixture
def client(mesh: "Mesh") -> Iterator[Client]:
    with sedma.connect(mesh.url, token="secret") as client:
        yield client


def test_weights_multiply_like_a_matrix(client: Client) -> None:
    w = client.put("w", W)

    y = X @ w

    assert np.allclose(y, X @ W)
    assert np.allclose(y @ w.T, (X @ W) @ W.T, rtol=1e-4)
    assert np.allclose(X[0] @ w, X[0] @ W)
    assert (w.shape, w.T.shape, w.T.T.shape) == ((30, 20), (20, 30), (30, 20))
    assert np.array_equal(w.get(), W)
    assert np.array_equal(w.T.get(), W.T)


def test_an_answer_knows_how_exact_it_is_and_what_comes_of_it_does_not(client: Client) -> None:
    y = client.matmul(client.put("w", W).name, X)

    assert y.certificate == sedma.Certificate(1e-7, 0.999999, "digital", 0)
    assert y.task == "t1"
    assert y.dtype == np.float32
    assert vars(y[:2])["certificate"] is None


def test_a_request_says_all_that_was_asked(client: Client, mesh: "Mesh") -> None:
    client.put("w", W, replicas=2, backend="digital", seed=3, only=["gpu", "attic"])
    client.matmul("w", X, rtol=None, deadline=2.5, deterministic=True)

    put, matmul = mesh.seen[-2:]
    assert put == (
        "PUT",
        "/v1/weights/w",
        {"replicas": ["2"], "backend": ["digital"], "seed": ["3"], "only": ["gpu,attic"]},
    )
    assert matmul[2] == {
        "rtol": ["none"],
        "deadline": ["2.500000s"],
        "transpose": ["false"],
        "deterministic": ["true"],
    }


def test_numbers_may_be_numpys(client: Client, mesh: "Mesh") -> None:
    client.put("w", W, seed=3)
    client.put("w", W, seed=np.int64(3))  # type: ignore[arg-type]
    client.matmul("w", X, rtol=np.float32(0.25))  # type: ignore[arg-type]

    first, second, matmul = mesh.seen[-3:]
    assert first == second
    assert matmul[2]["rtol"] == ["0.25"]


def test_what_is_in_the_mesh_can_be_listed_named_and_removed(client: Client) -> None:
    client.put("b", W)
    client.put("a", W)
    client.rm("b")

    assert [w.name for w in client.weights()] == ["a"]
    assert client["a"].shape == (30, 20)
    assert client.status()["state"] == "ready"
    assert client.peers() == []
    with pytest.raises(sedma.SedmaError, match="no weights b") as caught:
        client["b"]
    assert caught.value.code == "not_found"


def test_plans_and_tickets_say_what_was_asked(client: Client) -> None:
    assert client.plan(shape=(8, 4), m=3, only=["gpu"])["asked"] == {
        "rows": 8,
        "columns": 4,
        "m": 3,
        "replicas": 1,
        "only": ["gpu"],
        "avoid": [],
    }
    assert client.ticket(ttl_s=60, uses=1)["asked"]["uses"] == 1


def test_a_large_upload_that_is_refused_at_once_tells_why(client: Client) -> None:
    with pytest.raises(sedma.NoRoom) as caught:
        client.put("huge", np.zeros((4096, 4096), dtype=np.float32))

    error = caught.value
    assert (error.reason, error.need, error.free, error.nearest_fit) == ("no room", 3, 2, 1)
    assert client.put("w", W).shape == (30, 20)


def test_a_missing_token_is_told_by_the_daemon(mesh: "Mesh") -> None:
    with sedma.connect(mesh.url) as stranger, pytest.raises(sedma.SedmaError) as caught:
        stranger.put("w", W)

    assert caught.value.code == "unauthorized"


def test_a_deadline_that_passes_has_an_error_of_its_own(client: Client) -> None:
    client.put("w", W)
    with pytest.raises(sedma.DeadlineExceeded, match="too late"):
        client.matmul("w", X, deadline=1e-6)


@pytest.mark.parametrize(
    "x",
    [X.astype(np.float64), X.astype(">f4"), np.asfortranarray(X), X[:, ::-1][:, ::-1], X.tolist()],
)
def test_other_layouts_of_floats_are_converted(client: Client, x: np.ndarray) -> None:
    client.put("w", W)

    assert np.allclose(client.matmul("w", x), X @ W)


@pytest.mark.parametrize("kind", [np.int32, np.float16, np.complex64, object, bool])
def test_what_is_no_float_is_refused_with_what_to_write(client: Client, kind: type) -> None:
    with pytest.raises(sedma.SedmaError, match=r"write X\.astype\(numpy\.float32\)"):
        client.matmul("w", np.ones((2, 30)).astype(kind))


def test_a_scalar_or_a_cube_is_refused(client: Client) -> None:
    for x in (np.float32(1), np.zeros((2, 2, 2), dtype=np.float32)):
        with pytest.raises(sedma.SedmaError, match="one or two dimensions"):
            client.matmul("w", x)


def test_a_file_is_sent_as_it_lies_on_disk(client: Client, tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", W)
    told: list[tuple[int, int]] = []

    w = client.put("w", tmp_path / "w.npy", progress=lambda sent, size: told.append((sent, size)))

    assert np.array_equal(w.get(), W)
    assert told[-1] == ((tmp_path / "w.npy").stat().st_size,) * 2
    with pytest.raises(sedma.SedmaError, match=r"none\.npy: no such file"):
        client.put("w", tmp_path / "none.npy")


def test_many_products_are_under_way_at_once_and_come_in_order(client: Client) -> None:
    client.put("slow", W)
    xs = [X + i for i in range(20)]
    heard: list[int] = []

    ys = list(client.map("slow", xs, progress=heard.append))

    assert all(np.allclose(y, x @ W, atol=1e-3) for x, y in zip(xs, ys, strict=True))
    assert heard == list(range(1, 21))
    assert np.allclose(client.submit("slow", X).result(), X @ W)


def test_connections_are_kept_and_threads_share_them(client: Client, mesh: "Mesh") -> None:
    client.put("w", W)
    with ThreadPoolExecutor(4) as pool:
        ys = list(pool.map(lambda _: client.matmul("w", X), range(40)))

    assert all(np.allclose(y, X @ W) for y in ys)
    assert mesh.connections <= 5


def test_a_connection_that_the_daemon_closed_is_replaced(client: Client, mesh: "Mesh") -> None:
    mesh.hang_up_after_each = True

    for _ in range(3):
        assert client.put("w", W).shape == (30, 20)


def test_a_daemon_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(sedma.Unreachable, match="refuses connections"):
            sedma.connect(url)


def test_a_daemon_that_stays_silent_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(sedma.Unreachable, match=r"silent for 0\.1 s"):
            sedma.connect(url, timeout=0.1)


def test_a_url_that_is_none_is_told(tmp_path: Path) -> None:
    for url in ("ftp://host", "http://", "http://host:port"):
        with pytest.raises(sedma.SedmaError, match="is no URL"):
            sedma.connect(url)


def test_the_local_daemon_is_found_by_its_data_directory(mesh: "Mesh", tmp_path: Path) -> None:
    with pytest.raises(sedma.NotRunning, match="sedma-node up"):
        sedma.connect(data_dir=tmp_path)
    (tmp_path / "api.url").write_text(mesh.url + "\n")
    (tmp_path / "api.token").write_text("secret\n")

    for found in (sedma.connect(data_dir=tmp_path), sedma.connect(mesh.url, data_dir=tmp_path)):
        with found:
            assert found.put("w", W).shape == (30, 20)


def test_a_daemon_that_was_killed_and_left_its_address_is_not_running(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "api.url").write_text(f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(sedma.NotRunning):
            sedma.connect(data_dir=tmp_path)
