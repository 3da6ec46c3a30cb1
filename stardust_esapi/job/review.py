"""Show a person what would be exported before anything is written: a page a case, and one decision.

All is read, nothing changed: images, contours and registrations as ESAPI has them, drawn with the
masks that training files will be created with. An image is read as far as its sections need it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from stardust_esapi import files
from stardust_esapi.caselist.decisions import review_key
from stardust_esapi.errors import CaseError, UsageError, in_words
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.geometry import FloatArray, moved
from stardust_esapi.mask import Slices, rasterise, regular_slices
from stardust_esapi.model import CaseResult, Kind, Role
from stardust_esapi.patient import ImageView, RegistrationView
from stardust_esapi.prepare.shown import labels, shown_state
from stardust_esapi.prepare.survey import Survey
from stardust_esapi.report.drawing import Plane, Scene, grey
from stardust_esapi.report.review import (
    LACKING,
    Entry,
    PlannedSet,
    Sheet,
    render_case,
    render_index,
)
from stardust_esapi.report.summary import RunSummary
from stardust_esapi.settings import Settings
from stardust_esapi.transfer.esapi_engine import registration_matrix
from stardust_esapi.transfer.voxels import ReadPlane, display, values_of

REVIEW = "review"  # in an output folder, beside the plan
PAGE = "review.html"
CASES = "cases"

_OURS = re.compile(r"[0-9a-f]{32}")


class Review:
    """A folder with the page of a review.

    Args:
        folder: Where; created where it is missing.
        settings: The settings.

    Raises:
        UsageError: It cannot be used.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = files.long_path(folder), settings
        self._entries: dict[str, Entry] = {}
        try:
            files.make_folder(self._folder / CASES)
        except OSError as error:
            raise UsageError(
                f"The review cannot lie in {folder}: {in_words(error)}. Choose another folder."
            ) from None

    def add(self, surveyed: Survey, planned: CaseResult, patient: OpenPatient) -> None:
        """Leave a page of a case; what cannot be drawn or written is said on it, or in the log.

        Args:
            surveyed: What the case needs; of a doubtful one as if it were taken as it is.
            planned: The case, as it would be exported.
            patient: The open patient.

        Raises:
            CaseError: The patient cannot be read, so the case could not be exported either.
        """
        case = planned.case
        state = shown_state(case, surveyed, patient)
        # The doubts are shown by themselves, and nobody has accepted them yet.
        doubts = [doubt.text for doubt in planned.doubts]
        said = (one for one in planned.warnings if not any(doubt in one for doubt in doubts))
        sheet = Sheet(
            replace(planned, warnings=tuple(said)),
            surveyed.facts,
            tuple(
                PlannedSet(s.kind, s.structure_set_id, s.uid, s.note, _source_id(surveyed))
                for s in surveyed.sets
            ),
        )
        # The page without pictures tells whether an earlier run has left the same one.
        file = self._folder / CASES / f"{sheet.digest(state)}.js"
        entry = Entry(review_key(case), state, file.stem)
        if not _is_whole(file):
            try:
                drawn = _drawn(sheet, surveyed, patient, self._settings)
                files.atomic_write(file, render_case(drawn, file.stem))
            except OSError as error:
                why = f"its page cannot be written: {in_words(error)}"
                logger.warning("{}: {}.", case, why)
                entry = Entry(problem=f"It cannot be reviewed, {why}.")
        self._entries[case.key] = entry

    def finish(self, summary: RunSummary, *, is_whole: bool) -> Path:
        """Write the page, of the cases that the run has looked at.

        Args:
            summary: The run.
            is_whole: Whether it was not stopped: then what no case needs any more goes.

        Returns:
            Where the page is.
        """
        listed = [(result, self._entries.get(result.case.key)) for result in summary.results]
        page = files.write_for_people(self._folder / PAGE, render_index(summary, listed))
        known = {entry.file for entry in self._entries.values()}
        for file in (self._folder / CASES).glob("*.js") if is_whole else ():
            if _OURS.fullmatch(file.stem) and file.stem not in known:
                with suppress(OSError):  # the next run tries again
                    file.unlink()
        return page


def _source_id(surveyed: Survey) -> str:
    return surveyed.located.source.structure_set_id


def _is_whole(file: Path) -> bool:
    """Whether an earlier run has drawn all of a page."""
    try:
        return LACKING not in file.read_text(encoding="utf-8")
    except OSError:
        return False


