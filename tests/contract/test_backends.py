"""What the product asks of a backend: every way of reaching ESAPI must give the same.

``ESAPI_CONTRACT=clr-16.1`` and the like choose the .NET skin through pythonnet, as in
:mod:`test_esapi_behaviour`; the Python stub on the same database is what it is held against.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esapi_stub.build import build
from esapi_stub.database import configure
from esapi_stub.sample import Phantom, PhantomContrast, PhantomDose, PhantomMr, write_phantom
from esapi_stub.surface import VERSIONS
from stand_ins import assemblies
from stardust_esapi.errors import NotApprovedError
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.esapi.connect import connect
from stardust_esapi.esapi.session import Session
from stardust_esapi.job.readiness import Health, examine
from stardust_esapi.job.run import Job, check, export
from stardust_esapi.model import CaseState
from stardust_esapi.settings import load_settings
from support import Clinic, exported_tree, row_of, write_case_list

CHOSEN = os.environ.get("ESAPI_CONTRACT", "")
TESTED = [CHOSEN] if CHOSEN else [f"python-{version}" for version in VERSIONS]
PHANTOM = Phantom(
    "Prüfkörper 12",
    size=(40, 32, 14),
    contrast=PhantomContrast(),
    mr=PhantomMr(size=(24, 24, 10)),
    dose=PhantomDose(size=(20, 16, 12), spacing=(5.0, 5.0, 5.0)),
)


class Silent:
    def start(self, cases: int) -> None: ...
    def phase(self, case: object, phase: str, done: int = 0, total: int = 0) -> None: ...
    def finish(self, result: object) -> None: ...


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    folder = tmp_path_factory.mktemp("clinic")
    uids = write_phantom(folder / "dicom", PHANTOM)
    build(folder / "dicom", folder / "db")
    return Clinic(folder / "db", (uids,))


@pytest.fixture(params=TESTED)
def clinic(
    request: pytest.FixtureRequest, template: Clinic, tmp_path: Path
) -> tuple[Clinic, str, str]:
    """A database of its own, how ESAPI is reached on it, and the version."""
    kind, version = request.param.split("-")
    db = tmp_path / "db"
    shutil.copytree(template.db, db)
    # Off the clinic: there alone Python itself may write.
    configure(db, version=version, clinical=kind == "python")
    if kind == "clr":
        assemblies(version)
    choice = f"{'clr-stub' if kind == 'clr' else 'stub'}:{db}"
    return Clinic(db, template.patients), choice, version


def seen(clinic: Clinic, choice: str, look: Callable[[Backend, Any], Any]) -> Any:
    """What a backend shows of the open patient."""
    with Session(connect(choice)) as session, session.open_patient("Prüfkörper 12") as patient:
        return look(session.backend, patient)


def test_planes_are_those_of_the_python_stub(clinic) -> None:
    place = clinic[0]

    def planes(backend: Backend, patient: Any) -> list[np.ndarray]:
        return [
            backend.read_plane(patient.image(view), plane)
            for view in patient.view.images
            for plane in range(view.geometry.size[2])
        ]

    found, wanted = seen(*clinic[:2], planes), seen(place, place.esapi, planes)
    assert len(found) == len(wanted) > 14
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == np.int32
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(np.concatenate([plane.ravel() for plane in found]))) > 10


def test_contours_are_those_of_the_python_stub_to_the_last_bit(clinic) -> None:
    place = clinic[0]
    uid = place.patients[0].structure_set_uid

    def contours(backend: Backend, patient: Any) -> Any:
        return patient.contours(uid)

    found, wanted = seen(*clinic[:2], contours), seen(place, place.esapi, contours)
    assert {name: list(planes) for name, planes in found.items()} == {
        name: list(planes) for name, planes in wanted.items()
    }
    assert "GTV1" in found
    for name, planes in found.items():
        for plane, polygons in planes.items():
            for one, other in zip(polygons, wanted[name][plane], strict=True):
                assert one.shape[1] == 3
                assert one.tobytes() == other.tobytes()


def test_an_empty_plane_has_no_contours(clinic) -> None:
    def first(backend: Backend, patient: Any) -> Any:
        structure_set = patient.structure_set(clinic[0].patients[0].structure_set_uid)
        gtv = next(s for s in structure_set.Structures if s.Id == "GTV1")
        return backend.read_contours(gtv, 0)

    assert seen(*clinic[:2], first) == []


def test_matrices_are_those_of_the_python_stub(clinic) -> None:
    place = clinic[0]

    def matrices(backend: Backend, patient: Any) -> list[np.ndarray]:
        return [
            backend.read_matrix(patient.registration(r.uid)) for r in patient.view.registrations
        ]

    found, wanted = seen(*clinic[:2], matrices), seen(place, place.esapi, matrices)
    assert [m.shape for m in found] == [(4, 4)]
    assert found[0].tobytes() == wanted[0].tobytes()
    assert not np.array_equal(found[0], np.eye(4))


def rgb(structure: Any) -> tuple[int, int, int]:
    return structure.Color.R, structure.Color.G, structure.Color.B


def test_colours_are_copied_where_the_version_can(clinic) -> None:
    def copied(backend: Backend, patient: Any) -> bool:
        source = next(
            s
            for s in patient.structure_set(clinic[0].patients[0].structure_set_uid).Structures
            if s.Id == "GTV1"
        )
        writer = backend.writer()
        writer.Begin(patient.api)
        created = writer.CreateStructureSet(patient.image(patient.view.images[0]))
        structure = writer.AddStructure(created, "ORGAN", "new")
        before = rgb(structure)
        writer.CopyShape(structure, source, False)
        assert not structure.IsEmpty
        return rgb(structure) != before == rgb(writer.AddStructure(created, "ORGAN", "other"))

    assert seen(*clinic[:2], copied) is (clinic[2] != "15.6")


def test_refusals_carry_their_dotnet_type(clinic) -> None:
    def refused(backend: Backend, patient: Any) -> Any:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - of the backend's own kind
            patient.image(patient.view.images[0]).CreateNewStructureSet()
        return backend.refusal(caught.value), backend.refusal(ValueError("ours"))

    (kind, message), ours = seen(*clinic[:2], refused)
    assert kind.startswith("System.")
    assert "BeginModifications" in message
    assert ours is None


def test_a_whole_export_is_that_of_the_python_stub_byte_for_byte(
    clinic, template: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    place, choice, version = clinic
    shutil.copytree(template.db, tmp_path / "other")
    configure(tmp_path / "other", version=version)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(place.patients[0])])
    trees = []
    for name, esapi in (("found", choice), ("wanted", f"stub:{tmp_path / 'other'}")):
        settings = load_settings(None, {"esapi": esapi, "kinds": "ct,km,mr,dose"}, tmp_path)
        job = Job(cases, tmp_path / name, settings, write=True)
        [result] = export(job, Silent()).results
        assert result.state is CaseState.EXPORTED, result.reason
        trees.append(exported_tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert sum(path.endswith(".dcm") for path in trees[0]) > 14 + 18 + 10
    assert sum(path.startswith("DOSE_Export/") for path in trees[0]) == 2


def test_python_itself_is_refused_the_write_before_anything_is_opened(
    clinic, tmp_path: Path
) -> None:
    place, choice, _ = clinic
    if choice.startswith("stub:"):
        # It stands for an approved script.
        assert connect(choice).write_obstacle() == ""
        return
    configure(place.db, clinical=True)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(place.patients[0])])
    settings = load_settings(None, {"esapi": choice}, tmp_path)
    job = Job(cases, tmp_path / "out", settings, write=True)
    with pytest.raises(NotApprovedError, match=r"launcher is the way.*Nothing was opened"):
        export(job, Silent())
    assert not (tmp_path / "out").exists()
    # What it may do is look.
    [result] = check(job, Silent()).results
    assert result.planned


def test_the_doctor_says_who_may_write(clinic) -> None:
    place, choice, version = clinic
    configure(place.db, clinical=True)
    settings = load_settings(None, {"esapi": choice})
    found = {f.what: f for f in examine(settings, "Prüfkörper 12", place.db)}
    assert f"Version {version}" in found[f"ESAPI ({choice})"].detail
    approval = found["write approval"]
    if choice.startswith("stub:"):
        assert approval.health is Health.GOOD
    else:
        assert approval.health is Health.BAD
        assert "launcher is the way" in approval.detail
