import pytest

from node.simulation.scenario import Scenario
from node.simulation.terms import Terms
from protocol.errors import ConfigError


def test_terms_that_cannot_be_are_refused_with_what_to_write() -> None:
    with pytest.raises(ConfigError, match="--nodes 1: write 2 to"):
        Terms.of("quiet", 1, nodes=1)
    with pytest.raises(ConfigError, match="--for 0s: write more than 0s"):
        Terms.of("quiet", 1, run_s=0.0)


def test_terms_tell_the_command_that_replays_them() -> None:
    replay = Terms.of("mixed", 17).replay

    assert replay.startswith("sedma-node simulate --scenario mixed --nodes")
    assert replay.endswith("--seed 17 --for 20s")


def test_the_command_that_replays_a_run_names_its_file_and_its_length_exactly() -> None:
    replay = Terms("my mesh.toml", Scenario(about="A."), 1, nodes=6, run_s=1234.5678).replay

    assert "--scenario 'my mesh.toml'" in replay
    assert replay.endswith("--for 1234.5678s")
