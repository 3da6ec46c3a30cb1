"""Split a dataset by patient into training and testing.

Never by case: two cases of a patient show the same body. Stratified by ``casekind``, and within
that by ``Label2``, the body region. The share holds for all patients together, and for every
stratum to within a patient: strata that are too small for a patient of their own take turns.
Whoever has a part keeps it when cases are added; the seed decides among the new alone.

There is no third part. Validation is a list: ``--folds K`` deals the patients for training into K
folds, in the form of nnU-Net's ``splits_final.json``.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import TypeAdapter

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.errors import UsageError
from stardust_esapi.files import atomic_write, make_folder, remove
from stardust_esapi.settings import Dataset, Format
from stardust_esapi.wording import counted_are

SPLIT_NAME = "lists/split.json"
FOLDS_NAME = "lists/splits_final.json"
FORMAT = "stardust-esapi split 2"

Stratum = tuple[str, str]
"""``casekind`` and ``Label2`` of a patient; of several cases, each word once, joined by ``+``."""

_Group = tuple[str, ...]
"""A stratum, or what it begins with: a ``casekind`` with all its regions."""


class Part(StrEnum):
    """What a patient's cases are for."""

    TRAIN = "train"
    TEST = "test"


# As many as nnU-Net trains; without a list it deals cases, and a patient may get into both parts.
_NNUNET_FOLDS = 5
_WORDS = {Part.TRAIN: "training", Part.TEST: "testing"}


@dataclass(frozen=True)
class Split:
    """Who is for what.

    Attributes:
        fraction: Share of the patients that is for training.
        seed: What decided among new patients.
        patients: Part of each patient (by pseudonym) that ever had one.
        cases: The training files' names, without their endings, by part.
        strata: Patients of each stratum by part, those with training files alone.
        folds: For each fold the names that validate it; the others of the training train it.
        remarks: Where the share cannot be as asked, in sentences.
    """

    fraction: float
    seed: int
    patients: Mapping[str, Part]
    cases: Mapping[Part, tuple[str, ...]]
    strata: Mapping[Stratum, Mapping[Part, int]]
    folds: tuple[tuple[str, ...], ...] = ()
    remarks: tuple[str, ...] = ()


def assign(
    entries: Iterable[Entry],
    fraction: float,
    seed: int,
    earlier: Mapping[str, Part] | None = None,
    folds: int | None = None,
) -> Split:
    """Give every patient with training files a part.

    The order of the entries does not matter. A patient who has a part keeps it, whatever becomes of
    his cases, his stratum and the shares.

    Args:
        entries: What became of the cases; only created ones count.
        fraction: Share for training.
        seed: Another one gives another split.
        earlier: Parts given before.
        folds: How many folds to deal those for training into, at most.
    """
    created = sorted((entry for entry in entries if entry.created), key=lambda entry: entry.key)
    strata = _strata(created)
    parts = dict(earlier or {})
    _give(parts, strata, _quota(len(strata), fraction), seed)
    counts: dict[Stratum, Counter[Part]] = {}
    for patient, stratum in strata.items():
        counts.setdefault(stratum, Counter())[parts[patient]] += 1
    dealt = _folds([p for p in strata if parts[p] is Part.TRAIN], strata, folds or 0, seed)
    return Split(
        fraction=fraction,
        seed=seed,
        patients=dict(sorted(parts.items())),
        cases={
            part: tuple(entry.name for entry in created if parts[entry.patient] is part)
            for part in Part
        },
        strata={
            stratum: {part: count[part] for part in Part}
            for stratum, count in sorted(counts.items())
        },
        folds=tuple(
            tuple(entry.name for entry in created if entry.patient in fold) for fold in dealt
        ),
        remarks=(*_remarks(counts, fraction), *_remarks_on_folds(len(dealt), folds or 0)),
    )


def _give(parts: dict[str, Part], strata: Mapping[str, Stratum], trained: int, seed: int) -> None:
    """Give the patients without a part theirs, so that so many are for training.

    One after the other goes to the test part, each from the ``casekind``, and in that from the
    region, that lacks most of its share there.
    """
    size: Counter[_Group] = Counter()
    tested: Counter[_Group] = Counter()
    new: dict[Stratum, list[str]] = {}
    for patient in sorted(strata, key=lambda patient: _order(seed, patient)):
        stratum = strata[patient]
        groups = ((), stratum[:1], stratum)
        size.update(groups)
        if patient not in parts:
            new.setdefault(stratum, []).append(patient)
            parts[patient] = Part.TRAIN
        elif parts[patient] is Part.TEST:
            tested.update(groups)

    def lack(group: _Group) -> tuple[int, bytes]:
        share = (size[()] - trained) * size[group] - tested[group] * size[()]
        return share, _order(seed, "\x1f".join(group))

    while new and tested[()] < size[()] - trained:
        kind = max({stratum[:1] for stratum in new}, key=lack)
        stratum = max((stratum for stratum in new if stratum[:1] == kind), key=lack)
        parts[new[stratum].pop()] = Part.TEST
        tested.update(((), kind, stratum))
        if not new[stratum]:
            del new[stratum]


