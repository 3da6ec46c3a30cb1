"""Write an RT Dose (PS3.3 A.18)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    RTDoseStorage,
    RTPlanStorage,
    RTStructureSetStorage,
)

from stardust_esapi.dicom.elements import (
    decimals,
    describe,
    naming,
    new_dataset,
    put,
    put_moment,
    put_own_series,
    reference,
    write_file,
)
from stardust_esapi.dicom.source import DoseSource
from stardust_esapi.errors import TransferError

# 16 bits, which every reader takes: a step is less than 0.002 % of the highest dose.
_HIGHEST_STORED = np.iinfo(np.uint16).max
_COSINE_TOLERANCE = 1e-3


def write_dose(source: DoseSource, folder: Path) -> Path:
    """Write a dose as ``RD.<SOP Instance UID>.dcm``.

    Args:
        source: The dose.
        folder: An existing folder.

    Returns:
        The file.

    Raises:
        TransferError: The dose cannot be written as it is.
    """
    with naming(f"Patient {source.patient.patient_id}, dose {source.sop_instance_uid}"):
        geometry, values = source.geometry, source.values
        axes = np.array([geometry.x_direction, geometry.y_direction, geometry.z_direction])
        if not np.allclose(axes @ axes.T, np.eye(3), atol=_COSINE_TOLERANCE) or not (
            np.linalg.det(axes) > 0 and min(geometry.spacing) > 0
        ):
            raise TransferError(
                "the axes of its grid are not at right angles, or its planes run against the cross "
                "product of rows and columns. Fetch it over the network instead."
            )
        dataset = new_dataset(source.patient, source.study, RTDoseStorage)

        # RT Series, Frame of Reference and General Equipment Modules: C.8.8.1, C.7.4.1, C.7.5.1
        put_own_series(
            dataset,
            "RTDOSE",
            sop_instance_uid=source.sop_instance_uid,
            series_uid=source.series_uid,
            frame_of_reference_uid=source.frame_of_reference_uid,
        )
        dataset.OperatorsName = ""

        # General Image, Image Plane and Multi-frame Modules: C.7.6.1, C.7.6.2, C.7.6.6
        put_moment(dataset, "Content", source.created)
        dataset.InstanceNumber = 1
        columns, rows, planes = geometry.size
        across, down, step = geometry.spacing
        dataset.PixelSpacing = decimals((down, across))  # between rows, then columns
        dataset.ImageOrientationPatient = decimals(geometry.x_direction + geometry.y_direction)
        dataset.ImagePositionPatient = decimals(geometry.origin)
        dataset.SliceThickness = decimals([step])[0]
        dataset.NumberOfFrames = planes
        dataset.FrameIncrementPointer = Tag("GridFrameOffsetVector")

        # RT Dose Module: C.8.8.3. Offsets are from the first plane (C.8.8.3.2, a).
        dataset.GridFrameOffsetVector = decimals(step * plane for plane in range(planes))
        dataset.DoseUnits = source.units
        dataset.DoseType = "PHYSICAL"
        dataset.DoseSummationType = "PLAN"
        describe(dataset, DoseComment=source.comment)
        scaling = float(values.max()) / _HIGHEST_STORED
        dataset.DoseGridScaling = decimals([scaling])[0]
        plan = reference(RTPlanStorage, source.plan_uid)
        plan.ReferencedPlanOverviewIndex = 1
        dataset.ReferencedRTPlanSequence = [plan]
        # The one place of this module that names a structure set, beside the plan's label.
        overview = Dataset()
        overview.PlanOverviewIndex = 1
        put(overview, RTPlanLabel=source.plan_label)
        overview.ReferencedStructureSetSequence = [
            reference(RTStructureSetStorage, source.structure_set_uid)
        ]
        overview.PrescriptionOverviewSequence = []
        overview.TreatmentSite = ""
        overview.TreatmentSiteCodeSequence = []
        dataset.PlanOverviewSequence = [overview]
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = rows, columns
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        stored = np.rint(values / scaling).astype("<u2")
        dataset.add_new("PixelData", "OW", stored.tobytes())

        path = folder / f"RD.{source.sop_instance_uid}.dcm"
        write_file(dataset, path, ExplicitVRLittleEndian)
        return path
