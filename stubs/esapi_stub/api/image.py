"""``Series`` and ``Image``: voxels are read plane by plane from the DICOM files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array
from scipy.ndimage import map_coordinates

from esapi_stub.api.base import ApiDataObject, Chart, Enumerable, check_id, date, storage
from esapi_stub.api.gridded import Gridded
from esapi_stub.grid import Grid
from esapi_stub.records import (
    ImageRecord,
    SeriesRecord,
    SliceRecord,
    StructureSetRecord,
    derived_uid,
    numbered,
    unique,
)
from esapi_stub.system import (
    ApplicationException,
    ArgumentException,
    ArgumentNullException,
    ArgumentOutOfRangeException,
    DateTime,
    NotImplementedException,
)
from esapi_stub.types import ImageProfile, PatientOrientation, SeriesModality, VVector, vector

if TYPE_CHECKING:
    from esapi_stub.api.patient import PlanSetup, Study
    from esapi_stub.api.structures import StructureSet

ORIENTATIONS = {
    "HFS": PatientOrientation.HeadFirstSupine,
    "HFP": PatientOrientation.HeadFirstProne,
    "HFDR": PatientOrientation.HeadFirstDecubitusRight,
    "HFDL": PatientOrientation.HeadFirstDecubitusLeft,
    "FFS": PatientOrientation.FeetFirstSupine,
    "FFP": PatientOrientation.FeetFirstProne,
    "FFDR": PatientOrientation.FeetFirstDecubitusRight,
    "FFDL": PatientOrientation.FeetFirstDecubitusLeft,
    "SITTING": PatientOrientation.Sitting,
}


class Series(ApiDataObject):
    """``API.Series``; those of structure sets, plans and registrations have no images."""

    _record: SeriesRecord

    @property
    def UID(self) -> str:
        """Series Instance UID."""
        return self._record.uid

    @property
    def Modality(self) -> SeriesModality:
        """Modality."""
        names = SeriesModality.__members__
        return names.get(self._record.modality, SeriesModality.Other)

    @property
    def FOR(self) -> str:
        """Frame of Reference UID."""
        return self._record.frame_of_reference_uid

    @property
    def ImagingDeviceManufacturer(self) -> str:
        """Manufacturer."""
        return self._record.device[0]

    @property
    def ImagingDeviceModel(self) -> str:
        """Manufacturer's Model Name."""
        return self._record.device[1]

    @property
    def ImagingDeviceSerialNo(self) -> str:
        """Device Serial Number."""
        return self._record.device[2]

    @property
    def Study(self) -> Study:
        """The study."""
        from esapi_stub.api.patient import Study

        studies = self._desk.record.studies
        record = next(s for s in studies if s.uid == self._record.study_uid)
        return self._desk.make(Study, record)

    @property
    def Images(self) -> Enumerable[Image]:
        """The slices (2-D) and the volumes: the series' own and its copies, in no fixed order."""
        return Enumerable(self._desk.lease, self._images)

    def _images(self) -> Iterable[Image]:
        slices: list[Image] = [
            self._desk.make(SliceImage, self._record, index)
            for index in range(len(self._record.slices))
        ]
        order = self._desk.settings.image_order
        if order == "slices first":
            return [*slices, *self._volumes()]
        if order == "volumes first":
            return [*self._volumes(), *slices]
        images = [*slices, *self._volumes()][::-1]
        if order == "mixed":
            images.sort(key=lambda image: derived_uid(image.Id))
        return images

    def _volumes(self) -> list[Image]:
        return [
            self._desk.make(Image, image)
            for image in self._desk.record.images
            if image.series_uid == self._record.uid
        ]


