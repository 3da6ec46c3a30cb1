"""Ids that a spreadsheet or a wrong encoding has damaged, and UIDs that cannot be UIDs."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence

AS_TEXT = "format the column as text in the spreadsheet and enter the id again from Eclipse"

_MONTHS = r"(?:jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz])\w*\.?"
_UID = re.compile(r"[012](?:\.(?:0|[1-9][0-9]*)){2,}")
_HIDDEN = re.compile("[\x00-\x1f\x7f\u200b-\u200f\u2060\ufeff\ufffd]")

_LOST = re.compile(r"#+|#(?:N/A|NV|[A-ZÄÖÜ][A-ZÄÖÜ/0_]*[!?])")  # such as #NAME? and #DIV/0!

# A plan or structure may truly be called 1E5 or 01.02.2024: of these ids only what nobody types is
# held to be damaged. Spreadsheets always write the exponent with a sign and two digits.
_SURELY_DAMAGED = (
    (_LOST, "is what a spreadsheet shows in place of a value"),
    (re.compile(r"[+-]?\d(?:[.,]\d+)?E[+-]\d{2,3}"), "is a number in scientific notation"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d"), "is a date"),
)  # fmt: skip
# A patient id is held to more: without the right one nothing else of the row can be trusted.
_PATIENT_DAMAGED = (
    *_SURELY_DAMAGED,
    (re.compile(r"[+-]?\d+[.,]\d+E[+-]?\d+|[+-]?\d+E[+-]\d+", re.IGNORECASE),
     "is a number in scientific notation"),
    (re.compile(r"\d+[.,]0+"), "is a number with decimals"),
    (re.compile(r"(?:(?:19|20)\d\d([-./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])"
                r"|(?:0?[1-9]|[12]\d|3[01])([-./])(?:0?[1-9]|[12]\d|3[01])\2(?:19|20)\d\d)"
                r"(?: \d\d?:\d\d(?::\d\d)?)?"), "is a date"),
    (re.compile(rf"\d\d?[. -]+{_MONTHS}|{_MONTHS}[. -]+\d+", re.IGNORECASE), "is a date"),
    (re.compile(r"[='].*"), "is a formula or marked with the sign for text"),
)  # fmt: skip


def cell_damage(cell: object) -> str:
    """What is wrong with a workbook's cell that should hold an id but holds no text; else empty."""
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta):
        return f"is a date, not text: the id that was entered is lost; {AS_TEXT}"
    if isinstance(cell, int) or (isinstance(cell, float) and not math.isnan(cell)):
        return f"is a number, not text: leading zeros and last digits may be lost; {AS_TEXT}"
    return ""


def text_damage(text: str) -> str:
    """What is wrong with the id of a plan, structure set or structure; empty when nothing is."""
    return _damage(text, _SURELY_DAMAGED)


def patient_damage(text: str) -> str:
    """What is wrong with a patient id; empty when nothing is."""
    return _damage(text, _PATIENT_DAMAGED)


def _damage(text: str, patterns: Sequence[tuple[re.Pattern[str], str]]) -> str:
    if text.isascii() and text.isalnum():  # nearly all ids, and no damage shows in these alone
        return ""
    for pattern, what in patterns:
        if pattern.fullmatch(text):
            return lost(text, what)
    if _HIDDEN.search(text):
        return "holds a line break, a control character or a lost character; enter the id again"
    if _is_garbled(text):
        return (
            "has garbled umlauts, so the file mixes two encodings; "
            'enter the id again and save the list as "CSV UTF-8"'
        )
    return ""


def lost(text: str, what: str) -> str:
    """The sentence for a value in which the id that was entered can no longer be read."""
    return f"{_shown(text)}{what}: the id that was entered is lost; {AS_TEXT}"


def _shown(text: str) -> str:
    """A value in brackets where it cannot be a person's name, which a shifted row may have here."""
    return f"({text}) " if re.fullmatch(r"[\d.,:/+\-# ]+(?:E[+-]?\d+)?", text) else ""


def _is_garbled(text: str) -> bool:
    """Whether text is UTF-8 that was read as Windows-1252, such as ``MÃ¼ller``."""
    if text.isascii():
        return False
    try:
        text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return False
    return True


def uid_damage(text: str) -> str:
    """What is wrong with a series' or registration's UID; empty when nothing is."""
    if not text or is_uid(text):
        return ""
    return patient_damage(text) or (
        f"{_shown(text)}is not a valid DICOM UID (digits and dots, 64 characters at most); "
        "copy it again from Eclipse or from the mining's list"
    )


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID (PS3.5 9.1) of at least three components.

    A root has at least two components, the first of them 0, 1 or 2 (ISO/IEC 9834-1), and a suffix
    follows: ``123456`` and ``123456.0`` are numbers.
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def comment_damage(text: str) -> str:
    """What is wrong with a comment; empty when nothing is.

    A spreadsheet takes a comment that begins with ``=`` or ``-`` for a formula.
    """
    if _LOST.fullmatch(text):
        return (
            "has taken the place of the comment, so nobody can tell whether the row was rejected; "
            "enter the comment again as text"
        )
    return ""


def count_of(text: str) -> int | None:
    """A number of images; None when the text is none."""
    number = re.fullmatch(r"(\d{1,6})(?:[.,]0+)?", text)
    return int(number[1]) if number else None


def volume_of(cell: object) -> float | None:
    """A volume in ml; None when a cell holds none, or none above 0."""
    try:
        volume = cell if isinstance(cell, float) else float(str(cell).replace(",", "."))
    except ValueError:
        return None
    return volume if 0 < volume < math.inf else None
