"""Series and structure sets for the dataset's tests, written as ``export`` writes them.

Bodies are analytic: they know their signed distance, so that a mask can be judged voxel by voxel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from stardust_esapi.dicom.read_series import Stack
from stardust_esapi.dicom.source import (
    ImageSeries,
    PatientIdentity,
    RegistrationSource,
    RoiSource,
    StructureSetSource,
    StudyFacts,
)
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_images import reference, write_image_series
from stardust_esapi.dicom.write_registration import write_registration
from stardust_esapi.dicom.write_structure_set import write_structure_set
from stardust_esapi.geometry import FloatArray, ImageGeometry

Vector = tuple[float, float, float]

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
FEET_FIRST = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SAGITTAL = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))
# Turned about all three axes.
OBLIQUE = ((0.9330127, 0.25, 0.2588190), (-0.3535534, 0.8535534, 0.3826834))

PATIENT = PatientIdentity("0815", "Geheim", "Gerda")
FRAME = derived_uid("frame of the CT")
Planes = Mapping[int, Sequence[FloatArray]]


def grid(
    axes: tuple[Vector, Vector] = AXIAL,
    spacing: Vector = (1.0, 1.0, 3.0),
    size: tuple[int, int, int] = (64, 56, 20),
    centre: Vector = (12.3, -45.6, 78.9),
) -> ImageGeometry:
    """A grid around a centre, its axes made orthonormal."""
    x = np.array(axes[0]) / np.linalg.norm(axes[0])
    y = np.array(axes[1]) - (np.array(axes[1]) @ x) * x
    y /= np.linalg.norm(y)
    z = np.cross(x, y)
    half = (np.array(size) - 1) / 2 * spacing
    origin = np.array(centre) - half @ np.array([x, y, z])
    return ImageGeometry(
        *(tuple(float(value) for value in axis) for axis in (origin, x, y, z)), spacing, size
    )


def write_series(
    folder: Path,
    geometry: ImageGeometry,
    values: Callable[[int], np.ndarray] | int = 0,
    *,
    modality: str = "CT",
    name: str = "CT",
    frame: str = FRAME,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> ImageSeries:
    """Write an image series; ``values`` are stored values of a plane, or one for all."""
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows, planes = geometry.size

    def plane(number: int) -> np.ndarray:
        if callable(values):
            return np.asarray(values(number), dtype=np.int32)
        return np.full((rows, columns), values, dtype=np.int32)

    series = ImageSeries(
        patient=PATIENT,
        study=StudyFacts(derived_uid(name, "study")),
        modality=modality,
        series_uid=derived_uid(name, "series"),
        frame_of_reference_uid=frame,
        patient_position="HFS",
        geometry=geometry,
        sop_instance_uids=[derived_uid(name, str(number)) for number in range(planes)],
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        read_plane=plane,
        rescale_slope=slope,
        rescale_intercept=intercept,
    )
    write_image_series(series, folder)
    return series


def write_structures(
    folder: Path, series: ImageSeries, structures: Mapping[str, Planes], frame: str = FRAME
) -> Path:
    """Write a structure set; the polygons of each structure by plane."""
    rois = [
        RoiSource(number, name, "ORGAN", (255, 0, 0), planes)
        for number, (name, planes) in enumerate(structures.items(), start=1)
    ]
    source = StructureSetSource(
        patient=PATIENT,
        study=series.study,
        sop_instance_uid=derived_uid(series.series_uid, "structure set"),
        series_uid=derived_uid(series.series_uid, "structure set's series"),
        label="zCopyFromPlan",
        frame_of_reference_uid=frame,
        images=reference(series),
        rois=rois,
    )
    return write_structure_set(source, folder)


def write_register(folder: Path, matrix: np.ndarray, source_for: str, registered_for: str) -> Path:
    """Write a registration from one frame of reference into another."""
    source = RegistrationSource(
        patient=PATIENT,
        study=StudyFacts(derived_uid("study")),
        sop_instance_uid=derived_uid("registration"),
        series_uid=derived_uid("registration's series"),
        source_for=source_for,
        registered_for=registered_for,
        matrix=matrix,
        created=datetime(2024, 1, 2, tzinfo=UTC),
    )
    return write_registration(source, folder)


def centres(stack: Stack) -> np.ndarray:
    """Patient points of all voxels of a stack, shape (slices, rows, columns, 3)."""
    index = np.stack(np.meshgrid(*map(np.arange, stack.shape), indexing="ij"), axis=-1)
    return stack.to_patient(index.astype(float))


class Body(Protocol):
    """A body in patient space."""

    def depth(self, points: np.ndarray) -> np.ndarray:
        """How deep (…, 3) points lie under the surface, mm; negative outside."""

    def sections(self, origin: np.ndarray, axes: np.ndarray) -> list[np.ndarray]:
        """Polygons of the section with the plane through ``origin`` along ``axes[:2]``."""


def contours(body: Body, geometry: ImageGeometry) -> dict[int, list[np.ndarray]]:
    """The body's sections with all planes of a grid."""
    axes = np.array([geometry.x_direction, geometry.y_direction, geometry.z_direction])
    return {
        plane: body.sections(np.array(geometry.plane_position(plane)), axes)
        for plane in range(geometry.size[2])
    }


