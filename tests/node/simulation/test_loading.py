from pathlib import Path

import pytest

from node.simulation.loading import load, names, parse
from protocol.errors import ConfigError

SHIPPED = {
    "quiet",
    "loss",
    "partition",
    "churn",
    "slow-nodes",
    "flash-crowd",
    "skewed-weights",
    "choice",
    "mixed",
}


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "my.toml")
    return str(caught.value)


def test_the_scenarios_that_come_with_the_program_are_found_by_name() -> None:
    assert set(names()) == SHIPPED
    assert len({load(name, seed=1).about for name in names()}) == len(SHIPPED)


def test_a_scenario_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('about = "Mine."\nnodes = 5\n[network]\nloss = 0.25\n')

    scenario = load(str(file), seed=1)

    assert (scenario.nodes, scenario.network.loss) == (5, 0.25)


def test_a_name_that_nobody_knows_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        load("quite", seed=1)

    assert "did you mean quiet?" in str(caught.value)
    assert all(name in str(caught.value) for name in SHIPPED)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")

    for file in (tmp_path / "none.toml", binary):
        with pytest.raises(ConfigError, match=str(file)):
            load(str(file), seed=1)


def test_all_keys_that_nobody_knows_are_told_at_once_with_the_nearest() -> None:
    told = refusal('about = "A."\nnodse = 3\n[network]\nlos = 1\n[[faults.stops]]\nat = 3\n')

    assert "my.toml: nodse: no such key (did you mean nodes?)" in told
    assert "my.toml: network.los: no such key (did you mean loss?)" in told
    assert "my.toml: faults.stops.at: no such key (did you mean at_s?)" in told


def test_an_empty_file_is_told_what_it_has_to_say() -> None:
    assert refusal("") == "my.toml: write about, which has no default"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[network]\nloss = 2.0", "network.loss: expected `float` <= 0.9"),
        ("[network]\nrtt_ms = [3.0, 1.0]", "rtt_ms goes from 3.0 to 1.0: low end first"),
        ('[machines]\nmemory = ["3GiB", "1GiB"]', "memory goes from 3GiB to 1GiB: low end first"),
        ('[machines]\nmemory = ["3Gi", "4GiB"]', '"3Gi" is not a size'),
        ('[machines]\nmemory = ["0B", "4GiB"]', 'no node runs in less than "84MiB"'),
        ('choice = "best"', "write 'random' or"),
        (
            '[[faults.stops]]\nat_s = 1\nshare = 0.1\nhow = "kill"',
            "faults.stops[0].how: invalid enum value 'kill'; write 'killed' or 'vanished' or 'stopped'",
        ),
        ("[requests]\nrate_per_s = 3", "write a weights.count above 0"),
        ("[weights]\ncount = 3\n[requests]\nrate_per_s = 3\nload = 0.5", "write one of them"),
        (
            "[[requests.crowds]]\nat_s = 1\nfor_s = 1\ntimes = 2",
            "write requests.rate_per_s or load",
        ),
        (
            "weights.count = 1\nrequests.load = 0.5\n[[requests.crowds]]\nat_s = 1\nfor_s = 1\ntimes = 2\nweights = 2",
            "more weights than weights.count",
        ),
        (
            "weights.count = 1\nrequests.load = 0.5\nrequests.askers_apart = true",
            "write requests.askers",
        ),
        (
            "nodes = 4\n[requests]\naskers = 4\naskers_apart = true",
            "write more nodes",
        ),
        (
            "[faults]\npartitions = [{at_s = 9, for_s = 9}, {at_s = 1, for_s = 9}]",
            "begins at 9 s, before the one of 1 s is over",
        ),
        ("faults.mean_life_s = 1e-300", "faults.mean_life_s: expected `float` >= 0.01"),
        ("faults.mean_absence_s = 1e-300", "faults.mean_absence_s: expected `float` >= 0.01"),
        ("machines.others_change_s = 1e-300", "others_change_s: expected `float` >= 0.01"),
        ("machines.speed_gmacs = [1e-320, 1.0]", "speed_gmacs[0]: expected `float` >= 1e-06"),
        ("network.rtt_ms = [1.0, 1e12]", "network.rtt_ms[1]: expected `float` <= 1000000.0"),
        ("network.loss = nan", "network.loss: expected `float` >= 0.0"),
        ("[[faults.stops]]\nshare = 0.1", "faults.stops[0]: write at_s, which has no default"),
        ("nodes = 1", "nodes: expected `int` >= 2"),
        ("nodes", "is not TOML"),
    ],
)
def test_what_cannot_be_is_told_with_what_to_write_instead(text: str, complaint: str) -> None:
    assert complaint in refusal(f'about = "A."\n{text}\n')
