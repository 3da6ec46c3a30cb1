from __future__ import annotations

from pathlib import Path

import pytest

from stardust_esapi.errors import UsageError
from stardust_esapi.settings import Dataset, Format, Gate, Gates, load_settings

TOML = """
[dataset]
formats = ["npz", "nifti"]
split = 0.75
seed = 4
folds = 5
workers = 2
scheduler = "tcp://10.0.0.7:8786"
key = "D:/keys/site.key"
dicom = true
dose = true
words = ["Lunge", "Hirn"]
regions = ["Kopf", "Hals"]

[dataset.gates]
gtv_ml = 0.1
gtv_voxels = 20
gtv_in_target = 0.9
gtv_in_image = 0.8
volume_difference = 0.2
volume_difference_ml = 1.0
missing_slices = 1
spacing_spread_mm = 0.2
shear_mm = 1.0
duplicates = 2
off_slice_mm = 1.0
lowest_hu = -500
highest_hu = 50
share_below = 0.25
share_above = 0.02
note_only = ["values", "contours"]
"""


def test_without_settings_the_defaults_stand(tmp_path: Path):
    dataset = load_settings(folder=tmp_path).dataset
    assert dataset == Dataset()
    assert (dataset.formats, dataset.split, dataset.seed) == ((Format.NPZ,), 0.8, 0)
    assert dataset.gates == Gates()


def test_every_setting_can_stand_in_the_file(tmp_path: Path):
    file = tmp_path / "site.toml"
    file.write_text(TOML)
    dataset = load_settings(file).dataset
    assert dataset == Dataset(
        formats=(Format.NPZ, Format.NIFTI),
        split=0.75,
        seed=4,
        folds=5,
        workers=2,
        scheduler="tcp://10.0.0.7:8786",
        key=Path("D:/keys/site.key"),
        dicom=True,
        dose=True,
        words=("Lunge", "Hirn"),
        regions=("Kopf", "Hals"),
        gates=Gates(
            gtv_ml=0.1,
            gtv_voxels=20,
            gtv_in_target=0.9,
            gtv_in_image=0.8,
            volume_difference=0.2,
            volume_difference_ml=1.0,
            missing_slices=1,
            spacing_spread_mm=0.2,
            shear_mm=1.0,
            duplicates=2,
            off_slice_mm=1.0,
            lowest_hu=-500.0,
            highest_hu=50.0,
            share_below=0.25,
            share_above=0.02,
            note_only=(Gate.VALUES, Gate.CONTOURS),
        ),
    )
    set_there = set(Dataset.model_fields) | set(Gates.model_fields)
    assert all(f"{name} = " in TOML for name in set_there - {"gates"})


def test_a_flag_beats_the_file_and_leaves_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "site.toml"
    file.write_text(TOML)
    monkeypatch.setenv("STARDUST_DATASET__WORKERS", "3")
    dataset = load_settings(file, {"dataset": {"formats": "NPZ, npz", "seed": 9}}).dataset
    assert (dataset.formats, dataset.seed, dataset.workers) == ((Format.NPZ,), 9, 3)
    assert (dataset.split, dataset.gates.gtv_ml) == (0.75, 0.1)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('formats = "npz,mha"', "dataset.formats"),
        ("formats = []", "dataset.formats"),
        ("split = 1.0", "dataset.split"),
        ("split = 0.0", "dataset.split"),
        ("seed = -1", "dataset.seed"),
        ("workers = 0", "dataset.workers"),
        ('scheduler = "10.0.0.7"', "dataset.scheduler"),
        ('mapping = "mapping.csv"', "dataset.mapping"),  # on the command line alone
        ("gates.gtv = 1", "dataset.gates.gtv"),
        ("gates.gtv_in_target = 95", "dataset.gates.gtv_in_target"),
        ('gates.note_only = ["hu"]', "dataset.gates.note_only"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path: Path, line: str, named: str):
    file = tmp_path / "site.toml"
    file.write_text(f"[dataset]\n{line}\n")
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        load_settings(file)


def test_a_segmentation_needs_the_images_that_it_refers_to(tmp_path: Path):
    file = tmp_path / "site.toml"
    file.write_text('[dataset]\nformats = ["nnunet", "seg"]\n')
    with pytest.raises(UsageError, match="give --dicom too"):
        load_settings(file)
    dataset = load_settings(file, {"dataset": {"dicom": True}}).dataset
    assert dataset.formats == (Format.NNUNET, Format.SEG)
