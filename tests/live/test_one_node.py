"""One daemon for real: its process, its HTTP side, its disk."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sedma
from tests.live.daemons import Daemons, eventually, put_nearest_fit
from tests.live.small_mesh import error_of

Start = Callable[..., Any]

DICE = np.random.default_rng(7)
W = DICE.choice([-1.0, 1.0], size=(1300, 1100)).astype(np.float32)
X = DICE.normal(size=(4, 1300)).astype(np.float32)


@pytest.fixture(scope="module")
def client(lasting: Daemons) -> Any:
    """Of one daemon, for all tests that leave it running; each puts what it multiplies by."""
    return lasting().client()


def test_a_digital_product_and_its_transpose_are_right_and_certified(client: Any) -> None:
    client.put("w", W, backend="digital")

    y = client.matmul("w", X)
    z = client.matmul("w", np.asarray(y), transpose=True)

    assert error_of(y, X @ W) < 1e-6
    assert error_of(z, np.asarray(y) @ W.T) < 1e-6
    assert error_of(y, X.astype(np.float64) @ W) <= y.certificate.bound < 1e-5
    assert y.certificate.regime == "digital"
    assert np.array_equal(np.asarray(client.get("w")), W)


def test_an_analog_product_keeps_the_tolerance_asked_and_says_what_was_analog(
    client: Any,
) -> None:
    client.put("w", W, backend="rram", seed=3)

    naive = client.matmul("w", X, rtol=None)
    certified = client.matmul("w", X, rtol=1e-2)

    exact = X.astype(np.float64) @ W
    assert error_of(certified, exact) <= certified.certificate.bound <= 1e-2
    assert certified.certificate.analog_fraction >= 0.9
    assert error_of(certified, exact) < error_of(naive, exact) <= naive.certificate.bound


def test_a_device_of_one_s_own_is_known_by_what_it_is_and_stays_over_a_restart(
    daemon: Start, tmp_path: Path
) -> None:
    cells = tmp_path / "cells.toml"
    cells.write_text(
        'base = "rram-wan2022"\nname = "attic"\n[drift]  # none\nsigma_us = 0.0\n[reading]\nconstant = 0.1\n'
    )
    first = daemon()
    client = first.client()
    sound = client.put("sound", W, backend="rram", device="rram-wan2022", seed=1)
    own = client.put("own", W, backend="rram", device=cells, seed=1)
    told = {
        "reading": {"proportional": 0.0, "constant": 0.1},
        "drift": {"sigma_us": 0},
        "name": "attic",
        "base": sound.info["device"],
    }
    assert (
        client.put("same", W, backend="rram", device=told, seed=1).info["device"]
        == own.info["device"]
    )
    assert json.loads(own.info["device"])["name"] == "attic"

    before = client.matmul("own", X, rtol=None)
    exact = X.astype(np.float64) @ W
    assert error_of(before, exact) > 2 * error_of(client.matmul("sound", X, rtol=None), exact)
    assert first.stop() == 0

    client = daemon().client()
    assert np.array_equal(client.matmul("own", X, rtol=None), before)
    with pytest.raises(sedma.SedmaError, match=r"faults\.stuck: no such key") as refused:
        client.put("w", W, backend="rram", device={"faults": {"stuck": 0.1}})
    assert refused.value.code == "bad_request"


@pytest.mark.parametrize("backend", ["digital", "rram"])
def test_values_of_any_size_are_certified_and_what_no_float32_holds_is_told(
    client: Any, backend: str
) -> None:
    w, x = W[:150, :131] * np.float32(0.3), X[:, :150]
    client.put("w", w, backend=backend)

    for size in (1e-40, 1e-30, 1.0, 1e20, 1e35):
        scaled = (x * size).astype(np.float32)
        y = client.matmul("w", scaled)
        assert error_of(y, scaled.astype(np.float64) @ w) <= y.certificate.bound <= 1e-2
    with pytest.raises(sedma.SedmaError, match=r"beyond float32's 3.4e\+38 .* scale X down"):
        client.matmul("w", x * 1e38)
    with pytest.raises(sedma.SedmaError, match="so small .* scale X up"):
        client.matmul("w", np.full((4, 150), 2e-45, np.float32))
    assert client.matmul("w", x).certificate.bound <= 1e-2


def test_the_same_request_gives_the_same_bytes(client: Any) -> None:
    client.put("w", W, backend="rram")

    first, second = (np.asarray(client.matmul("w", X)) for _ in range(2))

    assert np.array_equal(first, second)


def test_more_rows_than_fit_in_flight_are_taken_in_panels(client: Any) -> None:
    client.put("w", W, backend="digital")
    tall = DICE.normal(size=(4000, 1300)).astype(np.float32)

    y = client.matmul("w", tall)

    assert error_of(y, tall @ W) < 1e-6
    assert client.status()["rss_bytes"] <= client.status()["budget_bytes"]


@pytest.mark.parametrize(
    "given",
    [W.astype(np.float64), np.asfortranarray(W), W.astype(">f4"), np.asfortranarray(W, ">f8")],
    ids=["float64", "fortran", "big-endian", "all of it"],
)
def test_other_layouts_are_converted_on_the_way_in(
    client: Any, given: np.ndarray, tmp_path: Any
) -> None:
    np.save(tmp_path / "w.npy", given)

    client.put("w", tmp_path / "w.npy", backend="digital")

    assert np.array_equal(np.asarray(client.get("w")), W)


def test_a_value_that_is_not_finite_is_named_and_nothing_stays_behind(daemon: Start) -> None:
    client = daemon().client()
    free = client.status()["free_bytes"]
    broken = W.copy()
    broken[1200, 7] = np.inf

    with pytest.raises(sedma.SedmaError, match="row 1200, column 7 is inf"):
        client.put("w", broken, backend="digital")

    assert client.weights() == []
    assert client.status()["free_bytes"] == pytest.approx(free, abs=16 << 20)
    assert error_of(client.matmul(client.put("v", W).name, X), X @ W) < 1e-2


def test_what_cannot_be_held_is_refused_with_the_nearest_fit_and_the_node_goes_on(
    daemon: Start,
) -> None:
    client = daemon().client()

    with pytest.raises(sedma.NoRoom) as refused:
        client.put("big", np.zeros((9216, 9216), np.float32))

    need, free, fit = refused.value.need, refused.value.free, refused.value.nearest_fit
    assert need is not None and free is not None and fit is not None
    assert need > free >= fit > 0
    fits = put_nearest_fit(
        lambda nbytes: client.put("fits", np.ones((nbytes // 4 // 1024, 1024), np.float32)), fit
    )
    assert fits.name == "fits"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.matmul("w", X[:, :9]), "bad_request"),
        (lambda c: c.matmul("nothing", X), "not_found"),
        (lambda c: c.put("w", W[0]), "bad_request"),
        (lambda c: c.put("w", W, backend="abacus"), "bad_request"),
        (lambda c: c.put("w", W, backend="rram", device="rram-wan2002"), "bad_request"),
        (lambda c: c.put("w", W, replicas=2), "no_room"),
        (lambda c: c.matmul("w", X, deadline=1e-4), "deadline"),
        (lambda c: c.rm("nothing"), "not_found"),
    ],
)
def test_the_impossible_is_refused_with_its_code_and_the_node_goes_on(
    client: Any, call: Callable[[sedma.Client], object], code: str
) -> None:
    client.put("w", W, backend="digital")

    with pytest.raises(sedma.SedmaError) as refused:
        call(client)

    assert refused.value.code == code
    assert error_of(client.matmul("w", X), X @ W) < 1e-6


def test_a_killed_node_serves_its_weights_again_after_a_plain_start(daemon: Start) -> None:
    first = daemon()
    client = first.client()
    client.put("w", W, backend="rram", seed=5)
    before = np.asarray(client.matmul("w", X))
    identity = client.status()["id"]
    first.stop(signal.SIGKILL)

    client = daemon().client()

    assert client.status()["id"] == identity
    assert np.array_equal(np.asarray(client.matmul("w", X)), before)


def test_removed_weights_are_gone_from_memory_and_disk(daemon: Start) -> None:
    client = daemon().client()
    client.put("w", W, backend="digital")

    client.rm("w")

    eventually(lambda: client.status()["disk_used_bytes"] == 0, "the disk is free again", 5.0)
    assert client.status()["pinned_bytes"] == 0
    assert client.weights() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly_within_two_seconds(daemon: Start, number: int) -> None:
    node = daemon()
    node.client()

    began = time.monotonic()
    assert node.stop(number) == 0

    assert time.monotonic() - began < 2.0
    assert not (node.data_dir / "api.url").exists()


def test_it_ends_within_two_seconds_while_arrays_are_written_that_take_minutes(
    daemon: Start,
) -> None:
    patience = {"acceptance_us": 1e-9, "pulses_max": 10_000, "pulse_share": 1e-9}
    device = {"base": "rram-wan2022", "writing": patience}
    node = daemon(environment={"SEDMA_SHARE_CPUS": "1"})
    client = node.client()

    def put() -> None:
        with pytest.raises(sedma.SedmaError):
            client.put("w", W[:512, :512], device=device)

    def is_writing() -> bool:
        with contextlib.closing(sqlite3.connect(node.data_dir / "arrays.db")) as arrays:
            return bool(arrays.execute("SELECT count(*) FROM arrays").fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(put)
        eventually(is_writing, "the block is being written")
        began = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - began < 2.0
        putting.result()

    assert daemon().client().weights() == []


def test_a_log_on_a_full_disk_keeps_nobody_from_an_answer(tmp_path: Path) -> None:
    words = ["up", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0", "--api", "127.0.0.1:0"]
    with Path("/dev/full").open("ab") as full:
        node = subprocess.Popen([sys.executable, "-m", "node.cli.main", *words], stderr=full)
    try:
        with eventually(lambda: sedma.connect(data_dir=tmp_path), "it can be asked") as client:
            eventually(lambda: client.status()["state"] == "ready", "it is ready")
            with pytest.raises(sedma.SedmaError, match="no weights named w"):
                client.matmul("w", X)
            client.put("w", W, backend="digital")
            assert client.matmul("w", X).certificate.bound < 1e-5
    finally:
        node.terminate()
        assert node.wait(timeout=10) == 0


def test_a_second_daemon_on_one_data_directory_is_told_who_has_it(daemon: Start) -> None:
    node = daemon()
    node.client()

    second = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "up", "--data-dir", str(node.data_dir)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=dict(os.environ),
    )

    assert second.returncode == 1
    assert str(node.process.pid) in second.stderr
    assert "--data-dir" in second.stderr


def test_a_program_that_finds_no_daemon_gets_one_that_can_be_used_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    with sedma.connect() as client:
        weights = client.put("w", W, backend="digital")
        y = X @ weights

    assert error_of(y, X @ W) < 1e-6
    with pytest.raises(sedma.SedmaError):
        client.status()


def test_a_disk_that_is_too_small_refuses_before_anything_is_sent(daemon: Start) -> None:
    client = daemon("node", flags=("--disk", "5MiB")).client()

    with pytest.raises(sedma.NoRoom) as refused:
        client.put("w", np.ones((2048, 1024), np.float32), backend="digital")

    assert refused.value.need == 8 << 20
    assert refused.value.free is not None and refused.value.free <= 5 << 20
    client.put("w", np.ones((1024, 1024), np.float32), backend="digital")


def test_more_memory_than_there_is_cannot_be_offered(daemon: Start) -> None:
    said = daemon("node", memory="900TiB").ended()

    assert "more than this machine has" in said
