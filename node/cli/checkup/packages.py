"""Whose code runs: our packages have short names, which a file or another package of that name hides."""

import importlib.util
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions
from pathlib import Path

from node.cli.checkup.finding import Finding, ok, problem, warning

OURS = ("protocol", "compute", "nat", "node", "sedma")
ROOT = Path(__file__).resolve().parents[3]
"""The folder in which all five lie."""


def findings(version: str, working: Path) -> Iterator[Finding]:
    """`working`: the folder in which people start their programs."""
    yield judge_imports({name: _imported(name) for name in OURS}, ROOT, version)
    yield from judge_folder(working, ROOT)
    yield from judge_packages(packages_distributions())


def judge_imports(found: Mapping[str, Path | None], root: Path, version: str) -> Finding:
    """`found`: the file that each `import` takes, None where there is none."""
    strangers = {name: file for name, file in found.items() if not _is_ours(name, file, root)}
    if not strangers:
        return ok("packages", f"sedma {version} in {root}, Python {platform.python_version()}")
    told = ", ".join(f"{name} is {file or 'missing'}" for name, file in strangers.items())
    return problem(
        "packages",
        f"{told}; ours are in {root}",
        "another package, or a file of that name on PYTHONPATH, hides ours: what runs is not sedma alone",
        "rename or uninstall it, or install sedma in a virtual environment of its own",
    )


def judge_folder(working: Path, root: Path) -> Iterator[Finding]:
    """A script in a folder, and `python -m` there, look into that folder first."""
    hidden = {name: file for name in OURS if (file := _found_in(name, [str(working)]))}
    strangers = [file for name, file in hidden.items() if not _is_ours(name, file, root)]
    if strangers:
        yield warning(
            "packages",
            f"here lies {', '.join(map(str, strangers))}",
            "Python programs that are started in this folder import that in place of ours; the daemon does not",
            "rename it, or start such programs from another folder",
        )


def judge_packages(installed: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """`installed`: top-level name to the distributions that have it."""
    for name in OURS:
        others = sorted({one for one in installed.get(name, ()) if one != "sedma"})
        if others:
            yield warning(
                "packages",
                f"{' and '.join(others)} also has a package called {name}",
                "both write into the same folder when they are installed: the later one wins",
                f"pip uninstall {' '.join(others)}, or give sedma a virtual environment of its own",
            )


def _imported(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _found_in(name: str, path: Sequence[str]) -> Path | None:
    """A folder without __init__.py hides nothing: it has no file of its own."""
    spec = PathFinder.find_spec(name, path)
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _is_ours(name: str, file: Path | None, root: Path) -> bool:
    return file is not None and file.resolve() == root / name / "__init__.py"
