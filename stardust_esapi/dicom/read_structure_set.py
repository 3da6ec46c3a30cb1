"""Read an RT Structure Set: names, types and closed contours, as points in patient space."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray

_CONTOUR_DATA = 0x30060050
# Points and open lines enclose nothing. CLOSEDPLANAR_XOR says what CLOSED_PLANAR was always read
# as (PS3.3 C.8.8.6.3).
_CLOSED = frozenset({"CLOSED_PLANAR", "CLOSEDPLANAR_XOR", ""})
_FARTHEST_MM = 1e6
Color = tuple[int, int, int]
YELLOW: Color = (255, 255, 0)
_TAGS = [
    "ROIContourSequence",
    "RTROIObservationsSequence",
    "SOPInstanceUID",
    "StructureSetROISequence",
]


@dataclass(frozen=True, slots=True)
class Roi:
    """One structure.

    Attributes:
        number: ROI Number (3006,0022).
        name: ROI Name (3006,0026).
        interpreted_type: RT ROI Interpreted Type (3006,00A4); may be empty.
        frame_of_reference_uid: Referenced Frame of Reference UID (3006,0024).
        contours: Closed polygons, each of shape (n, 3) with n > 2, mm; none in an empty ROI.
        not_closed: How many contours are points, open lines or empty, and were left out.
        color: ROI Display Color (3006,002A): red, green, blue, each 0-255; yellow where
            there is none.
    """

    number: int
    name: str
    interpreted_type: str
    frame_of_reference_uid: str
    contours: tuple[FloatArray, ...] = field(repr=False)
    not_closed: int = 0
    color: Color = YELLOW


@dataclass(frozen=True, slots=True)
class Structures:
    """A structure set.

    Attributes:
        sop_instance_uid: SOP Instance UID (0008,0018).
        rois: The structures, in the order of the file.
    """

    sop_instance_uid: str
    rois: tuple[Roi, ...]


def _every(_: str) -> bool:
    return True


def read_structures(path: Path, wanted: Callable[[str], bool] = _every) -> Structures:
    """Read the structures of an ``RS*.dcm``.

    Args:
        path: The file.
        wanted: Of names: which structures are read; contours are most of a file's time.

    Raises:
        CaseError: It is damaged or no structure set.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities of values that nothing here looks at
            # The list of tags may be of keywords; pydicom's annotation says numbers.
            ds: Any = read_file(path, specific_tags=cast(Any, _TAGS))
            items, drawn = ds.StructureSetROISequence, _drawn(ds)
            contours = {int(item.ReferencedROINumber): item for item in drawn}
            types = {
                int(item.ReferencedROINumber): str(item.get("RTROIInterpretedType") or "")
                for item in ds.get("RTROIObservationsSequence") or []
            }
            rois = tuple(
                _roi(item, contours.get(int(item.ROINumber)), types)
                for item in items
                if wanted(str(item.get("ROIName") or ""))
            )
            if len(contours) < len(drawn) or len({int(i.ROINumber) for i in items}) < len(items):
                raise CaseError(
                    "two structures of its structure set have the same ROI Number: which contours "
                    "are whose cannot be told. Look at it in Eclipse, and export it again."
                )
            return Structures(str(ds.SOPInstanceUID), rois)
    except CaseError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
        # A missing attribute is named; other messages may hold values or the path.
        why = str(error) if isinstance(error, AttributeError) else type(error).__name__
        raise CaseError(
            f"its structure set is damaged or lacks what it needs ({why}). Export it again."
        ) from None


def read_structures_on(
    stack: Stack, folder: Path, wanted: Callable[[str], bool] = _every
) -> Structures:
    """Read the ``RS*.dcm`` of a folder, which was drawn on a series.

    Args:
        stack: The series.
        folder: The folder.
        wanted: Of names: which structures are read.

    Raises:
        CaseError: There is none, it is damaged, or its contours lie in another frame of reference.
    """
    path = min(folder.glob("RS*.dcm"), default=None)
    if path is None:
        raise CaseError("there is no structure set (RS*.dcm) beside its CT. Export it again.")
    structures = read_structures(path, wanted)
    frames = {roi.frame_of_reference_uid for roi in structures.rois if roi.contours}
    if frames - {stack.frame_of_reference_uid, ""}:
        raise CaseError(
            "its structure set lies in another frame of reference than its images: the contours "
            "would lie anywhere. Export the right one."
        )
    return structures


def _drawn(ds: Dataset) -> list[Any]:
    """The items of ROI Contour Sequence; one that says neither whose it is nor draws is none."""
    items: list[Any] = list(ds.get("ROIContourSequence") or [])
    return [item for item in items if "ReferencedROINumber" in item or item.get("ContourSequence")]


def _roi(item: Any, contour_item: Any, types: dict[int, str]) -> Roi:
    number, name = int(item.ROINumber), str(item.get("ROIName") or "")
    closed, not_closed = [], 0
    for contour in (contour_item.get("ContourSequence") or []) if contour_item else []:
        try:
            points = _points(contour)
        except ValueError as error:
            raise CaseError(
                f"its structure set is damaged: in a contour of {name}, {error}. Look at the "
                "structure in Eclipse, and export it again."
            ) from None
        is_closed = str(contour.get("ContourGeometricType") or "") in _CLOSED
        if is_closed and len(points) > 2:
            closed.append(points)
        else:
            not_closed += 1
    return Roi(
        number=number,
        name=name,
        interpreted_type=types.get(number, ""),
        frame_of_reference_uid=str(item.get("ReferencedFrameOfReferenceUID") or ""),
        contours=tuple(closed),
        not_closed=not_closed,
        color=_color(contour_item),
    )


def _color(contour_item: Any) -> Color:
    try:
        red, green, blue = map(int, contour_item.ROIDisplayColor)
    except (AttributeError, TypeError, ValueError):  # none, or nonsense, which hurts nobody
        return YELLOW
    return red, green, blue


def _points(contour: Dataset) -> FloatArray:
    """Contour Data (3006,0050); by pydicom's Decimal Strings it would take ten times as long.

    Numbers may be longer than the 16 characters of a Decimal String, which changes no meaning.
    """
    element = contour.get_item(_CONTOUR_DATA) if _CONTOUR_DATA in contour else None
    if isinstance(element, RawDataElement):
        text = (element.value or b"").translate(None, b" \0\r\n\t").decode("ascii")
        try:
            values = np.fromstring(text, sep="\\") if text else np.empty(0)
        except ValueError:
            values = np.full(1, np.nan)
        if len(values) != (text.count("\\") + 1 if text else 0):
            raise ValueError("a coordinate is no number")
    else:
        values = np.array(element.value if element and element.VM else [], dtype=float)
    if not (np.abs(values) < _FARTHEST_MM).all():
        raise ValueError("a coordinate is no number, or no place in a patient")
    if len(values) % 3:
        raise ValueError("a point has not three coordinates")
    return values.reshape(-1, 3)
