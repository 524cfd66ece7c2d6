"""What a run depends on: the same terms are the same run."""

import shlex
from dataclasses import dataclass

from node.simulation.loading import load
from node.simulation.scenario import NODES_MAX, RUN_S_MAX, Scenario
from protocol.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Terms:
    """A scenario, a seed, and how large and how long."""

    name: str
    """Of the scenario, or its file's."""
    scenario: Scenario
    seed: int
    nodes: int
    run_s: float

    @classmethod
    def of(
        cls, name: str, seed: int, *, nodes: int | None = None, run_s: float | None = None
    ) -> "Terms":
        """Of a named scenario or a file; ConfigError says what cannot be."""
        scenario = load(name, seed)
        nodes = scenario.nodes if nodes is None else nodes
        run_s = scenario.run_s if run_s is None else run_s
        if not 2 <= nodes <= NODES_MAX:
            raise ConfigError(f"--nodes {nodes}: write 2 to {NODES_MAX}")
        if nodes <= scenario.apart:
            raise ConfigError(f"--nodes {nodes}: {scenario.apart} only ask here; write more")
        if not 0.0 < run_s <= RUN_S_MAX:
            raise ConfigError(f"--for {run_s:g}s: write more than 0s and at most {RUN_S_MAX:g}s")
        return cls(name, scenario, seed, nodes, run_s)

    @property
    def uncounted(self) -> bool:
        """The run ends before the first request of its clients would be counted."""
        return self.scenario.asked and self.scenario.requests.warm_up_s >= self.run_s

    @property
    def replay(self) -> str:
        """The command that leads to the same run."""
        return replay(self.name, self.nodes, self.seed, self.run_s)


def replay(scenario: str, nodes: int, seed: int, run_s: float) -> str:
    """The command for a scenario's name or file, as a shell takes it."""
    # To the last digit that a duration may have: a run that is shorter by a moment is another run.
    length = f"{run_s:.9f}".rstrip("0").rstrip(".")
    return (
        f"sedma-node simulate --scenario {shlex.quote(scenario)} --nodes {nodes}"
        f" --seed {seed} --for {length}s"
    )
