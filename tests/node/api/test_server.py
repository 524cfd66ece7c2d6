import asyncio
import io
import socket
import time
from collections.abc import AsyncIterator

import aiohttp
import msgpack  # type: ignore[import-untyped]
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import uvloop

from node.api.server import RunningApi, start_api
from protocol.client import PutRequest, StatusView, WeightsView
from protocol.errors import ConfigError, ErrorCode, ErrorInfo, PeerError, TaskError
from protocol.limits import DEVICE_CHARS_MAX
from protocol.tasks import TaskView
from tests.node.api.numpy_service import CERTIFICATE, TOKEN, Log, NumpyService, npy

BEARER = {"Authorization": f"Bearer {TOKEN}"}
W = np.arange(12, dtype=np.float32).reshape(3, 4)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def loaded(body: bytes) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = np.load(io.BytesIO(body), allow_pickle=False)
    return array


def where(api: RunningApi) -> tuple[str, int]:
    host, port = api.url.removeprefix("http://").split(":")
    return host, int(port)


async def refused(answer: aiohttp.ClientResponse, status: int) -> ErrorInfo:
    assert answer.status == status, await answer.text()
    assert answer.content_type == "application/json"
    return msgspec.json.decode(await answer.read(), type=ErrorInfo)


@pytest.fixture
async def client(api: RunningApi) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(api.url, headers=BEARER) as session:
        yield session


async def put(client: aiohttp.ClientSession, array: npt.NDArray[np.generic] = W) -> None:
    async with client.put("/v1/weights/w", data=io.BytesIO(npy(array))) as answer:
        assert answer.status == 201, await answer.text()


async def test_a_product_can_be_asked_what_it_took(client: aiohttp.ClientSession) -> None:
    await put(client)
    async with client.post("/v1/weights/w/matmul", data=npy(X)) as answer:
        task = answer.headers["Sedma-Task"]

    async with client.get(f"/v1/tasks/{task}") as answer:
        view = msgspec.json.decode(await answer.read(), type=TaskView)
    async with client.get("/v1/tasks/t2") as unknown:
        error = await refused(unknown, 404)

    assert (view.id, view.certificate, view.account.seconds) == ("t1", CERTIFICATE, 0.1)
    assert "t2" in error.reason


async def test_weights_are_put_multiplied_downloaded_and_removed(
    client: aiohttp.ClientSession,
) -> None:
    async with client.put("/v1/weights/w?replicas=2&only=gpu", data=npy(W)) as answer:
        assert (answer.status, answer.headers["ETag"]) == (201, '"1"')
        entry = msgspec.json.decode(await answer.read(), type=WeightsView)
    assert (entry.shape, entry.converted) == ((3, 4), ())

    async with client.post("/v1/weights/w/matmul?rtol=1e-3", data=npy(X)) as answer:
        assert answer.headers["Sedma-Task"] == "t1"
        certificate = msgspec.json.decode(answer.headers["Sedma-Certificate"])
        assert "Sedma-Converted" not in answer.headers
        assert np.array_equal(loaded(await answer.read()), X @ W)
    assert certificate["confidence"] == 0.999999

    async with client.get("/v1/weights/w?format=npy") as answer:
        assert np.array_equal(loaded(await answer.read()), W)
    async with client.delete("/v1/weights/w", headers={"If-Match": '"2"'}) as answer:
        assert (await refused(answer, 409)).code is ErrorCode.CONFLICT
    async with client.delete("/v1/weights/w", headers={"If-Match": '"1"'}) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    async with client.get("/v1/weights/w") as answer:
        assert (await refused(answer, 404)).code is ErrorCode.NOT_FOUND


async def test_a_single_row_is_answered_by_a_single_row(client: aiohttp.ClientSession) -> None:
    await put(client)
    async with client.post("/v1/weights/w/matmul", data=npy(X[0])) as answer:
        assert np.array_equal(loaded(await answer.read()), X[0] @ W)


async def test_what_was_converted_is_said(client: aiohttp.ClientSession) -> None:
    await put(client)
    other = np.asfortranarray(X.astype(">f8"))
    async with client.post("/v1/weights/w/matmul", data=npy(other)) as answer:
        assert answer.headers["Sedma-Converted"] == (
            "float64 to float32; big-endian to little-endian; Fortran order to row order"
        )
        assert np.array_equal(loaded(await answer.read()), X @ W)


