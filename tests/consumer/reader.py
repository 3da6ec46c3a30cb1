"""A second reader of exported folders, for tests: what does the trainer make of an export?

Made from the description of the reader behind this program: its folders, its file names, its
choice among ROIs. It shares no code with it, and none with stardust_esapi or its stub, so that a
wrong belief about DICOM or about the folders cannot be on both sides of a test at once.

It differs from that reader in two ways. A voxel belongs to a ROI when its centre lies inside the
contours by the even-odd rule, while that reader rounds vertices to pixels and fills the border;
and that reader fills a hole that is a contour of its own, which is done here for
`fill_holes=True` alone. To it a contour that is stored again is nothing new, and contours that
cross are one: so it is here. Images that it would mix in silence (two series, two modalities, two
slices in one place) are errors here.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

MORE_THAN_VOXELS = 10


@dataclass(frozen=True)
class Image:
    """The slices of one series in the order of their positions along the normal."""

    modality: str
    series_uid: str
    volume: NDArray[np.float32]
    """z, y, x; HU for CT, and the stored values for MR without a rescale."""
    spacing: tuple[float, float, float]
    """x, y, z in mm."""
    positions: Floats
    """Centre of the first voxel of each slice: n x 3, mm in the patient's frame."""
    along_x: Floats
    along_y: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """z, y, x."""
        return self.volume.shape

    @property
    def normal(self) -> Floats:
        return np.cross(self.along_x, self.along_y)


@dataclass(frozen=True)
class Label:
    """The ROI that won a label."""

    name: str
    number: int
    candidates: tuple[str, ...]
    """Names of all ROIs that competed, the winner too, in the order of the file."""
    mask: Mask
    """z, y, x."""


@dataclass(frozen=True)
class Labels:
    """What a structure set is to the trainer."""

    label_1: Label | None = None
    label_2: Label | None = None
    others: tuple[str, ...] = ()
    """Other structures of more than ten voxels, losing candidates among them."""


@dataclass(frozen=True)
class Consumed(Image):
    """A folder as the trainer sees it."""

    folder: Path
    structure_set: Path | None
    roi_names: tuple[str, ...]
    """All of the structure set, the empty ones too."""
    label_1: Label | None
    label_2: Label | None
    others: tuple[str, ...]


def series_folder(root: Path, row: Mapping[str, str]) -> Path:
    """Where the trainer looks for a row: the contrast CT if there is one, else the planning CT."""
    contrast = _cell(row, "KM_Series_UID")
    if contrast is not None:
        return root / "KM_Export" / row["Patient-ID"] / contrast
    return root / "CT_Export" / row["Patient-ID"] / row["SeriesUID"]


def mr_folder(root: Path, row: Mapping[str, str]) -> Path | None:
    """Where the MR of a row lies; None for a row without one."""
    series = _cell(row, "MR_Series_UID")
    return None if series is None else root / "MR_Export" / row["Patient-ID"] / series


def read_case(root: Path, row: Mapping[str, str], *, fill_holes: bool = False) -> Consumed:
    """Read the CT that the trainer picks for a row of the case list."""
    folder = series_folder(root, row)
    for part in (folder.parent.parent, folder.parent, folder):
        # Asked of the listing, as Windows also opens a folder by a name that is not quite its own.
        if part.name not in {entry.name for entry in part.parent.iterdir()}:
            raise FileNotFoundError(f"no folder of exactly this name: {part}")
    return read_folder(folder, fill_holes=fill_holes)


def read_folder(folder: Path, *, fill_holes: bool = False) -> Consumed:
    """Read the images and the first structure set of a folder."""
    image = read_image(folder)
    structure_set = next(iter(_files(folder, "RS")), None)
    dataset = Dataset() if structure_set is None else pydicom.dcmread(structure_set)
    labels = labels_of(dataset, image, fill_holes=fill_holes)
    return Consumed(
        **vars(image),
        **vars(labels),
        folder=folder,
        structure_set=structure_set,
        roi_names=tuple(_names(dataset).values()),
    )


