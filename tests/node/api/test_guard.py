import pytest

from node.api.guard import Guard
from protocol.errors import ErrorCode, TaskError

TOKEN = "5ecret"


def verdict(
    bound: str = "127.0.0.1",
    *,
    reading: bool = False,
    host: str | None = "127.0.0.1:7878",
    origin: str | None = None,
    authorization: str | None = f"Bearer {TOKEN}",
    names: tuple[str, ...] = (),
) -> ErrorCode | None:
    try:
        Guard(bound, TOKEN, names).check(
            open_on_loopback=reading, host=host, origin=origin, authorization=authorization
        )
    except TaskError as error:
        return error.code
    return None


def test_reading_on_loopback_takes_no_token() -> None:
    assert verdict(reading=True, authorization=None) is None


@pytest.mark.parametrize("bound", ["0.0.0.0", "192.168.1.5", "::"])
def test_on_any_other_address_even_reading_takes_the_token(bound: str) -> None:
    assert verdict(bound, reading=True, authorization=None) is ErrorCode.UNAUTHORIZED
    assert verdict(bound, reading=True) is None


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer 5ecr\xe9t"],
)
def test_changing_something_takes_the_right_token(authorization: str | None) -> None:
    assert verdict(authorization=authorization) is ErrorCode.UNAUTHORIZED


def test_who_lacks_the_token_hears_where_it_stands() -> None:
    with pytest.raises(TaskError, match=r"api\.token in the node's data directory"):
        Guard("127.0.0.1", TOKEN).check(
            open_on_loopback=False, host="localhost", origin=None, authorization=None
        )


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:7878", "localhost:7878", "LOCALHOST", "localhost.", "[::1]:7878", "127.8.8.8"],
)
def test_loopback_has_several_names(host: str) -> None:
    assert verdict(host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example",
        "evil.example:7878",
        "localhost.evil.example",
        "8.8.8.8",
        "[::1",
        "a@b:c",
    ],
)
def test_a_foreign_host_is_refused_even_with_the_token(host: str | None) -> None:
    assert verdict(host=host) is ErrorCode.FORBIDDEN


def test_a_name_in_the_settings_is_ours() -> None:
    assert verdict(host="Lab.Example:80", names=("lab.example",)) is None


def test_any_literal_is_ours_behind_a_port_mapping_but_no_foreign_name() -> None:
    assert verdict("0.0.0.0", host="203.0.113.7:7878") is None
    assert verdict("0.0.0.0", host="evil.example") is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "", "http://8.8.8.8", "file://"]
)
def test_a_web_page_of_others_is_refused(origin: str) -> None:
    assert verdict(reading=True, origin=origin) is ErrorCode.FORBIDDEN


def test_a_web_page_of_ours_may_ask() -> None:
    assert verdict(reading=True, origin="http://localhost:7878") is None
