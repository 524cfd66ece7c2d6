"""Stations of the laboratory: one that falls over is not passed over."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.kinds import Kind
from tests.lab.lab import Lab
from tests.lab.stations import Station, Stumbled, stations


def killed(station: Station) -> None:
    station._process.kill()


def misled(station: Station) -> None:
    assert station._process.stdin is not None
    station._process.stdin.write(b"no order\n")
    station._process.stdin.flush()


@pytest.mark.parametrize(("falls", "told"), [(killed, "ended with -9"), (misled, "DecodeError")])
def test_a_station_that_falls_over_is_told_of_with_its_last_words(
    falls: Callable[[Station], None], told: str, machine: None, tmp_path: Path
) -> None:
    async def story(lab: Lab) -> None:
        async with stations(lab, tmp_path) as there:
            falls(there.of(Kind.PORT)[0])

    with (
        contextlib.closing(Lab([Kind.PORT], publics=1)) as lab,
        pytest.raises(Stumbled, match=told),
    ):
        asyncio.run(story(lab))
