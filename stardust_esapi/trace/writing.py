"""The write part of a recording: experiments on structure sets that are removed again.

For a test patient of a system with which nobody is treated, and only there. What the launchers'
writer can do is done by it; the rest, which no export needs, by ESAPI's members themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import numpy as np

from stardust_esapi.errors import PrepareError
from stardust_esapi.esapi.read import read_geometry
from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.esapi.write_gate import Approval, PlannedSet, WritePlan, modifications
from stardust_esapi.esapi.writer import RecordWriter
from stardust_esapi.patient import ImageView
from stardust_esapi.trace.conceal import Json, Show, color, number, word
from stardust_esapi.trace.recorder import FAILED, Recorder

_TYPES = (
    *("AVOIDANCE", "CAVITY", "CONTRAST_AGENT", "CTV", "EXTERNAL", "GTV", "IRRAD_VOLUME", "ORGAN"),
    *("PTV", "TREATED_VOLUME", "SUPPORT", "FIXATION", "CONTROL", "DOSE_REGION"),
    *("BOLUS", "MARKER", "REGISTRATION", "ISOCENTER", "", "gtv"),  # which should be refused
)
_SET_ID = "zTrace"
_PROBE_ID = f"{_SET_ID}0"
_TOO_LONG = "zTrace of 17 char"
_SQUARES = (1, 2, 3, 4, 5)  # pixels
_CORNERS = {"on a voxel": 0.0, "beside a voxel": 0.37}  # pixels


def experiment(
    recorder: Recorder, patient: OpenPatient, approval: Approval, say: Callable[[str], None]
) -> None:
    """Record what ESAPI makes of writes, and remove what was made.

    Where Eclipse copied an image for a structure set, that copy may stay.

    Args:
        recorder: Writes it down.
        patient: The open patient.
        approval: What allows this run to write.
        say: Told where the recording is.

    Raises:
        CaseError: The patient cannot serve, Eclipse does not open the record or does not save, or
            something could not be removed.
        NotApprovedError: This run may not write.
    """
    source, views = _places(patient)
    image, *_ = views.values()
    before = {s.uid for s in patient.view.structure_sets}
    plan = WritePlan("a recording", (PlannedSet(_SET_ID, image.series_uid, ()),))
    say("Trying writes")
    with modifications(patient, plan, approval) as writing:
        trial = _Trial(recorder, patient, writing.writer)
        made = trial.run(source, views)
    # Found anew: saving may have ended the objects.
    saved = [
        s for s in patient.api.StructureSets if s.UID not in before and s.Id in {_PROBE_ID, *made}
    ]
    trial.uids(saved, "after saving")
    say("Removing what was made")
    with ExitStack() as gate:
        again = trial.ask(
            "Patient.BeginModifications",
            lambda: gate.enter_context(modifications(patient, plan, approval)),
            "after saving",
        )
        for found in saved if again is not FAILED else ():
            gone = trial.ask("StructureSet.Delete", found.Delete, f"{found.Id} by Python")
            if gone is FAILED and found.Id in made:
                remove = _by(again.writer.RemoveStructureSet, made[found.Id])
                trial.ask("StructureSet.Delete", remove, f"{found.Id} by our writer")
    if left := [s.structure_set_id for s in patient.view.structure_sets if s.uid not in before]:
        raise PrepareError(
            f"Not all that was made for the recording could be removed: {', '.join(left)}. Delete "
            "these structure sets by hand."
        )


def _places(patient: OpenPatient) -> tuple[Any, dict[str, ImageView]]:
    """The smallest structure of a set, and images to make sets on, by what they are to its own."""
    for view in patient.view.structure_sets:
        drawn = [s for s in patient.structure_set(view.uid).Structures if not s.IsEmpty]
        if view.image is not None and drawn:
            break
    else:
        raise PrepareError("No structure of this patient has contours: take another patient.")
    found = {"its image": view.image, "its image again": view.image}
    for other in patient.view.images:
        if other.series_uid != view.image.series_uid:
            near = other.frame_of_reference_uid == view.image.frame_of_reference_uid
            found.setdefault("another image" if near else "an image of another frame", other)
    return min(drawn, key=lambda structure: structure.Volume), found


def _write(writer: RecordWriter, image: Any) -> None:
    """Make a structure set and remove it, as the product does."""
    made = writer.CreateStructureSet(image)
    writer.NameStructureSet(made, _PROBE_ID)
    writer.AddStructure(made, "CONTROL", "z")
    writer.RemoveStructureSet(made)


def _write_plainly(image: Any) -> None:
    """The same as any script does: Eclipse sees ``Python.Runtime``."""
    made = image.CreateNewStructureSet()
    made.Id = _PROBE_ID
    made.AddStructure("CONTROL", "z")
    made.Delete()


def _by(call: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    return lambda: call(*arguments)


def _done(_: object) -> str:
    return "done"


class _Trial:
    """The experiments on one patient."""

    def __init__(self, recorder: Recorder, patient: OpenPatient, writer: RecordWriter) -> None:
        self._recorder = recorder
        self._token = recorder.conceal.token
        self._patient = patient
        self._writer = writer
        self._structures = 0

    def ask(self, member: str, run: Callable[[], Any], role: str, show: Show = _done) -> Any:
        """Make one call and write it down."""
        return self._recorder.ask("Experiments", member, run, show, role)

    def run(self, source: Any, views: dict[str, ImageView]) -> dict[str, Any]:
        """Make all experiments, while the record is open for writing.

        Returns:
            The structure sets that were made, by id.
        """
        api, image = self._patient.api, self._patient.image(views["its image"])
        ours = _by(_write, self._writer, image)
        self.ask("Patient.BeginModifications", api.BeginModifications, "twice")
        self.ask("Image.CreateNewStructureSet", ours, "and what follows, by our writer")
        plainly = _by(_write_plainly, image)
        self.ask("Image.CreateNewStructureSet", plainly, "and what follows, by Python")
        tried = {role: self._create(view, role) for role, view in views.items()}
        sets = {role: made for role, made in tried.items() if made is not FAILED}
        for at, (role, made) in enumerate(sets.items(), start=1):
            self._name(made, f"{_SET_ID}{at}", role)
            self._name(made, f"{_SET_ID}1", f"{role}: as the first")
            self._name(made, f"{_SET_ID}1".upper(), f"{role}: as the first, in capitals")
            self._name(made, _TOO_LONG, f"{role}: 17 characters")
            self._name(made, f"{_SET_ID}{at}", f"{role}: its own again")
        for role, made in sets.items():
            self._copy(source, made, f"to a set on {role}")
        for made in list(sets.values())[:1]:
            self._add(made)
            for pixels in _SQUARES:
                for where, corner in _CORNERS.items():
                    self._draw(made, pixels, corner, f"square of {pixels} pixels, {where}")
            self._resolutions(source, made)
            remove = _by(self._writer.RemoveStructure, self._new(made))
            self.ask("StructureSet.RemoveStructure", remove, "before saving")
        self.uids(sets.values(), "before saving")
        return {made.Id: made for made in sets.values()}

    def uids(self, sets: Iterable[Any], when: str) -> None:
        """Record the UIDs of sets that were made here; their ids are ours, and may be told."""
        for made in sets:
            self.ask(
                "StructureSet.UID", _by(getattr, made, "UID"), f"{made.Id} {when}", self._token
            )

    def _create(self, view: ImageView, role: str) -> Any:
        image = self._patient.image(view)
        return self.ask(
            "Image.CreateNewStructureSet",
            _by(self._writer.CreateStructureSet, image),
            role,
            lambda made: {
                "id": self._token(made.Id),
                "uid": self._token(made.UID),
                "image": self._token(made.Image.Id),
                "the same image": made.Image.Id == image.Id,
                "the same series": view.series_uid == made.Image.Series.UID,
            },
        )

    def _name(self, made: Any, new_id: str, role: str) -> None:
        rename = _by(self._writer.NameStructureSet, made, new_id)
        self.ask("StructureSet.Id", rename, role, lambda _: {"kept": made.Id == new_id})

    def _add(self, made: Any) -> None:
        types = [(dicom_type, f"z{at}", dicom_type) for at, dicom_type in enumerate(_TYPES)]
        ids = {"an id that is there": "z0", "in capitals": "Z0", "too long": _TOO_LONG, "empty": ""}
        for dicom_type, new_id, role in types + [("CONTROL", ids[role], role) for role in ids]:
            can = _by(made.CanAddStructure, dicom_type, new_id)
            add = _by(self._writer.AddStructure, made, dicom_type, new_id)
            self.ask("StructureSet.CanAddStructure", can, role, number)
            self.ask(
                "StructureSet.AddStructure",
                add,
                role,
                lambda s: {"type": word(s.DicomType), "color": color(s.Color)},
            )

    def _new(self, made: Any) -> Any:
        self._structures += 1
        return self._writer.AddStructure(made, "CONTROL", f"z {self._structures}")

    def _draw(
        self, made: Any, pixels: int, corner: float, role: str, structure: Any = None
    ) -> None:
        """Draw a square, and read what becomes of its points: pixels, from its own corner."""
        image = made.Image
        geometry, plane = read_geometry(image), image.ZSize // 2
        start = np.array([image.XSize // 2 + corner, image.YSize // 2 + corner, plane])
        square = start + pixels * np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)])
        vector = type(image.Origin)

        def draw() -> Any:
            drawn = structure or self._new(made)
            drawn.AddContourOnImagePlane(
                [vector(*p) for p in geometry.to_patient(square).tolist()], plane
            )
            return drawn

        def shown(drawn: Any) -> Json:
            contours = self._recorder.backend.read_contours(drawn, plane)
            return [
                np.round(geometry.to_index(contour) - start, 4).tolist() for contour in contours
            ]

        self.ask("Structure.AddContourOnImagePlane", draw, role, shown)

    def _resolutions(self, source: Any, made: Any) -> None:
        """Convert, and copy between resolutions."""
        fine = self._copy(source, made, "default into high resolution", high=True)
        self._copy(fine, made, "high into high resolution", high=True)
        coarse = self._copy(fine, made, "high into default resolution")
        self._convert(coarse, "after a copy of high resolution")
        empty = self._new(made)
        self._convert(empty, "an empty structure")
        self._convert(empty, "again")
        self._draw(made, 5, 0.0, "square in high resolution", empty)

    def _convert(self, structure: Any, role: str) -> None:
        self.ask(
            "Structure.ConvertToHighResolution",
            structure.ConvertToHighResolution,
            role,
            lambda _: number(structure.IsHighResolution),
        )

    def _copy(self, source: Any, made: Any, role: str, *, high: bool = False) -> Any:
        copy = self._new(made)
        self.ask(
            "Structure.SegmentVolume",
            _by(self._writer.CopyShape, copy, source, high),
            role,
            lambda _: {
                "high": number(copy.IsHighResolution),
                "high before": number(source.IsHighResolution),
                "volume": number(copy.Volume),
                "volume before": number(source.Volume),
                "parts": copy.GetNumberOfSeparateParts(),
            },
        )
        return copy
