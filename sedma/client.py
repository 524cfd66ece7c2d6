"""The mesh from Python: put matrices into it, multiply by them, and see how exact each answer is."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sedma.bodies import Body, FileBody
from sedma.devices import Device, device_text
from sedma.npy import ArrayBody, Matrix, read_array
from sedma.transport import Progress, Transport, quoted

IN_FLIGHT = 8
"""Requests that `submit` and `map` keep under way at once; more would wait in the daemon instead of here."""
PUT_S_MAX = 3600.0
"""The longest a put may take, which is also the daemon's limit."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """How exact an answer is."""

    bound: float | None
    """||Y' - X W||_F / ||X W||_F is below this; None where X W is too small to tell."""
    confidence: float
    regime: str
    """How it was computed: digital, or the way the crossbars were driven."""
    analog_fraction: float
    """Share of the multiplications done on crossbars; the rest was digital fallback."""

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Certificate":
        """What a newer daemon may add is left aside."""
        return cls(told["bound"], told["confidence"], told["regime"], told["analog_fraction"])


class Answer(NDArray[np.float32]):
    """A product: an array that knows how exact it is. Arrays derived from it know nothing of that."""

    certificate: Certificate | None
    task: str
    """Its number in the logs of the mesh."""

    def __array_finalize__(self, obj: object) -> None:
        self.certificate = None
        self.task = ""


class Weights:
    """A matrix W (K, N) that lies in the mesh: `X @ w` is X W, and `Y @ w.T` is Y Wᵀ."""

    __array_ufunc__ = None
    """numpy leaves `X @ w` to `__rmatmul__`."""

    def __init__(self, client: "Client", info: dict[str, Any], transpose: bool = False) -> None:
        self._client = client
        self.info = info
        """The entry as the daemon told it: version, backend, device, replicas, holders, nbytes, ..."""
        self.name: str = info["name"]
        self.transpose = transpose
        rows, columns = info["shape"]
        self.shape: tuple[int, int] = (columns, rows) if transpose else (rows, columns)

    @property
    def T(self) -> "Weights":  # noqa: N802 - numpy's name for it
        return Weights(self._client, self.info, not self.transpose)

    def __rmatmul__(self, x: ArrayLike) -> Answer:
        return self.matmul(x)

    def matmul(
        self,
        x: ArrayLike,
        rtol: float | None = 1e-2,
        deadline: float = 30.0,
        deterministic: bool = False,
    ) -> Answer:
        """`X @ w` with a tolerance and a deadline of its own; see `Client.matmul`."""
        return self._client.matmul(self.name, x, rtol, deadline, self.transpose, deterministic)

    def get(self) -> Matrix:
        """The matrix itself."""
        whole = self._client.get(self.name)
        return whole.T if self.transpose else whole

    def rm(self) -> None:
        self._client.rm(self.name)

    def __repr__(self) -> str:
        return f"<Weights {self.name}{'.T' if self.transpose else ''} {self.shape}>"


