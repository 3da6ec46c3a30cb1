from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from esapi_stub.database import MODES, configure
from esapi_stub.sample import Phantom, PhantomMr
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.read import read_patient
from stardust_esapi.esapi.session import Session


class Touchy:
    """An image that counts who looks at it: a 2-D one, unless it has several planes."""

    touched = 0

    def __init__(self, series: SimpleNamespace, planes: int = 1) -> None:
        where = 0.0 if planes > 1 else np.nan
        point = SimpleNamespace(x=where, y=where, z=where)
        self._facts: dict[str, Any] = {
            "Id": f"image of {planes}",
            "Series": series,
            "FOR": "1.2.9",
            **dict.fromkeys(("Origin", "XDirection", "YDirection", "ZDirection"), point),
            **dict.fromkeys(("XRes", "YRes", "ZRes"), 1.0),
            "XSize": 4,
            "YSize": 4,
            "ZSize": planes,
        }

    def __getattr__(self, name: str) -> Any:
        Touchy.touched += 1
        return self._facts[name]


def patient_with_portal_images(count: int) -> tuple[SimpleNamespace, SimpleNamespace]:
    """A patient with a CT of 20 slices and ``count`` portal images; and its study."""
    study = SimpleNamespace(UID="1.2.1")
    ct = SimpleNamespace(UID="1.2.2", Study=study, Modality="CT")
    portal = SimpleNamespace(UID="1.2.3", Study=study, Modality="RTIMAGE")
    volume = Touchy(ct, 20)
    ct.Images = [*(Touchy(ct) for _ in range(20)), volume]
    portal.Images = [Touchy(portal) for _ in range(count)]
    study.Series = [portal, ct]
    patient = SimpleNamespace(
        Id="1", Studies=[study], StructureSets=[], Registrations=[], Courses=[]
    )
    Touchy.touched = 0
    study.volume = volume
    return patient, study


@pytest.mark.parametrize("images_3d", [False, True])
def test_thousands_of_portal_images_are_not_touched(*, images_3d: bool) -> None:
    patient, study = patient_with_portal_images(5000)
    if images_3d:  # from 16.1 on
        study.Images3D = [study.volume]
    [image] = read_patient(patient).view.images
    assert image.geometry.size == (4, 4, 20)
    assert Touchy.touched < (20 if images_3d else 100)


def test_a_structure_set_on_a_2d_image_lies_on_no_image() -> None:
    patient, study = patient_with_portal_images(1)
    portal = study.Series[0].Images[0]
    below = {"a": portal, "b": None, "c": study.volume}
    patient.StructureSets = [
        SimpleNamespace(Id=name, UID=name, Image=image) for name, image in below.items()
    ]
    view = read_patient(patient).view
    assert {s.uid: s.image is None for s in view.structure_sets} == {
        "a": True,
        "b": True,
        "c": False,
    }


@pytest.mark.parametrize("version", ["15.6", "18.1"])
def test_the_order_of_images_does_not_matter(clinic_of: Any, version: str) -> None:
    clinic = clinic_of(Phantom("7", size=(32, 32, 6), mr=PhantomMr(size=(16, 16, 4))))
    found = []
    for order in MODES["image_order"]:
        configure(clinic.db, version=version, image_order=order)
        with Session(connect(clinic.esapi)) as session, session.open_patient("7") as patient:
            found.append({(i.image_id, i.geometry) for i in patient.view.images})
    assert [len(images) for images in found] == [2] * len(MODES["image_order"])
    assert found == [found[0]] * len(found)
