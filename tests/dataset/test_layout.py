from __future__ import annotations

from pathlib import Path

import pytest

from stardust_esapi.dataset.entry import Entry
from stardust_esapi.dataset.layout import is_whole, place, refuse_old, sweep
from stardust_esapi.dataset.split import Part
from stardust_esapi.dataset.tasks import State
from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind

CASE = "cabcdefghijklm23"  # as pseudonyms are: a letter and fifteen of base 32
NAME = f"Lunge_case_{CASE}_Thorax_CT"
ROOM = f".new/{CASE}_CT"
FILES = {
    f"{ROOM}/part/{NAME}.npz": f"test/{NAME}.npz",
    f"{ROOM}/part/images/{NAME}.nii.gz": f"test/images/{NAME}.nii.gz",
    f"{ROOM}/pictures/{NAME}.png": f"pictures/{NAME}.png",
    f"{ROOM}/facts/{NAME}.json": f"facts/{NAME}.json",
    f"{ROOM}/dicom/pabc/{CASE}_CT": f"dicom/pabc/{CASE}_CT",
}
WAITING = Entry(
    CASE, "pabc", Kind.CT, State.CREATED, case_kind="Lunge", label2="Thorax",
    files=tuple(FILES), thumbnail=list(FILES)[2],
)  # fmt: skip


def write(out: Path, *names: str) -> None:
    for name in names:
        path = out / name
        if "dicom" in name:
            path /= "CT.1.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def there(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_an_entry_tells_the_name_of_its_files() -> None:
    assert WAITING.name == NAME


def test_files_that_have_waited_go_to_the_patients_part(tmp_path: Path) -> None:
    write(tmp_path, *FILES, f"test/{NAME}.npz", f"dicom/pabc/{CASE}_CT")  # of an earlier run
    placed = place(WAITING, tmp_path, Part.TEST)
    assert (placed.files, placed.thumbnail) == (tuple(FILES.values()), f"pictures/{NAME}.png")
    assert (tmp_path / placed.files[0]).read_text() == f"{ROOM}/part/{NAME}.npz"
    assert is_whole(placed, tmp_path, None)
    assert place(placed, tmp_path, Part.TEST) == placed


def test_a_run_that_was_killed_while_it_moved_them_goes_on(tmp_path: Path) -> None:
    write(tmp_path, *list(FILES)[:2], *list(FILES.values())[2:])
    assert not is_whole(WAITING, tmp_path, None)
    assert is_whole(WAITING, tmp_path, Part.TEST)
    assert not is_whole(WAITING, tmp_path / "elsewhere", Part.TEST)
    assert is_whole(place(WAITING, tmp_path, Part.TEST), tmp_path, None)


def test_a_patient_of_another_part_takes_the_files_along(tmp_path: Path) -> None:
    """The list of the split was removed, to split anew."""
    write(tmp_path, *FILES)
    placed = place(place(WAITING, tmp_path, Part.TEST), tmp_path, Part.TRAIN)
    assert placed.files[0] == f"train/{NAME}.npz"
    assert is_whole(placed, tmp_path, None)
    assert not list(tmp_path.rglob("test/*.npz"))


def test_what_belongs_to_no_case_goes_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    other = NAME.replace("Lunge", "Glio")
    gone = (f"test/{other}.npz", f"train/labels/{NAME}.nii.gz", f"facts/{other}.json",
            f"dicom/pabc/{CASE}_MR", f"{ROOM}/part/{NAME}.npz")  # fmt: skip
    kept = (f"test/{NAME}.npz", "test/my_case_c.npz", "train/notes/a.txt", "mine/b.txt")
    write(tmp_path, *gone, *kept)
    (tmp_path / "mine/empty").mkdir()
    sweep(tmp_path, {f"test/{NAME}.npz"})
    assert there(tmp_path) == set(kept)
    assert {path.name for path in tmp_path.iterdir()} == {"facts", "mine", "test", "train"}
    assert (tmp_path / "mine/empty").is_dir()
    assert not (tmp_path / "train/labels").exists()


@pytest.mark.parametrize("name", ["cases/pabc/c1_CT.npz", "split.json"])
def test_a_dataset_of_the_old_layout_is_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    with pytest.raises(UsageError, match=r"earlier state.*again in a new folder.*--key"):
        refuse_old(tmp_path)
    assert there(tmp_path) == {name}


def test_a_new_folder_is_not_refused(tmp_path: Path) -> None:
    refuse_old(tmp_path / "new")
