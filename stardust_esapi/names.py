"""Names that are safe: folders made from patient ids, and ids that Eclipse accepts.

A folder name keeps an ordinary id as it is. What a file system could misread (separators, ``..``,
device names, trailing dots or blanks) is percent-encoded, so that different ids stay different.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from stardust_esapi.model import Role

MAX_ESAPI_ID = 16
"""Length that Eclipse allows for ids (``ApiDataObject.Id``)."""

LOOKED_FOR: Final = {Role.GTV: "gtv+", Role.TARGET: "target+"}
"""What the name of a structure holds by which MedSAM2's reader finds it, as :func:`as_read`."""

_MAX_FOLDER_NAME = 100
_UNSAFE = re.compile(r'[<>:"/\\|?*%~\x00-\x1f\x7f]')
# The last four are wide forms of the first, which spreadsheets take for them.
_FORMULA = re.compile("'*[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-]")
# Windows reserves these whatever extension follows (Microsoft, "Naming Files, Paths").
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\..*)?", re.I
)


def folder_name(identifier: str) -> str:
    """Turn an id into the name of one folder that cannot leave its parent.

    Args:
        identifier: Patient id, plan id or UID; any text but the empty one.

    Returns:
        A name valid on Windows and POSIX. Equal names come from equal ids; names that differ in
        case alone are for the ledger to keep apart (:func:`folding`).

    Raises:
        ValueError: The id is empty or blank.
    """
    if not identifier.strip():
        raise ValueError("an empty id names no folder")
    name = _UNSAFE.sub(lambda m: _encode(m[0]), identifier)
    if name[0] in " .":
        name = _encode(name[0]) + name[1:]
    if name[-1] in " .":
        name = name[:-1] + _encode(name[-1])
    if is_device(name):
        name = _encode(name[0]) + name[1:]
    if len(name.encode()) > _MAX_FOLDER_NAME:
        digest = hashlib.sha256(identifier.encode()).hexdigest()[:12]
        name = f"{name.encode()[: _MAX_FOLDER_NAME - 13].decode(errors='ignore')}~{digest}"
    return name


def is_device(name: str) -> bool:
    """Whether Windows keeps the name of a file or folder for a device, such as ``NUL.txt``."""
    return bool(_RESERVED.fullmatch(name))


def as_cell(text: str) -> str:
    """Text as a cell of a CSV file that people open: a spreadsheet takes none for a formula.

    What begins as one gets an apostrophe before it, as OWASP's "CSV Injection" advises, and so does
    what already has one there: :func:`from_cell` takes away one.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text of such a cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def folding(name: str) -> str:
    """What file systems that ignore case and composition take for the same name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def as_read(identifier: str) -> str:
    """A ROI's name as MedSAM2's reader compares it: case, blanks, ``_`` and ``-`` are ignored."""
    return re.sub(r"[\s_-]", "", identifier).casefold()


def role_of(name: str) -> Role:
    """What a structure is to the training by its name, as MedSAM2's reader looks for it."""
    read = as_read(name)
    return next((role for role, word in LOOKED_FOR.items() if word in read), Role.OTHER)


def numbered_id(identifier: str, number: int) -> str:
    """Give an Eclipse id a number, shortening it to stay within 16 characters.

    What follows the last ``_`` tells structure sets apart (``_KM``) and is kept.

    >>> numbered_id("zCopyFromPlan", 2), numbered_id("zCopyFromPlan_KM", 2)
    ('zCopyFromPlan_2', 'zCopyFromPl_2_KM')
    """
    head, separator, tail = identifier.rpartition("_")
    ending = f"_{number}{separator}{tail}"
    if not head or len(ending) >= MAX_ESAPI_ID:  # no ending that leaves room for a beginning
        head, ending = identifier, f"_{number}"
    return head[: MAX_ESAPI_ID - len(ending)] + ending


def _encode(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
