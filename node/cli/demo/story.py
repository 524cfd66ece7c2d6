"""The demo from its first act to its last: what is done with the fleet, and in which order.

1. The largest daemon, alone, refuses the matrix.
2. The others join by its ticket; now the matrix fits, twice over.
3. The picture is recovered with products in the mesh; half-way a holder is killed, and the picture goes on.
4. The victim comes back. The same matrix goes onto simulated crossbars: first their raw products are taken as
   they are, then each product has to keep a tolerance.
"""

import time
from collections.abc import Callable

from compute.partition import Matrix
from node.cli.demo.camera import MEASUREMENTS, PIXELS, SIDE, patterns, photo, psnr_db
from node.cli.demo.fleet import Daemon, Fleet, FleetError
from node.cli.demo.mesh import MeshProducts
from node.cli.demo.outcome import Act, Acts, Holder, Iteration, Kill, Refusal, Upload
from node.cli.demo.recovery import Products, local_products, recover
from node.cli.demo.screen import Screen
from protocol.quantities import duration_text, size_text
from sedma.client import Client
from sedma.errors import NoRoom

MIB = 1024 * 1024
COORDINATOR_BYTES = 208 * MIB
OTHERS_BYTES = (160 * MIB, 176 * MIB, 192 * MIB)
"""No budget is enough for the matrix of 162 MiB and a daemon; all together hold it twice."""

WEIGHTS = "mirrors"
SEED = 7
"""Of the mirror patterns and of the simulated devices."""

ITERATIONS = 20
NAIVE_ITERATIONS = 10
KILL_AT = 8
RTOL = 1e-2
GATHERED_S = 15.0
POLL_S = 0.05


