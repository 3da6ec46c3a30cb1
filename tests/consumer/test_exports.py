"""What the trainer makes of our exports: the right tumour, whatever else is in the set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from consumer.reader import Consumed, Mask, mask_of, read_case, read_folder
from esapi_stub.sample import (
    PatientUids,
    Phantom,
    PhantomContrast,
    PhantomStructure,
    Sphere,
    default_structures,
)
from stardust_esapi.dataset.convert import convert
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import find_tasks
from stardust_esapi.model import Kind
from stardust_esapi.settings import Dataset
from support import Clinic, Outcome, report_of, row_of, write_case_list

Run = Callable[..., Outcome]

# Names that the reader takes for a label, and larger than the ones that are meant.
RIVALS = tuple(
    PhantomStructure(name, kind, Sphere((-20.0, 10.0, 3.0), radius))
    for name, kind, radius in (
        ("GTV2", "GTV", 20),
        ("iGTV", "GTV", 18),
        ("CTV aus GTV", "CTV", 17),
        ("g_T-v alt", "CONTROL", 16),
        ("Target alt", "PTV", 19),
        ("T arget_2", "PTV", 21),
    )
)
PHANTOM = Phantom("0815", structures=(*default_structures(), *RIVALS))


def source_mask(clinic: Clinic, uids: PatientUids, name: str, image: Consumed) -> Mask:
    """A structure of the source, straight from the DICOM file that filled the database."""
    for path in (clinic.db.parent / "dicom").rglob("*.dcm"):
        source = pydicom.dcmread(path, stop_before_pixels=True)
        if source.SOPInstanceUID == uids.structure_set_uid:
            break
    [number] = [r.ROINumber for r in source.StructureSetROISequence if name == r.ROIName]
    [roi] = [r for r in source.ROIContourSequence if r.ReferencedROINumber == number]
    return mask_of(roi, image)


def consumed(clinic: Clinic, run: Run, folder: Path) -> Consumed:
    """Export the only patient, and read what the trainer picks for its row."""
    row = row_of(clinic.patients[0])
    cases, out = write_case_list(folder / "cases.csv", [row]), folder / "out"
    done = run("export", "--cases", cases, "--out", out, "--esapi", clinic.esapi, "--write")
    assert done.code == 0, done.text
    return read_case(out, row)


@pytest.mark.parametrize("position", ["HFS", "FFS", "HFP", "FFP"])
def test_gtv_and_target_of_the_row_are_the_labels(
    clinic_of: Callable[..., Clinic], run: Run, tmp_path: Path, position: str
) -> None:
    clinic = clinic_of(replace(PHANTOM, patient_position=position))
    [uids] = clinic.patients
    read = consumed(clinic, run, tmp_path)
    for label, name, source in ((read.label_1, "gtv+", "GTV1"), (read.label_2, "target+", "PTV1")):
        assert label is not None
        assert (label.name, label.candidates) == (name, (name,))
        np.testing.assert_array_equal(label.mask, source_mask(clinic, uids, source, read))
    assert {"GT2", "iGT", "CTV aus GT", "GT alt", "Targ alt", "Targ_2"} <= set(read.others)
    report = report_of(tmp_path / "out")
    assert "by which MedSAM2&#39;s reader finds the label" in report


def test_on_the_contrast_ct_the_labels_have_the_volumes_of_their_sources(
    clinic_of: Callable[..., Clinic], run: Run, tmp_path: Path
) -> None:
    clinic = clinic_of(replace(PHANTOM, contrast=PhantomContrast(slices=22, offset=-1.0)))
    read = consumed(clinic, run, tmp_path)
    assert read.folder.parts[-3] == "KM_Export"
    for label, radius in ((read.label_1, 9), (read.label_2, 14)):
        assert label is not None
        volume = label.mask.sum() * np.prod(read.spacing) / 1000
        assert volume == pytest.approx(Sphere((0, 0, 0), radius).volume, rel=0.1)
        z, y, x = np.argwhere(label.mask).mean(axis=0)
        centre = (
            read.positions[0]
            + x * read.spacing[0] * read.along_x
            + y * read.spacing[1] * read.along_y
            + z * read.spacing[2] * read.normal
        )
        np.testing.assert_allclose(centre, (-20.0, 10.0, 3.0), atol=1.5)


def test_on_the_mr_it_finds_the_labels_that_the_dataset_has(exported: Path, tmp_path: Path) -> None:
    tasks = [task for task in find_tasks(exported) if task.kind is Kind.MR]
    assert len(tasks) == 2
    for task in tasks:
        read = read_folder(task.folder)
        entry = convert(task, Dataset(), Pseudonyms(bytes(32)), tmp_path)
        (name,) = (name for name in entry.files if name.endswith(".npz"))
        with np.load(tmp_path / name) as data:
            gts = data["gts"]
        assert read.label_1 is not None
        assert read.label_2 is not None
        np.testing.assert_array_equal(read.label_1.mask, gts == 1)
        np.testing.assert_array_equal(read.label_2.mask & ~read.label_1.mask, gts == 2)
        assert len(read.others) == len(np.unique(gts)) - 3