async def test_a_matrix_of_many_pieces_comes_back_the_same(client: aiohttp.ClientSession) -> None:
    big = np.random.default_rng(7).standard_normal((2000, 1500), dtype=np.float32)
    await put(client, big)
    async with client.get("/v1/weights/w?format=npy") as answer:
        await asyncio.sleep(0.05)  # lets the server run into a full socket
        assert np.array_equal(loaded(await answer.read()), big)


def test_a_buffer_that_is_written_anew_never_reaches_a_slow_reader_on_uvloop() -> None:
    """uvloop keeps a reference to what the socket did not take, where asyncio copies it."""
    big = np.random.default_rng(7).standard_normal((6000, 1500), dtype=np.float32)

    async def download() -> bytes:
        service = NumpyService()
        service.held["w"] = big
        api = await start_api(service, "127.0.0.1", 0, TOKEN, Log())
        reader, writer = await asyncio.open_connection(*where(api))
        writer.write(b"GET /v1/weights/w?format=npy HTTP/1.0\r\nHost: localhost\r\n\r\n")
        came = bytearray()
        while piece := await reader.read(1 << 16):
            came += piece
        writer.close()
        await api.close()
        return bytes(came)

    _, _, body = uvloop.run(download()).partition(b"\r\n\r\n")

    assert np.array_equal(loaded(body), big)


async def test_a_body_in_chunks_of_unsaid_length_is_taken(client: aiohttp.ClientSession) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        body = npy(W)
        for begin in range(0, len(body), 7):
            yield body[begin : begin + 7]

    async with client.put("/v1/weights/w", data=pieces()) as answer:
        assert answer.status == 201
    async with client.get("/v1/weights/w?format=npy") as answer:
        assert np.array_equal(loaded(await answer.read()), W)


async def test_a_node_tells_of_itself_and_its_weights(client: aiohttp.ClientSession) -> None:
    await put(client)
    async with client.get("/v1/status") as answer:
        assert msgspec.json.decode(await answer.read(), type=StatusView).weights == 1
    async with client.get("/v1/peers") as answer:
        assert await answer.json() == []
    async with client.get("/v1/weights") as answer:
        assert [entry["name"] for entry in await answer.json()] == ["w"]
    async with client.get("/v1/weights/w") as answer:
        assert (await answer.json())["shape"] == [3, 4]
    for path in ("/livez", "/readyz"):
        async with client.get(path) as answer:
            assert answer.status == 200


async def test_a_node_that_is_not_ready_says_what_it_waits_for(
    client: aiohttp.ClientSession, service: NumpyService
) -> None:
    service.ready = False
    async with client.get("/readyz") as answer:
        assert "192.0.2.1:7879" in (await refused(answer, 503)).reason
    async with client.get("/livez") as answer:
        assert answer.status == 200


async def test_plans_and_tickets_speak_json_and_messagepack(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/plan", json={"rows": 5, "columns": 6}) as answer:
        assert (await answer.json())["need"] == 120
    async with client.post(
        "/v1/tickets",
        data=msgpack.packb({"uses": 3}),
        headers={"Content-Type": "application/msgpack", "Accept": "application/msgpack"},
    ) as answer:
        assert answer.content_type == "application/msgpack"
        assert msgpack.unpackb(await answer.read())["uses"] == 3
    async with client.post("/v1/tickets") as answer:
        assert (await answer.json())["uses"] == 16
    async with client.post("/v1/plan", json={"row": 5}) as answer:
        assert "did you mean rows?" in (await refused(answer, 400)).reason
    async with client.post("/v1/plan", data=io.BytesIO(b" " * (1 << 21))) as answer:
        assert (await refused(answer, 413)).code is ErrorCode.TOO_LARGE


async def test_a_node_leaves_when_it_is_told_to_twice_over(client: aiohttp.ClientSession) -> None:
    async with client.post("/v1/leave") as answer:
        assert "alone" in (await refused(answer, 409)).reason
    async with client.post("/v1/leave", json={"force": True}) as answer:
        assert await answer.json() == {"mesh": "m", "lost": ["w"]}
    async with client.post("/v1/leave", json={"forced": True}) as answer:
        assert "did you mean force?" in (await refused(answer, 400)).reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b"\x93NUM", "inside the .npy header"),
        (b'{"not": "npy"}', "not a .npy file"),
        (npy(X)[:-1], "the body has 23"),
        (npy(X) + b"!", "the body has 25"),
        (npy(np.ones((2, 3), np.int64)), "int64"),
    ],
)
async def test_a_wrong_body_is_refused_and_the_node_goes_on(
    client: aiohttp.ClientSession, body: bytes, words: str
) -> None:
    await put(client)
    async with client.post("/v1/weights/w/matmul", data=body) as answer:
        assert words in (await refused(answer, 400)).reason
    async with client.post("/v1/weights/w/matmul", data=npy(X)) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("body", [npy(X)[:-1], npy(X) + b"!", npy(X) + b"!" * 300_000])
