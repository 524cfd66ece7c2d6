"""A table that is too wide for its terminal loses columns, those that can be spared first."""

from node.cli.tables import WRAPPED_COLUMNS, fitting

HEADS = ("NAME", "FREE>", "PATH", "")
LINES: list[tuple[str, ...]] = [
    ("cellar", "512 MiB", "relay pub0", ""),
    ("attic", "1 GiB", "lan", ""),
]
SPARE = ("FREE>", "PATH")


def heads(columns: int, lines: list[tuple[str, ...]] = LINES) -> list[str]:
    return list(fitting(HEADS, lines, SPARE, columns, wrap_last=True)[0])


def test_all_columns_stand_where_there_is_room() -> None:
    assert fitting(HEADS, LINES, SPARE, 400) == (list(HEADS), [list(line) for line in LINES])
    # 6 + 2 + 7 + 2 + 10 + 2: what the cells and the gaps between them take.
    assert heads(29) == list(HEADS)


def test_spare_columns_go_one_by_one_until_the_rest_fits() -> None:
    assert heads(28) == ["NAME", "PATH", ""]
    assert heads(10) == ["NAME", ""]
    assert heads(1) == ["NAME", ""], "what cannot be spared stays, and is cut off"
    assert fitting(HEADS, LINES, SPARE, 28)[1] == [
        ["cellar", "relay pub0", ""],
        ["attic", "lan", ""],
    ]


def test_a_last_column_that_wraps_takes_no_more_than_it_needs() -> None:
    long: list[tuple[str, ...]] = [("cellar", "512 MiB", "lan", "refused " * 40)]

    assert heads(6 + 2 + 7 + 2 + 4 + 2 + WRAPPED_COLUMNS, long) == list(HEADS)
    assert heads(6 + 2 + 7 + 2 + 4 + 1 + WRAPPED_COLUMNS, long) == ["NAME", "PATH", ""]