def _drawn(sheet: Sheet, surveyed: Survey, patient: OpenPatient, settings: Settings) -> Sheet:
    """The same with its pictures, or with sentences why there are none."""
    problems: list[str] = []
    located = surveyed.located
    try:
        slices = regular_slices(located.image.geometry)
        drawn = labels(surveyed, patient, settings.structures)
        masks = {role: rasterise(polygons, slices) for role, polygons in drawn.items()}
        scene = Scene(slices, {role: mask for role, mask in masks.items() if mask.voxels})
        if Role.GTV not in scene.masks:
            raise CaseError("the GTV has no voxel on the planning CT.")
        views = {plane: scene.shown_as(plane) for plane in Plane}
        points = [view.points() for view in views.values()]
        overlays = {plane: scene.outlines(view) for plane, view in views.items()}
    except Exception as error:  # noqa: BLE001 - a picture never ends a check
        return replace(sheet, problems=(f"There are no pictures: {_why(error)}",))
    pictures = {}
    for kind, view, registration in (
        (Kind.CT, located.image, None),
        (Kind.KM, located.contrast, None),
        (Kind.MR, located.mr, located.registration),
    ):
        if view is None:
            continue
        try:
            with patient.refusals(f"reading series {view.series_uid}"):
                to_image = _way(patient, registration, located.image)
                values = _sampled(patient, view, [moved(to_image, each) for each in points])
            pictures[kind] = dict(zip(Plane, grey(kind, *values), strict=True))
        except Exception as error:  # noqa: BLE001 - as above
            problems.append(f"There is no picture of the {kind.words}: {_why(error)}")
    return replace(sheet, pictures=pictures, overlays=overlays, problems=tuple(problems))


def _why(error: Exception) -> str:
    """Ours in its own words; any other by its kind alone: what it says may hold a name."""
    if isinstance(error, CaseError):
        return str(error)
    logger.opt(exception=True).debug("a picture could not be drawn")
    return f"something unexpected happened ({type(error).__name__})."


def _way(patient: OpenPatient, registration: RegistrationView | None, ct: ImageView) -> FloatArray:
    """The (4, 4) matrix from the planning CT's frame of reference to that of another image, mm."""
    if registration is None:  # they share one
        return np.eye(4)
    matrix = registration_matrix(patient, patient.registration(registration.uid))
    if registration.source_for == ct.frame_of_reference_uid:
        return matrix
    return np.asarray(np.linalg.inv(matrix), dtype=float)


def _sampled(patient: OpenPatient, view: ImageView, each: Sequence[FloatArray]) -> list[FloatArray]:
    """Display values (HU of a CT) at patient points of several sections; NaN outside the image.

    Args:
        patient: The open patient.
        view: The image.
        each: Points of each section in the image's frame of reference, shape (…, 3), mm.
    """
    image = patient.image(view)
    blocks = _blocks(
        regular_slices(view.geometry), partial(patient.backend.read_plane, image), each
    )
    occurring = np.unique(np.concatenate([values_of(block.voxels) for block in blocks]))
    shown = display(
        lambda number: blocks[number].voxels,
        occurring,
        (float(image.VoxelToDisplayValue(voxel)) for voxel in occurring.tolist()),
        may_be_curved=view.modality != "CT",
    )
    return [
        block.interpolated(shown.read_plane(number) * shown.slope + shown.intercept)
        for number, block in enumerate(blocks)
    ]


@dataclass(frozen=True, slots=True)
class _Block:
    """The voxels that a section needs.

    Attributes:
        voxels: As ESAPI has them, shape (planes, rows, columns).
        at: Where the section's points lie among them, shape (3, …).
        inside: Which of them lie in the image.
    """

    voxels: NDArray[np.int32]
    at: FloatArray
    inside: NDArray[np.bool_]

    def interpolated(self, values: NDArray[np.floating]) -> FloatArray:
        from scipy.ndimage import map_coordinates

        found = map_coordinates(values, self.at, float, order=1, mode="nearest")
        return np.where(self.inside, found, np.nan)


def _blocks(slices: Slices, read_plane: ReadPlane, each: Sequence[FloatArray]) -> list[_Block]:
    """Read what sections need; a plane that several need is read once.

    Raises:
        CaseError: One of them lies outside the image.
    """
    size = np.array(slices.shape)
    found: list[tuple[FloatArray, NDArray[np.bool_], NDArray[np.intp], NDArray[np.intp]]] = []
    for points in each:
        at = slices.to_index(points)
        inside = np.all((at >= -0.5) & (at <= size - 0.5), axis=-1)
        if not inside.any():
            raise CaseError("it shows nothing where the GTV lies on the planning CT.")
        # Rounded, so that a section on a plane needs that plane alone.
        at = np.clip(at, 0, size - 1).round(3)
        low = np.floor(at[inside].min(axis=0)).astype(np.intp)
        high = np.ceil(at[inside].max(axis=0)).astype(np.intp) + 1
        found.append((at, inside, low, high))
    parts: list[list[NDArray[np.int32]]] = [[] for _ in each]
    for number in range(min(low[0] for *_, low, _ in found), max(high[0] for *_, high in found)):
        wanted = [low[0] <= number < high[0] for *_, low, high in found]
        if any(wanted):
            plane = read_plane(number)
            for part, is_wanted, (*_, low, high) in zip(parts, wanted, found, strict=True):
                if is_wanted:
                    part.append(plane[low[1] : high[1], low[2] : high[2]].copy())
    return [
        _Block(np.stack(part), np.moveaxis(at - low, -1, 0), inside)
        for part, (at, inside, low, _) in zip(parts, found, strict=True)
    ]
