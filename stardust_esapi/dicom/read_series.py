"""Read an image series: where its slices lie, and the values of one slice at a time.

What a gate judges (gaps, slices that lie on one another, shifted slices) is reported, not refused:
:class:`VolumeFacts`.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from stardust_esapi.dicom.open_file import read_file
from stardust_esapi.errors import CaseError
from stardust_esapi.geometry import FloatArray, ImageGeometry, Vector
from stardust_esapi.mask import SAME_PLACE_MM, BoolArray, Slices

Plane = NDArray[np.float32]

_SAME_COSINE = 1e-4
_SAME_SPACING_MM = 1e-4
# A distance with room for another slice: one and a half of the usual ones.
_GAP = 1.5

_PIXEL_DATA = 0x7FE00010
_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
# Nothing that names the patient is read.
_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "BodyPartExamined",
    "Columns",
    "FrameOfReferenceUID",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "Modality",
    "NumberOfFrames",
    "PixelData",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SliceThickness",
]
_COMMON_TAGS = [
    Tag(keyword)
    for keyword in _TAGS
    if keyword not in ("ImagePositionPatient", "PixelData", "SOPInstanceUID")
]
# Of the corners of all slices: as many must be filled with one value that is no signal.
_FILLED_CORNERS = 0.25
_LARGE = 1 << 12  # bytes; a longer element is left in the file until it is asked for


@dataclass(frozen=True, slots=True)
class _Common:
    """What images of a volume have in common."""

    series_uid: str
    frame: str
    modality: str
    body_part: str
    size: tuple[int, int]  # columns, rows
    orientation: tuple[float, ...]
    spacing: tuple[float, float]  # along a row, along a column
    thickness: float
    slope: float  # Rescale Slope (0028,1053); 1 without one
    intercept: float  # Rescale Intercept (0028,1052); 0 without one
    padding: tuple[float, float] | None  # what fills what was not imaged, after rescale
    dtype: str  # NumPy type of the stored values where they lie uncompressed in the file
    bits_stored: int  # how many bits of these they are
    is_uncompressed: bool  # whether they lie there as NumPy takes them

    def agrees(self, other: _Common, name: str) -> bool:
        mine, theirs = getattr(self, name), getattr(other, name)
        if name in ("orientation", "spacing"):
            tolerance = _SAME_COSINE if name == "orientation" else _SAME_SPACING_MM
            return bool(np.allclose(mine, theirs, rtol=0, atol=tolerance))
        return bool(mine == theirs)


# Field of _Common: what a message calls it. These must agree; others may be of each image's own.
_ALIKE = {
    "series_uid": "Series Instance UID",
    "frame": "Frame of Reference UID",
    "modality": "Modality",
    "size": "rows and columns",
    "orientation": "orientation",
    "spacing": "Pixel Spacing",
}


@dataclass(frozen=True, slots=True)
class _Slice:
    """One image file.

    Attributes:
        path: The file.
        uid: SOP Instance UID (0008,0018).
        origin: Image Position (Patient) (0020,0032), mm.
        common: What it says as the others do.
        offset: Where the stored values begin in the file; None where pydicom has to decode them.
    """

    path: Path
    uid: str
    origin: Vector
    common: _Common
    offset: int | None


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """How the slices of a series lie, as their headers say.

    Attributes:
        images: Image files in the folder.
        spacing_mm: Usual (median) distance of neighbouring slices along the normal.
        spacing_spread_mm: Largest less smallest distance of neighbouring slices.
        gaps_mm: Distances that leave room for at least one more slice.
        missing_slices: How many slices the gaps have room for.
        duplicate_positions: Images that lie where another one lies.
        duplicate_uids: Images that bear another one's SOP Instance UID.
        shear_mm: How far the slices' first voxels stray from one line along the normal (gantry
            tilt, or slices shifted against one another).
    """

    images: int
    spacing_mm: float
    spacing_spread_mm: float
    gaps_mm: tuple[float, ...]
    missing_slices: int
    duplicate_positions: int
    duplicate_uids: int
    shear_mm: float


@dataclass(frozen=True, slots=True)
class Stack(Slices):
    """An image series by its headers: slices by rising position along their normal.

    Attributes:
        modality: Modality (0008,0060).
        body_part: Body Part Examined (0018,0015); empty where the files do not say.
        series_uid: Series Instance UID (0020,000E).
        frame_of_reference_uid: Frame of Reference UID (0020,0052).
        facts: How the slices lie.
    """

    modality: str
    body_part: str
    series_uid: str
    frame_of_reference_uid: str
    facts: VolumeFacts
    _slices: tuple[_Slice, ...] = field(repr=False)

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """SOP Instance UID of each slice."""
        return tuple(one.uid for one in self._slices)

    def plane(self, number: int, into: Plane | None = None) -> Plane:
        """Values of one slice after rescale (HU in CT), shape (rows, columns).

        Args:
            number: Which slice.
            into: Where to put them; a new array for each slice costs more time than reading it.

        Raises:
            CaseError: The file cannot be read.
        """
        one, (_, rows, columns) = self._slices[number], self.shape
        try:
            if one.offset is None:
                stored = _decoded(one.path)
            else:
                stored = np.fromfile(one.path, one.common.dtype, rows * columns, offset=one.offset)
            keep_stored_bits(stored, one.common.bits_stored)
            values = np.empty((rows, columns), dtype=np.float32) if into is None else into
            np.copyto(values, stored.reshape(rows, columns))
        except Exception as error:  # noqa: BLE001 - decoders and damaged files raise anything
            # The message of the error may hold the path, and that the patient's id.
            raise CaseError(
                f"slice {number + 1} of {len(self._slices)} cannot be decoded "
                f"({type(error).__name__}). Export the series again."
            ) from None
        return _rescaled(values, one.common.slope, one.common.intercept)

    def values(self) -> NDArray[np.float32]:
        """Values of all slices after rescale, shape (slices, rows, columns).

        Raises:
            CaseError: A file cannot be read.
        """
        values = np.empty(self.shape, dtype=np.float32)
        for number in range(len(values)):
            self.plane(number, values[number])
        return values

    def outside(self, voxels: NDArray[np.float32], first: int = 0) -> BoolArray:
        """Where nothing was imaged: what is declared as padding, and what else fills the corners.

        Padding (PS3.3 C.7.5.1.1.2) is not declared in every file that has it: a value that many
        corners are filled with is taken for it, as far as it reaches from the slices' rims. Zero is
        left alone: it means nothing in an MR wherever it lies.

        Args:
            voxels: Values of slices after rescale, shape (slices, rows, columns).
            first: Number of the first of these slices.

        Returns:
            The same shape.
        """
        outside = np.zeros(voxels.shape, dtype=np.bool_)
        for one, values, here in zip(self._slices[first:], voxels, outside, strict=False):
            if one.common.padding:
                low, high = one.common.padding
                np.logical_and(values >= low, values <= high, out=here)
        for filler in _fillers(voxels):
            for number, values in enumerate(voxels):
                outside[number] |= _from_the_rim(values == filler)
        return outside

    def sample(self, points: FloatArray) -> FloatArray:
        """Interpolate linearly at (…, 3) patient points, mm; NaN outside the slices.

        Beside what an MR has not imaged (:meth:`outside`) it is NaN, too.

        Only the slices that the points need are read.

        Raises:
            CaseError: A file cannot be read.
        """
        from scipy.ndimage import map_coordinates  # takes a while, and few need it

        at = np.moveaxis(self.to_index(points), -1, 0)
        # Rounded, so that a point on a slice needs that slice alone.
        at[0] = np.round(at[0], 3)
        limits = np.reshape(self.shape, (3, *([1] * (at.ndim - 1))))
        inside = ((at >= -0.5) & (at <= limits - 0.5)).all(axis=0)
        if not inside.any():
            return np.full(inside.shape, np.nan)
        planes = np.clip(at[0], 0, len(self.positions) - 1)
        first = int(planes[inside].min())
        last = int(np.ceil(planes[inside].max()))
        voxels = np.stack([self.plane(number) for number in range(first, last + 1)])
        if self.modality == "MR":
            voxels[self.outside(voxels, first)] = np.nan
        values = map_coordinates(voxels, [planes - first, *at[1:]], order=1, mode="nearest")
        return np.where(inside, values, np.nan)


def read_stack(folder: Path) -> Stack:
    """Read the headers of the ``CT*.dcm`` or ``MR*.dcm`` of a folder and put them in order.

    The order is that along the normal, row cross column (PS3.3 C.7.6.2.1.1), whatever the files
    and the Instance Numbers say. Of slices on one another the first by name is taken.

    Raises:
        CaseError: There are no images, or they do not make one series on one grid.
    """
    paths = sorted([*folder.glob("CT*.dcm"), *folder.glob("MR*.dcm")])
    if not paths:
        raise CaseError("there are no images (CT*.dcm, MR*.dcm) in its folder. Export it again.")
    slices: list[_Slice] = []
    known: dict[Hashable, _Common] = {}
    for number, path in enumerate(paths, start=1):
        try:
            slices.append(_slice(path, known))
        except Exception as error:  # noqa: BLE001 - a damaged file makes the parser raise anything
            # A missing attribute is named; other messages may hold values or the path.
            is_ours = isinstance(error, AttributeError | CaseError)
            why = str(error) if is_ours else type(error).__name__
            raise CaseError(
                f"image {number} of {len(paths)} is damaged or lacks what a slice needs ({why}). "
                "Export the series again."
            ) from None
    first = slices[0].common
    for name, what in _ALIKE.items():
        if any(not first.agrees(common, name) for common in known.values()):
            raise CaseError(
                f"its images differ in {what}: they are no single volume. Look at the series in "
                "Eclipse and export the right one."
            )
    return _stack(slices)


def _slice(path: Path, known: dict[Hashable, _Common]) -> _Slice:
    """Read a header; what other images have told in the same bytes already is in ``known``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # oddities of values that nothing here looks at
        # The list of tags may be of keywords; pydicom's annotation says numbers.
        ds: Any = read_file(path, specific_tags=cast(Any, _TAGS), defer_size=_LARGE)
        said = _as_said(ds)
        if said not in known:
            known[said] = _common(ds)
        common = known[said]
        x, y, z = (float(value) for value in ds.ImagePositionPatient)
        if not np.isfinite([x, y, z]).all():
            raise ValueError("its position is not made of finite numbers")
        offset = _offset(ds, common) if common.is_uncompressed else None
        return _Slice(path, str(ds.SOPInstanceUID), (x, y, z), common, offset)


