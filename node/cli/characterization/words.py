"""The most important numbers in words."""

from compute.partition import TILE_SIDE
from node.cli.characterization.findings import Certified, Findings
from protocol.quantities import duration_text


def title(findings: Findings) -> str:
    rows, columns = findings.shape
    age = f", {duration_text(findings.age_s)} after writing" if findings.age_s else ""
    side = findings.tile_side
    arrays = "" if side == TILE_SIDE else f" in arrays of {side} x {side}"
    weights = f"{rows} x {columns} normal weights{arrays}"
    return f"{findings.device}: {weights}, seed {findings.seed}{age}"


def summary(findings: Findings) -> list[tuple[str, str]]:
    """What writing took, and what is wrong with what stands there."""
    written, (low, high) = findings.written, findings.window_us
    lines = [("window", f"{low:g} to {high:g} µS")]
    if written.pulses_per_cell:
        lines.append(("pulses a cell", f"{written.pulses_per_cell:.1f}"))
    if written.accepted_share is not None:
        lines.append(("yield", f"{written.accepted_share:.2%} of sound cells"))
    if written.energy_uj or written.time_ms:
        took = f"{written.energy_uj:.3g} µJ, {written.time_ms:.3g} ms"
        lines.append(("writing it once", took))
    lines += [
        ("stuck cells found", f"{written.stuck_share:.1%}"),
        ("healthy tiles", f"{written.healthy_tiles} of {written.tiles}"),
        ("cells are off by", f"{written.sigma_share:.1%} of the window, rms"),
        ("weights kept digital", f"{written.digital_share:.1%}"),
    ]
    if findings.wires is not None:
        left = findings.wires
        lines.append(
            ("wires leave", f"{left.median_share:.0%} (median), {left.least_share:.0%} (least)")
        )
    raw = findings.raw
    predicted = f" (predicted {raw.predicted_error:.3g})" if raw.predicted_error else ""
    lines.append(("raw product", f"off by {raw.error:.3g}{predicted}"))
    return lines


HEADS = (
    "asked>", "bound>", "true error>", "regime", "analog>", "slices>", "pJ/MAC>", "µs a row>", "redone>",
)  # fmt: skip


def line(one: Certified) -> tuple[str, ...]:
    """As `HEADS` says."""
    return (
        f"{one.rtol:.0e}",
        f"{one.bound:.2g}",
        f"{one.error:.2g}",
        one.regime,
        f"{one.analog_fraction:.1%}",
        str(one.slices),
        "-" if one.pj_per_mac is None else f"{one.pj_per_mac:.3g}",
        "-" if one.latency_us_per_row is None else f"{one.latency_us_per_row:.3g}",
        str(one.rows_redone),
    )
