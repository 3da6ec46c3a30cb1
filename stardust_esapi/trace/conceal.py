"""What of an answer may be told: every value that a trace holds was made here.

A value is told by a function for its sort, so that nothing of an unknown sort gets through. Ids,
names and UIDs become numbers in the order in which they are met. A number tells less than the best
hash: there is nothing to try guesses at, and nothing is kept that could undo it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

Json = Any
"""What JSON can hold."""

Show = Callable[[Any], Json]
"""Makes of a value of one sort what may be told of it."""

TOKEN = re.compile(r"id#\d+")
"""How an id, a name or a UID stands in a trace."""

_SOME = "(some)"
_HIDDEN = "…"
# Shorter ids are parts of ordinary words; alone they stand for nobody.
_SHORTEST, _SHORTEST_PART = 2, 4
_QUOTED = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\"|„[^“”]*[“”]|“[^”]*”|«[^»]*»|»[^«]*«)(?!\w)")
# Dates, numbers, UIDs, paths, logins, addresses.
_TELLING = re.compile(r"\S*[\d@\\/]\S*")


class Concealer:
    """Gives the same number for the same id, name or UID while one recording lasts.

    Attributes:
        sorts: What tells a value of each sort of :mod:`stardust_esapi.trace.members`.
    """

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}
        self._known: set[str] = set()
        self.sorts: dict[str, Show] = {
            "id": self.token,
            "uid": lambda thing: None if thing is None else self.token(thing.UID),
            "name": self.name,
            "presence": presence,
            "date": date,
            "number": number,
            "vector": vector,
            "color": color,
            "word": word,
            "version": version,
            "approvals": lambda entries: [word(entry.ApprovalStatus) for entry in entries],
        }

    def token(self, value: object) -> str | None:
        """What stands for an id; null and the empty text stay what they are."""
        if value is None or value == "":
            return None if value is None else ""
        self.hide(str(value))
        return self._tokens.setdefault(str(value), f"id#{len(self._tokens) + 1}")

    def name(self, value: object) -> str | None:
        """Of somebody's name: null, empty, or there; none of its parts will stand in a message."""
        for part in re.split(r"[\W_]+", str(value or "")):
            self.hide(part)
        return presence(value)

    def hide(self, value: str) -> None:
        """Let a value stand in no message."""
        if len(value) >= _SHORTEST:
            self._known.add(_folded(value))

    def message(self, text: str) -> str:
        """What an exception says, without anything that may be of the patient or of somebody.

        Known ids and names, quotations, and all words with a digit, a slash or an @ are left out;
        the rest is in lower case.
        """
        said = " ".join(_folded(text).split())
        for value in sorted(self._known, key=len, reverse=True):
            if value in said:
                whole = re.escape(value)
                if len(value) < _SHORTEST_PART:
                    whole = rf"(?<!\w){whole}(?!\w)"
                said = re.sub(whole, _HIDDEN, said)
        return _TELLING.sub("#", _QUOTED.sub(_HIDDEN, said))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def presence(value: object) -> str | None:
    """Of a text or an object: null, empty, or there."""
    return None if value is None else "" if value == "" else _SOME


def date(value: Any) -> str | None:
    """Of a ``System.DateTime``: null, the first day of all, or there."""
    return None if value is None else "(first day)" if value.Year <= 1 else _SOME


def number(value: Any) -> Json:
    """A number or a truth, as JSON can hold it; null stays null."""
    if value is None or isinstance(value, bool | int):
        return value
    return float(value) if math.isfinite(value) else str(float(value))


def vector(value: Any) -> Json:
    """A ``VVector``."""
    return [number(value.x), number(value.y), number(value.z)]


def color(value: Any) -> Json:
    """A ``Color``."""
    return [int(value.R), int(value.G), int(value.B)]


def word(value: object) -> str | None:
    """A member of an enumeration, or a code such as ``GTV``; nothing longer."""
    if value is None:
        return None
    return str(value) if re.fullmatch(r"[A-Za-z]{0,24}|[A-Z_]{0,16}", str(value)) else _SOME


def version(value: object) -> str:
    """The number of a version."""
    return str(value) if re.fullmatch(r"[\d.]{0,24}", str(value)) else _SOME
