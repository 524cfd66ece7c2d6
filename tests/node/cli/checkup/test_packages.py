"""Whose code an `import` takes."""

from pathlib import Path

from node.cli.checkup.packages import OURS, ROOT, judge_folder, judge_imports, judge_packages


def ours(root: Path = ROOT) -> dict[str, Path | None]:
    return {name: root / name / "__init__.py" for name in OURS}


def test_our_own_packages_are_fine() -> None:
    told = judge_imports(ours(), ROOT, "0.1.0")

    assert told.state == "ok"
    assert f"sedma 0.1.0 in {ROOT}" in told.found


def test_a_package_that_hides_ours_is_a_problem() -> None:
    told = judge_imports(ours() | {"nat": Path("/usr/lib/nat.py"), "compute": None}, ROOT, "0.1.0")

    assert told.state == "problem"
    assert "nat is /usr/lib/nat.py" in told.found
    assert "compute is missing" in told.found


def test_a_file_beside_a_users_program_that_hides_ours_is_told(tmp_path: Path) -> None:
    (tmp_path / "sedma.py").touch()
    (tmp_path / "nat").mkdir()
    (told,) = judge_folder(tmp_path, ROOT)

    assert told.state == "warning"
    assert told.found == f"here lies {tmp_path}/sedma.py"


def test_our_own_folder_hides_nothing() -> None:
    assert list(judge_folder(ROOT, ROOT)) == []


def test_another_distribution_with_a_package_of_our_name_is_told() -> None:
    installed = {"node": ["sedma", "node-tools"], "nat": ["sedma"], "sedma": ["sedma"]}
    (told,) = judge_packages(installed)

    assert told.state == "warning"
    assert told.found == "node-tools also has a package called node"
    assert "pip uninstall node-tools" in told.fix