async def test_chunks_that_sum_up_to_another_length_are_refused(
    client: aiohttp.ClientSession, body: bytes
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    await put(client)
    async with client.post("/v1/weights/w/matmul", data=pieces()) as answer:
        assert "24 bytes of values" in (await refused(answer, 400)).reason


async def test_a_compressed_body_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.put(
        "/v1/weights/w", data=b"\x1f\x8b", headers={"Content-Encoding": "gzip"}
    ) as answer:
        assert "Content-Encoding" in (await refused(answer, 400)).reason


async def test_paths_methods_and_parameters_that_are_not_there_are_named(
    client: aiohttp.ClientSession,
) -> None:
    async with client.get("/v1/weight") as answer:
        assert "/v1/weights" in (await refused(answer, 404)).reason
    async with client.patch("/v1/weights/w") as answer:
        assert "use DELETE, GET, PUT" in (await refused(answer, 405)).reason
    async with client.get("/v1/status?x=1") as answer:
        assert "x: no such parameter" in (await refused(answer, 400)).reason
    async with client.put("/v1/weights/w?replica=2", data=npy(W)) as answer:
        assert "did you mean replicas?" in (await refused(answer, 400)).reason


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (TaskError(ErrorCode.OVERLOADED, "busy", retry_after_s=2.5), 429, ErrorCode.OVERLOADED),
        (TaskError(ErrorCode.DEADLINE, "late"), 504, ErrorCode.DEADLINE),
        (PeerError("nonsense"), 503, ErrorCode.UNAVAILABLE),
        (ConfigError("write so"), 400, ErrorCode.BAD_REQUEST),
    ],
)
async def test_each_kind_of_failure_has_its_status(
    client: aiohttp.ClientSession,
    service: NumpyService,
    failure: Exception,
    status: int,
    code: ErrorCode,
) -> None:
    await put(client)
    service.rows_before_failing, service.failure = 0, failure
    async with client.post("/v1/weights/w/matmul", data=npy(X)) as answer:
        assert (await refused(answer, status)).code is code
        assert answer.headers.get("Retry-After") == ("3" if status == 429 else None)


async def test_our_own_mistakes_are_logged_and_not_shown(
    client: aiohttp.ClientSession, service: NumpyService, log: Log
) -> None:
    await put(client)
    service.rows_before_failing = 0
    service.failure = ZeroDivisionError("secret")
    async with client.post("/v1/weights/w/matmul", data=npy(X)) as answer:
        assert "secret" not in await answer.text()
        assert (await refused(answer, 500)).code is ErrorCode.INTERNAL
    assert "api.failed" in log.names


async def test_an_answer_that_fails_half_way_is_cut_off(
    client: aiohttp.ClientSession, service: NumpyService
) -> None:
    await put(client, np.zeros((1000, 1000), np.float32))
    service.rows_before_failing = 500
    async with client.get("/v1/weights/w?format=npy") as answer:
        assert answer.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert service.closed.is_set()


async def test_a_client_that_goes_away_cancels_its_task(
    api: RunningApi, service: NumpyService
) -> None:
    host, port = where(api)
    _, writer = await asyncio.open_connection(host, port)
    head = f"PUT /v1/weights/w HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
    writer.write(head.encode() + b"Content-Length: 176\r\n\r\n" + npy(W)[:150])
    await writer.drain()
    await service.begun.wait()
    writer.close()

    async with asyncio.timeout(2):
        await service.cancelled.wait()


