"""Names that say nothing: pseudonyms, hashed UIDs and shifted dates from a key outside the dataset.

HMAC-SHA256 under the site's key. The same patient has the same pseudonym in every run, so a
dataset can grow; who has the dataset without the key can neither undo a pseudonym nor try ids.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stardust_esapi.errors import UsageError
from stardust_esapi.files import atomic_write, make_folder, whole_file
from stardust_esapi.names import as_cell, from_cell

KEY_BYTES = 32
PSEUDONYMS_NAME = "pseudonyms.json"
FORMAT: Final = "stardust-esapi pseudonyms 1"
MAPPING_COLUMNS = ("Pseudonym", "Patient-ID")

# 75 bits: among a million patients two share a pseudonym with a chance of 1 in 10**10.
_LENGTH = 15
_SHORTEST_SHIFT, _LONGEST_SHIFT = 365, 3650  # days


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """What the dataset calls patients, cases and UIDs, and when it says that things were.

    Attributes:
        key: The site's secret; never part of a message or of the dataset.
    """

    key: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """Tells keys apart, and nothing of the key."""
        return self._hash("key id", "").hex()[:16]

    def patient(self, patient_id: str) -> str:
        """Pseudonym of a patient: lower case letters and digits, safe as a file name."""
        return f"p{self._short('patient', patient_id)}"

    def case(self, case_key: str) -> str:
        """Pseudonym of a case: its own key is a hash that anyone can make from the ids."""
        return f"c{self._short('case', case_key)}"

    def uid(self, uid: str) -> str:
        """The UID that stands for another one (PS3.5 B.2: a UUID as an integer below 2.25).

        An empty one stays empty.
        """
        if not uid:
            return ""
        return f"2.25.{int.from_bytes(self._hash('uid', uid)[:16], 'big')}"

    def days(self, patient_id: str) -> int:
        """By how many days all dates of a patient are moved: one to ten years into the past.

        One number for all of a patient's dates keeps the time between them.
        """
        number = int.from_bytes(self._hash("days", patient_id)[:8], "big")
        return -(_SHORTEST_SHIFT + number % (_LONGEST_SHIFT - _SHORTEST_SHIFT + 1))

    def check_distinct(self, patient_ids: Iterable[str]) -> None:
        """Make sure that no two patients of a cohort share a pseudonym.

        Raises:
            UsageError: Two do: their cases would lie together and count as one patient's.
        """
        known: dict[str, str] = {}
        for patient_id in patient_ids:
            if known.setdefault(self.patient(patient_id), patient_id) != patient_id:
                raise UsageError(
                    f"Two patients have the pseudonym {self.patient(patient_id)}. Make the "
                    "dataset anew with another --key."
                )

    def _short(self, purpose: str, value: str) -> str:
        return base64.b32encode(self._hash(purpose, value)).decode().lower()[:_LENGTH]

    def _hash(self, purpose: str, value: str) -> bytes:
        return hmac.digest(self.key, f"{purpose}\x1f{value}".encode(), hashlib.sha256)


def default_key_file(out: Path) -> Path:
    """Where the key lies when nobody says: beside the dataset, not in it."""
    out = out.resolve()
    return out.with_name(f"{out.name}.key")


def open_pseudonyms(out: Path, key_file: Path | None = None) -> Pseudonyms:
    """Read the key, or create it at first use, and see that the dataset was created with it.

    Args:
        out: The dataset's folder; it gets ``pseudonyms.json`` with the id of the key.
        key_file: The key's file; None for the one beside the dataset.

    Raises:
        UsageError: The key lies in the dataset, cannot be read or created, or is another one than
            the dataset was created with.
    """
    path = key_file or default_key_file(out)
    _refuse_inside(path, out, "The key (--key)")
    recorded = _recorded_key_id(out)
    try:
        if path.exists():
            pseudonyms = Pseudonyms(_read_key(path))
        elif recorded:
            raise UsageError(
                f"{out} was created with a key that is not at {path}: its patients would get other "
                "pseudonyms. Give that key with --key, or choose another --out."
            )
        else:
            pseudonyms = Pseudonyms(_make_key(path))
        if recorded not in ("", pseudonyms.key_id):
            raise UsageError(
                f"{out} was created with another key than {path}: its patients would get other "
                "pseudonyms. Give that key with --key, or choose another --out."
            )
        if not recorded:
            make_folder(out)
            document = {"format": FORMAT, "key_id": pseudonyms.key_id}
            atomic_write(out / PSEUDONYMS_NAME, json.dumps(document, indent=1) + "\n")
    except OSError as error:
        raise UsageError(
            f"The key {path} or the dataset {out} cannot be read or written: "
            f"{error.strerror or error}."
        ) from None
    return pseudonyms


def write_mapping(
    path: Path, out: Path, pseudonyms: Pseudonyms, patient_ids: Iterable[str]
) -> None:
    """Write which pseudonym is whose, for the one who may know: ``;``-separated UTF-8.

    Patients that the file names already stay in it.

    Args:
        path: Where the user wants it.
        out: The dataset's folder, where it must not lie.
        pseudonyms: Those of the dataset.
        patient_ids: The patients.

    Raises:
        UsageError: The file would lie in the dataset, is another one, or cannot be written.
    """
    _refuse_inside(path, out, "The mapping (--mapping)")
    try:
        known = _read_mapping(path) if path.exists() else {}
        known |= {pseudonyms.patient(patient_id): patient_id for patient_id in patient_ids}
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
        writer.writerow(MAPPING_COLUMNS)
        writer.writerows((key, as_cell(known[key])) for key in sorted(known))
        _write_secret(path, text.getvalue().encode())
    except OSError as error:
        raise UsageError(
            f"The mapping {path} cannot be written: {error.strerror or error}."
        ) from None


def check_mapping(path: Path, out: Path) -> None:
    """Refuse a mapping file in the dataset before anything is done.

    Raises:
        UsageError: It would lie there.
    """
    _refuse_inside(path, out, "The mapping (--mapping)")


def _read_mapping(path: Path) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=";"))
        if tuple(rows[0]) != MAPPING_COLUMNS or any(len(row) != 2 for row in rows):
            raise ValueError
        return {key: from_cell(patient_id) for key, patient_id in rows[1:]}
    except (ValueError, IndexError, csv.Error):
        raise UsageError(
            f"{path} is there and is no mapping of this program: it is left alone. Choose another "
            "--mapping."
        ) from None


def _refuse_inside(path: Path, out: Path, what: str) -> None:
    """Refuse a file that would be handed out with the dataset, whatever links lead there."""
    lexical, resolved = path.absolute(), path.resolve()
    dataset = out.resolve()
    within = [lexical, *lexical.parents, resolved, *resolved.parents]
    same = any(folder == dataset for folder in within)
    if out.exists():
        same = same or any(folder.exists() and folder.samefile(out) for folder in within)
    if same:
        raise UsageError(f"{what} must not lie in the dataset {out}: {path}. Choose another place.")


def _recorded_key_id(out: Path) -> str:
    """The id of the key that a dataset was created with; empty for one that is not begun."""
    path = out / PSEUDONYMS_NAME
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT or not isinstance(document["key_id"], str):
            raise ValueError
        return str(document["key_id"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{path} cannot be read or is damaged. Restore it, or choose another --out."
        ) from None


def _read_key(path: Path) -> bytes:
    text = path.read_bytes().strip()
    if not re.fullmatch(rb"[0-9a-f]{%d}" % (2 * KEY_BYTES), text):
        raise UsageError(
            f"{path} is no key of this program ({2 * KEY_BYTES} hexadecimal digits). Restore it, "
            "or name another file with --key."
        )
    return bytes.fromhex(text.decode())


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    make_folder(path.parent)
    _write_secret(path, key.hex().encode() + b"\n")
    return key


def _write_secret(path: Path, data: bytes) -> None:
    """For the owner's eyes alone."""
    with whole_file(path, mode=0o600) as file:
        file.write(data)
