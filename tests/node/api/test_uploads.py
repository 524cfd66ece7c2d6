"""Refused uploads as other programs see them: the reason must reach who is still sending."""

import asyncio
import http.client
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from node.api.server import RunningApi
from tests.node.api.numpy_service import TOKEN, NumpyService

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


async def curl(*words: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 MiB."""
    path = tmp_path_factory.mktemp("uploads") / "big.npy"
    np.save(path, np.zeros((4096, 4096), np.float32))
    return path


@pytest.mark.parametrize(
    ("token", "status", "words"), [(TOKEN, 507, "no room"), ("wrong", 401, "api.token")]
)
async def test_http_client_which_sends_all_first_hears_why_it_was_refused(
    api: RunningApi, service: NumpyService, big: Path, token: str, status: int, words: str
) -> None:
    service.room_bytes = 1 << 20

    def upload() -> tuple[int, str]:
        connection = http.client.HTTPConnection(api.url.removeprefix("http://"), timeout=20)
        with big.open("rb") as file:
            connection.request(
                "PUT",
                "/v1/weights/w",
                body=file,
                headers={
                    "Authorization": f"Bearer {token}",
                    "Content-Length": str(big.stat().st_size),
                },
            )
        answer = connection.getresponse()
        reason = json.loads(answer.read())["reason"]
        connection.close()
        return answer.status, reason

    told, reason = await asyncio.to_thread(upload)

    assert (told, words in reason) == (status, True)


@needs_curl
@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
@pytest.mark.parametrize(("token", "words"), [(TOKEN, "no_room"), ("wrong", "unauthorized")])
async def test_curl_prints_why_an_upload_was_refused(
    api: RunningApi, service: NumpyService, big: Path, expect: str, token: str, words: str
) -> None:
    service.room_bytes = 1 << 20
    began = time.monotonic()

    code, said = await curl(
        *("-H", expect, "-H", f"Authorization: Bearer {token}"),
        *("-T", str(big), f"{api.url}/v1/weights/w"),
    )

    assert (code, json.loads(said)["code"]) == (0, words)
    assert time.monotonic() - began < 3.0


@needs_curl
async def test_curl_multiplies_with_a_npy_file(
    api: RunningApi, service: NumpyService, tmp_path: Path
) -> None:
    dice = np.random.default_rng(7)
    w, x = dice.standard_normal((2, 900, 900), dtype=np.float32)
    service.held["w"] = w
    np.save(tmp_path / "X.npy", x)

    code, said = await curl(
        *("--data-binary", f"@{tmp_path / 'X.npy'}", "-H", "Expect: 100-continue"),
        *("-o", str(tmp_path / "Y.npy"), "-w", "%{http_code}"),
        f"{api.url}/v1/weights/w/matmul?rtol=1e-3&deadline=30s",
    )

    assert (code, said) == (0, "200")
    assert np.array_equal(np.load(tmp_path / "Y.npy"), x @ w)


async def test_who_waits_to_be_asked_sends_nothing_that_is_refused(api: RunningApi) -> None:
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"PUT /v1/weights/w HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n"
        "Content-Length: 67108864\r\n\r\n".encode()
    )

    assert (await reader.readline()).startswith(b"HTTP/1.1 401")
    writer.close()


async def test_a_body_framed_wrongly_is_refused_or_hung_up_on(
    api: RunningApi, service: NumpyService
) -> None:
    service.held["w"] = np.ones((3, 4), np.float32)
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /v1/weights/w/matmul HTTP/1.1\r\nHost: {host}\r\n"
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode()
    )

    assert b" 400 " in await reader.readline()
    writer.close()

    code, _ = await curl(f"{api.url}/livez") if shutil.which("curl") else (0, "")
    assert code == 0
