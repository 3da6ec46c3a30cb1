"""``StructureSet``, ``Structure`` and ``SegmentVolume``: reading and drawing contours."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, cast

import numpy as np
from skimage.measure import label

from esapi_stub import resample
from esapi_stub.api.base import (
    USER_ID,
    ApiDataObject,
    Chart,
    Enumerable,
    SerializableObject,
    check_id,
    date,
)
from esapi_stub.api.image import Image, Series, new_structure_set
from esapi_stub.grid import Contours, FloatArray, Grid, area_and_centroid, coverage, inside
from esapi_stub.records import StructureSetRecord
from esapi_stub.rtstruct import StructureRecord
from esapi_stub.system import (
    ApplicationException,
    ArgumentException,
    ArgumentNullException,
    ArgumentOutOfRangeException,
    DateTime,
    InvalidOperationException,
)
from esapi_stub.types import (
    Color,
    StructureApprovalHistoryEntry,
    StructureApprovalStatus,
    VVector,
    coordinates,
)

# What AddStructure takes, and the colour that a new structure of the type gets.
ADDABLE_TYPES = {
    "AVOIDANCE": (255, 128, 0),
    "CAVITY": (255, 128, 255),
    "CONTRAST_AGENT": (128, 255, 255),
    "CTV": (255, 128, 192),
    "EXTERNAL": (0, 255, 0),
    "GTV": (255, 0, 0),
    "IRRAD_VOLUME": (192, 192, 0),
    "ORGAN": (0, 0, 255),
    "PTV": (0, 255, 255),
    "TREATED_VOLUME": (192, 0, 192),
    "SUPPORT": (128, 128, 64),
    "FIXATION": (128, 64, 0),
    "CONTROL": (255, 255, 0),
    "DOSE_REGION": (255, 255, 128),
}
EXTERNAL = "EXTERNAL"
COARSE = 256
"""Columns and rows of an image on which no structure can be of high resolution."""


class StructureSet(ApiDataObject):
    """``API.StructureSet``. Its id is unique on its series, or in the patient (a setting)."""

    _record: StructureSetRecord

    @property
    def _structures(self) -> list[StructureRecord]:
        return self._desk.structures(self._record)

    @property
    def Id(self) -> str:
        """Id. Can be set."""
        return self._record.id

    @Id.setter
    def Id(self, value: str) -> None:
        self._desk.require_editable(self._record)
        siblings = self._desk.siblings(self._desk.series_of(self._record).uid)
        self._record.id = check_id(value, [s.id for s in siblings if s is not self._record])
        self._desk.touch(self._record, self._record)

    @property
    def UID(self) -> str:
        """SOP Instance UID of the RT Structure Set."""
        return self._record.uid

    @property
    def Image(self) -> Image:
        """The image it lies on."""
        return self._desk.make(Image, self._desk.record.image_of(self._record))

    @property
    def Series(self) -> Series | None:
        """Its own series; None where it belongs to none yet (18.0)."""
        series = next((s for s in self._desk.record.series if s.uid == self.SeriesUID), None)
        return None if series is None else self._desk.make(Series, series)

    @property
    def SeriesUID(self) -> str | None:
        """Series Instance UID of the RT Structure Set; None where it belongs to none yet (18.0)."""
        return self._record.series_uid or None

    @property
    def Patient(self) -> object:
        """The patient."""
        from esapi_stub.api.patient import Patient

        return self._desk.make(Patient, self._desk.record)

    @property
    def Structures(self) -> Enumerable[Structure]:
        """The structures."""
        return Enumerable(
            self._desk.lease, lambda: [self._view(record) for record in self._structures]
        )

    def CanAddStructure(self, dicomType: str, id: str) -> bool:
        """Whether :meth:`AddStructure` would take this type and id."""
        try:
            self._check_new(dicomType, id)
        except (ArgumentException, ApplicationException):
            return False
        return True

    def AddStructure(self, dicomType: str, id: str) -> Structure:
        """Add an empty structure.

        Raises:
            ApplicationException: Modifications have not begun; the set is approved or locked.
            ArgumentException: The type cannot be added, the id is not valid or taken, or there
                is an EXTERNAL already.
        """
        self._desk.require_begun()
        identifier = self._check_new(dicomType, id)
        number = max((s.number for s in self._structures), default=0) + 1
        color = ADDABLE_TYPES[dicomType]
        record = StructureRecord(number, identifier, identifier, dicomType, color, redrawn=True)
        self._structures.append(record)
        self._desk.touch(self._record, self._record)
        return self._view(record)

    def CanRemoveStructure(self, structure: Structure) -> bool:
        """Whether :meth:`RemoveStructure` would remove it."""
        ours = any(record is structure._record for record in self._structures)
        return ours and not self._desk.obstacle(self._record)

    def RemoveStructure(self, structure: Structure) -> None:
        """Remove a structure; its objects are dead from then on.

        Raises:
            ApplicationException: Modifications have not begun; the set is approved or locked.
            ArgumentException: It is not in this set.
        """
        self._desk.require_editable(self._record)
        record = structure._record
        if not any(other is record for other in self._structures):
            raise ArgumentException(f"Structure {structure.Id} is not in {self.Id}.")
        self._structures.remove(record)
        record.removed = True
        self._desk.touch(self._record, self._record)

    def Copy(self) -> StructureSet:
        """Copy the set with its structures' closed contours onto a copy of the image.

        Raises:
            ApplicationException: Modifications have not begun.
        """
        self._desk.require_begun()
        image = self._desk.record.image_of(self._record)
        record = new_structure_set(self._desk, image, self._record.id)
        copies = self._desk.structures(record)
        for structure in self._structures:
            copy = deepcopy(structure)
            copy.redrawn = True
            copies.append(copy)
        return self._desk.make(StructureSet, record)

    def Delete(self) -> None:
        """Delete the set; an image copy made for it stays, as an image without a structure set.

        Raises:
            ApplicationException: Modifications have not begun; it is approved or locked, or a
                plan uses it.
        """
        self._desk.require_editable(self._record)
        patient = self._desk.record
        if any(plan.structure_set_uid == self._record.uid for plan in patient.plans):
            raise ApplicationException(f"Structure set {self.Id} is used by a plan.")
        patient.structure_sets.remove(self._record)
        self._desk.touch(self._record)
        self._record.removed = True

    def _view(self, record: StructureRecord) -> Structure:
        return self._desk.make(Structure, record, self._record)

    def _check_new(self, dicom_type: str, identifier: str) -> str:
        if obstacle := self._desk.obstacle(self._record):
            raise ApplicationException(obstacle)
        if dicom_type not in ADDABLE_TYPES:
            raise ArgumentException(f"A structure of DICOM type '{dicom_type}' cannot be added.")
        if dicom_type == EXTERNAL and any(s.dicom_type == EXTERNAL for s in self._structures):
            raise ArgumentException(f"Structure set {self.Id} has an EXTERNAL structure already.")
        return check_id(identifier, [s.id for s in self._structures])


class _Segment(NamedTuple):
    """What a SegmentVolume holds: contours as they were, and the image they were drawn on."""

    contours: Contours
    grid: Grid
    frame_of_reference_uid: str
    high_resolution: bool


class SegmentVolume(SerializableObject):
    """``API.SegmentVolume``: the shape of a structure at the time it was asked for."""

    _record: _Segment


class Structure(ApiDataObject):
    """``API.Structure``. Its id is unique in its structure set.

    Args:
        chart: The open patient.
        record: The structure.
        structure_set: The set it stands in.
    """

    _record: StructureRecord  # type: ignore[assignment]

    def __init__(
        self, chart: Chart, record: StructureRecord, structure_set: StructureSetRecord
    ) -> None:
        super().__init__(chart, record)
        self._set = structure_set

    def _check(self) -> None:
        super()._check()
        if self._set.removed:
            self._record.removed = True
            super()._check()

    @property
    def _grid(self) -> Grid:
        return cast("Grid", self._desk.series_of(self._set).grid)

    @property
    def Id(self) -> str:
        """Id. Can be set."""
        return self._record.id

    @Id.setter
    def Id(self, value: str) -> None:
        self._desk.require_editable(self._set)
        others = [s.id for s in self._desk.structures(self._set) if s is not self._record]
        self._record.id = self._record.name = check_id(value, others)
        self._touch()

    @property
    def HistoryDateTime(self) -> DateTime:
        """When its structure set was changed last."""
        return date(self._set.modified) or DateTime()

    @property
    def ROINumber(self) -> int:
        """ROI Number."""
        return self._record.number

    @property
    def DicomType(self) -> str:
        """RT ROI Interpreted Type; may be empty."""
        return self._record.dicom_type

    @property
    def Color(self) -> Color:
        """Colour; can be set from 16.1 on."""
        return Color.FromRgb(*self._record.color)

    @Color.setter
    def Color(self, value: Color) -> None:
        self._desk.require_editable(self._set)
        self._record.color = (value.R, value.G, value.B)
        self._touch()

    @property
    def ApprovalHistory(self) -> Enumerable[StructureApprovalHistoryEntry]:
        """Its approval; the last entry holds."""
        status = StructureApprovalStatus
        entry = StructureApprovalHistoryEntry(
            status.Approved if self._set.approved else status.UnApproved,
            "",
            self._set.reviewer or USER_ID,
            self._set.reviewer or USER_ID,
            self.HistoryDateTime,
        )
        return Enumerable(self._desk.lease, lambda: [entry])

    @property
    def IsApproved(self) -> bool:
        """Whether it is approved (16.1)."""
        return self._set.approved

    @property
    def IsEmpty(self) -> bool:
        """Whether nothing is drawn; a point or an open line is not a segment."""
        return not self._record.contours

    @property
    def HasSegment(self) -> bool:
        """Whether something is drawn."""
        return not self.IsEmpty

    @property
    def IsHighResolution(self) -> bool:
        """Whether it is a high-resolution structure."""
        return self._record.high_resolution

    @property
    def Volume(self) -> float:
        """Volume, cm³: area on every plane times the plane distance."""
        # numpy's sum: Python's own rounds differently from 3.12 on.
        area = float(np.sum([area for area, _, _ in self._sections()]))
        return area * self._grid.spacing[2] / 1000

    @property
    def CenterPoint(self) -> VVector:
        """Centre of the volume, patient space, mm; NaN of an empty structure."""
        sections = self._sections()
        weights = [area for area, _, _ in sections]
        if not sections:
            return VVector(np.nan, np.nan, np.nan)
        index = [(*(c / self._grid.spacing[:2]), plane) for _, c, plane in sections]
        middle = np.average(index, axis=0, weights=weights if sum(weights) else None)
        return VVector(*self._grid.to_patient(middle).tolist())

    @property
    def SegmentVolume(self) -> SegmentVolume:
        """Its shape. Can be set, also to that of a structure on another image.

        On the same grid the points are taken as they are; else, in the same frame of reference,
        the shape is drawn again on the planes of this image and cut off where that ends.
        Otherwise it raises ArgumentException. A high-resolution shape that is given to a structure
        of default resolution makes no sound: the structure stays what it is.
        """
        series = self._desk.series_of(self._set)
        segment = _Segment(
            {plane: list(polygons) for plane, polygons in self._record.contours.items()},
            self._grid,
            series.frame_of_reference_uid,
            self._record.high_resolution,
        )
        return self._desk.make(SegmentVolume, segment)

    @SegmentVolume.setter
    def SegmentVolume(self, value: SegmentVolume) -> None:
        if value is None:
            raise ArgumentNullException("Value cannot be null. Parameter name: value")
        if not isinstance(value, SegmentVolume):
            raise TypeError("value cannot be converted to VMS.TPS.Common.Model.API.SegmentVolume")
        value._check()
        self._require_editable()
        segment = value._record
        frame = self._desk.series_of(self._set).frame_of_reference_uid
        if segment.frame_of_reference_uid != frame:
            raise ArgumentException(
                f"The segment volume lies in another frame of reference than structure {self.Id}."
            )
        contours = resample.resample(segment.contours, segment.grid, self._grid)
        coarser = segment.high_resolution and not self._record.high_resolution
        self._record.contours = self._drawn(contours, exactly=not coarser)
        self._redraw()

    def CanEditSegmentVolume(self, errorMessage: object) -> tuple[bool, str]:  # noqa: ARG002
        """Whether contours can be changed, and why not; the argument stands for .NET's ``out``."""
        obstacle = self._desk.obstacle(self._set)
        return not obstacle, obstacle

    def CanConvertToHighResolution(self) -> bool:
        """Whether it can be edited, is not of high resolution yet and the image is fine enough."""
        fine = min(self._grid.size[:2]) > COARSE
        return fine and not self._record.high_resolution and not self._desk.obstacle(self._set)

    def ConvertToHighResolution(self) -> None:
        """Make it a high-resolution structure.

        Raises:
            ApplicationException: Modifications have not begun.
            InvalidOperationException: It is one already, approved or locked.
        """
        self._desk.require_begun()
        if not self.CanConvertToHighResolution():
            raise InvalidOperationException(
                f"Structure {self.Id} cannot be converted to high resolution."
            )
        self._record.high_resolution = True
        self._touch()

    def GetContoursOnImagePlane(self, z: int) -> list[list[VVector]]:
        """Closed contours on a plane, patient space, mm; none on a plane that is not there."""
        return [
            [VVector(*point) for point in polygon.tolist()]
            for polygon in self._record.contours.get(z, [])
        ]

    def AddContourOnImagePlane(self, contour: Sequence[VVector], z: int) -> None:
        """Unite the structure with a contour; the points are moved onto the plane.

        Raises:
            ApplicationException: Modifications have not begun; the set is approved or locked.
            ArgumentException: There are fewer than three points.
            ArgumentOutOfRangeException: There is no such plane.
        """
        points = self._points(contour, z)
        old = self._record.contours.get(z, [])
        self._draw(z, resample.add(old, points, z, self._grid))

    def SubtractContourOnImagePlane(self, contour: Sequence[VVector], z: int) -> None:
        """Take a contour away from the structure.

        Raises:
            ApplicationException: Modifications have not begun; the set is approved or locked.
            ArgumentException: There are fewer than three points.
            ArgumentOutOfRangeException: There is no such plane.
        """
        points = self._points(contour, z)
        old = self._record.contours.get(z, [])
        self._draw(z, resample.subtract(old, points, z, self._grid))

    def ClearAllContoursOnImagePlane(self, z: int) -> None:
        """Remove what is drawn on a plane.

        Raises:
            ApplicationException: Modifications have not begun; the set is approved or locked.
            ArgumentOutOfRangeException: There is no such plane.
        """
        self._require_editable()
        self._check_plane(z)
        self._draw(z, [])

    def IsPointInsideSegment(self, point: VVector) -> bool:
        """Whether a point (patient space, mm) lies inside.

        A contour reaches half a plane distance up and down.
        """
        index = self._grid.to_index((point.x, point.y, point.z))
        polygons = self._flat(round(float(index[2])), np.ones(2))
        return inside(index[:2], polygons)

    def GetNumberOfSeparateParts(self) -> int:
        """How many parts do not touch one another, seen voxel by voxel."""
        grid = self._grid
        if self.IsEmpty:
            return 0
        width, height, _ = grid.size
        first, last = min(self._record.contours), max(self._record.contours)
        voxels = np.zeros((last - first + 1, height, width), dtype=bool)
        for plane in self._record.contours:
            voxels[plane - first] = coverage(self._flat(plane, np.ones(2)), width, height) >= 0.5
        parts = label(voxels, return_num=True)[1]  # type: ignore[no-untyped-call]
        return max(1, int(parts))

    def _sections(self) -> list[tuple[float, FloatArray, int]]:
        """Area (mm²), centroid (mm along x and y of the grid) and index of each drawn plane."""
        spacing = np.asarray(self._grid.spacing[:2])
        return [
            (*area_and_centroid(self._flat(plane, spacing)), plane)
            for plane in sorted(self._record.contours)
        ]

    def _flat(self, plane: int, scale: FloatArray) -> list[FloatArray]:
        """Polygons of a plane in index space, times ``scale``, each (n, 2)."""
        polygons = self._record.contours.get(plane, [])
        return [self._grid.to_index(polygon)[:, :2] * scale for polygon in polygons]

    def _points(self, contour: Sequence[VVector], z: int) -> FloatArray:
        self._require_editable()
        self._check_plane(z)
        points = coordinates(() if contour is None else contour)
        if len(points) < 3:
            raise ArgumentException("A contour needs at least three points.")
        return self._grid.onto_plane(points, z)

    def _check_plane(self, z: int) -> None:
        planes = self._grid.size[2]
        if not 0 <= z < planes:
            raise ArgumentOutOfRangeException(
                f"z {z} is out of range: the image has {planes} planes."
            )

    def _require_editable(self) -> None:
        self._desk.require_editable(self._set)

    def _draw(self, plane: int, polygons: list[FloatArray]) -> None:
        self._record.contours.pop(plane, None)
        if polygons:
            self._record.contours |= self._drawn({plane: polygons})
        self._redraw()

    def _drawn(
        self, contours: dict[int, list[FloatArray]], *, exactly: bool = True
    ) -> dict[int, list[FloatArray]]:
        """What becomes of contours when they are drawn."""
        if exactly and self._desk.settings.drawing == "exact":
            return contours
        scale = 2 if self._record.high_resolution else 1
        return resample.rasterise(contours, self._grid, scale)

    def _redraw(self) -> None:
        self._record.redrawn = True
        self._touch()

    def _touch(self) -> None:
        self._desk.touch(self._set, self._set)