class Image(Gridded, ApiDataObject):
    """``API.Image``: a volume (3-D)."""

    _record: ImageRecord

    @property
    def _series(self) -> SeriesRecord:
        return self._desk.record.series_of(self._record)

    @property
    def _grid(self) -> Grid:
        return cast("Grid", self._series.grid)

    @property
    def _slices(self) -> list[SliceRecord]:
        return self._series.slices

    @property
    def Id(self) -> str:
        """Id; unique in the patient. Can be set."""
        return self._record.id

    @Id.setter
    def Id(self, value: str) -> None:
        self._desk.require_begun()
        others = [i.id for i in self._desk.record.images if i is not self._record]
        self._record.id = check_id(value, others)
        self._desk.touch(self._record)

    @property
    def UID(self) -> str | None:
        """SOP Instance UID of a slice; None of a volume (16.1)."""
        return None

    @property
    def CreationDateTime(self) -> DateTime | None:
        """When it was made."""
        return date(self._record.created)

    @property
    def Series(self) -> Series:
        """The series."""
        return self._desk.make(Series, self._series)

    @property
    def Modality(self) -> SeriesModality:
        """Modality (18.0)."""
        return self.Series.Modality

    @property
    def FOR(self) -> str:
        """Frame of Reference UID."""
        return self._series.frame_of_reference_uid

    @property
    def ImagingOrientation(self) -> PatientOrientation:
        """How the patient lay."""
        return ORIENTATIONS.get(self._series.patient_position, PatientOrientation.NoOrientation)

    @property
    def Level(self) -> int:
        """Window Center."""
        return self._series.level

    @property
    def Window(self) -> int:
        """Window Width."""
        return self._series.window

    @property
    def DisplayUnit(self) -> str:
        """Unit of the display values."""
        return self._series.unit

    @property
    def ContrastBolusAgentIngredientName(self) -> str:
        """Contrast/Bolus Agent."""
        return self._series.contrast

    @property
    def IsProcessed(self) -> bool:
        """Whether image processing was applied: never here."""
        return False

    @property
    def HasUserOrigin(self) -> bool:
        """Whether a user origin was set."""
        return self._record.user_origin is not None

    @property
    def UserOrigin(self) -> VVector:
        """User origin, patient space, mm; DICOM's origin until it is set."""
        return vector(self._record.user_origin or (0.0, 0.0, 0.0))

    @UserOrigin.setter
    def UserOrigin(self, value: VVector) -> None:
        self._desk.require_begun()
        self._record.user_origin = (value.x, value.y, value.z)
        self._desk.touch(self._record)

    def GetVoxels(self, planeIndex: int, preallocatedBuffer: NDArray[np.int32]) -> None:
        """Copy the voxel values of one plane.

        Args:
            planeIndex: 0 to ZSize - 1.
            preallocatedBuffer: int32, shape (XSize, YSize); stands for .NET's ``int[,]``.

        Raises:
            ArgumentNullException: No buffer is given.
            ArgumentException: The buffer has another type or shape.
            ArgumentOutOfRangeException: There is no such plane.
        """
        shape = (self.XSize, self.YSize)
        if preallocatedBuffer is None:
            raise ArgumentNullException("Value cannot be null. Parameter name: preallocatedBuffer")
        if (
            not isinstance(preallocatedBuffer, np.ndarray)
            or preallocatedBuffer.dtype != np.int32
            or preallocatedBuffer.shape != shape
        ):
            raise ArgumentException(
                f"preallocatedBuffer must be an array of Int32 of size {shape[0]} x {shape[1]}."
            )
        preallocatedBuffer[...] = self._voxels(planeIndex).T

    def VoxelToDisplayValue(self, voxelValue: int) -> float:
        """Turn a voxel value into the display value (HU for CT)."""
        only = self._desk.settings.display_values == "occurring"
        if only and voxelValue not in self._desk.voxel_values(self._series.uid, self._occurring):
            return math.nan
        return voxelValue * self._series.slope + self._series.intercept

    def _occurring(self) -> Iterator[int]:
        planes = self._series.slices
        return (value for plane in planes for value in np.unique(self._scaled(plane)).tolist())

    def GetImageProfile(
        self, start: VVector, stop: VVector, preallocatedBuffer: NDArray[np.float64]
    ) -> ImageProfile:
        """Sample display values along a line, linearly between voxels; NaN outside the image.

        Args:
            start: First point, patient space, mm.
            stop: Last point.
            preallocatedBuffer: float64, one place a sample; is filled.

        Raises:
            ArgumentException: The buffer has fewer than two places.
        """
        count = 0 if preallocatedBuffer is None else len(preallocatedBuffer)
        if count < 2:
            raise ArgumentException("preallocatedBuffer must hold at least two values.")
        step = (stop - start) / (count - 1)
        points = [start + step * number for number in range(count)]
        index = self._grid.to_index([(p.x, p.y, p.z) for p in points])
        last = self.ZSize - 1
        low = int(np.clip(np.floor(index[:, 2].min()), 0, last))
        high = int(np.clip(np.ceil(index[:, 2].max()), 0, last))
        planes = np.array([self._voxels(plane) for plane in range(low, high + 1)], dtype=float)
        at = (index - (0, 0, low)).T[::-1]
        values = map_coordinates(planes, at, order=1, cval=np.nan)
        preallocatedBuffer[:] = values * self._series.slope + self._series.intercept
        return ImageProfile(start, step, preallocatedBuffer.copy(), self.DisplayUnit)

    def UserToDicom(self, user: VVector, planSetup: PlanSetup | None) -> VVector:  # noqa: ARG002
        """Turn user coordinates into patient coordinates, mm; for head first supine only."""
        self._require_supine()
        return user + self.UserOrigin

    def DicomToUser(self, dicom: VVector, planSetup: PlanSetup | None) -> VVector:  # noqa: ARG002
        """Turn patient coordinates into user coordinates, mm; for head first supine only."""
        self._require_supine()
        return dicom - self.UserOrigin

    def CreateNewStructureSet(self) -> StructureSet:
        """Make an empty structure set.

        It lies on this image where that has none yet, else on a copy of the image: another
        ``Image`` with an id of its own on the same series.

        Raises:
            ApplicationException: Modifications have not begun.
        """
        from esapi_stub.api.structures import StructureSet

        self._desk.require_begun()
        return self._desk.make(StructureSet, new_structure_set(self._desk, self._record))

    def _require_supine(self) -> None:
        if self.ImagingOrientation is not PatientOrientation.HeadFirstSupine:
            raise NotImplementedException("The stub knows user coordinates of HFS images only.")

    def _voxels(self, plane: int) -> NDArray[np.int32]:
        """Voxel values of a plane, shape (YSize, XSize), on the image's one scale."""
        if not 0 <= plane < self.ZSize:
            raise ArgumentOutOfRangeException(
                f"planeIndex {plane} is out of range: the image has {self.ZSize} planes."
            )
        return self._scaled(self._slices[plane])

    def _stored(self, record: SliceRecord) -> NDArray[np.int32]:
        """The values in the file of a slice, shape (YSize, XSize)."""
        with storage(f"image {self._record.id}"):
            # Given a path, pydicom looks for the pixels itself, and finds none in a deflated file.
            pixels = pixel_array(dcmread(self._desk.folder / record.file))
            return np.asarray(pixels, dtype=np.int32)

    def _scaled(self, record: SliceRecord) -> NDArray[np.int32]:
        """The same on the one scale of the volume."""
        series, stored = self._series, self._stored(record)
        if (record.slope, record.intercept) != (series.slope, series.intercept):
            display = stored * record.slope + record.intercept
            stored = np.rint((display - series.intercept) / series.slope).astype(np.int32)
        return stored


