"""The small reader of certificates agrees with the large one, and takes nothing else."""

import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given, settings
from hypothesis import strategies as st

from node.runtime import der
from node.runtime.certificates import make_ca, make_leaf, to_der
from tests.node.runtime.small_mesh import stranger

NOW = time.time()
LEAF = to_der(make_leaf(make_ca(NOW), b"\x11" * 32, NOW))


def test_it_reads_what_the_large_one_reads() -> None:
    certificate = x509.load_der_x509_certificate(LEAF)

    facts = der.read_certificate(LEAF)

    assert facts.public_key == b"\x11" * 32
    assert facts.not_before == certificate.not_valid_before_utc.timestamp()
    assert facts.not_after == certificate.not_valid_after_utc.timestamp()


def test_it_reads_times_after_2049() -> None:
    in_2060 = NOW + 35 * 365 * 86_400
    ca = make_ca(in_2060)

    facts = der.read_certificate(to_der(ca.certificate))

    assert facts.not_after == ca.certificate.not_valid_after_utc.timestamp()


def test_a_key_of_another_kind_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    now = x509.load_der_x509_certificate(LEAF).not_valid_before_utc
    name = x509.Name([])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now)

    with pytest.raises(ValueError, match="not Ed25519"):
        der.read_certificate(to_der(builder.sign(key, SHA256())))


@given(st.integers(min_value=0, max_value=len(LEAF) - 1), st.integers(min_value=0, max_value=255))
@example(0, 0)
@settings(max_examples=300)
def test_a_changed_byte_is_read_or_refused(place: int, value: int) -> None:
    _read_or_refuse(LEAF[:place] + bytes([value]) + LEAF[place + 1 :])


@given(st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="certificate"):
        der.read_certificate(data)


def _read_or_refuse(data: bytes) -> None:
    try:
        assert len(der.read_certificate(data).public_key) == 32
    except ValueError:
        return


def test_the_seed_is_the_one_that_was_written(tmp_path: Path) -> None:
    data_dir, who = stranger(tmp_path)

    seed = der.read_private_seed(data_dir.key.read_text())

    assert seed == who.private_key().private_bytes_raw()
