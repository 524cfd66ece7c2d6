"""A small HTTP server that keeps matrices and multiplies them by numpy: the other side of the client."""

import io
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

TOKEN = "secret"


class Mesh(ThreadingHTTPServer):
    """What the server holds, and what it saw."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.matrices: dict[str, Any] = {}
        self.seen: list[tuple[str, str, dict[str, list[str]]]] = []
        self.connections = 0
        self.hang_up_after_each = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Mesh

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def log_message(self, *args: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        super().handle_one_request()
        if self.server.hang_up_after_each:
            self.close_connection = True

    def do_GET(self) -> None:
        name = self.start()
        if self.path == "/v1/status":
            self.document(200, {"id": "abc", "state": "ready"})
        elif self.path == "/v1/weights":
            self.document(200, [self.entry(one) for one in sorted(self.server.matrices)])
        elif self.path == "/v1/peers":
            self.document(200, [])
        elif "format=npy" in self.path:
            self.npy(self.server.matrices[name])
        elif name in self.server.matrices:
            self.document(200, self.entry(name))
        else:
            self.document(404, {"code": "not_found", "reason": f"no weights {name}"})

    def do_PUT(self) -> None:
        name = self.start()
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.refuse(401, {"code": "unauthorized", "reason": "no token"})
        elif name == "huge":
            told = {"reason": "no room", "need": 3, "free": 2, "nearest_fit": 1}
            self.refuse(507, {"code": "no_room"} | told)
        else:
            self.server.matrices[name] = self.array()
            self.document(201, self.entry(name))

    def do_POST(self) -> None:
        name = self.start()
        if self.path in ("/v1/plan", "/v1/tickets"):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.document(200, {"asked": asked})
            return
        x, w = self.array(), self.server.matrices[name]
        query = self.server.seen[-1][2]
        if name == "slow":
            time.sleep(0.3)
        if query["deadline"] == ["0.000001s"]:
            self.document(504, {"code": "deadline", "reason": "too late"})
            return
        exact = {"bound": 1e-7, "confidence": 0.999999, "regime": "digital", "analog_fraction": 0}
        told = {"Sedma-Certificate": json.dumps(exact | {"news": 1}), "Sedma-Task": "t1"}
        self.npy(x @ (w.T if query["transpose"] == ["true"] else w), told)

    def do_DELETE(self) -> None:
        self.server.matrices.pop(self.start())
        self.send_response(204)
        self.end_headers()

    def start(self) -> str:
        parts = urlsplit(self.path)
        self.server.seen.append((self.command, parts.path, parse_qs(parts.query)))
        return [*parts.path.split("/"), "", ""][3]

    def array(self) -> Any:
        return np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))

    def entry(self, name: str) -> dict[str, Any]:
        return {"name": name, "shape": list(self.server.matrices[name].shape)}

    def npy(self, array: Any, headers: dict[str, str] | None = None) -> None:
        body = io.BytesIO()
        np.save(body, np.asarray(array, dtype="<f4"))
        self.answer(200, body.getvalue(), headers or {})

    def document(self, status: int, document: Any) -> None:
        self.answer(status, json.dumps(document).encode(), {})

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for header in headers.items():
            self.send_header(*header)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, document: Any) -> None:
        """Answer at once and read nothing of the body."""
        self.document(status, document)
        self.close_connection = True


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with Mesh() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
