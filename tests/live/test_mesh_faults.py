"""Four real daemons, some of which are killed, frozen or stopped; clients that go away; puts that fail."""

import contextlib
import http.client
import io
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest

import sedma
from protocol.ids import NodeId, short
from tests.live.daemons import eventually, put_nearest_fit
from tests.live.small_mesh import (
    Member,
    Mesh,
    W,
    X,
    error_of,
    is_right,
)


def stream(client: sedma.Client, products: int, midway: Callable[[], object]) -> list[sedma.Answer]:
    """Products one after another, four under way at once; `midway` happens after a third of them."""

    def progress(done: int) -> None:
        if done == products // 3:
            midway()

    return list(client.map("w", [X] * products, progress=progress))


# -- who is killed, frozen, stopped ------------------------------------------------------------------


def test_a_holder_killed_before_and_one_killed_during_products_cost_no_answer(mesh: Mesh) -> None:
    client = mesh["a"].client
    client.put("w", W, replicas=3, backend="digital")

    mesh["c"].kill()
    before = [client.matmul("w", X) for _ in range(3)]
    during = stream(client, 60, mesh["d"].kill)

    assert all(is_right(answer) for answer in before + during)


def test_without_a_replica_the_error_names_the_lost_holder_long_before_the_deadline(
    mesh: Mesh,
) -> None:
    client = mesh["a"].client
    client.put("w", W, backend="digital", only=["d"])
    mesh["d"].kill()

    began = time.monotonic()
    with pytest.raises(sedma.SedmaError) as failed:
        client.matmul("w", X, deadline=15.0)

    assert time.monotonic() - began < 10.0
    assert failed.value.code == "unavailable"
    assert short(NodeId(mesh["d"].id)) in failed.value.reason
    assert client["w"].info["missing"] == 9


def test_a_frozen_holder_costs_no_answer_and_takes_part_again_when_it_thaws(mesh: Mesh) -> None:
    client = mesh["a"].client
    client.put("w", W, replicas=2, backend="digital")
    client.matmul("w", X)

    began = time.monotonic()
    answers = stream(client, 30, lambda: mesh["d"].signal(signal.SIGSTOP))
    took_s = time.monotonic() - began
    mesh["d"].signal(signal.SIGCONT)

    assert all(is_right(answer) for answer in answers)
    assert took_s < 12.0
    mesh.wait_linked()
    assert is_right(mesh["d"].client.matmul("w", X))


def test_a_killed_holder_that_starts_again_serves_again(mesh: Mesh) -> None:
    client = mesh["a"].client
    client.put("w", W, backend="digital", only=["d"])
    mesh["d"].kill()
    eventually(lambda: client["w"].info["missing"] == 9, "the loss is known")

    mesh["d"].start()

    mesh.wait_serving("w")
    mesh.wait_linked()
    assert all(is_right(member.client.matmul("w", X)) for member in mesh)
    assert any(peer["id"] == mesh["d"].id for peer in client.peers())


def test_a_download_goes_on_when_a_holder_is_killed_amid_it(mesh: Mesh) -> None:
    mesh["a"].client.put("w", W, replicas=2, backend="digital", avoid=["d"])
    url = urlsplit(mesh["d"].client.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=20.0)
    with contextlib.closing(connection):
        connection.request("GET", "/v1/weights/w?format=npy")
        answer = connection.getresponse()
        first = answer.read(100_000)
        mesh["c"].kill()
        rest = answer.read()

    assert (first + rest).endswith(W.tobytes())


def test_a_mesh_that_lost_its_power_serves_again_when_all_have_started(mesh: Mesh) -> None:
    # Of a device that does not drift, so that time makes no difference.
    mesh["a"].client.put("w", W, backend="rram", device="rram-milo2021", seed=5)
    before = np.asarray(mesh["b"].client.matmul("w", X, rtol=None, deterministic=True))
    for member in mesh:
        # Who all comes back at another address is found by nobody.
        member.listen = "{}:{}".format(*member.address)
    for member in mesh:
        member.kill()

    for member in reversed(list(mesh)):
        member.start()
        member.listen = None

    mesh.wait_linked()
    mesh.wait_serving("w")
    after = np.asarray(mesh["c"].client.matmul("w", X, rtol=None, deterministic=True))
    assert np.array_equal(before, after)


def test_a_daemon_stopped_amid_products_ends_in_time_and_the_others_go_on(mesh: Mesh) -> None:
    mesh["a"].client.put("w", W, replicas=2, backend="digital")
    stopped_s = []

    def stop() -> None:
        began = time.monotonic()
        life = mesh["d"].life
        assert life is not None and life.stop() == 0
        stopped_s.append(time.monotonic() - began)

    answers = stream(mesh["a"].client, 60, stop)

    assert all(is_right(answer) for answer in answers)
    assert stopped_s[0] < 2.0


