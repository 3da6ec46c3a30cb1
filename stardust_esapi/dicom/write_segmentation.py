"""Write labels as a DICOM Segmentation (PS3.3 A.51) of de-identified images."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from stardust_esapi import __version__
from stardust_esapi.dicom.deidentify import copied_name
from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.errors import CaseError
from stardust_esapi.files import whole_file
from stardust_esapi.model import Role
from stardust_esapi.names import role_of

# Category (PS3.16 CID 7150 and 9580) and type (CID 7191 and 9534) of what a segment shows. What the
# others are, their names alone say.
_PROPERTY = {
    Role.GTV: (codes.cid9580.RTTarget, codes.cid9534.GTV),
    Role.TARGET: (codes.cid9580.RTTarget, codes.cid9534.PTV),
    Role.OTHER: (codes.cid7150.Tissue, codes.cid7191.Tissue),
}
# What every image has (Type 2), and highdicom asks for; archives have left it out.
_WITHOUT_A_VALUE = (
    "AccessionNumber", "PatientBirthDate", "PatientSex", "SliceThickness", "StudyDate", "StudyID",
    "StudyTime",
)  # fmt: skip
_LONGEST_LABEL = 64  # characters of an LO (PS3.5 6.2)
_SERIES_NUMBER = 300
# Content Date must have a value (Type 1), also where the images have no date.
_NO_DATE = "19000101"


def write_segmentation(
    folder: Path,
    modality: str,
    uids: Sequence[str],
    labels: NDArray[np.uint8],
    names: Sequence[str],
) -> Path:
    """Write labels as ``SG.<SOP Instance UID>.dcm`` beside the images that they are of.

    Patient, study, dates, frame of reference and places come from the images, so that there is as
    little of the patient in it as in them. It is a BINARY one: few programs read label maps yet
    (PS3.3 C.8.20.2.3.3). The same labels get the same UIDs.

    Args:
        folder: A copy by :func:`~stardust_esapi.dicom.deidentify.copy_deidentified`.
        modality: The images' Modality (0008,0060).
        uids: SOP Instance UID of the copied image of each slice.
        labels: Shape (slices, rows, columns); label n becomes segment n, 0 is background.
        names: What labels 1, 2, … are called; one without a voxel becomes an empty segment, for
            numbers have no gaps (C.8.20.2.4).

    Returns:
        The file.

    Raises:
        CaseError: The extra that this needs is not installed.
        OSError: The file system refuses.
    """
    try:
        highdicom: Any = import_module("highdicom")
    except ImportError:
        raise CaseError("DICOM SEG needs highdicom. Run: pip install stardust-esapi[seg]") from None

    paths = [folder / copied_name(modality, uid) for uid in uids]
    images = [read_file(path, stop_before_pixels=True) for path in paths]
    for image in images:
        # Its last digits may differ from image to image, as read_series takes them.
        image.ImageOrientationPatient = images[0].ImageOrientationPatient
        for keyword in _WITHOUT_A_VALUE:
            if keyword not in image:
                setattr(image, keyword, None)
    digest = hashlib.sha256("\0".join(names).encode() + labels.tobytes()).hexdigest()
    series, instance, dimensions = (
        derived_uid(images[0].SeriesInstanceUID, digest, of)
        for of in ("segmentation's series", "segmentation", "segmentation's dimensions")
    )
    with warnings.catch_warnings():
        # A pseudonym is a name of one component, as in the images.
        warnings.filterwarnings("ignore", message=".*contains only a single component")
        segmentation = highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=labels,
            segmentation_type="BINARY",
            segment_descriptions=[
                highdicom.seg.SegmentDescription(
                    number, name[:_LONGEST_LABEL], *_PROPERTY[role_of(name)], "MANUAL"
                )
                for number, name in enumerate(names, start=1)
            ],
            series_instance_uid=series,
            series_number=_SERIES_NUMBER,
            sop_instance_uid=instance,
            instance_number=1,
            manufacturer="STARDUST",
            manufacturer_model_name="stardust-esapi",
            software_versions=__version__,
            device_serial_number="none",
            specific_character_set="ISO_IR 192",
            content_date=images[0].StudyDate or _NO_DATE,
            content_time="000000",
        )
    # What differs from run to run: the moment, and a UID made up.
    del segmentation.InstanceCreationDate, segmentation.InstanceCreationTime
    del segmentation.ContributingEquipmentSequence
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    segmentation.LongitudinalTemporalInformationModified = images[
        0
    ].LongitudinalTemporalInformationModified
    path = folder / copied_name("SG", instance)
    with whole_file(path) as file:
        segmentation.save_as(file, enforce_file_format=True)
    return path