def _as_said(ds: Any) -> Hashable:
    """The bytes of all that images of a volume have in common: equal ones mean the same."""
    elements = (ds.get_item(tag) for tag in _COMMON_TAGS if tag in ds)
    return (
        ds.file_meta.get("TransferSyntaxUID"),
        *((int(one.tag), str(one.VR), str(one.value)) for one in elements),
    )


def _common(ds: Any) -> _Common:
    down, across = (float(value) for value in ds.PixelSpacing)
    orientation = tuple(float(value) for value in ds.ImageOrientationPatient)
    if len(orientation) != 6 or not np.isfinite([*orientation, across, down]).all():
        raise ValueError("its geometry is not made of finite numbers")
    if across <= 0 or down <= 0:
        raise ValueError("its Pixel Spacing is not positive")
    if ds.get("HighBit", ds.BitsStored - 1) != ds.BitsStored - 1:
        raise CaseError("its High Bit is not the last of its Bits Stored")
    slope = float(ds.get("RescaleSlope") or 1.0)
    intercept = float(ds.get("RescaleIntercept") or 0.0)
    return _Common(
        series_uid=str(ds.SeriesInstanceUID),
        frame=str(ds.get("FrameOfReferenceUID") or ""),
        modality=str(ds.Modality),
        body_part=str(ds.get("BodyPartExamined") or "").strip().upper(),
        size=(int(ds.Columns), int(ds.Rows)),
        orientation=orientation,
        spacing=(across, down),
        thickness=float(ds.get("SliceThickness") or 0.0),
        slope=slope,
        intercept=intercept,
        padding=_padding(ds, slope, intercept),
        dtype="<i2" if ds.PixelRepresentation else "<u2",
        bits_stored=int(ds.BitsStored),
        is_uncompressed=(
            ds.file_meta.get("TransferSyntaxUID") in _PLAIN
            and (ds.BitsAllocated, ds.SamplesPerPixel) == (16, 1)
            and 1 <= ds.BitsStored <= ds.BitsAllocated
            and int(ds.get("NumberOfFrames") or 1) == 1
        ),
    )


