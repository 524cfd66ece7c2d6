"""What a run of the demo brought: facts only, and the checks that decide whether it succeeded."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from compute.partition import Matrix
from protocol.quantities import size_text

DIGITAL_LOSS_DB_MAX = 0.1
"""Between the mesh on plain arithmetic and the same iterations in local numpy."""

ANALOG_LOSS_DB_MAX = 1.0
"""Between certified crossbars and the mesh on plain arithmetic."""

ANALOG_FRACTION_MIN = 0.9
"""Of the certified act's multiplications, done on crossbars rather than by the digital fallback."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product in the mesh, as the client saw it."""

    seconds: float
    nbytes: int
    """Sent and received, .npy headers included."""
    bound: float | None
    """Certified relative error; None where nothing was promised."""
    analog_fraction: float
    mesh_bytes: int
    """Sent between daemons."""
    energy_j: float
    """Of the simulated crossbars."""


@dataclass(frozen=True, slots=True)
class Iteration:
    """One turn of message passing: up to two products and the denoiser."""

    psnr_db: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Act:
    """One recovery of the picture from nothing."""

    title: str
    promise: str
    """What was asked of each product, in words."""
    iterations: tuple[Iteration, ...]
    products: tuple[Product, ...]
    """Empty where the client multiplied by itself."""
    picture: Matrix
    """(3, pixels), as the last iteration left it."""

    @property
    def psnr_db(self) -> float:
        return self.iterations[-1].psnr_db

    @property
    def slowest_s(self) -> float:
        return max(iteration.seconds for iteration in self.iterations)

    @property
    def nbytes(self) -> int:
        return sum(product.nbytes for product in self.products)

    @property
    def mesh_bytes(self) -> int:
        return sum(product.mesh_bytes for product in self.products)

    @property
    def energy_j(self) -> float:
        return sum(product.energy_j for product in self.products)

    @property
    def bound(self) -> float | None:
        """The loosest bound of all products; None where one came without."""
        bounds = [product.bound for product in self.products if product.bound is not None]
        return max(bounds) if bounds and len(bounds) == len(self.products) else None

    @property
    def analog_fraction(self) -> float:
        """Every product multiplies by the whole matrix, so the plain mean is the share of all work."""
        return fmean(product.analog_fraction for product in self.products) if self.products else 0.0


@dataclass(frozen=True, slots=True)
class Upload:
    """The matrix on its way into the mesh."""

    backend: str
    replicas: int
    nbytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """The largest daemon's answer when it was alone; sizes in bytes where the answer told them."""

    node: str
    reason: str
    need: int | None
    free: int | None
    nearest_fit: int | None


@dataclass(frozen=True, slots=True)
class Holder:
    """A daemon: what it held, and what it took for that."""

    name: str
    budget_bytes: int
    sampled_peak_bytes: int
    kernel_peak_bytes: int
    digital_blocks: int
    rram_blocks: int

    @property
    def within_budget(self) -> bool:
        return 0 < self.sampled_peak_bytes <= self.budget_bytes


@dataclass(frozen=True, slots=True)
class Kill:
    """The end of a holder without a word."""

    victim: str
    iteration: int
    """It died just before the products of this iteration of the digital act, counted from 1."""


@dataclass(frozen=True, slots=True)
class Acts:
    """The four recoveries."""

    local: Act
    digital: Act
    naive: Act
    certified: Act

    def all(self) -> tuple[Act, ...]:
        return self.local, self.digital, self.naive, self.certified


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that the report shows."""

    scene: Matrix
    refusal: Refusal | None
    """None: the largest daemon took the matrix alone, which the demo counts as a failure."""
    acts: Acts
    uploads: tuple[Upload, ...]
    holders: tuple[Holder, ...]
    kill: Kill
    leftovers: tuple[int, ...]
    """Processes, by pid, that were still there after all daemons had been stopped."""
    disobedient: tuple[str, ...]
    """Daemons that did not stop when asked to, and were ended."""
    seconds: float
    """The whole run, set-up of the fleet included."""


@dataclass(frozen=True, slots=True)
class Check:
    """A claim of the demo, whether it held, and the figures."""

    claim: str
    held: bool
    figures: str


def checks(outcome: Outcome) -> list[Check]:
    """Every claim; the demo has succeeded when all of them held."""
    return [
        _refused(outcome.refusal),
        _digital(outcome.acts),
        _certified(outcome.acts),
        _on_crossbars(outcome.acts.certified),
        _budgets(outcome.holders),
        _none_left(outcome.leftovers, outcome.disobedient),
    ]


def _refused(refusal: Refusal | None) -> Check:
    claim = "the largest daemon alone refuses the matrix"
    if refusal is None:
        return Check(claim, False, "it was taken")
    return Check(claim, True, refusal.reason)


def _digital(acts: Acts) -> Check:
    apart = abs(acts.digital.psnr_db - acts.local.psnr_db)
    return Check(
        f"digital within {DIGITAL_LOSS_DB_MAX} dB of local numpy",
        apart <= DIGITAL_LOSS_DB_MAX,
        f"{acts.digital.psnr_db:.2f} dB against {acts.local.psnr_db:.2f} dB",
    )


def _certified(acts: Acts) -> Check:
    loss = acts.digital.psnr_db - acts.certified.psnr_db
    return Check(
        f"certified analog within {ANALOG_LOSS_DB_MAX:g} dB of digital",
        loss <= ANALOG_LOSS_DB_MAX,
        f"{acts.certified.psnr_db:.2f} dB against {acts.digital.psnr_db:.2f} dB",
    )


def _on_crossbars(certified: Act) -> Check:
    return Check(
        f"at least {ANALOG_FRACTION_MIN:.0%} of the certified work on crossbars",
        certified.analog_fraction >= ANALOG_FRACTION_MIN,
        f"{certified.analog_fraction:.1%}",
    )


def _budgets(holders: Sequence[Holder]) -> Check:
    figures = (
        f"{holder.name} {size_text(holder.sampled_peak_bytes)}"
        f" {'of' if holder.within_budget else 'OVER'} {size_text(holder.budget_bytes)}"
        for holder in holders
    )
    return Check(
        "every daemon within its budget",
        all(holder.within_budget for holder in holders),
        ", ".join(figures),
    )


def _none_left(leftovers: Sequence[int], disobedient: Sequence[str]) -> Check:
    figures = "all stopped when asked to"
    if disobedient:
        figures = f"had to be killed: {', '.join(disobedient)}"
    if leftovers:
        figures += f"; still there: {', '.join(map(str, leftovers))}"
    return Check("no process left", not leftovers, figures)
