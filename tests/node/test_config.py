"""The settings as structs, and the file that shows them."""

import ast
import inspect
import os
import tomllib
from pathlib import Path

import msgspec
import pytest

from compute import presets
from nat.relaying import RelayLimits
from node import config
from node.config import (
    ComputeConfig,
    MeshConfig,
    NatConfig,
    RelayConfig,
    Resolved,
    Settings,
    ShareConfig,
    hand_over,
    host_port,
)
from protocol.errors import ConfigError

SHOWN = Path(__file__).parents[2] / "sedma-node.toml"


def explanations() -> dict[tuple[str, str], str]:
    """First line of the docstring under each key, by struct and key."""
    return {
        (node.name, key.target.id): str(text.value.value).strip().splitlines()[0]
        for node in ast.parse(inspect.getsource(config)).body
        if isinstance(node, ast.ClassDef)
        for key, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(key, ast.AnnAssign)
        and isinstance(key.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }


def shown() -> dict[str, dict[str, tuple[str, bool, str]]]:
    """section -> key -> (value as written, commented out, line above)."""
    tables: dict[str, dict[str, tuple[str, bool, str]]] = {}
    above = ""
    for line in SHOWN.read_text().splitlines():
        if line.startswith("["):
            section = tables.setdefault(line.strip("[]"), {})
        elif " = " in line:
            key, value = line.removeprefix("# ").split(" = ", 1)
            section[key] = (value, line.startswith("#"), above.removeprefix("# "))
        above = line
    return tables


def test_the_file_shows_every_key_with_its_default_and_its_explanation() -> None:
    told = explanations()
    expected = {
        section.name: {
            key.name: (key.default, told[section.type.__name__, key.name])
            for key in msgspec.structs.fields(section.type)
        }
        for section in msgspec.structs.fields(Settings)
    }
    found = {
        section: {
            key: (None if commented else _as_default(value), text)
            for key, (value, commented, text) in keys.items()
        }
        for section, keys in shown().items()
    }
    assert found == expected
    assert msgspec.convert(tomllib.loads(SHOWN.read_text()), Settings) == Settings()


def _as_default(value: str) -> object:
    parsed = tomllib.loads(f"x = {value}")["x"]
    return tuple(parsed) if isinstance(parsed, list) else parsed


def test_the_examples_of_keys_without_a_default_can_be_switched_on() -> None:
    lines = [
        line.removeprefix("# ") if " = " in line else line
        for line in SHOWN.read_text().splitlines()
    ]

    settings = msgspec.convert(tomllib.loads("\n".join(lines)), Settings)

    assert settings.share.memory_bytes == 2 << 30
    assert settings.memory.activations_bytes == 64 << 20


def test_settings_pass_to_the_daemon_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = Resolved(
        settings=Settings(share=ShareConfig(memory="1GiB"), mesh=MeshConfig(listen="[::]:0")),
        origins={"share.memory": "flag --memory"},
        data_dir="/data",
        join="sedma1ticket",
    )
    for name, value in hand_over(resolved).items():
        monkeypatch.setenv(name, value)

    assert config.resolved_from_env() == resolved
    assert config.RESOLVED_VARIABLE not in os.environ


def test_a_daemon_started_by_hand_is_told_to_use_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.RESOLVED_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="sedma-node up"):
        config.resolved_from_env()

    monkeypatch.setenv(config.RESOLVED_VARIABLE, "{")
    with pytest.raises(ConfigError, match="damaged"):
        config.resolved_from_env()


def test_an_address_is_a_host_and_a_port() -> None:
    assert host_port("0.0.0.0:7879") == ("0.0.0.0", 7879)
    assert host_port("[::1]:0") == ("::1", 0)
    assert host_port("node.example:65535") == ("node.example", 65_535)


@pytest.mark.parametrize(
    "address",
    ["", ":1", "host", "host:", "host:x", "host:65536", "::1:80", "[::1:80", "a b:1", "h:-1"],
)
def test_what_is_no_address_is_refused_with_what_to_write(address: str) -> None:
    with pytest.raises(ConfigError, match="write|a number from 0 to 65535"):
        host_port(address)


def test_what_others_are_told_to_dial_needs_a_port() -> None:
    with pytest.raises(ConfigError, match="port that others can dial"):
        MeshConfig(advertise=("home.example:0",))


@pytest.mark.parametrize("address", ["0.0.0.0:7879", "[::]:7879"])
def test_nobody_is_told_to_dial_all_addresses(address: str) -> None:
    with pytest.raises(ConfigError, match="stands for all addresses"):
        MeshConfig(advertise=(address,))


def test_a_relay_of_the_defaults_is_what_the_settings_say() -> None:
    told = RelayConfig()

    assert RelayLimits() == RelayLimits(
        told.reservations,
        told.per_address,
        told.rate_bytes,
        told.burst_bytes,
        told.total_bytes,
    )


@pytest.mark.parametrize("keepalive", ["0s", "900ms", "6m"])
def test_a_keepalive_that_is_a_flood_or_keeps_nothing_is_refused(keepalive: str) -> None:
    with pytest.raises(ConfigError, match="expected 1s to 300s"):
        NatConfig(keepalive=keepalive)


def test_nothing_is_wished_of_a_keepalive_unless_it_is_written() -> None:
    assert NatConfig().keepalive_s is None
    assert NatConfig(keepalive="1500ms").keepalive_s == 1.5


@pytest.mark.parametrize("setting", ["rate", "total"])
def test_a_relay_that_forwards_nothing_is_refused_with_what_to_write(setting: str) -> None:
    with pytest.raises(ConfigError, match="write serve = false"):
        msgspec.convert({setting: "0B"}, RelayConfig)


def test_the_default_device_is_the_one_that_the_crossbars_have() -> None:
    assert config.DEFAULT_DEVICE == presets.DEFAULT_DEVICE == Settings().compute.device


def test_a_device_may_be_one_s_own_and_must_be_one_that_can_be() -> None:
    own = '{"base": "rram-harsh", "wires": {"segment_ohm": 0}}'
    assert ComputeConfig(device=own).device == own

    with pytest.raises(ConfigError, match="did you mean rram-wan2022"):
        ComputeConfig(device="rram-wan2002")
    with pytest.raises(ConfigError, match="wires.segment_ohm: expected"):
        ComputeConfig(device=own.replace("0", "-1"))


@pytest.mark.parametrize("rtol", [0.0, 1.0, 2.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_part_of_the_answer_is_no_setting(rtol: float) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"rtol": rtol}, ComputeConfig)