class SliceImage(Image):
    """A slice of a series: an ``Image`` that is 2-D, and does not say where it lies.

    Args:
        chart: The open patient.
        series: The series.
        index: Number of the slice, in space order from 0.
    """

    _desk: Chart

    def __init__(self, chart: Chart, series: SeriesRecord, index: int) -> None:
        record = ImageRecord(
            id=f"Slice {index + 1}",
            name=series.name,
            comment=series.comment,
            created=series.created,
            series_uid=series.uid,
        )
        super().__init__(chart, record)
        self._slice = series.slices[index]

    @property
    def _grid(self) -> Grid:
        volume = super()._grid
        nowhere = (math.nan, math.nan, math.nan)
        return Grid(nowhere, nowhere, nowhere, nowhere, volume.spacing, (*volume.size[:2], 1))

    @property
    def UID(self) -> str:
        """SOP Instance UID (16.1)."""
        return self._slice.uid

    @property
    def _slices(self) -> list[SliceRecord]:
        return [self._slice]

    @property
    def Id(self) -> str:
        """Id; cannot be changed."""
        return self._record.id

    @Id.setter
    def Id(self, value: str) -> None:  # noqa: ARG002
        raise NotImplementedException("The stub cannot change a single slice.")

    def GetVoxels(self, planeIndex: int, preallocatedBuffer: NDArray[np.int32]) -> None:
        """Copy the voxel values, as far as the database's setting ``slice_voxels`` gives them.

        Raises:
            ApplicationException: It gives none.
        """
        if self._desk.settings.slice_voxels == "refused":
            raise ApplicationException("The voxels of a 2D image cannot be read.")
        super().GetVoxels(planeIndex, preallocatedBuffer)

    def _scaled(self, record: SliceRecord) -> NDArray[np.int32]:
        as_stored = self._desk.settings.slice_voxels == "as in the file"
        return self._stored(record) if as_stored else super()._scaled(record)

    def GetImageProfile(
        self,
        start: VVector,  # noqa: ARG002
        stop: VVector,  # noqa: ARG002
        preallocatedBuffer: NDArray[np.float64],  # noqa: ARG002
    ) -> ImageProfile:
        """Refused: the image lies nowhere.

        Raises:
            ArgumentException: Always.
        """
        raise ArgumentException("A profile can be had of a 3D image only.")

    def CreateNewStructureSet(self) -> StructureSet:
        """Refused: a structure set lies on a volume.

        Raises:
            ArgumentException: Always.
        """
        raise ArgumentException("A structure set can be created for a 3D image only.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SliceImage) and self._slice is other._slice

    def __hash__(self) -> int:
        return id(self._slice)


def new_structure_set(chart: Chart, image: ImageRecord, wanted_id: str = "") -> StructureSetRecord:
    """Make the record of a new structure set on an image, or on a new copy of it.

    Args:
        chart: The open patient.
        image: The image asked for.
        wanted_id: Id to give it if free; else the image's.
    """
    patient = chart.record
    if any(s.image_uid == image.uid for s in patient.structure_sets):
        series = patient.series_of(image)
        image = ImageRecord(
            id=numbered(series.modality, [i.id for i in patient.images]),
            name=image.name,
            comment=image.comment,
            series_uid=image.series_uid,
            uid=chart.new_uid(image.uid),
            user_origin=image.user_origin,
        )
        chart.touch(image)
        image.created = image.modified
        patient.images.append(image)
    taken = [s.id for s in chart.siblings(image.series_uid)]
    record = StructureSetRecord(
        id=unique(wanted_id or image.id, "", taken),
        uid=chart.new_uid(image.series_uid),
        image_uid=image.uid,
    )
    patient.structure_sets.append(record)
    chart.touch(record, record)
    record.created = record.modified
    return record


SliceImage.__name__ = "Image"  # the class that ESAPI shows; SliceImage is the stub's own affair