class Client:
    """One daemon, and through it the mesh. Threads may share it."""

    def __init__(self, transport: Transport, after: Callable[[], None] | None = None) -> None:
        """`after` is called once the client is closed."""
        self._transport = transport
        self._after = after
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self._transport.endpoint.url

    # -- what there is -------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Of this node: id, name, state, budget_bytes, rss_bytes, free_bytes, peers, ..."""
        return self._object("GET", "/v1/status")

    def peers(self) -> list[dict[str, Any]]:
        """The other nodes: id, name, state, free_bytes, speed_macs_s, rtt_ms, path, nat, ..."""
        return self._array("/v1/peers")

    def weights(self) -> list[Weights]:
        return [Weights(self, info) for info in self._array("/v1/weights")]

    def __getitem__(self, name: str) -> Weights:
        """Weights that are in the mesh; SedmaError (`not_found`) if there are none of that name."""
        return Weights(self, self._object("GET", f"/v1/weights/{quoted(name)}"))

    def plan(
        self,
        name: str | None = None,
        *,
        shape: tuple[int, int] | None = None,
        replicas: int = 1,
        backend: str | None = None,
        device: Device | None = None,
        only: Iterable[str] = (),
        avoid: Iterable[str] = (),
        m: int = 1,
    ) -> dict[str, Any]:
        """Whether and where a matrix of this shape would fit, or where weights lie; and how long a product
        with `m` rows would take."""
        rows, columns = shape or (None, None)
        asked: dict[str, Any] = {
            "name": name,
            "rows": rows,
            "columns": columns,
            "backend": backend,
            "device": device_text(device),
            "m": m,
        }
        asked |= {"replicas": replicas, "only": list(only), "avoid": list(avoid)}
        given = {key: value for key, value in asked.items() if value is not None}
        return self._object("POST", "/v1/plan", given)

    def ticket(
        self, ttl_s: float = 86_400.0, uses: int = 16, may_invite: bool = False
    ) -> dict[str, Any]:
        """A ticket to join this mesh by: ticket, expires_at (Unix time), uses, addresses, warning."""
        asked = {"ttl_s": ttl_s, "uses": uses, "may_invite": may_invite}
        return self._object("POST", "/v1/tickets", asked)

    # -- weights -------------------------------------------------------------------------------------

    def put(
        self,
        name: str,
        w: ArrayLike | Path,
        *,
        replicas: int = 1,
        backend: str | None = None,
        device: Device | None = None,
        seed: int | None = None,
        only: Iterable[str] = (),
        avoid: Iterable[str] = (),
        progress: Progress | None = None,
    ) -> Weights:
        """Spread a matrix (K, N) over the mesh; a Path names a .npy file, which is streamed.

        `device` is a name, the Path of a TOML file, or a dictionary of what differs from the device named by `base`.
        NoRoom if the mesh cannot hold it `replicas` times.
        """
        body: Body = FileBody.of(w) if isinstance(w, Path) else ArrayBody.of(w, "W")
        query: dict[str, Any] = {"replicas": replicas, "backend": backend}
        query["device"] = device_text(device)
        query |= {"seed": seed, "only": tuple(only) or None, "avoid": tuple(avoid) or None}
        path = f"/v1/weights/{quoted(name)}"
        with self._transport.request(
            "PUT", path, query, body, patience_s=PUT_S_MAX, progress=progress
        ) as reply:
            return Weights(self, reply.json())

    def get(self, name: str) -> Matrix:
        """The matrix of these weights, as float32."""
        path = f"/v1/weights/{quoted(name)}"
        with self._transport.request("GET", path, {"format": "npy"}) as reply:
            return read_array(reply)

    def rm(self, name: str) -> None:
        """Take weights out of the mesh."""
        self._transport.document("DELETE", f"/v1/weights/{quoted(name)}")

    # -- products ------------------------------------------------------------------------------------

    def matmul(
        self,
        name: str,
        x: ArrayLike | Path,
        rtol: float | None = 1e-2,
        deadline: float = 30.0,
        transpose: bool = False,
        deterministic: bool = False,
    ) -> Answer:
        """Y = X W, or Y Wᵀ with `transpose`; X is (M, K) or (K,), or the Path of a .npy file.

        `rtol` bounds ||Y' - X W||_F / ||X W||_F; None asks for the raw analog product. `deadline` is in
        seconds; DeadlineExceeded if it passes.
        """
        body: Body = FileBody.of(x) if isinstance(x, Path) else ArrayBody.of(x, "X")
        query = {
            "rtol": "none" if rtol is None else rtol,
            "deadline": f"{deadline:.6f}s",
            "transpose": transpose,
            "deterministic": deterministic,
        }
        path = f"/v1/weights/{quoted(name)}/matmul"
        with self._transport.request("POST", path, query, body, patience_s=deadline) as reply:
            answer = read_array(reply).view(Answer)
            if told := reply.headers.get("Sedma-Certificate"):
                answer.certificate = Certificate.of(json.loads(told))
            answer.task = reply.headers.get("Sedma-Task", "")
        return answer

    def task(self, task: str) -> dict[str, Any]:
        """What a product took (`answer.task` names it): certificate, and account with seconds, bytes, energy_j
        and the work of each node. The daemon that led it keeps the last thousand."""
        return self._object("GET", f"/v1/tasks/{quoted(task)}")

    def submit(self, name: str, x: ArrayLike | Path, **options: Any) -> Future[Answer]:
        """`matmul` in the background; at most IN_FLIGHT are under way at once."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="sedma")
            return self._pool.submit(self.matmul, name, x, **options)

    def map(
        self,
        name: str,
        xs: Iterable[ArrayLike | Path],
        *,
        progress: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Iterator[Answer]:
        """The products of many X in their order, several under way at once; `progress` hears how many are
        done. Of `xs` no more are taken than are needed next."""
        source = iter(xs)
        waiting = [self.submit(name, x, **options) for x in islice(source, IN_FLIGHT + 1)]
        done = 0
        try:
            while waiting:
                answer = waiting.pop(0).result()
                waiting += [self.submit(name, x, **options) for x in islice(source, 1)]
                done += 1
                if progress:
                    progress(done)
                yield answer
        finally:
            for future in waiting:
                future.cancel()

    # -- the end -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the daemon; one that was started for this client ends."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(wait=True, cancel_futures=True)
        self._transport.close()
        if self._after:
            self._after()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self.url}>"

    def _object(self, method: str, path: str, send: Any = None) -> dict[str, Any]:
        document = self._transport.document(method, path, send=send)
        if not isinstance(document, dict):
            raise self._transport.stranger(f"{path} is no JSON object")
        return document

    def _array(self, path: str) -> list[dict[str, Any]]:
        document = self._transport.document("GET", path)
        if not isinstance(document, list):
            raise self._transport.stranger(f"{path} is no JSON array")
        return document
