import re

from node.cli.sweeping.chips import SLOTS, Chip, chips
from protocol.limits import WEIGHTS_NAME_PATTERN


def test_the_same_experiment_meets_the_same_chips_under_few_names() -> None:
    some = chips(["a", None], range(100), "12 x 7")

    assert some == chips(["a", None], range(100), "12 x 7")
    assert len({one.name for one in some}) == 2 * SLOTS
    assert all(re.match(WEIGHTS_NAME_PATTERN, one.name) for one in some)
    assert Chip.of("a", 3, "12 x 7").name != Chip.of("a", 3, "13 x 7").name
