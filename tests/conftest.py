"""What holds for all tests: no setting of the person who runs them leaks in, and no law has a stopwatch."""

import os

import pytest
from hypothesis import settings

settings.register_profile("sedma", deadline=None, print_blob=True)
settings.load_profile("sedma")


LONG = ("live", "lab", "simulation")
"""Folders of files that take long, most of it waiting."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first: side by side, one that began last would keep all waiting."""
    items.sort(key=lambda item: item.path.parent.name not in LONG)


@pytest.fixture(autouse=True)
def nobody_s_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables such as SEDMA_API would point a test at somebody's daemon."""
    for name in os.environ:
        if name.startswith("SEDMA_"):
            monkeypatch.delenv(name)
