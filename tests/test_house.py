"""The rules of the house that no other tool checks."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("protocol", "compute", "nat", "node", "sedma")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def project() -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return table


def locked() -> dict[str, list[str]]:
    """Package to the lines that stand under its name."""
    packages: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            package = packages.setdefault(line.split("==")[0], [])
        else:
            package.append(line.strip(" \\"))
    return packages


def test_the_lock_pins_all_that_the_project_asks_for_by_hashes() -> None:
    table = project()
    extras = table["optional-dependencies"]
    assert isinstance(extras, dict)
    assert isinstance(table["dependencies"], list)
    asked = [*table["dependencies"], *(one for extra in extras.values() for one in extra)]
    names = {re.split(r"[<>=~!\[; ]", one)[0].lower().replace("_", "-") for one in asked}

    assert names <= set(locked())
    for package, lines in locked().items():
        assert any(line.startswith("--hash=sha256:") for line in lines), package


def test_the_lock_names_no_place_to_get_packages_from() -> None:
    text = (ROOT / "requirements.lock").read_text()

    assert not re.search(r"https?://|file:|index-url|find-links|trusted-host|@ ", text)


def test_an_init_holds_a_sentence_and_only_the_public_face_says_more() -> None:
    for package in (path for path in SOURCES if path.name == "__init__.py"):
        body = ast.parse(package.read_text()).body
        assert ast.get_docstring(ast.Module(body, [])), package
        assert len(body) == 1 or package.parent.name == "sedma", package


def test_every_folder_with_sources_is_a_package_and_no_folder_of_tests_is() -> None:
    for folder in {path.parent for path in SOURCES}:
        assert (folder / "__init__.py").exists(), folder
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_module_opens_with_what_it_is_for() -> None:
    for path in SOURCES:
        assert ast.get_docstring(ast.parse(path.read_text())), path


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(run.stdout.split())


def test_up_loads_nothing_that_only_a_daemon_or_a_client_needs() -> None:
    loaded = modules_after("import node.cli.up, node.cli.settings")

    assert not loaded & {"numpy", "asyncio", "aiohttp", "uvloop", "http.client", "rich"}


def test_commands_that_only_ask_load_no_numpy() -> None:
    loaded = modules_after("import node.cli.main as m; m.app(); import sedma.transport")

    assert not loaded & {"numpy", "asyncio", "aiohttp", "uvloop"}


def test_settings_load_neither_a_loop_nor_a_socket() -> None:
    assert not modules_after("import node.config") & {"asyncio", "socket", "ssl", "typer", "rich"}


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_an_old_python_is_told_which_one_to_name(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.18" && exit 0\nexit 1\n')
    old.chmod(0o755)

    run = subprocess.run(
        ["make", "test", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert run.returncode == 2
    assert "needs Python 3.11 or newer" in run.stderr
    assert "is Python 3.9.18. Write: make PYTHON=python3.11 test" in run.stderr
