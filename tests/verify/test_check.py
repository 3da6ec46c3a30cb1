from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from stardust_esapi.errors import UsageError
from stardust_esapi.model import IMAGE_KINDS, Kind
from stardust_esapi.verify.check import Problem, verify_tree
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import (
    RootEntry,
    manifest_digest,
    read_root_manifest,
    write_manifest,
    write_root_manifest,
)

CT, KM, MR = "CT_Export/0042/1.2.1", "KM_Export/0042/1.2.2", "MR_Export/0042/1.2.3"
OTHER = "CT_Export/0043/1.5.1"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, make) -> Path:
    """An output root of two cases as the program leaves it."""
    root = tmp_path_factory.mktemp("pristine")
    entries = []
    other = replace(
        make.requests[Kind.CT], patient_id="0043", series_uid="1.5.1", structure_set_uid="1.5.5"
    )
    for request, key in [*((r, "case1") for r in make.requests.values()), (other, "case2")]:
        folder, digest = make.export(root, request, key)
        entries.append(RootEntry(folder, digest, key, request.kind, exported=True))
    write_root_manifest(root, entries)
    for name in ("ledger.sqlite", "ledger.sqlite-journal", "Output_Log.csv", "export_list.csv"):
        (root / name).write_text("x")
    (root / "report.html").write_text("x")
    for name in ("logs", ".staging"):
        (root / name / "x").mkdir(parents=True)
        (root / name / "x" / "file").write_text("x")
    return root


@pytest.fixture
def root(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "out"))


def found(folder: Path) -> list[tuple[Problem, str]]:
    report = verify_tree(folder)
    assert report.ok == (not report.findings)
    assert all(f.detail.endswith(".") for f in report.findings)
    return [(f.problem, f.path) for f in report.findings]


def test_an_untouched_export_is_proven(root: Path) -> None:
    report = verify_tree(root)
    assert report.findings == ()
    assert report.ok
    assert (report.series, report.files) == (4, 4 + 3 + 3 + 4)
    assert len(report.unverified) == 2  # Eclipse, and the ledger, which nobody has compared
    assert "Eclipse" in report.unverified[0]


@pytest.mark.parametrize("name", ["CT.2.dcm", "RS.1.dcm"])
def test_a_missing_file(root: Path, name: str) -> None:
    (root / CT / name).unlink()
    assert found(root) == [(Problem.MISSING, f"{CT}/{name}")]
    assert verify_tree(root).files == 13


@pytest.mark.parametrize("position", [0, 200, -1])
def test_a_single_changed_byte(root: Path, position: int) -> None:
    path = root / CT / "CT.2.dcm"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    assert found(root) == [(Problem.CHANGED, f"{CT}/CT.2.dcm")]
    assert "SHA-256" in verify_tree(root).findings[0].detail


def test_a_shortened_file(root: Path) -> None:
    path = root / MR / "RE.1.dcm"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-2])
    assert found(root) == [(Problem.CHANGED, f"{MR}/RE.1.dcm")]
    assert f"has {size - 2} bytes, the manifest says {size}" in verify_tree(root).findings[0].detail


@pytest.mark.parametrize("name", ["notes.txt", "CT.9.dcm", "sub"])
def test_something_extra_in_a_series_folder(root: Path, name: str) -> None:
    if name == "sub":
        (root / CT / name).mkdir()
    else:
        (root / CT / name).write_text("x")
    assert found(root) == [(Problem.EXTRA, f"{CT}/{name}")]


def test_a_copy_of_an_own_file_is_extra(root: Path) -> None:
    shutil.copy(root / CT / "CT.1.dcm", root / CT / "CT.9.dcm")
    assert found(root) == [(Problem.EXTRA, f"{CT}/CT.9.dcm")]


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        (f"{OTHER}/CT.1.dcm", "belongs to patient 0043, not 0042"),
        (f"{KM}/CT.1.dcm", "belongs to series 1.2.2,"),
        (f"{KM}/RS.1.dcm", "belongs to series 1.2.6.9,"),
    ],
)
@pytest.mark.parametrize("name", ["CT.9.dcm", "CT.1.dcm"])
def test_a_file_of_another_patient_or_series(root: Path, source: str, detail: str, name) -> None:
    shutil.copy(root / source, root / CT / name)
    assert found(root) == [(Problem.FOREIGN, f"{CT}/{name}")]
    assert detail in verify_tree(root).findings[0].detail


