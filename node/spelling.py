"""Offers the nearest known word for one that nobody knows."""

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], cutoff: float) -> str | None:
    """The known word most like this one; None where none is alike enough (`cutoff`: 0 anything, 1 the same)."""
    from difflib import get_close_matches  # `up` mostly has nothing to complain about

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def hint(word: str, known: Iterable[str]) -> str:
    """What to write instead, in brackets."""
    known = list(known)
    near = nearest(word, known, cutoff=0.5)
    return f" (did you mean {near}?)" if near else f" (there are {', '.join(known)})"
