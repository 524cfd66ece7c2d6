import contextlib
import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as numpy_format

from protocol.errors import ErrorCode, TaskError
from protocol.npy import NPY_HEADER_BYTES_MAX, NpyHeader, encode_header, parse, require_2d

SHAPES = st.lists(st.integers(1, 1 << 18), min_size=1, max_size=2).map(tuple)


def said(text: str | bytes, major: int = 1) -> bytes:
    """A header with any text in it."""
    body = text.encode() if isinstance(text, str) else text
    width = 2 if major == 1 else 4
    return b"\x93NUMPY" + bytes([major, 0]) + len(body).to_bytes(width, "little") + body


def field(descr: str = "'<f4'", fortran: str = "False", shape: str = "(2, 3)") -> bytes:
    return said(f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}")


def reason(prefix: bytes) -> str:
    with pytest.raises(TaskError) as caught:
        parse(prefix)
    assert caught.value.code is ErrorCode.BAD_REQUEST
    return caught.value.info.reason


@given(
    SHAPES,
    st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    st.booleans(),
    st.sampled_from([numpy_format.write_array_header_1_0, numpy_format.write_array_header_2_0]),
)
def test_what_numpy_writes_is_read_as_numpy_meant_it(
    shape: tuple[int, ...], descr: str, fortran: bool, write: Callable[..., None]
) -> None:
    file = io.BytesIO()
    facts = {"descr": descr, "fortran_order": fortran, "shape": shape}
    write(file, facts)
    written = file.getvalue()

    header = parse(written + b"values")

    assert header == NpyHeader(shape, int(descr[2]), descr[0] == ">", fortran, len(written))


@given(SHAPES)
def test_what_we_write_is_read_by_numpy_and_by_us(shape: tuple[int, ...]) -> None:
    written = encode_header(shape)
    file = io.BytesIO(written)

    assert numpy_format.read_magic(file) == (1, 0)
    assert numpy_format.read_array_header_1_0(file) == (shape, False, np.dtype("<f4"))
    assert file.tell() == len(written)
    assert len(written) % 64 == 0
    assert parse(written) == NpyHeader(shape, 4, False, False, len(written))


def test_a_whole_file_of_ours_loads_in_numpy() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)

    loaded = np.load(io.BytesIO(encode_header((2, 3)) + matrix.tobytes()), allow_pickle=False)

    assert np.array_equal(loaded, matrix)


@given(SHAPES, st.data())
def test_a_header_cut_anywhere_asks_for_more(shape: tuple[int, ...], data: st.DataObject) -> None:
    written = encode_header(shape)

    assert parse(written[: data.draw(st.integers(0, len(written) - 1))]) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": (2, 3), "descr": "<f4", "fortran_order": False}',
        "{'shape':(2L,3L),'fortran_order':False,'descr':'f4'}   \n",
        "{ 'descr' : '=f4' ,\n'fortran_order' : False , 'shape' : ( 2 , 3 , ) , }",
    ],
)
def test_other_programs_may_write_the_same_facts_in_their_own_way(text: str) -> None:
    header = parse(said(text, major=3))

    assert header is not None
    assert (header.shape, header.itemsize, header.big_endian) == ((2, 3), 4, False)


def test_conversions_are_said_in_words() -> None:
    header = parse(field("'>f8'", "True"))

    assert header is not None
    assert header.converted == (
        "float64 to float32",
        "big-endian to little-endian",
        "Fortran order to row order",
    )
    assert header.values_bytes == 48


