"""The read part of a recording: what ESAPI says of a patient. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stardust_esapi.esapi.read import read_geometry
from stardust_esapi.geometry import FloatArray, ImageGeometry
from stardust_esapi.model import IMAGE_KINDS
from stardust_esapi.trace.conceal import Json, number
from stardust_esapi.trace.recorder import FAILED, Recorder, Thing
from stardust_esapi.trace.shapes import shapes, voxels
from stardust_esapi.transfer.voxels import values_of

ANSWERS_IN_WORDS = "Structure.CanEditSegmentVolume"
"""The one member whose answer is a sentence: the second part of it."""

_IMAGED = {kind.modality for kind in IMAGE_KINDS}
_PROBES = np.vstack([np.zeros(3), 100 * np.eye(3)])  # mm; any affine map shows itself on them


def read(recorder: Recorder, patient: Any, say: Callable[[str], None]) -> None:
    """Record all that the product reads, and what is asked nowhere else.

    Args:
        recorder: Writes it down.
        patient: The open patient.
        say: Told where the recording is.
    """
    top = Thing("Patient", "Patient", patient)
    recorder.properties(top)
    for study in recorder.children(top, "Studies", "Study"):
        recorder.properties(study)
        for series in recorder.children(study, "Series", "Series"):
            # A patient may have thousands of portal images: nobody waits for those.
            if str(recorder.properties(series)["Modality"]) in _IMAGED:
                say(f"Reading {series.place}")
                for image in recorder.children(series, "Images", "Image"):
                    _image(recorder, image)
        for image in recorder.children(study, "Images3D", "Image"):
            recorder.properties(image)
    for registration in recorder.children(top, "Registrations", "Registration"):
        _registration(recorder, registration)
    for structure_set in recorder.children(top, "StructureSets", "StructureSet"):
        say(f"Reading {structure_set.place}")
        _structure_set(recorder, structure_set)
    for course in recorder.children(top, "Courses", "Course"):
        recorder.properties(course)
        for plan in recorder.children(course, "PlanSetups", "PlanSetup"):
            recorder.properties(plan)


def _image(recorder: Recorder, image: Thing) -> None:
    planes = recorder.properties(image)["ZSize"]
    occurring = np.empty(0, dtype=np.int32)
    for plane in range(0 if planes is FAILED else planes):
        occurring = np.union1d(occurring, _plane(recorder, image, plane))
    if len(occurring) and planes > 1:
        for role, voxel in _odd(occurring).items():
            _display_value(recorder, image, role, voxel)


def _plane(recorder: Recorder, image: Thing, plane: int) -> NDArray[np.int32]:
    """The voxel values of a plane; none where they are refused."""
    found = recorder.ask(
        image.place,
        "Image.GetVoxels",
        lambda: recorder.backend.read_plane(image.api, plane),
        voxels,
        plane,
    )
    return np.empty(0, dtype=np.int32) if found is FAILED else values_of(found)


def _odd(occurring: NDArray[np.int32]) -> dict[str, int]:
    """Voxel values that an implementation may stumble over, by what they are."""
    low, high = int(occurring[0]), int(occurring[-1])
    asked = {
        "smallest": low,
        "largest": high,
        "middle": int(occurring[len(occurring) // 2]),
        "below": low - 1,
        "above": high + 1,
        "zero": 0,
        "negative": -1,
        "lowest of 16 bits": -(2**15),
        "highest of 16 bits": 2**16 - 1,
    }
    gaps = np.flatnonzero(np.diff(occurring) > 1)
    return asked | ({"gap": int(occurring[gaps[0]]) + 1} if len(gaps) else {})


def _display_value(recorder: Recorder, image: Thing, role: str, voxel: int) -> None:
    recorder.ask(
        image.place,
        "Image.VoxelToDisplayValue",
        lambda: image.api.VoxelToDisplayValue(voxel),
        lambda value: {"voxel": voxel, "value": number(value)},
        role,
    )


def _registration(recorder: Recorder, registration: Thing) -> None:
    recorder.properties(registration)
    recorder.ask(
        registration.place,
        "Registration.TransformationMatrix",
        lambda: recorder.backend.read_matrix(registration.api),
        _rows,
    )
    recorder.ask(
        registration.place,
        "Registration.TransformPoint",
        lambda: recorder.backend.transform(registration.api, _PROBES),
        _rows,
        _PROBES.tolist(),
    )


def _rows(values: FloatArray) -> Json:
    return [[number(value) for value in row] for row in values.tolist()]


def _structure_set(recorder: Recorder, structure_set: Thing) -> None:
    recorder.properties(structure_set)
    image = recorder.ask(
        structure_set.place,
        "StructureSet.Image",
        lambda: _image_below(structure_set.api),
        lambda found: None if found is None else recorder.conceal.token(found[0]),
    )
    for structure in recorder.children(structure_set, "Structures", "Structure"):
        _structure(recorder, structure)
        if image is not FAILED and image is not None:
            _contours(recorder, structure, image[1])


def _image_below(structure_set: Any) -> tuple[str, ImageGeometry] | None:
    image = structure_set.Image
    return None if image is None else (image.Id, read_geometry(image))


def _structure(recorder: Recorder, structure: Thing) -> None:
    recorder.properties(structure)
    recorder.ask(
        structure.place,
        ANSWERS_IN_WORDS,
        lambda: structure.api.CanEditSegmentVolume(""),
        lambda answer: [number(answer[0]), recorder.conceal.message(answer[1] or "")],
    )


def _contours(recorder: Recorder, structure: Thing, geometry: ImageGeometry) -> None:
    planes = geometry.size[2]
    drawn = recorder.ask(
        structure.place,
        "Structure.GetContoursOnImagePlane",
        lambda: {
            plane: recorder.backend.read_contours(structure.api, plane) for plane in range(planes)
        },
        lambda found: {at: shapes(found[at], at, geometry) for at in found if found[at]},
        "every plane",
    )
    empty = [] if drawn is FAILED else [plane for plane in drawn if not drawn[plane]]
    if empty:
        _odd_plane(recorder, structure, "an empty plane", empty[0])
    _odd_plane(recorder, structure, "behind the last plane", planes)
    _odd_plane(recorder, structure, "before the first plane", -1)


def _odd_plane(recorder: Recorder, structure: Thing, role: str, plane: int) -> None:
    """Ask for contours where there are none: null, nothing, or a refusal."""
    recorder.ask(
        structure.place,
        "Structure.GetContoursOnImagePlane",
        lambda: structure.api.GetContoursOnImagePlane(plane),
        lambda found: None if found is None else [len(contour) for contour in found],
        role,
    )
