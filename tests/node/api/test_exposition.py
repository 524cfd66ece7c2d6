"""What we write for Prometheus is read by its own parser."""

import io

import aiohttp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from node.api.exposition import exposition
from node.api.server import RunningApi, start_api
from node.service import Family, Sample
from protocol.errors import ErrorCode
from tests.node.api.numpy_service import TOKEN, Log, NumpyService, npy

LATE = Family(
    "late_seconds", "summary", "How late.", (Sample({}, 0.5, "_sum"), Sample({}, 3, "_count"))
)


def test_a_family_tells_its_meaning_its_kind_and_its_samples() -> None:
    nodes = (Sample({"state": "ready", "at": "a"}, 2), Sample({}, 1.5))

    assert exposition([Family("nodes", "gauge", "All of them.", nodes), LATE]) == (
        "# HELP nodes All of them.\n"
        "# TYPE nodes gauge\n"
        'nodes{state="ready",at="a"} 2\n'
        "nodes 1.5\n"
        "# HELP late_seconds How late.\n"
        "# TYPE late_seconds summary\n"
        "late_seconds_sum 0.5\n"
        "late_seconds_count 3\n"
    )


@example(label='at"tic\\\n', value=(1 << 53) + 1)
@given(
    label=st.text(st.characters(exclude_categories=["Cs"])),
    value=st.integers(0, 1 << 60) | st.floats(allow_nan=False, allow_infinity=False),
)
def test_whatever_a_node_is_called_its_metrics_can_be_read(label: str, value: float) -> None:
    told = Family("node", "gauge", "Back\\slash\nand line.", (Sample({"name": label}, value),))
    (read,) = text_string_to_metric_families(exposition([told]))

    assert read.documentation == "Back\\slash\nand line."
    assert read.samples[0].labels == {"name": label}
    assert float(read.samples[0].value) == float(value)


async def test_metrics_are_read_without_a_token_on_loopback(
    api: RunningApi, service: NumpyService
) -> None:
    service.held["w"] = np.zeros((2, 3), np.float32)
    async with aiohttp.ClientSession(api.url) as client, client.get("/metrics") as answer:
        text = await answer.text()

    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    (read,) = text_string_to_metric_families(text)
    assert (read.name, read.type, read.samples[0].value) == ("held_bytes", "gauge", 24)


async def test_elsewhere_metrics_take_the_token(service: NumpyService, log: Log) -> None:
    api = await start_api(service, "0.0.0.0", 0, TOKEN, log)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    try:
        async with aiohttp.ClientSession(api.url) as client:
            async with client.get("/metrics") as stranger:
                pass
            async with client.get("/metrics", headers=bearer) as scraper:
                pass
    finally:
        await api.close()

    assert (stranger.status, scraper.status) == (401, 200)


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/tasks/t9", ErrorCode.NOT_FOUND), ("/v1/status?x=1", ErrorCode.BAD_REQUEST)],
)
async def test_the_service_is_told_of_every_refusal(
    api: RunningApi, service: NumpyService, path: str, code: ErrorCode
) -> None:
    async with aiohttp.ClientSession(api.url) as client, client.get(path):
        pass

    assert service.refusals == {code: 1}


async def test_a_service_that_fails_counts_as_a_refusal_too(
    api: RunningApi, service: NumpyService
) -> None:
    async def fail() -> None:
        raise RuntimeError("our own fault")

    service.act = fail
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    body = io.BytesIO(npy(np.zeros((2, 2), np.float32)))
    async with (
        aiohttp.ClientSession(api.url, headers=bearer) as client,
        client.put("/v1/weights/w", data=body) as answer,
    ):
        assert answer.status == 500

    assert service.refusals == {ErrorCode.INTERNAL: 1}
