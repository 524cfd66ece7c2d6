"""One laboratory with all that there is, for the tests that only look."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.lab.kinds import Kind, Pair
from tests.lab.lab import Lab, why_not
from tests.lab.probe import Internet

EACH: list[Kind | Pair] = [*Kind, *Pair]


@pytest.fixture(scope="session")
def machine() -> None:
    if why := why_not():
        pytest.skip(why)


@pytest.fixture(scope="module")
def lab(machine: None) -> Iterator[Lab]:
    """One host of each kind, two of each pair."""
    with contextlib.closing(Lab(EACH)) as one:
        yield one


@pytest.fixture(scope="module")
def internet(lab: Lab) -> Iterator[Internet]:
    with contextlib.closing(Internet(lab)) as one:
        yield one


@pytest.fixture(scope="module")
def internet6(lab: Lab) -> Iterator[Internet]:
    with contextlib.closing(Internet(lab, ipv6=True)) as one:
        yield one
