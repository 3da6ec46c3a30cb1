"""What sentences of all rooms are made of: counted nouns, choices, the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "case"), counted(0, "case"), counted(1200, "series")
    ('1 case', '0 cases', '1,200 series')
    """
    return f"{count:,} {noun if count == 1 or noun.endswith('series') else f'{noun}s'}"


def either(words: Sequence[str], word: str = "or") -> str:
    """Words to choose from.

    >>> either(["a", "b", "c"])
    'a, b or c'
    """
    *others, last = words
    return f"{', '.join(others)} {word} {last}" if others else last


def nearest(given: str, possible: Iterable[str], alike: float = 0.6) -> str:
    """The word that was meant by one that is mistyped; empty where none is alike.

    Args:
        given: The word.
        possible: What it may have been meant to be.
        alike: How much so at least, from 0 to 1 (:class:`difflib.SequenceMatcher`).

    >>> nearest("dcmtc", ["esapi", "qr", "dcmtk"])
    'dcmtk'
    """
    folded = {word.casefold(): word for word in possible}
    found = difflib.get_close_matches(given.casefold(), folded, n=1, cutoff=alike)
    return folded[found[0]] if found else ""


def did_you_mean(given: str, possible: Iterable[str]) -> str:
    """The question after a mistyped word, with a blank before it; empty where none is alike."""
    word = nearest(given, possible)
    return f" Did you mean {word}?" if word else ""
