"""A table that is too wide for its terminal loses columns, those that can be spared first."""

from node.cli.tables import fitting

HEADS = ("NAME", "FREE>", "PATH")
LINES = [("cellar", "512 MiB", "relay pub0"), ("attic", "1 GiB", "lan")]
SPARE = ("FREE>", "PATH")
WIDTH = 6 + 2 + 7 + 2 + 10
"""What the cells take, and the gaps between them."""


def heads(columns: int) -> list[str]:
    return list(fitting(HEADS, LINES, SPARE, columns)[0])


def test_all_columns_stand_where_there_is_room() -> None:
    assert fitting(HEADS, LINES, SPARE, 400) == (list(HEADS), [list(line) for line in LINES])
    assert heads(WIDTH) == list(HEADS)


def test_spare_columns_go_one_by_one_until_the_rest_fits() -> None:
    assert fitting(HEADS, LINES, SPARE, WIDTH - 1) == (
        ["NAME", "PATH"],
        [["cellar", "relay pub0"], ["attic", "lan"]],
    )
    assert heads(17) == ["NAME"]
    assert heads(1) == ["NAME"], "what cannot be spared stays, and is cut off"
