"""What each path does: read the request, ask the service, write the answer."""

from dataclasses import dataclass

import msgspec
from aiohttp import web

from node.api import query
from node.api.bodies import read_control, read_matrix, send_matrix
from node.api.exposition import CONTENT_TYPE, exposition
from node.service import Service
from protocol.client import LeaveRequest, PlanRequest, TicketRequest
from protocol.errors import ErrorCode, TaskError
from protocol.limits import DEADLINE_S_MAX

OPEN_ON_LOOPBACK = frozenset({"matmul", "plan"})
"""Routes that change nothing though they are no GET."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for a product whose request does not say."""

    rtol: float | None = 1e-2
    deadline_s: float = 30.0


class Routes:
    def __init__(self, service: Service, defaults: Defaults) -> None:
        self._service = service
        self._defaults = defaults

    def add_to(self, router: web.UrlDispatcher) -> None:
        weights = "/v1/weights/{name}"
        for path, handler in {
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/metrics": self._metrics,
            "/v1/status": self._status,
            "/v1/peers": self._peers,
            "/v1/weights": self._all_weights,
            weights: self._weights,
            "/v1/tasks/{id}": self._task,
        }.items():
            router.add_get(path, handler, allow_head=False)
        for method, path, handler, name in (
            ("PUT", weights, self._put, "put"),
            ("DELETE", weights, self._remove, "remove"),
            ("POST", weights + "/matmul", self._matmul, "matmul"),
            ("POST", "/v1/plan", self._plan, "plan"),
            ("POST", "/v1/tickets", self._ticket, "ticket"),
            ("POST", "/v1/leave", self._leave, "leave"),
        ):
            router.add_route(method, path, handler, name=name, expect_handler=_ask_later)

    async def _livez(self, request: web.Request) -> web.Response:
        return _control(request, {"live": True})

    async def _readyz(self, request: web.Request) -> web.Response:
        if not self._service.ready:
            status = self._service.status()
            reason = status.joining or f"the node is {status.state}"
            raise TaskError(ErrorCode.UNAVAILABLE, reason, node=status.id)
        return _control(request, {"ready": True})

    async def _metrics(self, request: web.Request) -> web.Response:
        """Whatever a scraper adds as parameters: there is one answer."""
        text = exposition(self._service.metrics())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})

    async def _status(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        return _control(request, self._service.status())

    async def _peers(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        return _control(request, self._service.peers())

    async def _all_weights(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        return _control(request, self._service.weights())

    async def _weights(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if query.weights_format(request.query.items()) == "npy":
            answer = await self._service.download(name)
            disposition = f'attachment; filename="{name}.npy"'
            return await send_matrix(request, answer, {"Content-Disposition": disposition})
        entries = {entry.name: entry for entry in self._service.weights()}
        if name not in entries:
            hint = query.nearest(name, entries)
            raise TaskError(ErrorCode.NOT_FOUND, f"no weights are named {name}{hint}")
        return _control(request, entries[name], headers={"ETag": f'"{entries[name].version}"'})

    async def _put(self, request: web.Request) -> web.Response:
        wanted = query.put_request(
            request.match_info["name"],
            request.query.items(),
            request.headers.get("If-Match"),
            DEADLINE_S_MAX,
        )
        body = await read_matrix(request, wanted.deadline_s)
        entry = await self._service.put(wanted, body)
        return _control(request, entry, status=201, headers={"ETag": f'"{entry.version}"'})

    async def _remove(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        version = query.wanted_version(request.headers.get("If-Match"))
        await self._service.remove(request.match_info["name"], version)
        return web.Response(status=204)

    async def _matmul(self, request: web.Request) -> web.StreamResponse:
        wanted = query.matmul_request(
            request.match_info["name"],
            request.query.items(),
            rtol=self._defaults.rtol,
            deadline_s=self._defaults.deadline_s,
        )
        body = await read_matrix(request, wanted.deadline_s)
        answer = await self._service.matmul(wanted, body)
        headers = {"Sedma-Task": answer.task}
        if answer.certificate is not None:
            headers["Sedma-Certificate"] = msgspec.json.encode(answer.certificate).decode()
        if converted := dict.fromkeys((*body.header.converted, *answer.converted)):
            headers["Sedma-Converted"] = "; ".join(converted)
        return await send_matrix(request, answer, headers)

    async def _task(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        return _control(request, self._service.task(request.match_info["id"]))

    async def _plan(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        body = await read_control(request)
        wanted = query.control_request(PlanRequest, body, _content_type(request))
        return _control(request, self._service.plan(wanted))

    async def _ticket(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        body = await read_control(request)
        wanted = query.control_request(TicketRequest, body, _content_type(request))
        return _control(request, await self._service.ticket(wanted))

    async def _leave(self, request: web.Request) -> web.Response:
        query.no_parameters(request.query.items())
        body = await read_control(request)
        wanted = query.control_request(LeaveRequest, body, _content_type(request))
        return _control(request, await self._service.leave(wanted))


async def _ask_later(request: web.Request) -> None:
    """For `Expect: 100-continue`: the handler asks for the body once it knows that it wants it."""


def _content_type(request: web.Request) -> str:
    return request.headers.get("Content-Type", "").lower()


def _control(
    request: web.Request, value: object, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """JSON with a newline for the terminal, or MessagePack for who accepts it."""
    if query.is_msgpack(request.headers.get("Accept", "").lower()):
        kind, body = "application/msgpack", msgspec.msgpack.encode(value)
    else:
        kind, body = "application/json", msgspec.json.encode(value) + b"\n"
    return web.Response(status=status, body=body, content_type=kind, headers=headers)