def test_a_missing_series_folder(root: Path) -> None:
    shutil.rmtree(root / KM)
    assert found(root) == [(Problem.MISSING, KM)]
    assert verify_tree(root).series == 4


def test_a_series_folder_that_the_root_does_not_know(root: Path) -> None:
    shutil.copytree(root / CT, root / "CT_Export/0042/copy")
    assert found(root) == [(Problem.FOREIGN, "CT_Export/0042/copy")]


def test_a_series_folder_under_another_patient(root: Path) -> None:
    (root / CT).rename(root / "CT_Export/0043/1.2.1")
    assert found(root) == [(Problem.MISSING, CT), (Problem.FOREIGN, "CT_Export/0043/1.2.1")]


def test_two_series_folders_that_were_swapped(root: Path) -> None:
    (root / CT).rename(root / "aside")
    (root / OTHER).rename(root / CT)
    (root / "aside").rename(root / OTHER)
    assert found(root) == [
        (Problem.FOREIGN, f"{CT}/manifest.json"),
        (Problem.FOREIGN, f"{OTHER}/manifest.json"),
    ]


def test_an_older_export_of_the_same_series_in_its_place(root: Path, make) -> None:
    shutil.rmtree(root / CT)
    make.export(root, replace(make.requests[Kind.CT], plan_id="Other"))
    assert found(root) == [(Problem.CHANGED, f"{CT}/manifest.json")]


@pytest.mark.parametrize("place", ["CT_Export/x", "CT_Export/0042/x", "MR_Export/new/deep/x"])
def test_a_file_outside_any_series(root: Path, place: str) -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text("x")
    assert found(root) == [(Problem.EXTRA, place)]


def test_an_empty_folder_and_what_lies_beside_are_left_alone(root: Path) -> None:
    (root / "CT_Export" / "0099").mkdir()
    (root / "NPZ").mkdir()
    (root / "NPZ" / "case.npz").write_text("x")
    assert found(root) == []


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_is_extra(root: Path, tmp_path: Path) -> None:
    (root / "CT_Export" / "0042" / "link").symlink_to(tmp_path, target_is_directory=True)
    assert found(root) == [(Problem.EXTRA, "CT_Export/0042/link")]


def test_a_missing_manifest(root: Path) -> None:
    (root / CT / "manifest.json").unlink()
    assert found(root) == [(Problem.MISSING, f"{CT}/manifest.json")]
    assert verify_tree(root).files == 10


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_manifest(root: Path, content: bytes) -> None:
    (root / CT / "manifest.json").write_bytes(content)
    assert found(root) == [(Problem.CHANGED, f"{CT}/manifest.json")]


def test_a_manifest_written_anew_for_changed_files(root: Path, make) -> None:
    (root / CT / "CT.2.dcm").write_bytes(b"")
    make.save(make.image(make.requests[Kind.CT], 2), root / CT / "CT.2.dcm")
    data = bytearray((root / CT / "CT.2.dcm").read_bytes())
    data[-1] ^= 1
    (root / CT / "CT.2.dcm").write_bytes(data)
    manifest = inspect_folder(root / CT, make.requests[Kind.CT], "case1").manifest
    write_manifest(root / CT, manifest)
    assert found(root) == [(Problem.CHANGED, f"{CT}/manifest.json")]


def test_without_a_root_manifest_no_series_is_known(root: Path) -> None:
    (root / "manifest.json").unlink()
    expected = [(Problem.FOREIGN, folder) for folder in (CT, OTHER, KM, MR)]
    assert found(root) == [*expected, (Problem.MISSING, "manifest.json")]
    (root / "manifest.json").write_text("{")
    assert found(root) == [*expected, (Problem.CHANGED, "manifest.json")]


