"""Compare a structure set with what would be created now, and decide whether it may serve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from stardust_esapi.choices import OnExisting
from stardust_esapi.geometry import FloatArray, Vector, covered_area_centroid
from stardust_esapi.names import folding

_CENTROID_TOLERANCE_MM = 0.1
_AREA_TOLERANCE = 0.01
_AREA_TOLERANCE_MM2 = 0.5


@dataclass(frozen=True, slots=True)
class PlaneShape:
    """What a structure covers on one plane: summed area (mm²) and its centroid (mm)."""

    area: float
    centroid: Vector


@dataclass(frozen=True, slots=True)
class StructureShape:
    """A structure, measured: enough to tell whether two hold the same.

    Attributes:
        structure_id: ``Structure.Id``.
        dicom_type: ``Structure.DicomType``.
        planes: Plane index to what it covers there.
    """

    structure_id: str
    dicom_type: str
    planes: Mapping[int, PlaneShape] = field(default_factory=dict)

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
    structure_id: str, dicom_type: str, contours: Mapping[int, Sequence[FloatArray]]
) -> StructureShape:
    """Measure a structure from its contours: plane index to polygons of shape (n, 3), mm."""
    planes = {}
    for plane, polygons in contours.items():
        if polygons:
            area, centroid = covered_area_centroid(polygons)
            x, y, z = centroid.tolist()
            planes[plane] = PlaneShape(area, (x, y, z))
    return StructureShape(structure_id, dicom_type, planes)


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


def differences(
    expected: Sequence[StructureShape],
    found: Sequence[StructureShape],
    resampling: Resampling | None = None,
    *,
    may_be_clipped: frozenset[str] = frozenset(),
) -> tuple[str, ...]:
    """Say how a structure set differs from what would be created now.

    Args:
        expected: The source structures under their new ids and types.
        found: The structures that are there.
        resampling: None where both lie on the same grid, plane by plane.
        may_be_clipped: Ids of structures that reach out of the image, whose volume and centre
            therefore say nothing.

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
        elif resampling is None or one.structure_id not in may_be_clipped:
            clauses += _shape_differences(one, other, resampling)
    return tuple(sorted(clauses))


def _shape_differences(
    one: StructureShape, other: StructureShape, resampling: Resampling | None
) -> list[str]:
    if resampling is None:
        return _plane_differences(one, other)
    return _volume_differences(one, other, resampling)


def _plane_differences(one: StructureShape, other: StructureShape) -> list[str]:
    if one.planes.keys() != other.planes.keys():
        return [
            f"{one.structure_id} covers {len(other.planes)} planes, not the same "
            f"{len(one.planes)} as its source"
        ]
    for plane, shape in one.planes.items():
        match = other.planes[plane]
        moved = float(np.linalg.norm(np.subtract(shape.centroid, match.centroid)))
        allowed = _AREA_TOLERANCE_MM2 + _AREA_TOLERANCE * shape.area
        if moved > _CENTROID_TOLERANCE_MM or abs(shape.area - match.area) > allowed:
            return [f"{one.structure_id} has another shape on plane {plane}"]
    return []


def _volume_differences(
    one: StructureShape, other: StructureShape, resampling: Resampling
) -> list[str]:
    source_volume = one.area_sum * resampling.source_spacing
    volume = other.area_sum * resampling.target_spacing
    # A plane more or less at either end is the resampling's own error.
    largest = max((plane.area for plane in one.planes.values()), default=0.0)
    allowed = resampling.volume_tolerance * source_volume + largest * resampling.target_spacing
    if abs(source_volume - volume) > allowed:
        return [
            f"{one.structure_id} holds {volume / 1000:.2f} ml, "
            f"its source {source_volume / 1000:.2f} ml"
        ]
    if float(np.linalg.norm(one.center - other.center)) > resampling.center_tolerance:
        return [f"{one.structure_id} lies elsewhere than its source"]
    return []


def is_of_another_tumour(
    found: Mapping[str, StructureShape],
    own: Mapping[str, str],
    sources: Sequence[StructureShape],
    resampling: Resampling | None = None,
) -> bool:
    """Whether a prepared set holds other structures as GTV and target than a case names.

    Two rows of one plan give two sets, and each is known by what it holds: where both labels are
    copies of structures of the same source, and not the two of ours, the set is the other row's.
    (The same two exchanged is no other tumour but a row that somebody has corrected.)

    Args:
        found: What stands under the labels in the set, by label.
        own: For each label, the id of the source structure that the case names.
        sources: The source structures.
        resampling: None where both lie on the same grid, plane by plane.
    """
    # The row's own structures first: of equal ones the first is taken.
    ordered = sorted(sources, key=lambda source: source.structure_id not in own.values())
    copied = {label: _source_of(found.get(label), ordered, resampling) for label in own}
    return None not in copied.values() and set(copied.values()) != set(own.values())


def _source_of(
    copy: StructureShape | None, sources: Sequence[StructureShape], resampling: Resampling | None
) -> str | None:
    """Id of the source that a structure was copied from: the closest that it holds."""
    if copy is None or not copy.planes:
        return None
    held = [s for s in sources if s.planes and not _shape_differences(s, copy, resampling)]
    spacing, copy_spacing = (
        (resampling.source_spacing, resampling.target_spacing) if resampling else (1.0, 1.0)
    )

    def distance(source: StructureShape) -> float:
        moved = float(np.linalg.norm(source.center - copy.center))
        edges = np.cbrt([source.area_sum * spacing, copy.area_sum * copy_spacing])
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
