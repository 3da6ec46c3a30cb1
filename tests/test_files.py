from __future__ import annotations

import errno
import operator
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stardust_esapi import files
from stardust_esapi.errors import CaseError, UsageError, in_words

posix = pytest.mark.skipif(os.name == "nt", reason="kills by signal, or syncs folders")

# Runs one operation and kills itself right before its n-th call that touches the disk; forks, so
# that one interpreter shows every point.
_HARNESS = """
import os, pathlib, shutil, signal, sys
from stardust_esapi import files
base = pathlib.Path(sys.argv[1])

def dying(function, left):
    def call(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

def run(point, folder):
    left = [point]
    os.fsync = dying(os.fsync, left)
    os.open = dying(os.open, left)
    for name in ("open", "replace", "mkdir"):
        setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name), left))
    if sys.argv[2] == "write":
        files.atomic_write(folder / "file", b"new" * 100_000)
    else:
        files.place_folder(folder / ".staging" / "x", folder / "CT_Export" / "P1" / "1.2")

point = 0
while True:
    point += 1
    folder = base / f"point{point}"
    shutil.copytree(base / "start", folder)
    child = os.fork()
    if child == 0:
        run(point, folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert status == 0
        break
print(point)
"""


def run_killed_at_every_point(base: Path, what: str) -> list[Path]:
    done = subprocess.run(
        [sys.executable, "-c", _HARNESS, str(base), what],
        capture_output=True,
        text=True,
        check=True,
    )
    points = int(done.stdout)
    assert points > 5
    return [base / f"point{point}" for point in range(1, points + 1)]


@posix
def test_a_file_is_old_or_new_wherever_the_process_dies(tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "file").write_bytes(b"old")
    contents = []
    for folder in run_killed_at_every_point(tmp_path, "write"):
        contents.append((folder / "file").read_bytes())
        files.atomic_write(folder / "file", "again")
        assert [p.name for p in folder.iterdir()] == ["file"]
        assert (folder / "file").read_text() == "again"
    assert set(contents) == {b"old", b"new" * 100_000}
    assert contents == sorted(contents, reverse=True)
    assert contents[0] == b"old"
    assert contents[-1] != b"old"


@posix
def test_a_folder_is_placed_whole_or_not_at_all(tmp_path: Path) -> None:
    staged = tmp_path / "start" / ".staging" / "x"
    staged.mkdir(parents=True)
    for name in ("CT.1.dcm", "CT.2.dcm", "manifest.json"):
        (staged / name).write_text(name)
    seen = set()
    for folder in run_killed_at_every_point(tmp_path, "place"):
        final, aside = folder / "CT_Export" / "P1" / "1.2", folder / ".staging" / "x"
        seen.add(final.exists())
        assert final.exists() != aside.exists()
        whole = final if final.exists() else aside
        assert sorted(p.name for p in whole.iterdir()) == ["CT.1.dcm", "CT.2.dcm", "manifest.json"]
        if aside.exists():
            files.place_folder(aside, final)
        assert final.is_dir()
    assert seen == {True, False}


@posix
def test_everything_is_synced_before_the_rename(tmp_path: Path, mocker) -> None:
    staged = tmp_path / ".staging" / "x"
    staged.mkdir(parents=True)
    (staged / "a").write_text("a")
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        calls.append("rename")
        return real_replace(self, target)

    mocker.patch("os.fsync", fsync)
    mocker.patch.object(Path, "replace", replace)
    files.place_folder(staged, tmp_path / "CT_Export" / "P" / "S")
    assert calls == ["a", "x", tmp_path.name, "CT_Export", "rename", "P", ".staging"]


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_place_folder_refuses_a_name_that_is_taken(tmp_path: Path, make) -> None:
    staged, final = tmp_path / "staged", tmp_path / "final"
    staged.mkdir()
    make(final)
    with pytest.raises(CaseError, match=r"exists already.*Move it away"):
        files.place_folder(staged, final)
    assert staged.is_dir()


def test_atomic_write_keeps_the_old_content_when_the_disk_refuses(tmp_path: Path, mocker) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    mocker.patch("os.fsync", side_effect=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        files.atomic_write(path, "new")
    assert path.read_text() == "old"


def test_atomic_write_takes_text_as_utf8_and_leaves_line_ends_alone(tmp_path: Path) -> None:
    files.atomic_write(tmp_path / "file", "Müller\n")
    assert (tmp_path / "file").read_bytes() == "Müller\n".encode()


@posix
def test_a_share_without_folder_sync_is_fine_but_a_failing_disk_is_not(
    tmp_path: Path, mocker
) -> None:
    mocker.patch("os.fsync", side_effect=OSError(22, "Invalid argument"))
    files.sync_folder(tmp_path)
    mocker.patch("os.fsync", side_effect=OSError(5, "Input/output error"))
    with pytest.raises(OSError, match="Input/output"):
        files.sync_folder(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENOTEMPTY])
