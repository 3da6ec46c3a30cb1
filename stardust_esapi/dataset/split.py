"""Split a dataset by patient into training and validation.

Never by case: two cases of a patient show the same body. Stratified exactly: patients with the
same labels form a stratum, and each stratum gives its own share, to the patient. Whoever has a
part keeps it when cases are added; the seed decides among the new alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import TypeAdapter

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.errors import UsageError
from stardust_esapi.files import atomic_write

SPLIT_NAME = "split.json"
FORMAT = "stardust-esapi split 1"

Stratum = tuple[str, ...]
"""The labels of a patient's cases, sorted, each once."""


class Part(StrEnum):
    """What a patient's cases are for."""

    TRAIN = "train"
    VALIDATION = "val"


@dataclass(frozen=True)
class Split:
    """Who is for what.

    Attributes:
        fraction: Share of each stratum's patients that is for training.
        seed: What decided among new patients.
        patients: Part of each patient (by pseudonym) that ever had one.
        cases: The training files' common names (``cases/<patient>/<case>_<KIND>``) by part.
        strata: Patients of each stratum by part, those with training files alone.
    """

    fraction: float
    seed: int
    patients: Mapping[str, Part]
    cases: Mapping[Part, tuple[str, ...]]
    strata: Mapping[Stratum, Mapping[Part, int]]


def assign(
    entries: Iterable[Entry],
    fraction: float,
    seed: int,
    earlier: Mapping[str, Part] | None = None,
) -> Split:
    """Give every patient with training files a part.

    A stratum of n patients gives ``fraction`` · n of them, rounded half up, to training. Earlier
    parts stay, and the new patients fill up what lacks, in the order of a hash of seed and
    pseudonym: neither the order of the entries nor other strata matter.

    Args:
        entries: What became of the cases; failed ones do not count.
        fraction: Share for training.
        seed: Another one gives another split.
        earlier: Parts given before.
    """
    created = sorted((entry for entry in entries if entry.created), key=lambda entry: entry.name)
    parts = dict(earlier or {})
    strata = _strata(created)
    for patients in strata.values():
        missing = quota(len(patients), fraction) - sum(
            parts.get(patient) is Part.TRAIN for patient in patients
        )
        new = sorted((p for p in patients if p not in parts), key=lambda p: _order(seed, p))
        for number, patient in enumerate(new):
            parts[patient] = Part.TRAIN if number < missing else Part.VALIDATION
    return Split(
        fraction=fraction,
        seed=seed,
        patients=dict(sorted(parts.items())),
        cases={
            part: tuple(entry.name for entry in created if parts[entry.patient] is part)
            for part in Part
        },
        strata={
            stratum: {part: sum(parts[p] is part for p in patients) for part in Part}
            for stratum, patients in sorted(strata.items())
        },
    )


def quota(patients: int, fraction: float) -> int:
    """How many of a stratum's patients are for training.

    It grows by one patient at most when a stratum does, so that a split can grow with it.
    """
    # As written: 0.7 is seven tenths, which no binary number is.
    return math.floor(Fraction(str(fraction)) * patients + Fraction(1, 2))


def update_split(out: Path, entries: Iterable[Entry], fraction: float, seed: int) -> Split:
    """Split a dataset, keeping what ``split.json`` says, and write it.

    Raises:
        UsageError: The file is damaged, or was created with another fraction or seed.
        OSError: It cannot be written; the old one still stands.
    """
    before = read_parts(out, fraction, seed)
    split = assign(entries, fraction, seed, before)
    atomic_write(out / SPLIT_NAME, split_bytes(split))
    return split


def read_parts(out: Path, fraction: float, seed: int) -> dict[str, Part]:
    """Read who has which part already; nobody, where there is no ``split.json``.

    Call it before the work too: it says at once that the split cannot go on like that.

    Raises:
        UsageError: The file is damaged, or was created with another fraction or seed.
    """
    path = out / SPLIT_NAME
    try:
        document = _DOCUMENT.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    except pydantic.ValidationError:
        raise UsageError(
            f"{path} is damaged or of another version. Restore it, or remove it to split the "
            "whole dataset anew."
        ) from None
    if (document.fraction, document.seed) != (fraction, seed):
        raise UsageError(
            f"{path} was created with --split {document.fraction:g} --seed {document.seed}. Give "
            "these again, or remove the file to split the whole dataset anew."
        )
    return document.patients


def split_bytes(split: Split) -> bytes:
    """The content of ``split.json``: the same for the same split."""
    document: dict[str, Any] = {
        "format": FORMAT,
        "fraction": split.fraction,
        "seed": split.seed,
        "patients": split.patients,
        "strata": [
            {"labels": list(stratum), **{part.value: count for part, count in counts.items()}}
            for stratum, counts in split.strata.items()
        ],
        **{part.value: list(names) for part, names in split.cases.items()},
    }
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


@dataclass(frozen=True)
class _Document:
    """What is read back of ``split.json``; the rest follows from it."""

    format: Literal["stardust-esapi split 1"]
    fraction: float
    seed: int
    patients: dict[str, Part]


_DOCUMENT = TypeAdapter(_Document)


def _strata(created: Sequence[Entry]) -> dict[Stratum, set[str]]:
    labels: dict[str, set[str]] = {}
    for entry in created:
        labels.setdefault(entry.patient, set()).add(entry.label)
    strata: dict[Stratum, set[str]] = {}
    for patient, own in labels.items():
        strata.setdefault(tuple(sorted(own)), set()).add(patient)
    return strata


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{patient}".encode()).digest()
