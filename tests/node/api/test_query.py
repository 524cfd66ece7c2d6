import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.api.query import (
    control_request,
    matmul_request,
    no_parameters,
    put_request,
    wanted_version,
    weights_format,
)
from protocol.client import MatmulRequest, PlanRequest, PutRequest, TicketRequest
from protocol.errors import TaskError

Pairs = list[tuple[str, str]]


def put(query: Pairs, name: str = "w") -> PutRequest:
    return put_request(name, query, None, 3600.0)


def matmul(query: Pairs) -> MatmulRequest:
    return matmul_request("w", query, rtol=1e-2, deadline_s=30.0)


def test_a_put_is_read_with_its_numbers_labels_and_deadline() -> None:
    asked = put(
        [
            ("replicas", "2"),
            ("backend", "rram"),
            ("seed", "7"),
            ("only", "gpu,ssd"),
            ("only", "lab"),
            ("deadline", "2m"),
        ]
    )

    assert asked == PutRequest(
        name="w", replicas=2, backend="rram", seed=7, only=("gpu", "ssd", "lab"), deadline_s=120.0
    )


def test_a_product_is_read_with_its_tolerance_and_switches() -> None:
    asked = matmul([("rtol", "1e-3"), ("deadline", "500ms"), ("transpose", "true")])

    assert asked == MatmulRequest(name="w", rtol=1e-3, deadline_s=0.5, transpose=True)


def test_no_tolerance_is_said_by_none_and_the_nodes_own_by_nothing() -> None:
    assert matmul([("rtol", "none")]).rtol is None
    assert matmul([]).rtol == 1e-2


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("rtoll", "1")], r"rtoll: no such parameter \(did you mean rtol\?\)"),
        ([("zzz", "1")], r"zzz: .*known: rtol, deadline"),
        ([("rtol", "1"), ("rtol", "2")], "rtol stands there twice"),
        ([("rtol", "1%")], "rtol=1%: write a number between 0 and 1"),
        ([("transpose", "1")], "transpose=1: write true or false"),
        ([("deadline", "soon")], 'deadline=soon: .*"30s"'),
        ([("deadline", "2h")], "deadline=2h: expected float <= 3600"),
        ([("deadline", "0s")], "deadline=0s: expected float > 0"),
    ],
)
def test_a_wrong_parameter_of_a_product_is_named_with_what_to_write(
    query: Pairs, words: str
) -> None:
    with pytest.raises(TaskError, match=words):
        matmul(query)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([("replicas", "99")], "replicas=99: expected int <= 16"),
        ([("replicas", "two")], "replicas=two: expected int"),
        ([("seed", "9223372036854775808")], "seed=9223372036854775808: expected int"),
        ([("seed", "-1")], "seed=-1: expected int >= 0"),
        ([("device", "x" * 4097)], f"device={'x' * 64}: expected str of length <= 4096"),
        ([("device", "")], "device=: expected str of length >= 1"),
        ([("devise", "x")], r"devise.*did you mean device\?"),
        ([("if_match", "x")], "if_match: no such parameter"),
    ],
)
def test_a_wrong_parameter_of_a_put_is_named_with_what_to_write(query: Pairs, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        put(query)


def test_a_name_that_cannot_be_is_told_what_names_are_made_of() -> None:
    with pytest.raises(TaskError, match="1 to 64 letters, digits"):
        put([], name="../etc")


def test_the_version_stands_in_double_quotes() -> None:
    assert put_request("w", [], '"12-ab"', 60.0).if_match == "12-ab"
    for text in ("12-ab", "*", 'W/"1"', '"1", "2"', '""'):
        with pytest.raises(TaskError, match="in double quotes"):
            wanted_version(text)


def test_weights_come_as_json_or_npy() -> None:
    assert (weights_format([]), weights_format([("format", "npy")])) == ("json", "npy")
    with pytest.raises(TaskError, match="write json or npy"):
        weights_format([("format", "csv")])
    with pytest.raises(TaskError, match="no such parameter"):
        no_parameters([("x", "1")])


@pytest.mark.parametrize("content_type", ["application/json", "", "application/msgpack"])
def test_a_control_body_is_json_or_messagepack(content_type: str) -> None:
    encode = msgspec.msgpack.encode if "msgpack" in content_type else msgspec.json.encode

    asked = control_request(PlanRequest, encode({"rows": 5, "columns": 6}), content_type)

    assert asked == PlanRequest(rows=5, columns=6)


def test_an_empty_body_asks_for_the_defaults() -> None:
    assert control_request(TicketRequest, b"", "") == TicketRequest()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"usse": 3}', r"usse.*did you mean uses\?"),
        (b'{"uses": 0}', "uses: expected int >= 1"),
        (b'{"uses": "3"}', "uses: expected int, got str"),
        (b"{", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"\xff", "no JSON object"),
        (b'{"a":' + b"[" * 100_000, "no JSON object"),
    ],
)
def test_a_wrong_control_body_is_refused_with_its_reason(body: bytes, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        control_request(TicketRequest, body, "application/json")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["rtol", "deadline", "transpose", "only", "replicas", "seed", "x"]),
            st.text(max_size=10),
        ),
        max_size=4,
    )
)
def test_no_query_does_worse_than_being_refused(query: Pairs) -> None:
    for read in (put, matmul):
        with contextlib.suppress(TaskError):
            assert read(query).name == "w"


def test_text_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(TaskError, match="no MessagePack object"):
        control_request(PlanRequest, b"\x81\xa3\x00\x00\x80", "application/msgpack")


@given(st.binary(max_size=60))
def test_no_control_body_does_worse_than_being_refused(body: bytes) -> None:
    for content_type in ("application/json", "application/msgpack"):
        with contextlib.suppress(TaskError):
            assert control_request(PlanRequest, body, content_type).m >= 1