# -- puts that fail ----------------------------------------------------------------------------------


class GoneError(Exception):
    """The client's program ends."""


def test_a_put_whose_client_goes_away_half_way_leaves_nothing_behind(mesh: Mesh) -> None:
    def leave(sent: int, total: int) -> None:
        if sent > total * 2 // 3:
            raise GoneError

    with pytest.raises(GoneError):
        mesh["a"].client.put("w", W, replicas=2, backend="digital", progress=leave)

    mesh.wait_empty(5.0)


def test_a_put_whose_holder_is_killed_half_way_leaves_nothing_behind(mesh: Mesh) -> None:
    def kill(sent: int, total: int) -> None:
        if sent > total * 2 // 3 and mesh["d"].runs:
            mesh["d"].kill()

    with pytest.raises(sedma.SedmaError) as failed:
        mesh["a"].client.put("w", W, replicas=2, backend="digital", progress=kill)

    assert failed.value.code == "unavailable"
    assert short(NodeId(mesh["d"].id)) in failed.value.reason
    mesh.wait_empty(5.0)
    mesh["d"].start()
    mesh.wait_linked()
    mesh.wait_empty()
    assert all(member.client.weights() == [] for member in mesh)


def test_a_put_goes_round_a_frozen_node_and_names_it_if_it_must_have_it(mesh: Mesh) -> None:
    client = mesh["a"].client
    mesh["d"].signal(signal.SIGSTOP)

    with ThreadPoolExecutor(2) as pool:
        anywhere = pool.submit(client.put, "w", W, replicas=2, backend="digital")
        there_alone = pool.submit(client.put, "v", W, backend="digital", only=["d"])
        weights = anywhere.result()
        # Its time is up, or the node that asks it has hung up before: either tells which node it was.
        with pytest.raises(sedma.SedmaError, match=short(NodeId(mesh["d"].id))) as refused:
            there_alone.result()
        assert refused.value.code in ("deadline", "unavailable")

    assert set(mesh.holders(weights)) == {"a", "b", "c"}
    assert is_right(client.matmul("w", X))
    # What it would answer when it thaws comes too late, and lapses by itself.
    mesh["d"].kill()


def test_what_does_not_fit_is_refused_and_the_nearest_fit_does(mesh: Mesh) -> None:
    client = mesh["a"].client

    def put(matrix: np.ndarray) -> sedma.Weights:
        return client.put("w", matrix, replicas=2, backend="digital", avoid=["a", "b"])

    with pytest.raises(sedma.NoRoom) as refused:
        put(np.zeros((20_480, 2048), np.float32))

    need, free, fit = refused.value.need, refused.value.free, refused.value.nearest_fit
    assert need is not None and free is not None and fit is not None
    assert need > free > 0 and 0 < 2 * fit <= free
    weights = put_nearest_fit(
        lambda nbytes: put(np.ones((1024, nbytes // 4 // 1024), np.float32)), fit
    )

    assert set(mesh.holders(weights)) == {"c", "d"}
    columns = weights.shape[1]
    assert error_of(client.matmul("w", np.ones(1024)), np.full(columns, 1024.0)) < 1e-6
    assert all(member.peak_bytes() <= member.budget_bytes for member in mesh)


def test_clients_that_go_away_amid_products_leave_no_memory_taken(mesh: Mesh) -> None:
    client = mesh["a"].client
    client.put("w", W, replicas=2, backend="digital")
    client.matmul("w", X)
    leased = {member.name: member.client.status()["leased_bytes"] for member in mesh}
    whole = npy_of(np.repeat(X, 200, axis=0))
    head = f"POST /v1/weights/w/matmul HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(whole)}"

    for sent in (0, 500, len(whole) // 2, len(whole)):
        url = urlsplit(client.url)
        with socket.create_connection((url.hostname, url.port), timeout=10.0) as one:
            one.sendall(f"{head}\r\n\r\n".encode() + whole[:sent])
            if sent == len(whole):
                assert one.recv(1000).startswith(b"HTTP/1.1 200")

    eventually(lambda: client.status()["tasks_in_flight"] == 0, "all tasks have ended")
    for member in mesh:

        def as_before(member: Member = member) -> bool:
            return bool(member.client.status()["leased_bytes"] == leased[member.name])

        eventually(as_before, f"{member.name} has its memory back")


def npy_of(matrix: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, matrix)
    return file.getvalue()
