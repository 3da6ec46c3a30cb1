"""Words that people type and that reach the dataset's files: only those pass that are listed.

A label, a ``casekind`` or a body part may hold anything, a name too. Whatever is none of the listed
words becomes :data:`OTHER`.
"""

from __future__ import annotations

from collections.abc import Collection

OTHER = "other"
MODALITIES = ("KMct", "KMmr", "MR", "None")
"""Of these the pre-filter makes ``Label``, joined by ``+``."""


def listed(text: str, words: Collection[str]) -> str:
    """The word that a text is, as the list spells it; :data:`OTHER` where it is none of them.

    Case and outer blanks are ignored. A text of words joined by ``+`` passes where each does, and
    an empty one always.

    >>> listed("lunge ", ["Lunge"]), listed("Lunge Müller", ["Lunge"])
    ('Lunge', 'other')
    """
    spelling = {word.casefold(): word for word in words}
    parts = [spelling.get(part.strip().casefold()) for part in text.split("+")]
    if not text.strip():
        return ""
    return OTHER if None in parts else "+".join(filter(None, parts))
