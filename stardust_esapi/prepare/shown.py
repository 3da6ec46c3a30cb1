"""What a reviewer is shown of a case, as a digest: does a decision still stand?

Between the review and the write somebody may draw a contour anew, register the MR again or change
the list. A decision counts for the very state that was shown. What the write itself changes is no
part of it, so that a run that was interrupted goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from stardust_esapi.esapi.session import OpenPatient
from stardust_esapi.geometry import FloatArray
from stardust_esapi.model import Case, Kind, Role
from stardust_esapi.patient import ImageView
from stardust_esapi.prepare.survey import Contours, SetPlan, Survey
from stardust_esapi.settings import StructureSettings

_DIGITS_MM = 3


def shown_state(case: Case, surveyed: Survey, patient: OpenPatient) -> str:
    """Digest of what a reviewer is shown, and what of it would be written.

    Args:
        case: Under the id of the patient that is open.
        surveyed: Its survey; of a doubtful case the one that takes it as it is.
        patient: The open patient.

    Returns:
        Some letters and digits, which no spreadsheet takes for a number.

    Raises:
        EsapiRefusedError: Eclipse refused to read.
    """
    located, source = surveyed.located, surveyed.source
    matrix = np.eye(4)
    if located.registration is not None:
        with patient.refusals("reading the registration"):
            registration = patient.registration(located.registration.uid)
            matrix = patient.backend.read_matrix(registration)
    parts = [
        case.key,
        [case.gtv_volume_ml, case.target_volume_ml],
        [_image(image) for image in (located.image, located.contrast, located.mr) if image],
        np.round(matrix, 6).tolist(),
        {kind: asdict(found) for kind, found in located.objects.items()},
        dict(located.left_out),
        [finding.text for finding in surveyed.findings],
        [
            [p.source.structure_id, p.new_id, p.dicom_type, p.reason, p.source.volume_ml]
            for p in source.plan.structures
        ],
        source.plan.skipped,
        _drawn((p.source.structure_id, source.polygons(p)) for p in source.plan.structures),
        [_set(planned, patient) for planned in surveyed.sets],
    ]
    return "state-" + hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def labels(
    surveyed: Survey, patient: OpenPatient, settings: StructureSettings
) -> dict[Role, list[FloatArray]]:
    """The contours that would be exported as GTV and target, each of shape (n, 3), mm.

    They are those of the source or, where an existing structure set of the planning CT would be
    exported as it is, of that one.
    """
    names = {Role.GTV: settings.gtv_label, Role.TARGET: settings.target_label}
    reused = next((s for s in surveyed.sets if s.kind is Kind.CT and _is_as_it_is(s)), None)
    if reused is None:
        labelled = surveyed.source.labelled(settings)
        return {role: surveyed.source.polygons(labelled[name]) for role, name in names.items()}
    there = patient.contours(reused.uid)
    return {role: _polygons(there.get(name, {})) for role, name in names.items()}


def _is_as_it_is(planned: SetPlan) -> bool:
    """Whether a set is there that holds something else, and would be exported all the same."""
    return bool(planned.uid and planned.note)


def _set(planned: SetPlan, patient: OpenPatient) -> list[object]:
    """A set before it is created and the same once it is there are alike."""
    shown: list[object] = [
        planned.kind,
        _image(planned.image),
        [[p.source.structure_id, p.new_id, p.dicom_type] for p in planned.plan.structures],
        planned.plan.skipped,
        sorted(planned.clipped),
    ]
    if _is_as_it_is(planned):
        there = patient.contours(planned.uid)
        shown += [
            planned.uid,
            planned.note,
            _drawn((name, _polygons(drawn)) for name, drawn in there.items()),
        ]
    return shown


def _image(image: ImageView) -> list[object]:
    """Copies of an image are alike: a write may make one."""
    return [image.series_uid, image.study_uid, image.frame_of_reference_uid, asdict(image.geometry)]


def _polygons(contours: Contours) -> list[FloatArray]:
    return [polygon for polygons in contours.values() for polygon in polygons]


def _drawn(structures: Iterable[tuple[str, list[FloatArray]]]) -> str:
    digest = hashlib.sha256()
    for name, polygons in structures:
        digest.update(json.dumps([name, *(len(polygon) for polygon in polygons)]).encode())
        for polygon in polygons:
            digest.update(np.ascontiguousarray(_rounded(polygon)).tobytes())
    return digest.hexdigest()


def _rounded(values: FloatArray) -> FloatArray:
    return np.round(values, _DIGITS_MM) + 0.0  # no minus zero
