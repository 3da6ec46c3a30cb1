"""Derive a structure set for an MR from the one on its CT, for readers that want contours there.

Its contours are outlines of the very masks that training files of the MR are made with
(:mod:`stardust_esapi.dicom.onto_mr`). It exists in an export alone, and says so.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, cast

from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from stardust_esapi.dicom.instance import IMAGE_CLASSES
from stardust_esapi.dicom.onto_mr import carry
from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.read_registration import read_mr_to_ct
from stardust_esapi.dicom.read_series import read_stack
from stardust_esapi.dicom.read_structure_set import read_structures_on
from stardust_esapi.dicom.source import (
    PatientIdentity,
    ReferencedSeries,
    RoiSource,
    StructureSetSource,
    StudyFacts,
)
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_structure_set import structure_set_dataset
from stardust_esapi.errors import CaseError
from stardust_esapi.mask import outlines, rasterise

# Whose it is, in the very words of the images: C.7.1.1, C.7.2.1.
_SAME = [
    "AccessionNumber",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
]


def derive_structure_set(
    mr_folder: Path, ct_folder: Path, sop_instance_uid: str
) -> tuple[Dataset, tuple[str, ...]]:
    """Bring the structures of a CT onto the planes of an MR.

    What it is stands in its label, its description, Approval Status (300E,0002) UNAPPROVED and
    Predecessor Structure Set Sequence (3006,0018), PS3.3 C.8.8.5 and C.8.8.16. It has no date: the
    same files give the same structure set.

    Args:
        mr_folder: The ``MR*.dcm``, and their registration ``RE*.dcm`` where they need one.
        ct_folder: The CT with the structure set, ``CT*.dcm`` and ``RS*.dcm``.
        sop_instance_uid: SOP Instance UID (0008,0018) that the structure set gets.

    Returns:
        The structure set, to be written by
        :func:`~stardust_esapi.dicom.write_structure_set.write_dataset`; and the names of the
        structures that it lacks, for no voxel of the MR lies in them.

    Raises:
        CaseError: A file cannot be read, MR and CT are not registered with one another, or the MR
            shows none of the structures. The sentence names no patient.
    """
    same = _same(min(mr_folder.glob("MR*.dcm"), default=None))
    mr, ct = read_stack(mr_folder), read_stack(ct_folder)
    structures = read_structures_on(ct, ct_folder)
    mr_to_ct = read_mr_to_ct(sorted(mr_folder.glob("RE*.dcm")), mr, ct)
    rois = [
        RoiSource(
            number=roi.number,
            name=roi.name,
            interpreted_type=roi.interpreted_type,
            color=roi.color,
            contours=outlines(carry(rasterise(roi.contours, ct), ct, mr, mr_to_ct), mr),
        )
        for roi in structures.rois
    ]
    shown = [roi for roi in rois if roi.contours]
    if not shown:
        raise CaseError("it shows none of the structures that are drawn on the CT.")
    study_uid = str(same.get("StudyInstanceUID", ""))
    dataset = structure_set_dataset(
        StructureSetSource(
            patient=PatientIdentity(str(same.get("PatientID", ""))),
            study=StudyFacts(study_uid),
            sop_instance_uid=sop_instance_uid,
            series_uid=derived_uid("series of structure set", sop_instance_uid),
            label="DERIVED ON MR",
            frame_of_reference_uid=mr.frame_of_reference_uid,
            images=ReferencedSeries(
                study_uid=study_uid,
                series_uid=mr.series_uid,
                sop_class_uid=IMAGE_CLASSES["MR"],
                sop_instance_uids=mr.sop_instance_uids,
            ),
            rois=shown,
        )
    )
    dataset.update({element.tag: element for element in same})
    dataset.SeriesDescription = "Derived structures, not for clinical use"
    dataset.StructureSetDescription = (
        f"Derived by stardust-esapi from structure set {structures.sop_instance_uid}: its voxels, "
        "brought onto the MR through the registration, and outlined. Nobody drew or approved it, "
        "and it is in no clinical record. Not for clinical use."
    )
    dataset.ApprovalStatus = "UNAPPROVED"
    drawn = Dataset()
    drawn.ReferencedSOPClassUID = RTStructureSetStorage
    drawn.ReferencedSOPInstanceUID = structures.sop_instance_uid
    dataset.PredecessorStructureSetSequence = [drawn]
    return dataset, tuple(roi.name for roi in rois if not roi.contours)


def _same(image: Path | None) -> Dataset:
    """Whose an image is."""
    if image is None:
        raise CaseError("there are no images (MR*.dcm) in its folder. Export it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of values that are as odd in the image
            # The list of tags may be of keywords; pydicom's annotation says numbers.
            read = read_file(image, specific_tags=cast(Any, _SAME))
            # Each decoded by the image's character set, which is not that of what is written.
            return Dataset({e.tag: e for e in read if e.keyword in _SAME})
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        raise CaseError(
            f"an image is damaged ({type(error).__name__}). Export the series again."
        ) from None