def _quota(patients: int, fraction: float) -> int:
    """How many of the patients are for training: rounded half up, and of two or more not all."""
    return min(_asked(patients, fraction), patients - 1) or 1 if patients > 1 else patients


def _asked(patients: int, fraction: float) -> int:
    # As written: 0.7 is seven tenths, which no binary number is.
    return math.floor(Fraction(str(fraction)) * patients + Fraction(1, 2))


def _folds(
    patients: Sequence[str], strata: Mapping[str, Stratum], folds: int, seed: int
) -> list[set[str]]:
    """Deal patients like cards, stratum by stratum: each fold gets as many, of each stratum too."""
    number = min(folds, len(patients))
    if number < 2:
        return []
    dealt = sorted(patients, key=lambda patient: (strata[patient], _order(seed, patient)))
    return [set(dealt[first::number]) for first in range(number)]


def _remarks(counts: Mapping[Stratum, Counter[Part]], fraction: float) -> Iterator[str]:
    kinds: dict[str, Counter[Part]] = {}
    for (kind, _), count in counts.items():
        kinds.setdefault(kind, Counter()).update(count)
    every = sum(kinds.values(), Counter())
    patients, trained = every.total(), every[Part.TRAIN]
    asked = _asked(patients, fraction)
    if trained != asked:
        why = (
            "none of the two parts is to be empty"
            if trained == _quota(patients, fraction)
            else "whoever has a part keeps it"
        )
        yield (
            f"{trained} of {counted_are(patients, 'patient')} for training where --split asks "
            f"for {asked}: {why}."
        )
    for part, word in _WORDS.items():
        without = [
            f"{kind or 'no casekind'} ({count.total()})"
            for kind, count in sorted(kinds.items())
            if not count[part]
        ]
        if without:
            listed = ", ".join(without)
            yield f"No patient is for {word} of {listed}; in brackets, how many there are."


def _remarks_on_folds(dealt: int, asked: int) -> Iterator[str]:
    if dealt < asked:
        yield f"There were to be {asked} folds, and the patients for training make {dealt}."


def update_split(out: Path, entries: Iterable[Entry], settings: Dataset) -> Split:
    """Split a dataset, keeping what its list says, and write the lists.

    Raises:
        UsageError: The list is damaged, or was created with another fraction or seed.
        OSError: It cannot be written; the old one still stands.
    """
    before = read_parts(out, settings.split, settings.seed)
    folds = settings.folds or (_NNUNET_FOLDS if Format.NNUNET in settings.formats else None)
    split = assign(entries, settings.split, settings.seed, before, folds)
    make_folder((out / SPLIT_NAME).parent)
    if split.folds:
        atomic_write(out / FOLDS_NAME, _json(folds_document(split)))
    else:
        remove(out / FOLDS_NAME)
    atomic_write(out / SPLIT_NAME, split_bytes(split))
    return split


def read_parts(out: Path, fraction: float, seed: int) -> dict[str, Part]:
    """Read who has which part already; nobody, where there is no such list.

    Call it before the work too: it says at once that the split cannot go on like that.

    Raises:
        UsageError: The list is damaged, or was created with another fraction or seed.
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
    """The content of :data:`SPLIT_NAME`: the same for the same split."""
    return _json(
        {
            "format": FORMAT,
            "fraction": split.fraction,
            "seed": split.seed,
            "remarks": list(split.remarks),
            "patients": split.patients,
            "strata": [
                {"casekind": kind, "Label2": region} | {part.value: n for part, n in counts.items()}
                for (kind, region), counts in split.strata.items()
            ],
            **{part.value: list(names) for part, names in split.cases.items()},
        }
    )


def folds_document(split: Split) -> list[dict[str, list[str]]]:
    """The folds as nnU-Net reads its ``splits_final.json``: for each, who trains and validates."""
    train = split.cases[Part.TRAIN]
    return [
        {"train": [name for name in train if name not in held], "val": sorted(held)}
        for held in map(set, split.folds)
    ]


def _json(document: Any) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


@dataclass(frozen=True)
class _Document:
    """What is read back of the split; the rest follows from it."""

    format: Literal["stardust-esapi split 2"]
    fraction: float
    seed: int
    patients: dict[str, Part]


_DOCUMENT = TypeAdapter(_Document)


def _strata(created: Sequence[Entry]) -> dict[str, Stratum]:
    """The stratum of each patient."""
    words: dict[str, tuple[set[str], set[str]]] = {}
    for entry in created:
        kinds, regions = words.setdefault(entry.patient, (set(), set()))
        kinds.add(entry.case_kind)
        regions.add(entry.label2)
    return {
        patient: ("+".join(sorted(kinds)), "+".join(sorted(regions)))
        for patient, (kinds, regions) in words.items()
    }


def _order(seed: int, patient: str) -> bytes:
    return hashlib.sha256(f"{seed}\x1f{patient}".encode()).digest()
