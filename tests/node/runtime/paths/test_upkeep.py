"""What the tries at a path came to, in words."""

from node.runtime.paths.upkeep import in_words
from protocol.errors import PeerError
from protocol.paths import PathKind


def test_an_address_that_does_not_answer_is_named() -> None:
    told = in_words({"192.0.2.1:7879": TimeoutError(), "192.0.2.2:7879": ConnectionRefusedError()})

    assert "192.0.2.1:7879" in told and "192.0.2.2:7879" in told


def test_what_says_all_by_itself_is_told_as_it_is() -> None:
    late = TimeoutError("no way through the NATs of both sides within 3 s")

    assert in_words({PathKind.PUNCHED: late}) == str(late)
    assert in_words({"192.0.2.1:7879": PeerError("somebody else is there")}) == (
        "somebody else is there"
    )
    assert in_words({}) == ""