ROUND = np.linspace(0, 2 * np.pi, 720, endpoint=False)


@dataclass(frozen=True)
class Ball:
    centre: Vector
    radius: float

    def depth(self, points: np.ndarray) -> np.ndarray:
        return self.radius - np.linalg.norm(points - self.centre, axis=-1)

    def sections(self, origin: np.ndarray, axes: np.ndarray) -> list[np.ndarray]:
        height = (np.array(self.centre) - origin) @ axes[2]
        if abs(height) >= self.radius:
            return []
        radius = np.sqrt(self.radius**2 - height**2)
        circle = radius * np.column_stack([np.cos(ROUND), np.sin(ROUND)])
        return [self.centre - height * axes[2] + circle @ axes[:2]]


@dataclass(frozen=True)
class Block:
    """A box along the axes of the slices, given by them as rows."""

    centre: Vector
    half: Vector
    axes: np.ndarray

    def depth(self, points: np.ndarray) -> np.ndarray:
        beyond = np.abs((points - self.centre) @ self.axes.T) - self.half
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
        return -np.where(outside > 0, outside, beyond.max(axis=-1))

    def sections(self, origin: np.ndarray, axes: np.ndarray) -> list[np.ndarray]:
        height = (np.array(self.centre) - origin) @ axes[2]
        if abs(height) > self.half[2]:
            return []
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * self.half[:2]
        return [self.centre - height * axes[2] + corners @ axes[:2]]


@dataclass(frozen=True)
class Torus:
    """A ring of a round tube.

    Attributes:
        centre: Its middle.
        ring: From the middle to the tube's middle, mm.
        tube: Radius of the tube, mm.
        axes: The axes of the slices as rows.
        standing: Whether the ring's axis lies along the slices' rows; else along their normal.
    """

    centre: Vector
    ring: float
    tube: float
    axes: np.ndarray
    standing: bool = False

    def depth(self, points: np.ndarray) -> np.ndarray:
        local = (points - self.centre) @ self.axes.T
        around, along = ([1, 2], 0) if self.standing else ([0, 1], 2)
        away = np.linalg.norm(local[..., around], axis=-1) - self.ring
        return self.tube - np.hypot(away, local[..., along])

    def sections(self, origin: np.ndarray, axes: np.ndarray) -> list[np.ndarray]:
        height = float((np.array(self.centre) - origin) @ axes[2])
        middle = self.centre - height * axes[2]
        return [middle + outline @ axes[:2] for outline in self._outlines(abs(height))]

    def _outlines(self, height: float) -> list[np.ndarray]:
        if not self.standing:  # a disc and the hole in it
            if height >= self.tube:
                return []
            half = np.sqrt(self.tube**2 - height**2)
            unit = np.column_stack([np.cos(ROUND), np.sin(ROUND)])
            return [(self.ring + half) * unit, (self.ring - half) * unit]
        if height >= self.ring + self.tube:
            return []
        if height <= self.ring - self.tube:  # two separate parts
            away = np.sqrt((self.ring + self.tube * np.cos(ROUND)) ** 2 - height**2)
            along = self.tube * np.sin(ROUND)
            return [np.column_stack([along, away]), np.column_stack([along, -away])]
        end = np.arccos((height - self.ring) / self.tube)
        angle = np.linspace(-end, end, 720)
        away = np.sqrt(np.maximum((self.ring + self.tube * np.cos(angle)) ** 2 - height**2, 0))
        along = self.tube * np.sin(angle)
        return [
            np.concatenate([np.column_stack([along, away]), np.column_stack([along, -away])[::-1]])
        ]
