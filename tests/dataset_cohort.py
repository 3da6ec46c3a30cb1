"""Exports of many small cases, made without ESAPI: series, structure set, manifest, no ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np

from dataset_series import Ball, contours, grid
from stardust_esapi.dicom.source import (
    ImageSeries,
    PatientIdentity,
    RoiSource,
    StructureSetSource,
    StudyFacts,
)
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_images import reference, write_image_series
from stardust_esapi.dicom.write_structure_set import write_structure_set
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import write_manifest

AIR, TISSUE, TUMOUR = -1000, 30, 70


@dataclass(frozen=True)
class Size:
    """Of the images: columns, rows, slices."""

    columns: int = 64
    rows: int = 56
    slices: int = 20


def write_cohort(root: Path, cases: int, size: Size = Size(), first: int = 0) -> list[Path]:
    """Write CT cases of as many patients; returns the series' folders."""
    return [write_case(root, number, size) for number in range(first, first + cases)]


def write_case(root: Path, number: int, size: Size = Size()) -> Path:
    """Write one case as ``export`` leaves it: noise, a body, a GTV somewhere in a target."""
    chance = np.random.default_rng(number)
    geometry = grid(size=(size.columns, size.rows, size.slices))
    x, y, z = map(float, chance.uniform(-4, 4, 3))
    centre = (12.3 + x, -45.6 + y, 78.9 + z)
    bodies = {
        "gtv+": Ball(centre, float(chance.uniform(5, 9))),
        "target+": Ball(centre, 12.0),
        "Organ": Ball((centre[0] + 10, centre[1], centre[2]), 8.0),
        "Another": Ball((centre[0] - 8, centre[1] - 8, centre[2]), 6.0),
    }
    patient = PatientIdentity(
        f"{number:06}", f"Geheim{number}", "Gerda", birth_date=date(1951, 8, 23)
    )
    study = StudyFacts(derived_uid("study", str(number)), created=datetime(2023, 4, 11, 10, 11, 12))
    series = ImageSeries(
        patient=patient,
        study=study,
        modality="CT",
        series_uid=derived_uid("series", str(number)),
        frame_of_reference_uid=derived_uid("frame", str(number)),
        patient_position="HFS",
        geometry=geometry,
        sop_instance_uids=[
            derived_uid("image", str(number), str(plane)) for plane in range(size.slices)
        ],
        image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
        read_plane=_planes(number, size),
    )
    folder = root / Kind.CT.folder / patient.patient_id / series.series_uid
    folder.mkdir(parents=True)
    write_image_series(series, folder)
    source = StructureSetSource(
        patient=patient,
        study=study,
        sop_instance_uid=derived_uid("set", str(number)),
        series_uid=derived_uid("set's series", str(number)),
        label="zCopyFromPlan",
        frame_of_reference_uid=series.frame_of_reference_uid,
        images=reference(series),
        rois=[
            RoiSource(roi, name, "ORGAN", (255, 0, 0), contours(body, geometry))
            for roi, (name, body) in enumerate(bodies.items(), start=1)
        ],
    )
    write_structure_set(source, folder)
    request = TransferRequest(
        kind=Kind.CT,
        patient_id=patient.patient_id,
        plan_id="Plan1",
        study_uid=study.study_uid,
        series_uid=series.series_uid,
        structure_set_uid=source.sop_instance_uid,
        images=size.slices,
    )
    key = hashlib.sha256(patient.patient_id.encode()).hexdigest()
    write_manifest(folder, inspect_folder(folder, request, key).manifest)
    return folder


def _planes(number: int, size: Size) -> Callable[[int], np.ndarray]:
    """A round body in air, with noise."""
    row, column = np.ogrid[-1 : 1 : size.rows * 1j, -1 : 1 : size.columns * 1j]
    body = np.where(row**2 + column**2 < 0.8, TISSUE, AIR)

    def plane(at: int) -> np.ndarray:
        noise = np.random.default_rng((number, at)).integers(-20, 20, body.shape)
        return np.asarray(body + noise, dtype=np.int32)

    return plane


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the SHA-256 of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
