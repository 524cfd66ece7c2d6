"""Weights and products across four real daemons."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import sedma
from tests.live.daemons import eventually
from tests.live.small_mesh import (
    DICE,
    SIGNS,
    XW,
    YW,
    Member,
    Mesh,
    W,
    X,
    Y,
    error_of,
    is_right,
)

MIB = 1 << 20


# -- what the mesh holds -----------------------------------------------------------------------------


def test_two_copies_lie_on_four_nodes_in_proportion_and_each_keeps_its_budget(mesh: Mesh) -> None:
    free = {member.name: member.client.status()["free_bytes"] for member in mesh}
    big = DICE.normal(size=(5120, 5120)).astype(np.float32)

    weights = mesh["a"].client.put("w", big, replicas=2, backend="digital")

    held = mesh.holders(weights)
    assert sum(held.values()) == 2 * 25 and weights.info["missing"] == 0
    for name, blocks in held.items():
        assert blocks == pytest.approx(50 * free[name] / sum(free.values()), abs=2)
    for member in mesh:
        told = member.client.status()
        assert told["pinned_bytes"] >= held[member.name] * 4 * MIB
        assert told["rss_bytes"] <= told["budget_bytes"] == member.budget_bytes
        assert member.peak_bytes() <= member.budget_bytes, member.name


def test_every_node_multiplies_both_ways_also_one_that_holds_nothing(mesh: Mesh) -> None:
    weights = mesh["b"].client.put("w", W, replicas=2, backend="digital", avoid=["d"])

    assert set(mesh.holders(weights)) == {"a", "b", "c"}
    for member in mesh:
        assert error_of(member.client.matmul("w", X), XW) < 1e-6
        assert error_of(member.client.matmul("w", Y, transpose=True), YW) < 1e-6
        assert is_right(member.client.matmul("w", X))
        assert error_of(member.client.matmul("w", X[0]), XW[0]) < 1e-6


@pytest.mark.parametrize(("rtol", "transpose"), [(1e-2, False), (1e-2, True), (None, False)])
def test_products_on_crossbars_of_several_nodes_keep_what_their_certificates_say(
    mesh: Mesh, rtol: float | None, transpose: bool
) -> None:
    mesh["a"].client.put("w", SIGNS, backend="rram", seed=3)
    x, factor = (Y, SIGNS.T) if transpose else (X, SIGNS)
    exact = x.astype(np.float64) @ factor

    for member in (mesh["a"], mesh["d"]):
        y = member.client.matmul("w", x, rtol=rtol, transpose=transpose)
        assert y.certificate is not None
        assert y.certificate.analog_fraction >= 0.9
        if rtol is None:
            assert 1e-6 < error_of(y, exact) < 0.5
        else:
            assert y.certificate.bound is not None
            assert error_of(y, exact) <= y.certificate.bound <= rtol


def test_a_deterministic_product_has_the_same_bytes_whoever_coordinates_it(mesh: Mesh) -> None:
    mesh["c"].client.put("w", W, replicas=2, backend="digital", avoid=["d"])

    answers = {
        np.asarray(member.client.matmul("w", X, deterministic=True)).tobytes()
        for member in mesh
        for _ in range(2)
    }

    assert len(answers) == 1


def test_weights_are_downloaded_byte_for_byte_through_a_node_that_holds_none(mesh: Mesh) -> None:
    mesh["a"].client.put("w", W, replicas=1, backend="digital", avoid=["d"])

    assert np.asarray(mesh["d"].client.get("w")).tobytes() == W.tobytes()

    spool = mesh["d"].data_dir / "spool" / "fetched" / "blocks"
    eventually(lambda: not list(spool.iterdir()), "the spool is empty")
    assert mesh["d"].client.status()["pinned_bytes"] == 0


# -- removing and replacing --------------------------------------------------------------------------


def test_rm_reaches_all_also_a_node_that_was_down_and_frees_what_it_took(mesh: Mesh) -> None:
    mesh["b"].client.put("w", W, replicas=4, backend="digital")
    mesh["d"].kill()
    kept = len(mesh["d"].contents)

    mesh["a"].client.rm("w")

    for name in "abc":
        assert mesh[name].client.weights() == []
    mesh.wait_empty()
    mesh["d"].start()
    mesh.wait_linked()
    mesh.wait_empty()
    assert all(member.client.weights() == [] for member in mesh)
    eventually(
        lambda: len(mesh["d"].contents) == kept - 18, "its blocks and sketches are off the disk"
    )
    with pytest.raises(sedma.SedmaError, match="no weights named w"):
        mesh["d"].client.matmul("w", X)


def test_of_two_puts_of_one_name_at_once_one_stands_whole_everywhere(mesh: Mesh) -> None:
    def put(name: str, factor: int) -> str:
        try:
            mesh[name].client.put("w", W * np.float32(factor), replicas=2, backend="digital")
        except sedma.SedmaError as refused:
            return refused.code
        return "ok"

    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(put, "ab", (1, 2)))

    assert "ok" in told and set(told) <= {"ok", "conflict"}
    eventually(
        lambda: len({m.client["w"].info["version"] for m in mesh}) == 1, "one version stands"
    )
    mesh.wait_serving("w")
    factors = {round(float(np.vdot(m.client.matmul("w", X), XW) / np.vdot(XW, XW))) for m in mesh}
    assert factors in ({1}, {2})
    eventually(lambda: pinned(mesh) == 2 * W.nbytes, "the other version's memory is free")


def test_products_under_way_while_their_weights_are_put_anew_all_end_on_one_version(
    mesh: Mesh,
) -> None:
    """One after another through each node, while the weights are replaced time and again."""

    def put(factor: int) -> None:
        matrix = W * np.float32(factor)
        list(mesh)[factor % 4].client.put("w", matrix, replicas=2, backend="digital")

    factors: list[int] = []
    over = threading.Event()

    def products(at: int) -> None:
        while not over.is_set():
            y = list(mesh)[at].client.matmul("w", X)
            factors.append(round(float(np.vdot(y, XW) / np.vdot(XW, XW))))
            assert is_right(y, factors[-1] * XW)

    put(1)
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(products, at) for at in range(4)]
        try:
            for factor in (2, 3, 4):
                put(factor)
        finally:
            over.set()
        for one in running:
            one.result()

    assert {2, 3} <= set(factors) <= {1, 2, 3, 4}
    eventually(lambda: pinned(mesh) == 2 * W.nbytes, "the memory of all that was replaced is free")


def pinned(mesh: Iterable[Member]) -> int:
    return sum(int(member.client.status()["pinned_bytes"]) for member in mesh)


# -- many, large, late -------------------------------------------------------------------------------


def test_sixteen_products_at_once_through_four_nodes_are_all_right(mesh: Mesh) -> None:
    mesh["a"].client.put("w", W, replicas=2, backend="digital", avoid=["d"])

    def product(at: int) -> bool:
        client = list(mesh)[at % 4].client
        if at % 3:
            return is_right(client.matmul("w", X))
        return is_right(client.matmul("w", Y, transpose=True), YW)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(product, range(48)))
    assert all(member.peak_bytes() <= member.budget_bytes for member in mesh)


def test_more_rows_than_fit_in_flight_are_taken_in_panels_across_nodes(mesh: Mesh) -> None:
    narrow = np.ascontiguousarray(W[:, :600])
    mesh["a"].client.put("w", narrow, replicas=1, backend="digital")
    tall = DICE.normal(size=(2000, 2900)).astype(np.float32)

    for name in "ad":
        assert is_right(mesh[name].client.matmul("w", tall), tall.astype(np.float64) @ narrow)
        assert mesh[name].peak_bytes() <= mesh[name].budget_bytes


def test_a_deadline_that_cannot_be_kept_is_told_as_such(mesh: Mesh, tmp_path: Path) -> None:
    client = mesh["a"].client
    client.put("w", W, backend="digital", avoid=["a"])
    np.save(tmp_path / "x.npy", X)

    with pytest.raises(sedma.DeadlineExceeded):
        client.matmul("w", X, deadline=0.001)
    command = ["matmul", "w", str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]
    command += ["--deadline", "1ms", "--data-dir", str(mesh["a"].data_dir), "--json"]
    run = subprocess.run(
        [sys.executable, "-m", "node.cli.main", *command],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert run.returncode == 5, run
    assert json.loads(run.stdout or run.stderr)["code"] == "deadline"
    assert not (tmp_path / "y.npy").exists()
    assert is_right(client.matmul("w", X))
