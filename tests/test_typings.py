from __future__ import annotations

import filecmp
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TYPINGS = ROOT / "stubs" / "typings"
MODEL = Path("VMS/TPS/Common/Model")

USE = """
import numpy as np
import System
from typing import assert_type
from collections.abc import Iterable
from VMS.TPS.Common.Model import API, Types

def use(app: API.Application, image: API.Image, structure: API.Structure) -> None:
    assert_type(app.OpenPatientById("1"), API.Patient | None)
    assert_type(structure.CanEditSegmentVolume(""), tuple[bool, str])
    assert_type(structure.GetContoursOnImagePlane(1)[0][0].x, float)
    structure.AddContourOnImagePlane([Types.VVector(1, 2, 3)], 1)
    assert_type(2 * Types.VVector(1, 2, 3) - Types.VVector(0, 0, 0), Types.VVector)
    assert_type(image.Series.Modality == Types.SeriesModality.CT, bool)
    assert_type(int(image.Series.Modality), int)
    assert_type(image.CreationDateTime, System.DateTime | None)
    if hasattr(image, "UID"):
        assert_type(image.UID, str | None)
    assert_type(structure.SegmentVolume.Margin(3.0), API.SegmentVolume)
    structure.SegmentVolume = structure.SegmentVolume
    structure.Color = structure.Color

def matrix(registration: API.Registration) -> float:
    np.array(memoryview(registration.TransformationMatrix))
    return registration.TransformationMatrix[0, 3]
"""
MISUSE = """
from VMS.TPS.Common.Model import API, Types

def misuse(app: API.Application, patient: API.Patient, image: API.Image) -> None:
    len(patient.Studies)
    patient.Studies[0]
    app.OpenPatientById("1").Id
    patient.Id = "2"
    image.GetVoxels(0)
    image.Uid
    x: int = Types.SeriesModality.CT
"""


def mypy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_what_is_checked_in_is_what_the_generator_makes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "generate_typings.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True)
    created = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*.pyi"))
    kept = sorted(p.relative_to(TYPINGS) for p in (TYPINGS / "VMS").rglob("*.pyi"))
    assert created == kept
    for path in created:
        assert filecmp.cmp(tmp_path / path, TYPINGS / path, shallow=False), path


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("API", "def UID(self) -> str | None: ...  # from 16.1"),
        ("API", "class StructureCode(SerializableObject): ...  # from 16.1"),
        ("API", "def Color(self) -> System.Windows.Media.Color: ...  # set: from 16.1"),
        ("API", "def Course(self) -> API.Course: ...  # not in 16.1"),
        ("API", "def SeriesUID(self) -> str | None: ...  # from 18.0"),
        ("API", "def DefaultDepartment(self) -> str | API.Department: ...  # differs by version"),
        ("API", "class BrachyPlanSetup(PlanSetup): ..."),
        ("API", "def Structures(self) -> Iterable[API.Structure]: ..."),
        ("API", "def TransformationMatrix(self) -> System.Array2D[float]: ..."),
        ("API", "def GetAssignedHU(self, huValue: float) -> tuple[bool, float]: ..."),
        ("API", "def CreateApplication(scriptName: str) -> API.Application: ..."),
        ("Types", "def IsUndefined(self) -> bool: ...  # from 18.0"),
        ("Types", "Unknown: ClassVar[Types.PlanSetupApprovalStatus]  # 999"),
        ("Types", "def __rmul__(self, other: float, /) -> Types.VVector: ..."),
    ],
)
def test_spot_checks(module: str, line: str) -> None:
    text = (TYPINGS / MODEL / f"{module}.pyi").read_text(encoding="utf-8")
    assert line in [found.strip() for found in text.splitlines()]


def test_no_member_of_any_version_is_missing() -> None:
    surface = json.loads((ROOT / "stubs/esapi_stub/surface.json").read_text(encoding="utf-8"))
    for version in surface:
        for name, info in surface[version].items():
            namespace, _, short = name.partition(".")
            text = (TYPINGS / MODEL / f"{namespace}.pyi").read_text(encoding="utf-8")
            body = re.search(rf"^class {short}\b.*(?:\n(?:    .*)?)*", text, re.M)
            assert body, name
            for member in info["members"]:
                head = member.partition("(")[0].partition(" {")[0].partition(" = ")[0]
                called = head.rsplit(" ", 1)[-1]
                if called.startswith(("op_", ".ctor", "Item[")):
                    continue
                assert re.search(rf"^    (?:def )?{called}[(:]", body[0], re.M), (name, called)


def test_mypy_accepts_right_use_and_refuses_wrong_use(tmp_path: Path) -> None:
    use, misuse = tmp_path / "use.py", tmp_path / "misuse.py"
    use.write_text(USE, encoding="utf-8")
    misuse.write_text(MISUSE, encoding="utf-8")
    cache = f"--cache-dir={tmp_path / 'cache'}"
    good = mypy(cache, str(TYPINGS), str(use))
    assert good.returncode == 0, good.stdout + good.stderr
    bad = mypy(cache, str(misuse))
    wrong = {int(line.split(":")[1]) for line in bad.stdout.splitlines() if ": error:" in line}
    assert wrong == set(range(5, 12)), bad.stdout + bad.stderr