class Story:
    """Plays on a fleet that is running as long as the story lasts, and keeps what it saw."""

    def __init__(self, fleet: Fleet, screen: Screen) -> None:
        self.scene = photo()
        self.refusal: Refusal | None = None
        self.uploads: list[Upload] = []
        self._patterns = patterns(PIXELS, MEASUREMENTS, SEED)
        self._measured: Matrix = self.scene @ self._patterns
        self._fleet = fleet
        self._screen = screen
        self._blocks: dict[str, dict[str, int]] = {}
        """Backend to holders: node id to blocks."""
        self._ids: dict[str, str] = {}
        """Name of a daemon to its node id."""

    def play(self) -> tuple[Acts, Kill]:
        coordinator = self._start_alone()
        with self._fleet.connect(coordinator) as client:
            self._try_alone(client, coordinator)
            self._gather(client)
            self._put(client, "digital", replicas=2)
            victim = self._victim(coordinator)
            digital = self._digital(client, victim)
            local = self._local()
            self._bring_back(client, victim)
            client.rm(WEIGHTS)
            self._put(client, "rram", replicas=1)
            naive = self._analog(client, "analog naive", None, NAIVE_ITERATIONS)
            certified = self._analog(client, "analog certified", RTOL, ITERATIONS)
        return Acts(local, digital, naive, certified), Kill(victim.name, KILL_AT)

    def holders(self) -> tuple[Holder, ...]:
        """Who held what; call it when the fleet has been stopped, for then the peaks are final."""
        return tuple(
            Holder(
                daemon.name,
                daemon.budget_bytes,
                daemon.sampled_peak_bytes,
                daemon.kernel_peak_bytes,
                self._held("digital", daemon),
                self._held("rram", daemon),
            )
            for daemon in self._fleet.daemons
        )

    # -- the acts, in order ------------------------------------------------------------------------

    def _start_alone(self) -> Daemon:
        matrix = size_text(self._patterns.nbytes)
        self._say(
            f"A real photograph ({SIDE} x {SIDE}), a simulated single-pixel camera:"
            f" {MEASUREMENTS} measurements of {PIXELS} pixels by a matrix of {matrix}."
        )
        return self._start(COORDINATOR_BYTES, ticket=None)

    def _try_alone(self, client: Client, coordinator: Daemon) -> None:
        try:
            client.put(WEIGHTS, self._patterns, replicas=1, backend="digital")
        except NoRoom as error:
            self.refusal = Refusal(
                coordinator.name, error.reason, error.need, error.free, error.nearest_fit
            )
            self._say(f"{coordinator.name} alone refuses: {_told(self.refusal)}")
        else:
            client.rm(WEIGHTS)
            self._say(f"{coordinator.name} alone took the matrix, which it should not")

    def _gather(self, client: Client) -> None:
        ticket: str = client.ticket()["ticket"]
        for budget_bytes in OTHERS_BYTES:
            self._spawn(budget_bytes, ticket)
        for daemon in self._fleet.daemons:
            self._meet(daemon)
        self._wait_gathered(client)
        self._say(f"{len(self._fleet.daemons)} daemons are one mesh.")

    def _put(self, client: Client, backend: str, replicas: int) -> None:
        self._wait_fits(client, backend, replicas)
        started = time.perf_counter()
        weights = client.put(WEIGHTS, self._patterns, replicas=replicas, backend=backend, seed=SEED)
        seconds = time.perf_counter() - started
        self._blocks[backend] = weights.info["holders"]
        self.uploads.append(Upload(backend, replicas, self._patterns.nbytes, seconds))
        held = ", ".join(f"{each.name} {self._held(backend, each)}" for each in self._fleet.daemons)
        copies = "one copy" if replicas == 1 else f"{replicas} copies"
        self._say(f"Put on {backend}, {copies}, in {duration_text(seconds)}. Blocks: {held}.")

    def _digital(self, client: Client, victim: Daemon) -> Act:
        def kill_once(iteration: int) -> None:
            if iteration == KILL_AT:
                self._fleet.kill(victim)
                self._say(f"{victim.name} is killed (SIGKILL); the picture goes on.")

        mesh = MeshProducts(client, WEIGHTS, RTOL)
        promise = f"plain float32, rtol {RTOL:g}, {victim.name} killed at iteration {KILL_AT}"
        return self._recover("digital", promise, mesh.as_products(), ITERATIONS, mesh, kill_once)

    def _local(self) -> Act:
        products = local_products(self._patterns)
        return self._recover("local numpy", "plain float32, no mesh", products, ITERATIONS)

    def _bring_back(self, client: Client, victim: Daemon) -> None:
        self._fleet.restart(victim)
        self._fleet.wait_ready(victim)
        self._wait_gathered(client)
        self._say(f"{victim.name} is back.")

    def _analog(self, client: Client, title: str, rtol: float | None, iterations: int) -> Act:
        mesh = MeshProducts(client, WEIGHTS, rtol)
        promise = "crossbars as they are" if rtol is None else f"crossbars, rtol {rtol:g}"
        return self._recover(title, promise, mesh.as_products(), iterations, mesh)

    # -- what the acts are made of -----------------------------------------------------------------

    def _recover(
        self,
        title: str,
        promise: str,
        products: Products,
        iterations: int,
        mesh: MeshProducts | None = None,
        before: Callable[[int], None] = lambda _: None,
    ) -> Act:
        self._say(f"\n{title}: {promise}")
        pictures = recover(self._measured, products, iterations)
        told: list[Iteration] = []
        for number in range(1, iterations + 1):
            before(number)
            started = time.perf_counter()
            picture = next(pictures)
            seconds = time.perf_counter() - started
            told.append(Iteration(psnr_db(picture, self.scene), seconds))
            caption = f"{title} {number:2}/{iterations}  {told[-1].psnr_db:5.2f} dB  "
            self._screen.frame(picture, caption + duration_text(seconds))
        return Act(title, promise, tuple(told), mesh.products() if mesh else (), picture)

    def _start(self, budget_bytes: int, ticket: str | None) -> Daemon:
        daemon = self._spawn(budget_bytes, ticket)
        self._meet(daemon)
        return daemon

    def _spawn(self, budget_bytes: int, ticket: str | None) -> Daemon:
        return self._fleet.start(f"node-{budget_bytes // MIB}", budget_bytes, ticket)

    def _meet(self, daemon: Daemon) -> None:
        self._fleet.wait_ready(daemon)
        with self._fleet.connect(daemon) as client:
            self._ids[daemon.name] = client.status()["id"]

    def _victim(self, coordinator: Daemon) -> Daemon:
        """The one of the others that holds most."""
        others = [daemon for daemon in self._fleet.daemons if daemon is not coordinator]
        return max(others, key=lambda daemon: self._held("digital", daemon))

    def _held(self, backend: str, daemon: Daemon) -> int:
        return self._blocks.get(backend, {}).get(self._ids[daemon.name], 0)

    def _wait_gathered(self, client: Client) -> None:
        others = len(self._fleet.daemons) - 1

        def gathered() -> bool:
            states: list[str] = [peer["state"] for peer in client.peers()]
            return states.count("connected") == others

        self._wait(gathered, f"{others} peers connected")

    def _wait_fits(self, client: Client, backend: str, replicas: int) -> None:
        """News of free memory takes a moment from node to node."""
        rows, columns = self._patterns.shape

        def fits() -> bool:
            plan = client.plan(shape=(rows, columns), replicas=replicas, backend=backend)
            return bool(plan["fits"])

        self._wait(fits, f"room for the matrix on {backend}")

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + GATHERED_S
        while not holds():
            if time.monotonic() > deadline:
                raise FleetError(f"waited {GATHERED_S:g} s in vain: {what}")
            time.sleep(POLL_S)

    def _say(self, line: str) -> None:
        self._screen.say(line)


def _told(refusal: Refusal) -> str:
    sizes = (("need", refusal.need), ("free", refusal.free), ("nearest fit", refusal.nearest_fit))
    figures = "; ".join(f"{name} {size_text(size)}" for name, size in sizes if size is not None)
    return f"{refusal.reason} ({figures})"