async def test_a_reader_that_goes_away_closes_its_answer(
    api: RunningApi, service: NumpyService
) -> None:
    async with aiohttp.ClientSession(api.url, headers=BEARER) as client:
        await put(client, np.zeros((4000, 4000), np.float32))
        async with client.get("/v1/weights/w?format=npy") as answer:
            await answer.content.read(1000)
            answer.close()

    async with asyncio.timeout(2):
        await service.closed.wait()


async def test_foreign_hosts_and_origins_and_missing_tokens_are_refused(api: RunningApi) -> None:
    async with aiohttp.ClientSession(api.url) as client:
        async with client.get("/v1/status", headers={"Host": "evil.example"}) as answer:
            assert "evil.example" in (await refused(answer, 403)).reason
        async with client.get("/v1/status", headers={"Origin": "http://evil.example"}) as answer:
            assert (await refused(answer, 403)).code is ErrorCode.FORBIDDEN
        async with client.put("/v1/weights/w", data=npy(W)) as answer:
            assert "api.token" in (await refused(answer, 401)).reason
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        for path in ("/v1/tickets", "/v1/leave"):
            async with client.post(path) as answer:
                assert (await refused(answer, 401)).code is ErrorCode.UNAUTHORIZED
        async with client.post("/v1/plan", json={"rows": 1, "columns": 1}) as answer:
            assert answer.status == 200


async def test_bytes_that_are_no_http_leave_the_node_alone(
    api: RunningApi, client: aiohttp.ClientSession, log: Log
) -> None:
    reader, writer = await asyncio.open_connection(*where(api))
    writer.write(b"\x16\x03\x01 hello \r\n\r\n")
    await writer.drain()
    assert b"400" in await reader.read()
    writer.close()

    assert "api.not_http" in log.names
    async with client.get("/livez") as answer:
        assert answer.status == 200


async def test_a_taken_port_is_named_with_what_to_write(
    api: RunningApi, service: NumpyService
) -> None:
    port = int(api.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=rf"port {port} .*--api 127\.0\.0\.1:0"):
        await start_api(service, "127.0.0.1", port, TOKEN, Log())


@pytest.mark.parametrize(
    ("host", "words"), [("no-such-host.invalid", "unknown"), ("192.0.2.77", "no address of this")]
)
async def test_an_address_that_is_not_ours_is_refused(
    service: NumpyService, host: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        await start_api(service, host, 0, TOKEN, Log())


async def test_a_node_on_all_addresses_is_reached_at_loopback_with_its_token(
    service: NumpyService, log: Log
) -> None:
    api = await start_api(service, "0.0.0.0", 0, TOKEN, log)
    assert api.url.startswith("http://127.0.0.1:")
    async with aiohttp.ClientSession(api.url) as client:
        async with client.get("/v1/status") as answer:
            assert (await refused(answer, 401)).code is ErrorCode.UNAUTHORIZED
        async with client.get("/v1/status", headers=BEARER) as answer:
            assert answer.status == 200
    await api.close()


async def test_closing_takes_less_than_a_second_with_all_kinds_of_clients(
    service: NumpyService, log: Log
) -> None:
    api = await start_api(service, "127.0.0.1", 0, TOKEN, log)
    idle = socket.create_connection(where(api))
    stuck = asyncio.Event()
    service.act = stuck.wait
    async with aiohttp.ClientSession(api.url, headers=BEARER) as client:
        working = asyncio.ensure_future(client.put("/v1/weights/w", data=npy(W)))
        await service.begun.wait()

        began = time.monotonic()
        await api.close()
        took_s = time.monotonic() - began

        assert took_s < 1.0
        assert service.cancelled.is_set()
        assert "stopping" in (await refused(await working, 503)).reason
    idle.close()


async def test_a_device_of_one_s_own_fits_in_the_request_line(
    client: aiohttp.ClientSession, service: NumpyService
) -> None:
    device = '"' * DEVICE_CHARS_MAX

    async with client.put("/v1/weights/w", params={"device": device}, data=npy(W)) as answer:
        assert answer.status == 201, await answer.text()
    async with client.put("/v1/weights/w", params={"device": device + "x"}, data=npy(W)) as more:
        error = await refused(more, 400)

    assert isinstance(service.asked[0], PutRequest) and service.asked[0].device == device
    assert "length <= 4096" in error.reason and len(error.reason) < 200
