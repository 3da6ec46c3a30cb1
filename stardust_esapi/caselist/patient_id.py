"""The patient id of a row: a text, or a number that may have been another text before.

pandas and spreadsheets take an id such as ``0004711`` for a number. How it was spelled shows in the
name of the row's picture, which the mining begins with the id: ``0004711_Plan1_PTV_GTV.png``.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import NamedTuple

from stardust_esapi.caselist.cells import as_text, is_whole
from stardust_esapi.caselist.damage import cell_damage, lost, patient_damage

_WHOLE = re.compile(r"(0|[1-9][0-9]*)(?:[.,]0{1,2})?")  # 4.000 may be four thousand
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)[.,][0-9]+")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?(?:E\+?[0-9]{1,3})?", re.IGNORECASE)
_SPELLED = re.compile(r"[0-9]{1,64}(?:[.,][0-9]{1,64})?")

_ROUNDING = Context(prec=64, rounding=ROUND_HALF_UP, traps=[])


class PatientId(NamedTuple):
    """What a row says of its patient's id.

    Attributes:
        text: The id.
        is_number: Whether it may have lost leading zeros.
        picture: How the picture spells the same number; empty where it does not.
        damage: What is wrong; empty when nothing is.
        note: What a reader should know; mostly empty.
    """

    text: str
    is_number: bool = False
    picture: str = ""
    damage: str = ""
    note: str = ""


def read_patient_id(cell: object, picture_path: object) -> PatientId:
    """Read the patient id of a row.

    A text of digits counts as a number too: a CSV cannot tell, and what lost its zeros in one list
    stays a text in the next one, where other ids of the column have letters.

    Args:
        cell: What stands in the row.
        picture_path: ``PNG_Path``.
    """
    text = as_text(cell)
    whole = _WHOLE.fullmatch(text)
    damage = _damage(cell, text, whole)
    if not damage and not whole:
        return PatientId(text)
    picture = _picture_id(str(picture_path))
    if whole and not damage:
        same = picture and Decimal(picture.replace(",", ".")) == Decimal(whole[1])
        return PatientId(whole[1], True, picture if same else "")
    # A number that lost digits was an id of digits; 12.5 may have been 12.50.
    is_number = isinstance(cell, float | str) and (picture.isdigit() or _is_fraction(text, whole))
    if is_number and _may_be(text, picture):
        note = f"The patient id {picture} was taken from PNG_Path; the list shows it as {text}."
        return PatientId(picture, True, picture, note=note)
    return PatientId(text, damage=damage)


def _picture_id(path: str) -> str:
    """The number that a picture's name begins with; empty without one."""
    name = path.replace("/", "\\").rpartition("\\")[2]
    begin, underscore, _ = name.partition("_")
    return begin if underscore and _SPELLED.fullmatch(begin) else ""


def _is_fraction(text: str, whole: re.Match[str] | None) -> bool:
    return not whole and _DECIMAL.fullmatch(text) is not None


def _damage(cell: object, text: str, whole: re.Match[str] | None) -> str:
    if not isinstance(cell, str):
        return "" if whole and is_whole(cell) else cell_damage(cell) or patient_damage(text)
    if whole and (whole[1] == text or float(whole[1]) < 2**53):
        return ""
    if whole:
        return lost(text, "is a number that may have lost its last digits")
    return (
        lost(text, "is a number with decimals")
        if _is_fraction(text, whole)
        else patient_damage(text)
    )


def _may_be(shown: str, picture: str) -> bool:
    """Whether a number, as far as it is shown or a computer can hold it, is the picture's."""
    if not picture or not _NUMBER.fullmatch(shown):
        return False
    number, full = (Decimal(text.replace(",", ".")) for text in (shown, picture))
    rounded = _ROUNDING.quantize(full, number) if "E" in shown.upper() else full
    return rounded == number or float(full) == float(number)
