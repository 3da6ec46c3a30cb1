"""Real paths and sharing violations of Windows, which tests elsewhere can only act."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from esapi_stub.sample import Phantom
from stardust_esapi import files
from support import Clinic, Outcome, row_of, write_case_list

PHANTOM = Phantom("0815 Ä", size=(24, 24, 6), spacing=(5.0, 5.0, 6.0))
FOR_PEOPLE = ("Output_Log.csv", "export_list.csv", "report.html")
GENERIC_READ, FILE_SHARE_READ, OPEN_EXISTING = 0x80000000, 1, 3


@contextmanager
def held(*paths: Path) -> Iterator[Callable[[], None]]:
    """Files that others may read and nothing else, as a spreadsheet holds them; gives their end."""
    kernel = ctypes.windll.kernel32
    kernel.CreateFileW.restype = ctypes.c_void_p
    handles = [
        kernel.CreateFileW(str(path), GENERIC_READ, FILE_SHARE_READ, None, OPEN_EXISTING, 0, None)
        for path in paths
    ]
    assert ctypes.c_void_p(-1).value not in handles

    def let_go() -> None:
        while handles:
            kernel.CloseHandle(ctypes.c_void_p(handles.pop()))

    try:
        yield let_go
    finally:
        let_go()


def test_a_file_that_is_held_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    for name in ("old", "new", "gone"):
        (tmp_path / name).write_text(name)
    with held(tmp_path / "old", tmp_path / "gone") as let_go:
        with pytest.raises(PermissionError):
            (tmp_path / "new").replace(tmp_path / "old")
        timer = threading.Timer(0.5, let_go)
        timer.start()
        files.rename(tmp_path / "new", tmp_path / "old")
        files.remove(tmp_path / "gone")
        timer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "new"


def test_files_that_stay_open_end_no_run_and_the_next_mends_them(
    clinic_of: Callable[..., Clinic],
    run: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "_PAUSES", (0.1,))
    clinic = clinic_of(PHANTOM)
    cases = write_case_list(tmp_path / "cases.csv", [row_of(clinic.patients[0])])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    export = ["export", "--cases", cases, "--esapi", f"stub:{clinic.db}", "--write", "--out"]
    out = tmp_path / "out"
    assert run(*export, "..\\out").code == 0
    with held(*(out / name for name in FOR_PEOPLE)):
        done = run(*export, "..\\out")
        assert done.code == 0, done.text
        for name in FOR_PEOPLE[1:]:
            assert (out / name.replace(".", " (newer).")).exists()
            assert name in done.err
    again = run(*export, "..\\OUT. ")
    assert (again.code, again.err) == (0, "")
    assert not list(out.glob("*(newer)*"))
    assert run("verify", out).code == 0


@pytest.mark.parametrize(
    "name",
    ["{0}\\out", "{1}\\..\\{1}\\out", "{2}{1}\\out", "{0}\\OUT", "{0}\\out . ", "\\\\?\\{0}\\out"],
)
def test_a_folder_is_the_same_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path.parent)
    written = name.format(tmp_path, tmp_path.name, tmp_path.drive)
    path = files.long_path(Path(written))
    assert str(path).startswith("\\\\?\\")
    assert path.samefile(tmp_path / "out")


def test_paths_beyond_260_characters(tmp_path: Path) -> None:
    deep = files.long_path(tmp_path / "out").joinpath(*["x" * 60] * 6)
    files.make_folder(deep)
    files.atomic_write(deep / "file", "text")
    files.place_folder(deep, deep.with_name("y" * 60))
    assert (deep.with_name("y" * 60) / "file").read_text() == "text"
    files.remove_tree(files.long_path(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
