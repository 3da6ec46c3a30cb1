"""Write a Spatial Registration (PS3.3 A.39.1)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SpatialRegistrationStorage

from stardust_esapi.dicom.elements import (
    decimals,
    naming,
    new_dataset,
    put,
    put_moment,
    put_own_series,
    write_file,
)
from stardust_esapi.dicom.source import RegistrationSource
from stardust_esapi.errors import TransferError
from stardust_esapi.geometry import FloatArray

# Content Date and Time must have values (Type 1), also where Eclipse knows of none.
_NO_MOMENT = datetime(1900, 1, 1)
# A rotation with entries this far off moves a point half a metre away by less than 0.01 mm.
_RIGID_TOLERANCE = 1e-5


def write_registration(source: RegistrationSource, folder: Path) -> Path:
    """Write a registration as ``RE.<SOP Instance UID>.dcm``.

    The object's own Frame of Reference UID is the registered one. The matrix of each item maps
    points of the item's frame of reference into it: PS3.3 C.20.2.1.1, where the item's is RCS B
    and the registered one RCS A.

    Args:
        source: The registration.
        folder: An existing folder.

    Returns:
        The file.

    Raises:
        TransferError: The registration cannot be written as it is.
    """
    with naming(f"Patient {source.patient.patient_id}, registration {source.sop_instance_uid}"):
        matrix = np.array(source.matrix, dtype=float)
        if (
            matrix.shape != (4, 4)
            or not np.isfinite(matrix).all()
            or not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0))
        ):
            raise TransferError(
                "its matrix is not an affine transformation of 4 by 4 numbers with 0 0 0 1 in the "
                "last row. Export the registration from Eclipse by hand."
            )
        matrix[3] = 0.0, 0.0, 0.0, 1.0  # rid of rounding, as the standard wants it
        dataset = new_dataset(source.patient, source.study, SpatialRegistrationStorage)

        # General Series, Spatial Registration Series, Frame of Reference: C.7.3.1, C.20.1, C.7.4.1
        put_own_series(
            dataset,
            "REG",
            sop_instance_uid=source.sop_instance_uid,
            series_uid=source.series_uid,
            frame_of_reference_uid=source.registered_for,
        )
        dataset.Laterality = ""

        # Spatial Registration Module: C.20.2
        put_moment(dataset, "Content", source.created or source.study.created or _NO_MOMENT)
        dataset.InstanceNumber = 1
        dataset.ContentLabel = "REGISTRATION"
        dataset.ContentDescription = ""
        dataset.ContentCreatorName = ""
        dataset.RegistrationSequence = [
            _item(source.registered_for, np.eye(4)),
            _item(source.source_for, matrix),
        ]

        path = folder / f"RE.{source.sop_instance_uid}.dcm"
        write_file(dataset, path, ExplicitVRLittleEndian)
        return path


def _item(frame_of_reference_uid: str, matrix: FloatArray) -> Dataset:
    step = Dataset()
    step.FrameOfReferenceTransformationMatrixType = "RIGID" if is_rigid(matrix) else "AFFINE"
    step.FrameOfReferenceTransformationMatrix = decimals(matrix.ravel())  # row by row
    registration = Dataset()
    registration.RegistrationTypeCodeSequence = []
    registration.MatrixSequence = [step]
    item = Dataset()
    put(item, FrameOfReferenceUID=frame_of_reference_uid)
    item.MatrixRegistrationSequence = [registration]
    return item


def is_rigid(matrix: FloatArray) -> bool:
    """Whether a (4, 4) matrix only turns and shifts (RIGID, PS3.3 C.20.2.1.2)."""
    rotation = matrix[:3, :3]
    return bool(
        np.allclose(rotation @ rotation.T, np.eye(3), atol=_RIGID_TOLERANCE)
        and np.linalg.det(rotation) > 0.0
    )
