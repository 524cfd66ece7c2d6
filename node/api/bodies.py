"""Bodies on their way through aiohttp, piece by piece: a tensor is never held whole here.

`await request.read()` costs 3.6 CPU s/GB and twice the tensor; reading what has come costs 0.8 and half a MiB.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from aiohttp import web

from node.service import MatrixAnswer, MatrixBody
from protocol import npy
from protocol.errors import ErrorCode, TaskError
from protocol.npy import NpyHeader

CONTROL_BYTES_MAX = 1024 * 1024
"""JSON or MessagePack in a request."""

STALL_S_MAX = 60.0
"""A client that neither sends nor takes a byte for so long is given up: it pins buffers of the mesh."""

PIECE_BYTES = 256 * 1024
"""Handed to the socket at once: enough to fill its buffer, little enough to keep a slow client's share small."""


async def read_control(request: web.Request) -> bytes:
    """A body of at most CONTROL_BYTES_MAX."""
    _check_encoding(request)
    await _go_ahead(request)
    body = bytearray()
    while chunk := await _next(request):
        body += chunk
        if len(body) > CONTROL_BYTES_MAX:
            raise TaskError(
                ErrorCode.TOO_LARGE, f"the body has more than {CONTROL_BYTES_MAX} bytes"
            )
    return bytes(body)


async def read_matrix(request: web.Request, deadline_s: float) -> MatrixBody:
    """The header of a .npy body, read and checked, before the first of its values."""
    _check_encoding(request)
    await _go_ahead(request)
    prefix = b""
    try:
        async with asyncio.timeout(deadline_s):
            while (header := npy.parse(prefix)) is None:
                chunk = await _next(request)
                if not chunk:
                    raise _cut_in_header(len(prefix))
                prefix += chunk
    except TimeoutError as late:
        reason = f"the deadline of {deadline_s:g} s passed before the .npy header had come"
        raise TaskError(ErrorCode.DEADLINE, reason) from late
    _check_length(request.content_length, header)
    return MatrixBody(header, _values(request, header, prefix[header.header_bytes :]))


async def send_matrix(
    request: web.Request, answer: MatrixAnswer, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The answer as a .npy body; nothing is sent before its first values are there.

    An answer that fails half-way is cut off: the client sees fewer bytes than Content-Length says, since an error
    can no longer be told. A chunk may be reused as soon as the next one is asked for: writing ends only when the
    kernel has all of it (a transport may keep a reference to what it could not send yet).
    """
    head = npy.encode_header(answer.shape)
    values_bytes = 4 * math.prod(answer.shape)
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/octet-stream"
    response.content_length = len(head) + values_bytes
    sent = 0
    try:
        async for chunk in answer.chunks:
            if not response.prepared:
                _write_through(request)
                await response.prepare(request)
                await response.write(head)
            sent += chunk.nbytes
            assert sent <= values_bytes
            await _send(request, response, chunk.cast("B"))
        assert sent == values_bytes
        await response.write_eof()
        return response
    finally:
        if sent < values_bytes and response.prepared and request.transport is not None:
            request.transport.abort()
        if isinstance(answer.chunks, AsyncGenerator):
            await answer.chunks.aclose()


async def _send(request: web.Request, response: web.StreamResponse, chunk: memoryview) -> None:
    for begin in range(0, len(chunk), PIECE_BYTES):
        try:
            async with asyncio.timeout(STALL_S_MAX):
                await response.write(chunk[begin : begin + PIECE_BYTES])
                await request.writer.drain()
        except TimeoutError as stalled:
            reason = f"the client took nothing for {STALL_S_MAX:g} s"
            raise TaskError(ErrorCode.DEADLINE, reason) from stalled


def _write_through(request: web.Request) -> None:
    """Make `drain` wait until the kernel has taken everything, not until little is left."""
    if request.transport is not None:
        request.transport.set_write_buffer_limits(high=0)


async def _go_ahead(request: web.Request) -> None:
    """Ask for the body, from who waits to be asked (curl does, past 1 MiB): only now is it known to be wanted."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The answer proper has not begun; aiohttp reads from this whether an error can still be told.
        request.writer.output_size = 0


async def _next(request: web.Request) -> bytes:
    """What has come, or nothing at the end of the body."""
    try:
        async with asyncio.timeout(STALL_S_MAX):
            return await request.content.readany()
    except TimeoutError as stalled:
        reason = f"the client sent nothing for {STALL_S_MAX:g} s"
        raise TaskError(ErrorCode.DEADLINE, reason) from stalled
    except web.RequestPayloadError as broken:
        reason = f"the body cannot be read as HTTP frames it: {broken}"
        raise TaskError(ErrorCode.BAD_REQUEST, reason) from broken
    except ConnectionError as gone:
        reason = "the client closed the connection before all of the body had come"
        raise TaskError(ErrorCode.CANCELLED, reason) from gone


async def _values(request: web.Request, header: NpyHeader, chunk: bytes) -> AsyncIterator[bytes]:
    """Exactly as many bytes as the header says. The last ones are held back until the body is seen to end."""
    missing = header.values_bytes - len(chunk)
    while missing > 0:
        if chunk:
            yield chunk
        chunk = await _next(request)
        if not chunk:
            raise _wrong_length(header, header.values_bytes - missing)
        missing -= len(chunk)
    if missing < 0 or await _next(request):
        raise _wrong_length(header, None)
    yield chunk


def _check_encoding(request: web.Request) -> None:
    if encoding := request.headers.get("Content-Encoding"):
        raise TaskError(
            ErrorCode.BAD_REQUEST,
            f"a body with Content-Encoding: {encoding} is not taken: send it as it is",
        )


def _check_length(content_length: int | None, header: NpyHeader) -> None:
    """What HTTP says is compared at once, so that nothing is reserved for a body that cannot be right."""
    if content_length is not None and content_length != header.header_bytes + header.values_bytes:
        raise _wrong_length(header, content_length - header.header_bytes)


def _wrong_length(header: NpyHeader, values_bytes: int | None) -> TaskError:
    has = "more" if values_bytes is None else str(values_bytes)
    return TaskError(
        ErrorCode.BAD_REQUEST,
        f"the .npy header says {header.values_bytes} bytes of values for the shape {header.shape},"
        f" and the body has {has}: was the file cut, or sent otherwise than"
        " with `curl --data-binary @X.npy`?",
    )


def _cut_in_header(came_bytes: int) -> TaskError:
    if came_bytes == 0:
        reason = "the body is empty: send a .npy file, as with `curl --data-binary @X.npy`"
    else:
        reason = f"the body ends after {came_bytes} bytes, inside the .npy header: was it cut?"
    return TaskError(ErrorCode.BAD_REQUEST, reason)
