"""How a failed request is told over HTTP: a status, and a JSON body that a person and a program can use."""

import math

import msgspec
from aiohttp import web

from protocol.errors import ConfigError, ErrorCode, ErrorInfo, PeerError, SedmaError, TaskError

STATUS = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.OVERLOADED: 429,
    ErrorCode.NO_ROOM: 507,
    ErrorCode.DEADLINE: 504,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.CANCELLED: 503,
    ErrorCode.WRONG_MESH: 409,
    ErrorCode.TICKET_EXPIRED: 403,
    ErrorCode.TICKET_USED_UP: 403,
    ErrorCode.TICKET_INVALID: 403,
    ErrorCode.VERSION_MISMATCH: 409,
    ErrorCode.INTERNAL: 500,
}

RETRY_AFTER_S = 1.0
"""Told with a shed request when nobody estimated how long the queue takes."""

INTERNAL = ErrorInfo(
    code=ErrorCode.INTERNAL,
    reason="the node failed at this request; its log has the details",
)


def told(error: SedmaError) -> ErrorInfo:
    """What a client may know of an error."""
    match error:
        case TaskError():
            return error.info
        case ConfigError():
            return ErrorInfo(code=ErrorCode.BAD_REQUEST, reason=str(error))
        case PeerError():
            return ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=f"a peer broke off: {error}")
        case _:
            return ErrorInfo(code=ErrorCode.INTERNAL, reason=str(error))


def told_of_route(refused: web.HTTPException) -> ErrorInfo:
    """aiohttp's own refusals: no such path, or no such method on it."""
    match refused:
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(refused.allowed_methods))
            reason = f"{refused.method} is not possible here: use {allowed}"
            return ErrorInfo(code=ErrorCode.BAD_REQUEST, reason=reason)
        case web.HTTPNotFound():
            reason = "there is nothing at this path; there are /v1/status, /v1/peers, /v1/weights and /metrics"
            return ErrorInfo(code=ErrorCode.NOT_FOUND, reason=reason)
        case web.HTTPRequestEntityTooLarge():
            return ErrorInfo(code=ErrorCode.TOO_LARGE, reason=refused.text or refused.reason)
        case _:
            return ErrorInfo(code=ErrorCode.BAD_REQUEST, reason=refused.text or refused.reason)


def refusal(info: ErrorInfo, status: int | None = None) -> web.Response:
    """The answer; `status` only where HTTP has a finer one than the code."""
    response = web.Response(
        status=status or STATUS[info.code],
        body=msgspec.json.encode(info) + b"\n",
        content_type="application/json",
    )
    if info.code is ErrorCode.OVERLOADED or info.retry_after_s is not None:
        seconds = RETRY_AFTER_S if info.retry_after_s is None else info.retry_after_s
        response.headers["Retry-After"] = str(max(1, math.ceil(seconds)))
    if info.code is ErrorCode.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Bearer realm="sedma"'
    return response
