"""What sentences of all rooms are made of: counted nouns, choices, the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence


def counted(count: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "case"), counted(0, "study"), counted(1200, "series")
    ('1 case', '0 studies', '1,200 series')
    """
    if count == 1 or noun.endswith("series"):
        return f"{count:,} {noun}"
    return f"{count:,} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{count:,} {noun}s"


def counted_are(count: int, noun: str) -> str:
    """A number of things, and the verb that goes with it.

    >>> counted_are(1, "file"), counted_are(2, "file")
    ('1 file is', '2 files are')
    """
    return f"{counted(count, noun)} {'is' if count == 1 else 'are'}"


def in_rows(rows: Collection[int]) -> str:
    """Rows of a list, in short.

    >>> in_rows([2]), in_rows([2, 4, 5, 6])
    ('row 2', 'rows 2, 4-6')
    """
    return f"{'row' if len(rows) == 1 else 'rows'} {row_ranges(rows)}"


def row_ranges(rows: Iterable[int]) -> str:
    """Row numbers in short.

    >>> row_ranges([2, 4, 5, 6])
    '2, 4-6'
    """
    parts: list[list[int]] = []
    for row in sorted(rows):
        if parts and row == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], row]
        else:
            parts.append([row])
    return ", ".join("-".join(map(str, part)) for part in parts)


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