def test_a_case_that_is_not_exported_as_a_whole_is_said(root: Path) -> None:
    entries = [replace(e, exported=e.kind is not Kind.KM) for e in read_root_manifest(root)]
    write_root_manifest(root, entries)
    [finding] = verify_tree(root).findings
    assert (finding.problem, finding.path) == (Problem.INCOMPLETE, KM)
    assert "(case1)" in finding.detail


def test_an_export_of_nothing_is_proven(tmp_path: Path) -> None:
    write_root_manifest(tmp_path, [])
    report = verify_tree(tmp_path)
    assert (report.ok, report.series, report.files) == (True, 0, 0)


def test_all_folders_gone(root: Path) -> None:
    for kind in IMAGE_KINDS:
        shutil.rmtree(root / kind.folder)
    assert found(root) == [(Problem.MISSING, f) for f in (CT, OTHER, KM, MR)]


def test_a_single_series_folder(root: Path) -> None:
    report = verify_tree(root / CT)
    assert (report.ok, report.series, report.files) == (True, 1, 4)
    assert "manifest.json itself" in report.unverified[0]
    (root / CT / "RS.1.dcm").unlink()
    (root / CT / "x").touch()
    assert found(root / CT) == [(Problem.MISSING, "RS.1.dcm"), (Problem.EXTRA, "x")]
    (root / CT / "manifest.json").write_text("{")
    assert found(root / CT) == [(Problem.CHANGED, "manifest.json")]


def test_what_is_neither_is_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither an output folder nor a series folder"):
        verify_tree(tmp_path)
    with pytest.raises(UsageError, match="There is no folder"):
        verify_tree(tmp_path / "none")


def test_a_file_that_cannot_be_read_is_a_finding(root: Path, mocker) -> None:
    real = Path.open

    def refuse(self: Path, *arguments, **options):
        if self.name == "CT.2.dcm":
            raise PermissionError(13, "Permission denied")
        return real(self, *arguments, **options)

    mocker.patch.object(Path, "open", refuse)
    assert found(root / CT) == [(Problem.UNREADABLE, "CT.2.dcm")]


def test_a_folder_that_cannot_be_listed_is_a_finding(root: Path, mocker) -> None:
    (root / "CT_Export" / "locked").mkdir()
    real = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    mocker.patch("os.scandir", refuse)
    assert found(root) == [(Problem.UNREADABLE, "CT_Export/locked")]


def test_large_files_are_read_in_blocks(root: Path, mocker) -> None:
    whole = mocker.patch.object(Path, "read_bytes", autospec=True, side_effect=Path.read_bytes)
    assert verify_tree(root).ok
    assert {call.args[0].name for call in whole.call_args_list} == {"manifest.json"}


def test_the_digest_in_the_root_is_that_of_the_file(root: Path, make) -> None:
    entry = next(e for e in read_root_manifest(root) if e.folder == CT)
    manifest = inspect_folder(root / CT, make.requests[Kind.CT], "case1").manifest
    assert entry.manifest_sha256 == manifest_digest(manifest)


def test_what_the_ledger_says_is_compared(root: Path) -> None:
    recorded = list(read_root_manifest(root))
    report = verify_tree(root, recorded)
    assert report.ok
    assert len(report.unverified) == 1
    changed = [replace(e, manifest_sha256="0" * 64) if e.folder == CT else e for e in recorded]
    unfinished = [replace(e, exported=False) if e.folder == CT else e for e in recorded]
    for other in (changed, unfinished):
        [finding] = verify_tree(root, other).findings
        assert (finding.problem, finding.path) == (Problem.CHANGED, "manifest.json")
        assert CT in finding.detail
    [finding] = verify_tree(root, [e for e in recorded if e.folder != MR]).findings
    assert (finding.problem, finding.path) == (Problem.FOREIGN, MR)
    more = replace(recorded[0], folder="CT_Export/0044/1.7.1")
    [finding] = verify_tree(root, [*recorded, more]).findings
    assert (finding.problem, finding.path) == (Problem.CHANGED, "manifest.json")
    assert more.folder in finding.detail
