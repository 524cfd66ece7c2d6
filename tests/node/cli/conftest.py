"""A daemon for the commands to talk to: fixed answers over HTTP, with a matrix that is kept and multiplied."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

STATUS = {
    "id": "abcdef",
    "name": "attic",
    "version": "0.1.0",
    "mesh": "m1",
    "state": "joining",
    "joining": "10.0.0.1:7879 refuses",
    "budget_bytes": 2 << 30,
    "rss_bytes": 1 << 30,
    "free_bytes": 1 << 29,
    "pinned_bytes": 0,
    "leased_bytes": 0,
    "disk_budget_bytes": 20 << 30,
    "disk_used_bytes": 0,
    "peers": 1,
    "weights": 1,
    "tasks_in_flight": 0,
    "tasks_done": 5,
    "tasks_failed": 1,
    "listen": ["[::]:7879"],
    "api": "http://127.0.0.1:7878",
    "data_dir": "/data",
    "can_invite": True,
    "uptime_s": 61.0,
    "packets": {"sent": 9, "received": 8, "dropped.forged": 2},
}
PEER = {
    "id": "0123456789abcdef",
    "name": "cellar",
    "state": "connected",
    "software": "sedma 0.1.0",
    "addresses": ["10.0.0.2:7879"],
    "budget_bytes": 1 << 30,
    "free_bytes": 1 << 29,
    "speed_macs_s": 2e10,
    "in_flight": 0,
    "rtt_ms": 0.52,
    "age_s": 3.0,
    "incarnation": 1_700_000_000,
    "why": "",
    "reach": "outgoing",
    "nat": "IPv4 symmetric NAT",
    "path": "relay",
    "via": "pub0",
    "path_rtt_ms": 0.8,
    "bytes_in": 2 << 10,
    "bytes_out": 3 << 20,
}
WEIGHTS = {
    "name": "w",
    "shape": [30, 20],
    "dtype": "float32",
    "backend": "digital",
    "device": "",
    "replicas": 2,
    "blocks": 1,
    "nbytes": 2400,
    "holders": {"abcdef": 1, "0123": 1},
    "missing": 1,
    "converted": ["float64 to float32"],
}
TICKET = {
    "ticket": "sedma1abc",
    "expires_at": 2e9,
    "uses": 16,
    "addresses": [],
    "warning": "listens on loopback only",
}
PLAN = {
    "fits": False,
    "reason": "too large",
    "shape": [9216, 4608],
    "replicas": 1,
    "need": 3 << 20,
    "free": 2 << 20,
    "nearest_fit": 1 << 20,
    "shares": [{"node": "abcdef", "name": "attic", "blocks": 1, "nbytes": 9, "free_bytes": 9}],
    "seconds": 0.25,
}
ACCOUNT = {"energy_j": 0.0, "latency_s": 0.0, "bytes": 0, "seconds": 1.5, "work": []}
COUNTS = {"decisions": 1, "probes": 1, "hedges": 1, "rescues": 0, "failures": 0, "refusals": 0}
TASKS: dict[str, Any] = {
    "t1": {
        "id": "t1",
        "name": "w",
        "state": "done",
        "certificate": None,
        "account": ACCOUNT,
        "error": "",
        "explain": {
            "shape": "whole",
            "why": "it is expected to be done first",
            "seconds": 0.25,
            "left_s": 30.0,
            "rows": 4,
            "candidates": [
                {
                    "node": "0123456789abcdef",
                    "blocks": 2,
                    "rtt_s": 0.1,
                    "transfer_s": 0.05,
                    "queue_s": 0.0,
                    "service_s": 0.1,
                    "cold_s": 0.0,
                    "risk_s": 0.0025,
                    "total_s": 0.2525,
                    "assumed_s": 0.0,
                    "age_s": 0.2,
                },
                {
                    "node": "abcdef",
                    "blocks": 0,
                    "rtt_s": 0.0,
                    "transfer_s": 0.0,
                    "queue_s": 1.0,
                    "service_s": 0.1,
                    "cold_s": 0.0,
                    "risk_s": 0.011,
                    "total_s": 1.111,
                    "assumed_s": 1.1,
                    "age_s": 0.0,
                },
            ],
            "others": [{"shape": "local", "nodes": ["abcdef"], "seconds": 1.111}],
            **COUNTS,
            "shed": False,
            "steps": [
                {
                    "at_s": 0.4,
                    "what": "hedged",
                    "node": "0123456789abcdef",
                    "to": "abcdef",
                    "why": "0.4 s where 0.25 s were expected",
                }
            ],
        },
    },
    "t2": {
        "id": "t2",
        "name": "w",
        "state": "failed",
        "certificate": None,
        "account": ACCOUNT | {"seconds": 0.001},
        "error": "there is no time",
        "explain": {
            "shape": "",
            "why": "",
            "seconds": 0.0,
            "left_s": 0.0,
            "rows": 0,
            "candidates": [],
            "others": [],
            **COUNTS,
            "shed": True,
            "steps": [],
        },
    },
}
ERRORS = {
    "full": (507, {"code": "no_room", "reason": "no room", "need": 2 << 30, "free": 1 << 30}),
    "late": (504, {"code": "deadline", "reason": "too late"}),
    "none": (404, {"code": "not_found", "reason": "no weights none"}),
    "theirs": (401, {"code": "unauthorized", "reason": "no token"}),
    "crooked": (400, {"code": "bad_request", "reason": "not a .npy file: save it with numpy.save"}),
    "busy": (429, {"code": "overloaded", "reason": "busy", "retry_after_s": 2.0, "trace": "t2"}),
}


LEFT = {"mesh": "d927fd77aa", "lost": ["v", "w"]}
ALONE = {"code": "conflict", "reason": "parts of v, w are on this node alone"}


class Daemon(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.matrix: Any = None
        self.gone = False
        """It has ended: nobody is answered."""
        self.seen: list[tuple[str, str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Daemon

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.start()
        answers = {"/v1/status": STATUS, "/v1/peers": [PEER], "/v1/weights": [WEIGHTS]}
        if self.server.gone:
            self.close_connection = True
        elif "format=npy" in self.path:
            self.npy(self.server.matrix)
        elif self.path.startswith("/v1/tasks/"):
            task = self.path.rpartition("/")[2]
            unknown = {"code": "not_found", "reason": f"no product {task}"}
            self.document(*((200, TASKS[task]) if task in TASKS else (404, unknown)))
        else:
            self.document(200, answers[self.path])

    def do_PUT(self) -> None:
        name, body = self.start(), self.body()
        if name in ERRORS:
            self.document(*ERRORS[name])
        else:
            self.server.matrix = np.load(io.BytesIO(body))
            self.document(201, WEIGHTS)

    def do_POST(self) -> None:
        name, body = self.start(), self.body()
        if self.path in ("/v1/plan", "/v1/tickets"):
            self.server.seen[-1] = ("POST", self.path, json.loads(body))
            self.document(200, PLAN if self.path == "/v1/plan" else TICKET)
        elif self.path == "/v1/leave":
            self.server.gone = json.loads(body)["force"]
            self.document(*((200, LEFT) if self.server.gone else (409, ALONE)))
        elif name in ERRORS:
            self.document(*ERRORS[name])
        else:
            exact = {"bound": 2e-3, "confidence": 0.999999, "regime": "fast", "analog_fraction": 1}
            told = {"Sedma-Certificate": json.dumps(exact), "Sedma-Task": "t1"}
            self.npy(np.load(io.BytesIO(body)) @ self.server.matrix, told)

    def do_DELETE(self) -> None:
        self.start()
        self.send_response(204)
        self.end_headers()

    def start(self) -> str:
        parts = urlsplit(self.path)
        self.server.seen.append((self.command, parts.path, parse_qs(parts.query)))
        return [*parts.path.split("/"), "", ""][3]

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

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


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """Found by its data directory, as a person's own daemon is."""
    with Daemon() as server:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "api.url").write_text(f"http://127.0.0.1:{server.server_address[1]}")
        (tmp_path / "state" / "api.token").write_text("secret")
        monkeypatch.setenv("SEDMA_DATA_DIR", str(tmp_path / "state"))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