@pytest.mark.parametrize(
    ("call", "work"),
    [
        ("os.replace", lambda folder: files.rename(folder / "a", folder / "b")),
        ("os.unlink", lambda folder: files.remove(folder / "a")),
        ("os.rmdir", lambda folder: files.remove_tree(folder / "tree")),
        ("os.fsync", lambda folder: files.place_folder(folder / "tree", folder / "new" / "tree")),
    ],
)
def test_a_scanner_that_holds_a_file_on_windows_is_waited_for(
    tmp_path: Path, mocker, call: str, work: Callable[[Path], None], number: int
) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").touch()
    pause = mocker.patch("stardust_esapi.files.time.sleep")
    real, refusals = operator.attrgetter(call.removeprefix("os."))(os), [number, number]

    def refusing(*arguments: Any, **named: Any) -> Any:
        if refusals:
            raise OSError(refusals.pop(), "in use")
        return real(*arguments, **named)

    mocker.patch(call, refusing)
    mocker.patch("stardust_esapi.files._PAUSES", (0.1, 0.2))
    work(tmp_path)
    mocker.stopall()
    assert not refusals
    assert [call.args[0] for call in pause.call_args_list] == [0.1, 0.2]


def test_what_stays_refused_or_is_refused_for_good_is_told(tmp_path: Path, mocker) -> None:
    pause = mocker.patch("stardust_esapi.files.time.sleep")
    mocker.patch("stardust_esapi.files._PAUSES", (0.1, 0.2))
    with pytest.raises(FileNotFoundError):
        files.rename(tmp_path / "none", tmp_path / "b")
    assert not pause.called
    (tmp_path / "full").mkdir()
    with pytest.raises(OSError, match="not empty"):
        files.patiently((tmp_path / "full").parent.rmdir)
    assert pause.call_count == 2


def test_what_people_read_is_written_beside_while_they_hold_it(
    tmp_path: Path, warned: list[str]
) -> None:
    path, beside = tmp_path / "report.html", tmp_path / "report (newer).html"
    path.mkdir()  # nobody can write it
    assert files.write_for_people(path, "first") == beside
    assert files.write_for_people(path, "second") == beside
    assert beside.read_text() == "second"
    assert "report.html cannot be written" in warned[0]
    assert "report (newer).html. Close it" in warned[0]
    path.rmdir()
    assert files.write_for_people(path, "third") == path
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "third"


def test_where_nothing_can_be_written_it_is_only_said(tmp_path: Path, warned: list[str]) -> None:
    for name in ("list.csv", "list (newer).csv"):
        (tmp_path / name).mkdir()
    assert files.write_for_people(tmp_path / "list.csv", "text") == tmp_path / "list.csv"
    assert len(warned) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list (newer).csv", "list.csv"]


def test_remove_tree_takes_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    files.remove_tree(tmp_path / "a")
    files.remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("path", "verbatim"),
    [
        (r"D:\out\CT_Export", r"\\?\D:\out\CT_Export"),
        ("D:/out/CT_Export", r"\\?\D:\out\CT_Export"),
        (r"D:\lists\..\out\.\today", r"\\?\D:\out\today"),
        (r"D:\out. ", r"\\?\D:\out"),
        ("D:\\", "\\\\?\\D:\\"),
        (r"\\server\share\out", r"\\?\UNC\server\share\out"),
        (r"\\server\share\lists\..\out", r"\\?\UNC\server\share\out"),
        (r"\\?\D:\out", r"\\?\D:\out"),
        (r"\\?\UNC\server\share\out", r"\\?\UNC\server\share\out"),
    ],
)
def test_windows_takes_verbatim_paths_of_any_length(path: str, verbatim: str) -> None:
    assert files._verbatim(path) == verbatim


@pytest.mark.parametrize("path", [r"D:\out\CT_Export", r"\\server\share\out"])
def test_messages_show_paths_as_users_know_them(path: str) -> None:
    long = files._verbatim(path)
    assert str(CaseError(f"{long} is gone, {long} too.")) == f"{path} is gone, {path} too."
    refused = OSError(errno.EACCES, "Permission denied", long)
    assert in_words(refused) == f"Permission denied ({path})"


@pytest.mark.parametrize("path", [r"D:\out\aux", r"D:\NUL", r"D:\com1.export\today"])
def test_a_device_is_no_folder(path: str) -> None:
    with pytest.raises(UsageError, match=r"keeps the name (aux|NUL|com1\.export) for a device"):
        files._verbatim(path)


@posix
def test_long_path_is_the_absolute_path_elsewhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.long_path(Path("out")) == tmp_path / "out"
