"""Compare a structure set with what would be created now, and decide whether it may serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from stardust_esapi.choices import OnExisting
from stardust_esapi.geometry import FloatArray, Vector, covered_area_centroid
from stardust_esapi.names import folding

_OUTLINE_TOLERANCE = 0.5  # of a pixel


@dataclass(frozen=True, slots=True)
class PlaneShape:
    """What a structure covers on one plane: area (mm²), its centroid (mm), its outline (mm)."""

    area: float
    centroid: Vector
    outline: float


@dataclass(frozen=True, slots=True)
class StructureShape:
    """A structure, measured: enough to tell whether two hold the same.

    Attributes:
        structure_id: ``Structure.Id``.
        dicom_type: ``Structure.DicomType``.
        planes: Plane index to what it covers there.
        is_high_resolution: ``Structure.IsHighResolution``.
    """

    structure_id: str
    dicom_type: str
    planes: Mapping[int, PlaneShape] = field(default_factory=dict)
    is_high_resolution: bool = False

    @property
    def area_sum(self) -> float:
        """Sum of the areas of all planes, mm²: volume over plane distance."""
        return sum(plane.area for plane in self.planes.values())

    @property
    def center(self) -> FloatArray:
        """Area-weighted centre, shape (3,), mm."""
        if not self.planes:
            return np.zeros(3)
        weights = [plane.area for plane in self.planes.values()]
        centers = np.array([plane.centroid for plane in self.planes.values()])
        return np.average(centers, axis=0, weights=weights if any(weights) else None)


def measure(
    structure_id: str,
    dicom_type: str,
    contours: Mapping[int, Sequence[FloatArray]],
    *,
    is_high_resolution: bool = False,
) -> StructureShape:
    """Measure a structure from its contours: plane index to polygons of shape (n, 3), mm."""
    planes = {}
    for plane, polygons in contours.items():
        if polygons:
            area, centroid = covered_area_centroid(polygons)
            x, y, z = centroid.tolist()
            planes[plane] = PlaneShape(area, (x, y, z), sum(map(_outline, polygons)))
    return StructureShape(structure_id, dicom_type, planes, is_high_resolution)


def _outline(polygon: FloatArray) -> float:
    return float(np.linalg.norm(polygon - np.roll(polygon, -1, axis=0), axis=1).sum())


@dataclass(frozen=True, slots=True)
class Redrawing:
    """How closely a copy on the same grid must follow its source, plane by plane.

    A planning system keeps no contours but what is full of them, and draws them anew: an outline
    may move by half a pixel, and what is thinner than a pixel may go. A whole pixel is no rounding.

    Attributes:
        pixel: Distance of the pixels, mm.
    """

    pixel: float

    def differences(self, one: StructureShape, other: StructureShape) -> list[str]:
        """Say how a copy differs from its source, with at most one clause."""
        if one.is_high_resolution and not other.is_high_resolution:
            # Eclipse says nothing where a shape loses it.
            return [f"{one.structure_id} is of default resolution, its source of high"]
        return _plane_differences(one, other, self.pixel * _OUTLINE_TOLERANCE)

    def volumes(self, one: StructureShape, other: StructureShape) -> tuple[float, float]:
        """The volumes of source and copy, in a unit that both have."""
        return one.area_sum, other.area_sum


@dataclass(frozen=True, slots=True)
class Resampling:
    """How closely a copy on another grid must follow its source.

    Attributes:
        source_spacing: Plane distance of the source image, mm.
        target_spacing: Plane distance of the image that carries the copy, mm.
        volume_tolerance: Relative difference of volumes taken for equal.
        center_tolerance: Distance of the centres taken for equal, mm.
    """

    source_spacing: float
    target_spacing: float
    volume_tolerance: float
    center_tolerance: float

    def differences(self, one: StructureShape, other: StructureShape) -> list[str]:
        """Say how a copy differs from its source, with at most one clause."""
        source_volume, volume = self.volumes(one, other)
        # A plane more or less at either end is the resampling's own error.
        largest = max((plane.area for plane in one.planes.values()), default=0.0)
        allowed = self.volume_tolerance * source_volume + largest * self.target_spacing
        if abs(source_volume - volume) > allowed:
            return [
                f"{one.structure_id} holds {volume / 1000:.2f} ml, "
                f"its source {source_volume / 1000:.2f} ml"
            ]
        if float(np.linalg.norm(one.center - other.center)) > self.center_tolerance:
            return [f"{one.structure_id} lies elsewhere than its source"]
        return []

    def volumes(self, one: StructureShape, other: StructureShape) -> tuple[float, float]:
        """The volumes of source and copy, mm³."""
        return one.area_sum * self.source_spacing, other.area_sum * self.target_spacing


def differences(
    expected: Sequence[StructureShape],
    found: Sequence[StructureShape],
    how: Redrawing | Resampling,
    *,
    may_be_clipped: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Say how a structure set differs from what would be created now.

    Args:
        expected: The source structures under their new ids and types.
        found: The structures that are there.
        how: How closely.
        may_be_clipped: Ids of structures that reach out of the image that the copy lies on, whose
            volume and centre therefore say nothing. On the same grid there are none.

    Returns:
        One clause a difference; none when the set holds what would be created.
    """
    wanted = {folding(s.structure_id): s for s in expected}
    there = {folding(s.structure_id): s for s in found}
    clauses = [f"{s.structure_id} is missing" for key, s in wanted.items() if key not in there]
    clauses += [f"{s.structure_id} is foreign to it" for k, s in there.items() if k not in wanted]
    for key in wanted.keys() & there.keys():
        one, other = wanted[key], there[key]
        if one.dicom_type != other.dicom_type:
            clauses.append(f"{one.structure_id} has type {other.dicom_type}, not {one.dicom_type}")
        elif one.structure_id not in may_be_clipped:
            clauses += how.differences(one, other)
    return tuple(sorted(clauses))


