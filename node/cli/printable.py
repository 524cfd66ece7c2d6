"""What others have written, made safe for a terminal: a node may call itself anything, escape sequences included."""

from typing import Any

HIDDEN = "\N{REPLACEMENT CHARACTER}"


def printable(told: Any) -> Any:
    """The same JSON document with nothing in its texts that moves the cursor, hides or reverses what stands there."""
    match told:
        case str():
            return "".join(one if one.isprintable() else HIDDEN for one in told)
        case list():
            return [printable(one) for one in told]
        case dict():
            return {printable(key): printable(value) for key, value in told.items()}
        case _:
            return told