@pytest.mark.parametrize(
    ("descr", "words"),
    [
        ("'|O'", "never unpickled"),
        ("'<i8'", r"int64 are not taken"),
        ("'<u2'", "uint16"),
        ("'|b1'", "bool are"),
        ("'<f2'", "float16"),
        ("'<f16'", "float128"),
        ("'<c8'", "X.real.astype"),
        ("'<U5'", "text"),
        ("'<M8[ns]'", "datetime"),
        ("[('a', '<f4')]", "structured"),
        ("'<f4; import os'", "unknown"),
        ("True", "must be a text"),
        ("(4, 4)", "must be a text"),
    ],
)
def test_other_values_are_refused_with_what_to_write(descr: str, words: str) -> None:
    told = reason(field(descr))

    assert words in told
    assert "astype(numpy.float32)" in told


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("()", "0-d"),
        ("(2, 3, 4)", "3 sides"),
        ("(0, 3)", "empty"),
        ("(3, 0)", "empty"),
        ("(1048577, 1)", "longer than 1048576"),
        ("(1048576, 1048576)", "more than 68719476736 values"),
        ("(" + "9" * 5000 + ",)", "longer than 1048576"),
        ("(" + "1, " * 5000 + ")", "more than 32 sides"),
        ("(-1, 3)", "cannot be read"),
        ("(1.5, 3)", "cannot be read"),
        ("((2, 3))", "cannot be read"),
        ("'(2, 3)'", "tuple of whole numbers"),
        ("True", "tuple of whole numbers"),
    ],
)
def test_a_shape_that_cannot_be_held_is_refused(shape: str, words: str) -> None:
    assert words in reason(field(shape=shape))


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        (b"PK\x03\x04", "not a .npy file"),
        (b"\x93NUMPX", "not a .npy file"),
        (b"{", "not a .npy file"),
        (b"\x93NUMPY\x04\x00", "version 4"),
        (said(b" " * (NPY_HEADER_BYTES_MAX + 1), major=2), "at most 65536"),
        (said("{'descr': '<f4', 'shape': (2, 3)}"), "lacks 'fortran_order'"),
        (said("{'descr': '<f4', 'descr': '<f8'}"), "twice"),
        (said("{'descr': '<f4', 'order': False}"), "'order' that is unknown"),
        (field(fortran="'no'"), "True or False"),
        (said("{}"), "lacks"),
        (said("{'descr'"), "cannot be read"),
        (said("__import__('os').system('true')"), "cannot be read"),
        (said("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} or 1"), "cannot be read"),
        (said("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} {"), "goes on"),
        (said("(" * 60_000), "cannot be read"),
        (said("{'descr': " + "-" * 60_000 + "1}"), "cannot be read"),
        (said("{'descr': '\u00e9'}", major=3), "lacks"),
    ],
)
def test_a_broken_header_is_refused_with_what_is_wrong(prefix: bytes, words: str) -> None:
    assert words in reason(prefix)


def test_weights_need_two_sides_and_hear_how_to_get_them() -> None:
    flat = parse(field(shape="(7,)"))
    square = parse(field())
    assert flat is not None and square is not None

    assert require_2d(square, "weights") == (2, 3)
    with pytest.raises(TaskError, match=r"weights must .* W.reshape\(7, 1\)"):
        require_2d(flat, "weights")


SNIPPETS = st.sampled_from(
    [
        "{",
        "}",
        "(",
        ")",
        "[",
        ",",
        ":",
        "'descr'",
        "'<f4'",
        "'shape'",
        "'fortran_order'",
        "True",
        "3",
        "-",
        " ",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(SNIPPETS, max_size=24).map("".join)))
def test_no_header_does_worse_than_being_refused(text: bytes | str) -> None:
    for prefix in (
        said(text),
        said(text, major=2),
        text.encode() if isinstance(text, str) else text,
    ):
        with contextlib.suppress(TaskError):
            header = parse(prefix)
            assert header is None or header.values_bytes > 0


@given(st.integers(0, 127), st.integers(0, 255))
def test_one_wrong_byte_in_a_good_header_is_refused_or_read_within_the_limits(
    at: int, value: int
) -> None:
    written = bytearray(encode_header((1000, 1000)))
    written[at] = value
    with contextlib.suppress(TaskError):
        header = parse(written)
        assert header is None or header.values_bytes <= 8 * (1 << 36)
