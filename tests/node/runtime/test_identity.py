"""A node keeps its name over restarts, and a broken key is noticed before it does harm."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from node.runtime.datadir import DataDir
from node.runtime.identity import load_or_create
from protocol.errors import ConfigError
from protocol.ids import node_id

PLAIN_START = """
import sys
from pathlib import Path
from node.runtime import identity
from node.runtime.datadir import DataDir
with DataDir(Path(sys.argv[1])) as data_dir:
    print(identity.load_or_create(data_dir).id)
assert not [name for name in sys.modules if name.startswith("cryptography")]
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[DataDir]:
    with DataDir(tmp_path) as opened:
        yield opened


def test_the_id_is_the_hash_of_the_key_that_signs(data_dir: DataDir) -> None:
    identity = load_or_create(data_dir)

    Ed25519PublicKey.from_public_bytes(identity.public_key()).verify(identity.sign(b"x"), b"x")
    assert node_id(identity.public_key()) == identity.id
    assert identity.key.stat().st_mode & 0o777 == 0o600


def test_a_plain_start_finds_the_same_node_without_cryptography(tmp_path: Path) -> None:
    with DataDir(tmp_path) as data_dir:
        identity = load_or_create(data_dir)

    started = subprocess.run(
        [sys.executable, "-c", PLAIN_START, os.fspath(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout.strip() == identity.id


def test_a_death_between_key_and_id_loses_nothing(data_dir: DataDir) -> None:
    identity = load_or_create(data_dir)
    data_dir.id.unlink()

    assert load_or_create(data_dir) == identity


@pytest.mark.parametrize(
    "damage",
    [
        lambda pem: b"",
        lambda pem: pem[: len(pem) // 2],
        lambda pem: pem.replace(b"MC4", b"MC5"),
        lambda pem: pem + pem,
        lambda pem: b"\xff" * 100,
    ],
)
def test_a_damaged_key_says_what_to_do(data_dir: DataDir, damage: object) -> None:
    load_or_create(data_dir)
    assert callable(damage)
    data_dir.key.write_bytes(damage(data_dir.key.read_bytes()))

    with pytest.raises(ConfigError, match="node.key is damaged .* restore it from a backup"):
        load_or_create(data_dir)


def test_a_lost_key_is_not_silently_replaced(data_dir: DataDir) -> None:
    load_or_create(data_dir)
    data_dir.key.unlink()

    with pytest.raises(ConfigError, match="node.key is gone"):
        load_or_create(data_dir)


def test_a_key_of_another_node_signs_nothing(data_dir: DataDir, tmp_path: Path) -> None:
    identity = load_or_create(data_dir)
    with DataDir(tmp_path / "other") as other:
        data_dir.key.write_bytes(load_or_create(other).key.read_bytes())

    with pytest.raises(ConfigError, match="is not the key of node"):
        identity.sign(b"x")