def read_image(folder: Path) -> Image:
    """Read the CT or MR slices of a folder."""
    found = {kind: files for kind in ("CT", "MR") if (files := _files(folder, kind))}
    if len(found) != 1:
        raise ValueError(f"neither CT nor MR alone: {sorted(found)} in {folder}")
    ((modality, files),) = found.items()
    slices = [pydicom.dcmread(file) for file in files]
    first = slices[0]
    cosines = np.array(first.ImageOrientationPatient, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    slices.sort(key=lambda one: float(normal @ np.array(one.ImagePositionPatient, dtype=float)))
    for one in slices:
        if one.SeriesInstanceUID != first.SeriesInstanceUID:
            raise ValueError(f"images of two series in {folder}")
        if one.PixelSpacing != first.PixelSpacing or not np.allclose(
            np.array(one.ImageOrientationPatient, dtype=float), cosines, atol=1e-4
        ):
            raise ValueError(f"images of two grids in {folder}")
    positions = np.array([one.ImagePositionPatient for one in slices], dtype=np.float64)
    steps = np.diff(positions @ normal)
    if np.any(steps < 1e-3):
        raise ValueError(f"two images in one place in {folder}")
    between_rows, between_columns = (float(value) for value in first.PixelSpacing)
    thickness = float(np.median(steps)) if len(steps) else float(first.SliceThickness)
    return Image(
        modality=modality,
        series_uid=str(first.SeriesInstanceUID),
        volume=np.stack([_values(one) for one in slices]),
        spacing=(between_columns, between_rows, thickness),
        positions=positions,
        along_x=cosines[:3],
        along_y=cosines[3:],
    )


def labels_of(structure_set: Dataset, image: Image, *, fill_holes: bool = False) -> Labels:
    """Choose the ROIs of label 1 (`gtv`) and label 2 (`target` without `gtv`)."""
    names = _names(structure_set)
    sizes: dict[int, int] = {}
    candidates: dict[int, list[int]] = {1: [], 2: []}
    best: dict[int, tuple[int, Mask]] = {}
    for roi in structure_set.get("ROIContourSequence", []):
        number = int(roi.ReferencedROINumber)
        mask = mask_of(roi, image, fill_holes=fill_holes)
        size = int(mask.sum())
        if size <= MORE_THAN_VOXELS:
            continue
        sizes[number] = size
        label = _label_for(names[number])
        if label is None:
            continue
        candidates[label].append(number)
        if label not in best or size > sizes[best[label][0]]:
            best[label] = number, mask
    won = {
        label: Label(names[number], number, tuple(names[n] for n in candidates[label]), mask)
        for label, (number, mask) in best.items()
    }
    winners = {label.number for label in won.values()}
    others = tuple(names[number] for number in sizes if number not in winners)
    return Labels(won.get(1), won.get(2), others)


def mask_of(roi: Dataset, image: Image, *, fill_holes: bool = False) -> Mask:
    """Voxels whose centres lie inside the contours of an item of ROIContourSequence.

    Contours go to the nearest slice. Those of one plane are combined even-odd (by union for
    `fill_holes`, and where some cross), several planes that share a slice by union.
    """
    mask = np.zeros(image.volume.shape, dtype=np.bool_)
    heights = image.positions @ image.normal
    planes: defaultdict[tuple[int, float], list[Floats]] = defaultdict(list)
    for contour in roi.get("ContourSequence", []):
        points = points_of(contour)
        if len(points) < 3:
            continue
        offsets = float((points @ image.normal).mean()) - heights
        index = int(np.abs(offsets).argmin())
        if abs(offsets[index]) > image.spacing[2] / 2 + 1e-3:
            continue  # above or below the image
        moved = points - image.positions[index]
        pixels = np.stack(
            [moved @ image.along_x / image.spacing[0], moved @ image.along_y / image.spacing[1]],
            axis=1,
        )
        # Rounded, so that noise does not decide about centres that lie on a contour.
        planes[index, round(float(offsets[index]), 1)].append(pixels.round(6))
    for (index, _), polygons in planes.items():
        filled: list[Mask] = []
        for polygon in polygons:
            one = inside([polygon], mask.shape[1:])
            if not any(np.array_equal(one, other) for other in filled):
                filled.append(one)
        together = np.logical_or if fill_holes or _cross(filled) else np.logical_xor
        mask[index] |= together.reduce(filled)
    return mask


def points_of(contour: Dataset) -> Floats:
    """Its points (n, 3), mm; of the text, since pydicom would check every number on its own."""
    value = (contour.get_item("ContourData").value if "ContourData" in contour else None) or []
    numbers = value.split(b"\\") if isinstance(value, bytes) else value
    return np.array(numbers, dtype=np.float64).reshape(-1, 3)


def _cross(filled: Sequence[Mask]) -> bool:
    """Whether two of them share pixels, and each has some of its own."""
    return any(
        bool((one & other).any() and (one & ~other).any() and (other & ~one).any())
        for number, one in enumerate(filled)
        for other in filled[:number]
    )


def inside(polygons: Sequence[Floats], shape: Sequence[int]) -> Mask:
    """Pixels (y, x) whose centres are inside by even-odd; polygons as n x 2 (x, y) in pixels.

    An edge changes the state of all pixels to its right. Pixels on a left or upper edge are in,
    those on a right or lower edge are out.
    """
    height, width = shape
    changes = np.zeros((height, width + 1), dtype=np.int64)
    rows = np.arange(height)[:, None]
    for polygon in polygons:
        x0, y0 = polygon.T
        x1, y1 = np.roll(polygon, -1, axis=0).T
        row, edge = np.nonzero((y0 <= rows) != (y1 <= rows))
        along = (row - y0[edge]) / (y1[edge] - y0[edge])
        column = np.ceil((x0[edge] + along * (x1[edge] - x0[edge])).round(6))
        np.add.at(changes, (row, np.clip(column, 0, width).astype(int)), 1)
    crossed: Mask = changes.cumsum(axis=1)[:, :width] % 2 == 1
    return crossed


def _cell(row: Mapping[str, str], column: str) -> str | None:
    # An empty cell that went through pandas is the text "nan".
    value = row.get(column, "")
    return None if value.strip().lower() in {"", "nan"} else value


def _files(folder: Path, prefix: str) -> list[Path]:
    return sorted(folder.glob(f"{prefix}*.dcm"), key=lambda file: file.name)


def _names(structure_set: Dataset) -> dict[int, str]:
    rois = structure_set.get("StructureSetROISequence", [])
    return {int(roi.ROINumber): str(roi.ROIName) for roi in rois}


def _label_for(name: str) -> int | None:
    plain = name.lower().translate(str.maketrans("", "", " _-"))
    if "gtv" in plain:
        return 1
    return 2 if "target" in plain else None


def _values(one: Dataset) -> NDArray[np.float32]:
    slope = float(one.get("RescaleSlope", 1))
    intercept = float(one.get("RescaleIntercept", 0))
    return np.asarray(one.pixel_array * slope + intercept, dtype=np.float32)
