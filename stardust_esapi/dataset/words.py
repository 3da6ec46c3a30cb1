"""Words that people type and that reach the dataset's files: only those pass that are listed.

A label, a ``casekind`` or a body part may hold anything, a name too. Whatever is none of the listed
words becomes :data:`OTHER`. Sentences of the export may quote anything: :func:`unnamed`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

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


def in_name(word: str) -> str:
    """A listed word as a part of a file's name, where ``_`` parts the words.

    >>> in_name("Metastase-Kopf"), in_name("Hals/Thorax_2"), in_name("")
    ('Metastase-Kopf', 'Hals-Thorax-2', 'other')
    """
    return re.sub(r"[\W_]+", "-", word).strip("-") or OTHER


def unnamed(text: str, values: Iterable[str]) -> str:
    """What the export says of a case, without all that it quotes: an ellipsis stands for it.

    What follows a colon goes, and what stands in brackets or quotation marks: lists of ids, and
    what Eclipse or a peer said. So does every word with four digits in a row, as UIDs, dates and
    numbers of patients have, or with a sign of a path or of DICOM's names.

    Args:
        text: A sentence or more, without the case's name before it.
        values: What is known to be the case's own: patient id, plan id and the like.
    """
    for value in filter(None, values):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "…", text)
    text = re.sub(r"\([^()]*\)|“[^”]*”|\"[^\"]*\"", "(…)", text)
    text = re.sub(r":\s.*", ": …", text, flags=re.DOTALL)
    text = re.sub(r"\S*(?:\d{4}|[\\/^@])\S*", "…", text)
    return f"{text} The export's report has the whole." if "…" in text else text