def keep_stored_bits(values: NDArray[Any], bits_stored: int) -> None:
    """Take out, in place, what lies above the stored bits of values: old overlays, or anything.

    The sign is that of the stored bits (PS3.5 8.1.1). pydicom does so too, but not with JPEG 2000
    and JPEG-LS, whose precision may be that of all bits.
    """
    if unused := 8 * values.itemsize - bits_stored:
        np.left_shift(values, unused, out=values)
        np.right_shift(values, unused, out=values)


def _padding(ds: Any, slope: float, intercept: float) -> tuple[float, float] | None:
    """Pixel Padding Value to Pixel Padding Range Limit (0028,0120 and 0028,0121), after rescale."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        element = ds.get_item(keyword) if keyword in ds else None
        if element is None or element.value in (None, b""):
            continue
        # Whatever the value representation says, its bits are those of a pixel.
        raw = isinstance(element, RawDataElement)
        value = int.from_bytes(element.value, "little") if raw else int(element.value)
        value &= (1 << ds.BitsStored) - 1
        is_negative = ds.PixelRepresentation and value >> (ds.BitsStored - 1)
        ends.append(value - (1 << ds.BitsStored) if is_negative else value)
    if not ends:
        return None
    low, *_, high = sorted(_rescaled(np.array(ends * 2, np.float32), slope, intercept).tolist())
    return low, high


def _rescaled(values: Plane, slope: float, intercept: float) -> Plane:
    """The values themselves, after Modality LUT (PS3.3 C.11.1)."""
    if slope != 1.0:
        values *= slope
    if intercept != 0.0:
        values += intercept
    return values


def _fillers(voxels: NDArray[np.float32]) -> list[float]:
    """Values but zero that fill many corners, two voxels each way."""
    if min(voxels.shape[1:]) < 2:
        return []
    corners = voxels[:, [[0, 1], [-1, -2]]][..., [[0, 1], [-1, -2]]]
    corners = np.moveaxis(corners, 2, 3).reshape(-1, 4)
    filled = corners[(corners == corners[:, :1]).all(axis=1), 0]
    values, counts = np.unique(filled[filled != 0], return_counts=True)
    return [float(value) for value in values[counts >= _FILLED_CORNERS * len(corners)]]


def _from_the_rim(filled: BoolArray) -> BoolArray:
    """What of a slice is filled from its rim on, without a step aslant."""
    from scipy.ndimage import label

    parts: Any = label(filled)[0]
    rim = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    reached: BoolArray = np.isin(parts, rim[rim > 0])
    return reached


def _offset(ds: pydicom.FileDataset, common: _Common) -> int | None:
    """Where the stored values begin in the file; None where pydicom has to say."""
    element = ds.get_item(_PIXEL_DATA, keep_deferred=True)
    if not isinstance(element, RawDataElement):
        return None
    # An odd number of bytes is padded, a cut off file is shorter: np.fromfile would say so late.
    if element.length < common.size[0] * common.size[1] * 2:
        raise ValueError("its Pixel Data are too short")
    return int(element.value_tell)


def _decoded(path: Path) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values: NDArray[Any] = read_file(path).pixel_array
    return values


def _stack(slices: Sequence[_Slice]) -> Stack:
    first = slices[0].common
    x, y = np.reshape(first.orientation, (2, 3))
    x = x / np.linalg.norm(x)
    y = y - (y @ x) * x  # cosines are rounded in the files: right angles again
    y = y / np.linalg.norm(y)
    normal = np.cross(x, y)

    ordered = sorted(slices, key=lambda one: float(np.dot(one.origin, normal)))
    kept = [ordered[0]]
    for one in ordered[1:]:
        if np.subtract(one.origin, kept[-1].origin) @ normal > SAME_PLACE_MM:
            kept.append(one)
    origins = np.array([one.origin for one in kept])
    positions = origins @ normal
    facts = _facts(slices, origins, normal)
    return Stack(
        geometry=ImageGeometry(
            origin=kept[0].origin,
            x_direction=_vector(x),
            y_direction=_vector(y),
            z_direction=_vector(normal),
            spacing=(*first.spacing, facts.spacing_mm),
            size=(*first.size, len(kept)),
        ),
        positions=positions,
        origins=origins,
        modality=first.modality,
        body_part=first.body_part,
        series_uid=first.series_uid,
        frame_of_reference_uid=first.frame,
        facts=facts,
        _slices=tuple(kept),
    )


def _facts(slices: Sequence[_Slice], origins: FloatArray, normal: FloatArray) -> VolumeFacts:
    steps = np.diff(origins @ normal)
    # A single slice has no neighbour: its thickness is all that is known.
    usual = float(np.median(steps)) if len(steps) else slices[0].common.thickness or 1.0
    regular = steps[np.abs(steps - usual) < SAME_PLACE_MM]
    if len(regular):  # positions are rounded in the files: the mean knows better
        usual = float(regular.mean())
    gaps = steps[steps > _GAP * usual]
    offsets = origins - origins[0]
    astray = offsets - np.outer(offsets @ normal, normal)
    return VolumeFacts(
        images=len(slices),
        spacing_mm=usual,
        spacing_spread_mm=float(np.ptp(steps)) if len(steps) else 0.0,
        gaps_mm=tuple(gaps.tolist()),
        missing_slices=int((np.rint(gaps / usual) - 1).sum()),
        duplicate_positions=len(slices) - len(origins),
        duplicate_uids=len(slices) - len({one.uid for one in slices}),
        shear_mm=float(np.linalg.norm(astray, axis=1).max()),
    )


def _vector(values: FloatArray) -> Vector:
    x, y, z = (values + 0.0).tolist()
    return x, y, z
