"""Series, structure sets and registrations to write; session-wide, for hypothesis' sake."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime

import numpy as np
import pytest

from stardust_esapi.dicom.source import (
    Device,
    DoseSource,
    ImageSeries,
    PatientIdentity,
    RegistrationSource,
    RoiSource,
    StructureSetSource,
    StudyFacts,
)
from stardust_esapi.dicom.uids import derived_uid
from stardust_esapi.dicom.write_images import reference
from stardust_esapi.geometry import ImageGeometry

PATIENT = PatientIdentity("007 Ä-ß", "Müller-Öz", "Jörg", "Ångström", date(1950, 2, 3), "M")
STUDY = StudyFacts(derived_uid("study"), "Planung Ü", datetime(2024, 1, 2, 3, 4, 5, 678000))
AXIAL = ImageGeometry(
    origin=(-275.0, -524.25, 168.5593),
    x_direction=(1.0, 0.0, 0.0),
    y_direction=(0.0, 1.0, 0.0),
    z_direction=(0.0, 0.0, 1.0),
    spacing=(1.074219, 0.9765625, 3.0),
    size=(7, 5, 4),
)


@pytest.fixture(scope="session")
def make_series() -> Callable[..., ImageSeries]:
    """A series like a real one, but for what is given; ``voxels`` is (planes, rows, columns)."""

    def make(
        modality: str = "CT",
        geometry: ImageGeometry = AXIAL,
        voxels: np.ndarray | None = None,
        **facts: object,
    ) -> ImageSeries:
        shape = geometry.size[::-1]
        if voxels is None:
            voxels = np.random.default_rng(1).integers(0, 4096, shape).astype(np.int32)
        given = {
            "patient": PATIENT,
            "study": STUDY,
            "modality": modality,
            "series_uid": derived_uid("series", modality),
            "frame_of_reference_uid": derived_uid("for", modality),
            "patient_position": "HFS",
            "geometry": geometry,
            "sop_instance_uids": [derived_uid(modality, str(k)) for k in range(shape[0])],
            "image_type": ("ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"),
            "read_plane": voxels.__getitem__,
            "rescale_slope": 1.0,
            "rescale_intercept": -1024.0 if modality == "CT" else 0.0,
            "window": (40.0, 400.0),
            "series_number": 3,
            "series_description": "Thorax nativ",
            "created": datetime(2024, 1, 2, 3, 4, 5),
            "device": Device("Siemens", "SOMATOM", "4711"),
        }
        return ImageSeries(**(given | facts))

    return make


@pytest.fixture(scope="session")
def make_structure_set(
    make_series: Callable[..., ImageSeries],
) -> Callable[..., StructureSetSource]:
    """A structure set on ``series``, by default with one drawn and one empty structure."""

    def make(series: ImageSeries | None = None, **facts: object) -> StructureSetSource:
        series = series or make_series()
        corner = series.geometry.to_patient(
            [[(1, 1, k), (4.5, 1, k), (4.5, 3.25, k), (1, 3, k)] for k in (0, 1)]
        )
        given = {
            "patient": series.patient,
            "study": series.study,
            "sop_instance_uid": derived_uid("structure set"),
            "series_uid": derived_uid("structure set series"),
            "label": "zCopyFromPlan_KM",
            "frame_of_reference_uid": series.frame_of_reference_uid,
            "images": reference(series),
            "rois": [
                RoiSource(
                    1, "gtv+", "GTV", (255, 0, 127), {0: [corner[0], corner[0] / 2], 1: [corner[1]]}
                ),
                RoiSource(7, "Rückenmark leer", "", (0, 255, 0), {}),
            ],
            "created": datetime(2024, 5, 6, 7, 8, 9),
        }
        return StructureSetSource(**(given | facts))

    return make


@pytest.fixture(scope="session")
def make_registration() -> Callable[..., RegistrationSource]:
    """A registration by a turn of 90 degrees about z and a shift."""

    def make(**facts: object) -> RegistrationSource:
        given = {
            "patient": PATIENT,
            "study": STUDY,
            "sop_instance_uid": derived_uid("registration"),
            "series_uid": derived_uid("registration series"),
            "source_for": derived_uid("for", "MR"),
            "registered_for": derived_uid("for", "CT"),
            "matrix": np.array(
                [[0.0, -1, 0, 10.5], [1, 0, 0, -20.25], [0, 0, 1, 1 / 3], [0, 0, 0, 1]]
            ),
            "created": datetime(2024, 5, 6, 7, 8, 9),
        }
        return RegistrationSource(**(given | facts))

    return make


@pytest.fixture(scope="session")
def make_dose() -> Callable[..., DoseSource]:
    """A dose of some Gy, each voxel's its own, on a grid like no image's."""

    def make(geometry: ImageGeometry = AXIAL, **facts: object) -> DoseSource:
        shape = geometry.size[::-1]
        given = {
            "patient": PATIENT,
            "study": STUDY,
            "sop_instance_uid": derived_uid("dose"),
            "series_uid": derived_uid("dose series"),
            "frame_of_reference_uid": derived_uid("for", "CT"),
            "geometry": geometry,
            "values": np.linspace(0.0, 61.7, int(np.prod(shape))).reshape(shape),
            "units": "GY",
            "plan_uid": derived_uid("plan"),
            "plan_label": "Plan Ä",
            "structure_set_uid": derived_uid("structure set"),
            "created": datetime(2024, 5, 6, 7, 8, 9),
        }
        return DoseSource(**(given | facts))

    return make
