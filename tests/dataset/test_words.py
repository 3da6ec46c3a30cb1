from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pydicom
import pytest

from dataset_cohort import write_cohort
from stardust_esapi.dataset.build import DatasetJob, build_dataset
from stardust_esapi.dataset.words import MODALITIES, in_name, listed, unnamed
from stardust_esapi.dicom.body_parts import BODY_PARTS
from stardust_esapi.settings import Dataset
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import read_manifest, write_manifest

# The Case-Selector's label buttons, in their order.
BUTTONS = [
    "Metastase-Kopf", "Meningeom", "MetBett-Kopf", "Glomus", "Lymphom", "Lunge", "Mediastinum",
    "NNiere", "Bauchwand", "Sonstiges", "Orbita", "Pankreas", "Oesophagus", "Glio", "Astrozytom",
    "Milz", "Knochen", "BC", "Extrem", "Axilla",
]  # fmt: skip
CONTRAST = "0000471108150042"
SECRET = "Geheim Gerda 23.8.1951"


class Watcher:
    def start(self, cases: int) -> None: ...

    def finish(self, entry: object) -> None: ...


def test_the_buttons_are_listed_by_default() -> None:
    assert list(Dataset().words) == BUTTONS


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Lunge", "Lunge"),
        (" lUNGE ", "Lunge"),
        ("", ""),
        ("  ", ""),
        ("Lunge links", "other"),
        ("Lunge;Müller", "other"),
        ("KMct+mr", "KMct+MR"),
        ("KMct + Müller", "other"),
        ("KMct+", "other"),
        ("None", "None"),
        ("+", "other"),
    ],
)
def test_a_word_passes_where_it_is_listed(text: str, word: str) -> None:
    assert listed(text, [*BUTTONS, *MODALITIES]) == word


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("Metastase-Kopf", "Metastase-Kopf"),
        ("Wirbelsäule", "Wirbelsäule"),
        ("Kopf+Hals", "Kopf-Hals"),
        ("MetBett_Kopf", "MetBett-Kopf"),
        ("../Lunge\\rechts.", "Lunge-rechts"),
        ("", "other"),
        ("+", "other"),
    ],
)
def test_in_a_files_name_a_word_holds_nothing_that_parts_words(word: str, name: str) -> None:
    assert in_name(word) == name


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("The GTV is tiny. Contour it.", "The GTV is tiny. Contour it."),
        ("plan P-4711 has no structure set.", "plan … has no structure set."),
        ("Plan Kopf exists twice (Kurs Müller, B).", "Plan … exists twice (…)."),
        ("2 instances did not arrive: 1.2.3. Ask Gerda.", "2 instances did not arrive: …"),
        ("Series 1.2.276.0.7230010 is gone.", "Series … is gone."),
        ("It lies in D:\\export\\Geheim for now.", "It lies in … for now."),
        ("The peer says “MUELLER^Gerda”.", "The peer says (…)."),
        ("It was created on 11.04.2023 by hand.", "It was created on … by hand."),
    ],
)  # fmt: skip
def test_of_what_the_export_says_nothing_goes_along_that_it_quotes(said: str, kept: str) -> None:
    more = " The export's report has the whole." if "…" in kept else ""
    assert unnamed(said, ["Kopf", "", "P-4711"]) == f"{kept}{more}"


def test_body_parts_are_those_of_the_standard() -> None:
    assert {"HEAD", "BRAIN", "CHEST", "ABDOMEN", "PELVIS", "LUNG", "WHOLEBODY"} <= BODY_PARTS
    # A CS of at most 16 capitals.
    assert all(part.isascii() and part.isalpha() and part.isupper() for part in BODY_PARTS)
    assert max(map(len, BODY_PARTS)) <= 16


def made(source: Path, out: Path, **settings: object) -> dict[str, object]:
    """What ``dataset.json`` says; nothing that the dataset holds names the patient."""
    build_dataset(DatasetJob(source, out, Dataset(workers=1, **settings)), Watcher())  # type: ignore[arg-type]
    for path in out.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(word in content for word in (b"Geheim", b"GEHEIM", b"Gerda")), path
    return dict(json.loads((out / "dataset.json").read_bytes()))


def test_what_is_typed_into_the_list_reaches_no_file(exported: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(exported, tmp_path / "export"))
    with sqlite3.connect(source / "ledger.sqlite") as db:
        db.execute("UPDATE cases SET label = 'kmCT+MR', label2 = 'kopf', case_kind = 'lunge'")
        db.execute(
            "UPDATE cases SET label = ?, label2 = ?, case_kind = ? WHERE patient_id = ?",
            (SECRET, SECRET, SECRET, CONTRAST),
        )
        # What a peer says may hold anything.
        said = f"row 5, patient PAT-LOST-334455, plan Plan9: the peer refused it: {SECRET}. Why?"
        db.execute("UPDATE cases SET reason = ? WHERE state = 'failed'", (said,))
    db.close()
    out = tmp_path / "set"
    document = made(source, out)
    assert document["words"] == {
        "label": {"KMct+MR": 3, "other": 2},
        "label2": {"Kopf": 3, "other": 2},
        "case_kind": {"Lunge": 3, "other": 2},
        "body_region": {"unknown": 5},
    }
    reasons = [reason for e in document["entries"] for reason in e["reasons"]]  # type: ignore[attr-defined]
    assert sum("the peer refused it: … The export's report" in reason for reason in reasons) == 1
    noted = [e["notes"] for e in document["entries"] if e["label"] == "other"]  # type: ignore[attr-defined]
    assert len(noted) == 2
    for notes in noted:
        assert sum("“other” stands for it" in note for note in notes) == 3
    names = [path.name.split("_") for path in out.glob("t*/*.npz")]
    assert sorted((name[0], name[3]) for name in names) == [
        *[("Lunge", "Kopf")] * 3,
        *[("other", "other")] * 2,
    ]
    page = (out / "dataset.html").read_text(encoding="utf-8")
    assert "2 with a word that is not listed" in page
    # A site that lists another word gets it; what was made without it is made anew.
    document = made(source, out, words=("Meningeom",))
    assert document["words"]["case_kind"] == {"other": 5}  # type: ignore[index]


def test_what_a_scanners_user_typed_for_the_body_part_reaches_no_file(tmp_path: Path) -> None:
    source = tmp_path / "export"
    for folder, part in zip(write_cohort(source, 2), ("GEHEIM GERDA", "LUNG"), strict=True):
        for path in folder.glob("CT*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.BodyPartExamined = part
            dataset.save_as(path)
        manifest = read_manifest(folder)
        inspected = inspect_folder(folder, manifest.request, manifest.case_key)
        write_manifest(folder, inspected.manifest)
    document = made(source, tmp_path / "set")
    assert document["words"]["body_region"] == {"LUNG": 1, "other": 1}  # type: ignore[index]