def _plane_differences(one: StructureShape, other: StructureShape, allowed: float) -> list[str]:
    nothing = PlaneShape(0.0, (0.0, 0.0, 0.0), 0.0)
    for plane in sorted(one.planes.keys() | other.planes.keys()):
        shape, match = one.planes.get(plane, nothing), other.planes.get(plane, nothing)
        longest = max(shape.outline, match.outline)
        moved = np.linalg.norm(np.subtract(shape.centroid, match.centroid))
        if abs(shape.area - match.area) > allowed * longest or (
            shape.area and match.area and moved > allowed
        ):
            return [f"{one.structure_id} has another shape on plane {plane}"]
    if np.linalg.norm(one.center - other.center) > allowed:  # up or down
        return [f"{one.structure_id} lies elsewhere than its source"]
    return []


def is_of_another_tumour(
    found: Mapping[str, StructureShape],
    own: Mapping[str, str],
    sources: Sequence[StructureShape],
    how: Redrawing | Resampling,
) -> bool:
    """Whether a prepared set holds other structures as GTV and target than a case names.

    Two rows of one plan give two sets, and each is known by what it holds: where both labels are
    copies of structures of the same source, and not the two of ours, the set is the other row's.
    (The same two exchanged is no other tumour but a row that somebody has corrected.)

    Args:
        found: What stands under the labels in the set, by label.
        own: For each label, the id of the source structure that the case names.
        sources: The source structures.
        how: How closely a copy follows its source.
    """
    # The row's own structures first: of equal ones the first is taken.
    ordered = sorted(sources, key=lambda source: source.structure_id not in own.values())
    copied = {label: _source_of(found.get(label), ordered, how) for label in own}
    return None not in copied.values() and set(copied.values()) != set(own.values())


def _source_of(
    copy: StructureShape | None, sources: Sequence[StructureShape], how: Redrawing | Resampling
) -> str | None:
    """Id of the source that a structure was copied from: the closest that it holds."""
    if copy is None or not copy.planes:
        return None
    held = [s for s in sources if s.planes and not how.differences(s, copy)]

    def distance(source: StructureShape) -> float:
        moved = float(np.linalg.norm(source.center - copy.center))
        edges = np.cbrt(how.volumes(source, copy))
        return moved + abs(float(edges[0] - edges[1]))

    return min(held, key=distance).structure_id if held else None


class Choice(Enum):
    """What to do about prepared structure sets that are already there."""

    CREATE = auto()
    REUSE = auto()
    STOP = auto()


def choose(
    candidates: Mapping[str, Sequence[str]], on_existing: OnExisting
) -> tuple[Choice, str, str]:
    """Decide what to do where structure sets of our id exist on the image.

    Args:
        candidates: UID of each structure set with our id on the same image, to the ways it
            differs from what would be created now.
        on_existing: The user's choice for one that differs.

    Returns:
        The choice; the UID to reuse, or empty; and a sentence for the reader, or empty.
    """
    for uid, differing in candidates.items():
        if not differing:
            return Choice.REUSE, uid, ""
    if not candidates:
        return Choice.CREATE, "", ""
    uid, differing = next(iter(candidates.items()))
    how = "; ".join(differing)
    if on_existing is OnExisting.STOP:
        return Choice.STOP, "", how
    if on_existing is OnExisting.NEW:
        return Choice.CREATE, "", f"an older one was left as it is ({how})"
    if len(candidates) > 1:
        return Choice.STOP, "", f"there are {len(candidates)} of them, and --on-existing reuse"
    return Choice.REUSE, uid, f"an older one was reused as it is, although {how}"
