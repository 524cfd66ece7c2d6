import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.cli.printable import HIDDEN, printable


@pytest.mark.parametrize("hostile", ["\x1b", "\x9b", "\r", "\n", "\b", "\x07", "\u202e", "\u2028"])
def test_what_moves_the_cursor_or_turns_the_text_around_is_not_shown(hostile: str) -> None:
    assert printable({"name": f"a{hostile}b"}) == {"name": f"a{HIDDEN}b"}


@given(
    st.recursive(st.none() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one))
)
def test_nothing_of_a_document_is_left_as_it_must_not_be_shown(told: object) -> None:
    def texts(one: object) -> list[str]:
        if isinstance(one, dict):
            return [text for both in one.items() for side in both for text in texts(side)]
        if isinstance(one, list):
            return [text for each in one for text in texts(each)]
        return [one] if isinstance(one, str) else []

    assert all(text.isprintable() for text in texts(printable(told)))


def test_what_can_be_shown_stays_as_it_is() -> None:
    told = {"name": "Küche \N{SNOWMAN}", "free": 3, "public": [True, None, 0.5]}

    assert printable(told) == told
