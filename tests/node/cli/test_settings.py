from pathlib import Path

import pytest

from node.cli.settings import FIELDS, FLAGS, resolve, variable_of
from node.config import Settings
from protocol.errors import ConfigError


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.toml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve({}, {"HOME": "/home/a"}, file(tmp_path, text))
    return str(caught.value)


def test_with_nothing_said_all_is_default() -> None:
    resolved = resolve({}, {"XDG_STATE_HOME": "/state"})

    assert resolved.settings == Settings()
    assert set(resolved.origins.values()) == {"default"}
    assert resolved.data_dir == "/state/sedma"


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        '[share]\nmemory = "1GiB"\ndisk = "1GiB"\ncpus = 1\n[log]\nlevel = "debug"\n',
    )
    environment = {"SEDMA_SHARE_MEMORY": "2GiB", "SEDMA_SHARE_DISK": "2GiB"}

    resolved = resolve({"share.memory": "3GiB", "log.level": None}, environment, path)

    share = resolved.settings.share
    assert (share.memory, share.disk, share.cpus) == ("3GiB", "2GiB", 1)
    assert resolved.settings.log.level == "debug"
    assert resolved.origins["share.memory"] == "flag --memory"
    assert resolved.origins["share.disk"] == "environment SEDMA_SHARE_DISK"
    assert resolved.origins["share.cpus"] == f"file {path}"
    assert resolved.origins["mesh.listen"] == "default"


def test_variables_are_read_as_numbers_and_lists_where_a_key_is_one() -> None:
    settings = resolve(
        {},
        {
            "SEDMA_NODE_LABELS": "gpu, attic",
            "SEDMA_SHARE_CPUS": "3",
            "SEDMA_GOSSIP_REDIAL_S": "2.5",
            "SEDMA_NODE_NAME": "7",
            "SEDMA_NAT_PUNCH": "false",
            "SEDMA_RELAY_SERVE": "True",
        },
    ).settings

    assert settings.node.labels == ("gpu", "attic")
    assert settings.share.cpus == 3
    assert settings.gossip.redial_s == 2.5
    assert settings.node.name == "7"
    assert (settings.nat.punch, settings.relay.serve) == (False, True)


def test_a_variable_that_is_neither_true_nor_false_is_told() -> None:
    with pytest.raises(ConfigError, match='nat.punch = "maybe" .* expected `bool`'):
        resolve({}, {"SEDMA_NAT_PUNCH": "maybe"})


def test_an_unknown_key_is_answered_with_the_nearest(tmp_path: Path) -> None:
    assert refusal(tmp_path, "[gossip]\nintervall_ms = 5") == (
        "gossip.intervall_ms: no such key (did you mean interval_ms?)"
    )
    assert refusal(tmp_path, '[share]\nlevel = "info"') == (
        "share.level: no such key (did you mean log.level?)"
    )
    assert refusal(tmp_path, "[share]\nzzz = 1") == (
        "share.zzz: no such key (there are memory, disk, cpus)"
    )
    assert refusal(tmp_path, "[gosip]\na = 1") == "gosip: no such section (did you mean gossip?)"
    assert refusal(tmp_path, 'memory = "2GiB"').endswith(
        "stands in no section: write it under [share] (did you mean share.memory?)"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[gossip]\ninterval_ms = 10", "gossip.interval_ms = 10 ({}): expected `int` >= 50"),
        (
            "[share]\nmemory = 5",
            'share.memory = 5 ({}): expected `str | null`, got `int`; write for example "2GiB"',
        ),
        ('[log]\nformat = "xml"', 'log.format = "xml" ({}): write "text" or "json"'),
        ("[gossip]\nredial_s = nan", "gossip.redial_s = nan ({}): expected `float` >= 1.0"),
        (
            '[compute]\ndeadline = "2h"',
            'compute.deadline = "2h" ({}): expected more than 0s and at most 3600s',
        ),
        (
            '[api]\nlisten = "7878"',
            'api.listen = "7878" ({}): "7878" is no address: write host:port, as in "0.0.0.0:7879"',
        ),
        (
            '[mesh]\nadvertise = "h.example:7879"',
            (
                'mesh.advertise = "h.example:7879" ({}): expected `array`, got `str`;'
                ' write for example ["home.example:7879"]'
            ),
        ),
        (
            '[node]\nlabels = "gpu"',
            'node.labels = "gpu" ({}): expected `array`, got `str`; write for example ["gpu"]',
        ),
        (
            "[relay]\nserve = 1",
            "relay.serve = 1 ({}): expected `bool`, got `int`; write true or false",
        ),
        (
            '[mesh]\nlisten = "a..b:7879"',
            'mesh.listen = "a..b:7879" ({}): "a..b:7879" is no address: its host is no name that a network knows',
        ),
    ],
)
def test_a_bad_value_is_told_with_its_key_its_place_and_the_bound(
    tmp_path: Path, text: str, expected: str
) -> None:
    told = refusal(tmp_path, text)

    assert told == expected.format(f"file {tmp_path / 'some.toml'}")


def test_all_complaints_are_told_at_once(tmp_path: Path) -> None:
    told = refusal(tmp_path, "share = 1\n[log]\nlevel = 1\n[mesh]\nlisen = 1")

    assert [line.split(" ")[0] for line in told.splitlines()] == [
        "share",
        "mesh.lisen:",
        "log.level",
    ]


def test_a_slip_in_a_variable_is_told_and_a_strange_one_left_alone() -> None:
    resolve({}, {"SEDMA_SERVICE_HOST": "10.0.0.1", "SEDMA_API_PORT": "tcp://10.0.0.1:7878"})

    with pytest.raises(ConfigError, match="SEDMA_SHARE_MEMROY: no such variable .*SHARE_MEMORY"):
        resolve({}, {"SEDMA_SHARE_MEMROY": "1GiB"})


def test_a_file_that_is_missing_or_no_toml_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        resolve({}, {}, tmp_path / "none.toml")
    assert "is not TOML" in refusal(tmp_path, "share memory")


def test_the_file_in_the_data_directory_is_read_by_itself(tmp_path: Path) -> None:
    (tmp_path / "sedma-node.toml").write_text('[node]\nname = "attic"\n')

    assert resolve({"node.data_dir": str(tmp_path)}, {}).settings.node.name == "attic"
    assert resolve({}, {"SEDMA_DATA_DIR": str(tmp_path)}).settings.node.name == "attic"

    (tmp_path / "sedma-node.toml").write_text('[node]\ndata_dir = "/elsewhere"\n')
    with pytest.raises(ConfigError, match="lies in that directory"):
        resolve({"node.data_dir": str(tmp_path)}, {})


def test_flags_name_keys_that_exist_and_variables_differ() -> None:
    assert set(FLAGS) <= set(FIELDS)
    assert len({variable_of(key) for key in FIELDS}) == len(FIELDS)
