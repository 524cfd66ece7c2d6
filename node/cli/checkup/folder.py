"""The data directory: whether it can be used, whether others can read its keys, what the disk still takes."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from node.cli.checkup.finding import Finding, ok, problem, warning
from protocol.quantities import size_text

SECRETS = ("node.key", "api.token")
"""For the owner alone."""

DISK_BYTES_MIN = 64 << 20
"""With less, lists of members and of weights may not be written any more."""


def findings(place: Path, quota_bytes: int, used_bytes: int | None) -> Iterator[Finding]:
    """`used_bytes` of blocks and sketches, None where nobody told: then the files are counted."""
    try:
        is_there = place.exists()
    except PermissionError:
        yield _not_ours(f"{place} is where this user may not look")
        return
    if is_there:
        yield from _of_folder(place)
    else:
        yield ok(
            "data directory", f"{place} is not there yet", "the first `sedma-node up` makes it"
        )
    nearest = next(one for one in (place, *place.parents) if one.exists())
    if not is_there and not os.access(nearest, os.W_OK | os.X_OK):
        yield problem(
            "data directory",
            f"{nearest} may not be written by this user",
            f"`up` cannot make {place}",
            "name another folder with --data-dir, or give this user the right to write there",
        )
    used = _bytes_below(place / "blocks") if used_bytes is None else used_bytes
    yield judge_disk(shutil.disk_usage(nearest).free, quota_bytes, used)


def _of_folder(place: Path) -> Iterator[Finding]:
    if not place.is_dir():
        yield problem(
            "data directory",
            f"{place} is a file",
            "the node has no place for what it must not forget",
            "name a folder with --data-dir",
        )
        return
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        owner = place.stat().st_uid
        yield _not_ours(f"{place} belongs to user {owner} and may not be written by this one")
        return
    readable = [name for name in SECRETS if _others_may(place / name)]
    if readable:
        yield problem(
            "data directory",
            f"{' and '.join(readable)} in {place} may be read by others",
            "whoever reads them can act as this node, or command it",
            f"chmod 600 {' '.join(str(place / name) for name in readable)}",
        )
    elif _others_may(place):
        yield warning(
            "data directory",
            f"others may look into {place}",
            "the keys in it are shut, the rest need not be seen either",
            f"chmod 700 {place}",
        )
    else:
        yield ok("data directory", f"{place}, for its owner alone")


def _not_ours(found: str) -> Finding:
    return problem(
        "data directory",
        found,
        "a daemon of this user cannot start on it, and commands of this user cannot find its token",
        "run sedma-node as its owner, or name another folder with --data-dir",
    )


def judge_disk(free_bytes: int, quota_bytes: int, used_bytes: int) -> Finding:
    told = f"{size_text(free_bytes)} free; {size_text(used_bytes)} of {size_text(quota_bytes)} used"
    if free_bytes < DISK_BYTES_MIN:
        return problem(
            "disk",
            told,
            "what the node learns can hardly be kept, and no weights can be put here",
            "make room, or move the data directory to another disk (--data-dir)",
        )
    if free_bytes < quota_bytes - used_bytes:
        fits = size_text(used_bytes + free_bytes)
        return warning(
            "disk",
            told,
            "the disk is full before share.disk is: puts are then refused for want of disk",
            f"make room, or offer what there is: --disk (share.disk) below {fits}",
        )
    return ok("disk", told)


def _others_may(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    return bool(mode & (stat.S_IRWXG | stat.S_IRWXO))


def _bytes_below(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
