"""Read a Spatial Registration: how the frames of reference of two series lie to one another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray

_SAME = 1e-4
_TAGS = ["FrameOfReferenceUID", "RegistrationSequence"]


def read_mr_to_ct(registrations: Sequence[Path], mr: Stack, ct: Stack) -> FloatArray:
    """The (4, 4) matrix that takes points of the MR into the frame of reference of the CT, mm.

    PS3.3 C.20.2.1.1: the matrix of an item takes points of the frame of reference that the item
    names into the object's own; a series that lies in that one needs no item.

    Args:
        registrations: The ``RE*.dcm`` beside the MR; several must say the same.
        mr: The MR.
        ct: The CT that the structures were drawn on.

    Raises:
        CaseError: They share no frame of reference and nothing registers one with the other.
    """
    if mr.frame_of_reference_uid and mr.frame_of_reference_uid == ct.frame_of_reference_uid:
        return np.eye(4)
    if not registrations:
        raise CaseError(
            "MR and CT lie in different frames of reference and there is no registration (RE*.dcm) "
            "beside the MR. Export the case again with MRregUID."
        )
    matrices = [_read(path, mr, ct) for path in registrations]
    if not _agree(matrices):
        raise CaseError(
            "several registrations link it to the CT, and disagree. Leave the right one in its "
            "folder, or export the case again."
        )
    return matrices[0]


def _read(registration: Path, mr: Stack, ct: Stack) -> FloatArray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The list of tags may be of keywords; pydicom's annotation says numbers.
            ds: Any = read_file(registration, specific_tags=cast(Any, _TAGS))
            from_mr, from_ct = (_to_registered(ds, stack) for stack in (mr, ct))
    except CaseError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        raise CaseError(
            f"its registration is damaged ({type(error).__name__}). Export it again."
        ) from None
    return np.asarray(np.linalg.solve(from_ct, from_mr), dtype=float)


def _agree(matrices: Sequence[FloatArray]) -> bool:
    return all(np.allclose(matrix, matrices[0], atol=_SAME) for matrix in matrices)


def _to_registered(ds: Any, stack: Stack) -> FloatArray:
    """From a series into the frame of reference of the registration."""
    uids, found = set(stack.sop_instance_uids), []
    for item in ds.RegistrationSequence:
        if "FrameOfReferenceUID" in item:
            meant = str(item.FrameOfReferenceUID) == stack.frame_of_reference_uid
        else:
            images = item.get("ReferencedImageSequence") or []
            meant = any(str(image.ReferencedSOPInstanceUID) in uids for image in images)
        if not meant:
            continue
        matrices = item.MatrixRegistrationSequence[0].MatrixSequence
        if len(matrices) != 1:
            # Programs read the order of a chain in both ways.
            raise CaseError(
                "its registration is a chain of several matrices, which is not read. Register "
                "the MR anew in Eclipse."
            )
        values = matrices[0].FrameOfReferenceTransformationMatrix
        found.append(np.array(values, dtype=float).reshape(4, 4))
    if not found and str(ds.FrameOfReferenceUID) == stack.frame_of_reference_uid:
        return np.eye(4)
    if not found or not _agree(found):
        what = "contradicts itself about" if found else "does not name"
        raise CaseError(
            f"its registration {what} the frame of reference of the {stack.modality}. "
            "Check MRregUID in the case list."
        )
    return found[0]
