from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from stardust_esapi.dataset.convert import convert
from stardust_esapi.dataset.facts import CaseFacts, IntensityFacts, StructureFacts
from stardust_esapi.dataset.gates import judge
from stardust_esapi.dataset.pseudonym import Pseudonyms
from stardust_esapi.dataset.tasks import find_tasks
from stardust_esapi.dicom.read_series import VolumeFacts
from stardust_esapi.model import IMAGE_KINDS, Kind, Role
from stardust_esapi.settings import Dataset, Gate, Gates
from stardust_esapi.verify.manifest import MANIFEST_NAME

VOLUME = VolumeFacts(
    images=40,
    spacing_mm=3.0,
    spacing_spread_mm=0.0,
    gaps_mm=(),
    missing_slices=0,
    duplicate_positions=0,
    duplicate_uids=0,
    shear_mm=0.0,
)
VALUES = IntensityFacts(
    lowest=-1024.0,
    highest=1800.0,
    share_below=0.0,
    share_above=0.0,
    window=(-160.0, 240.0),
    edges=(-1024.0, 3072.0),
    counts=(1,),
)
GTV = StructureFacts("gtv+", 1, Role.GTV, 400, 3.2, 0.0, 0, in_target=1.0)
TARGET = StructureFacts("target+", 2, Role.TARGET, 900, 7.2, 0.0, 0)
LUNG = StructureFacts("Lung_neg+", 3, Role.OTHER, 9000, 72.0, 0.0, 0)
GOOD = CaseFacts(Kind.CT, False, VOLUME, VALUES, (GTV, TARGET, LUNG))


def with_structures(*structures: StructureFacts) -> CaseFacts:
    return replace(GOOD, structures=structures)


def with_volume(**changes: object) -> CaseFacts:
    return replace(GOOD, volume=replace(VOLUME, **changes))


def with_values(**changes: object) -> CaseFacts:
    return replace(GOOD, intensity=replace(VALUES, **changes))


def test_of_a_good_case_there_is_nothing_to_say():
    assert judge(GOOD, Gates()) == ()
    assert judge(replace(GOOD, kind=Kind.MR, transferred=True), Gates()) == ()


@pytest.mark.parametrize(
    ("facts", "gate", "text"),
    [
        (with_structures(TARGET, LUNG), Gate.GTV, "The GTV is missing"),
        (with_structures(replace(GTV, voxels=0), TARGET), Gate.GTV, "The GTV is missing"),
        (
            with_structures(replace(GTV, voxels=5, volume_ml=0.5), TARGET),
            Gate.GTV,
            "The GTV is tiny: 0.500 ml in 5 voxels; it must have 0.01 ml and 11 voxels.",
        ),
        (
            with_structures(replace(GTV, volume_ml=0.004), TARGET),
            Gate.GTV,
            "The GTV is tiny: 0.004 ml in 400 voxels; it must have 0.01 ml and 11 voxels.",
        ),
        (with_structures(GTV, LUNG), Gate.TARGET, "The target is missing"),
        (
            with_structures(replace(GTV, in_target=0.401), TARGET),
            Gate.TARGET,
            "The GTV lies outside the target: 40.1 % of it are inside; 95 % must be.",
        ),
        (
            with_structures(replace(GTV, in_image=0.4), TARGET),
            Gate.GTV,
            "The CT shows 40 % of the GTV; it must show 95 %.",
        ),
        (
            replace(GOOD, drawn_on=replace(GOOD.volume, shear_mm=2.0)),
            Gate.SLICES,
            "In the CT that the structures were drawn on: The slices are shifted against one",
        ),
        (
            replace(GOOD, drawn_on=replace(GOOD.volume, duplicate_uids=4)),
            Gate.DUPLICATES,
            "In the CT that the structures were drawn on: 4 of 40 images bear the SOP",
        ),
        (
            with_volume(missing_slices=3, gaps_mm=(6.0, 9.0), spacing_spread_mm=6.0),
            Gate.SLICES,
            "3 slices are missing: the widest gap is 9.00 mm, slices lie 3.00 mm apart.",
        ),
        (
            with_volume(spacing_spread_mm=0.4),
            Gate.SLICES,
            "The slices lie unevenly: their distances differ by 0.40 mm; 0.1 mm are allowed.",
        ),
        (with_volume(shear_mm=12.0), Gate.SLICES, "shifted against one another by 12.00 mm"),
        (
            with_volume(duplicate_positions=20),
            Gate.DUPLICATES,
            "20 of 40 images lie where another image lies: the series is there twice.",
        ),
        (with_volume(duplicate_uids=1), Gate.DUPLICATES, "SOP Instance UID of another image"),
        (
            with_structures(replace(GTV, off_slice_mm=1.2), TARGET),
            Gate.CONTOURS,
            "gtv+: contours lie up to 1.20 mm off their slices; 0.5 mm are allowed.",
        ),
        (
            with_structures(GTV, replace(TARGET, left_out_contours=2)),
            Gate.CONTOURS,
            "target+: 2 contours by no slice, and not in the mask.",
        ),
        (
            with_structures(replace(GTV, united_slices=3), TARGET),
            Gate.CONTOURS,
            "gtv+: contours cross one another on 3 slices and were united.",
        ),
        (
            replace(with_values(gtv_greys=3), kind=Kind.MR),
            Gate.VALUES,
            "The GTV is nearly one grey value: it spans 3 of 256",
        ),
        (
            replace(with_values(body_greys=1), kind=Kind.MR),
            Gate.VALUES,
            "The body is nearly one grey value: it spans 1 of 256",
        ),
        (
            with_values(lowest=0.0, highest=2824.0),  # without its Rescale Intercept
            Gate.VALUES,
            "The values are no HU of a body in air: 0 to 2824; they must reach from -300 to 0.",
        ),
        (with_values(lowest=-2048.0, highest=-224.0), Gate.VALUES, "no HU of a body in air"),
        (with_values(lowest=-3000.0, share_below=0.6), Gate.VALUES, "60 % of the voxels are below"),
        (with_values(highest=9000.0, share_above=0.02), Gate.VALUES, "2 % of the voxels are above"),
        (with_values(lowest=0.0, highest=0.0), Gate.VALUES, "All voxels have the same value (0)."),
    ],
)  # fmt: skip
def test_each_fault_fails_its_gate_with_a_reason(facts: CaseFacts, gate: Gate, text: str):
    (finding,) = judge(facts, Gates())
    assert finding.gate is gate
    assert text in finding.text
    assert finding.text.endswith(".")
    assert finding.fatal
    (told,) = judge(facts, Gates(note_only=(gate,)))
    assert told == replace(finding, fatal=False)
    assert judge(facts, Gates(note_only=tuple(set(Gate) - {gate}))) == (finding,)


def test_a_case_with_several_faults_tells_them_all():
    facts = CaseFacts(
        Kind.CT,
        False,
        replace(VOLUME, duplicate_positions=1, shear_mm=3.0),
        replace(VALUES, lowest=0.0),
        (replace(GTV, in_target=0.2, off_slice_mm=1.0), TARGET),
    )
    gates = [finding.gate for finding in judge(facts, Gates())]
    assert gates == [Gate.TARGET, Gate.SLICES, Gate.DUPLICATES, Gate.CONTOURS, Gate.VALUES]


def test_a_target_that_the_image_shows_a_part_of_leaves_a_note():
    (finding,) = judge(with_structures(GTV, replace(TARGET, in_image=0.5)), Gates())
    assert (finding.gate, finding.fatal) == (Gate.TARGET, False)
    assert finding.text == "The CT shows 50 % of the target."


def test_other_structures_off_their_slices_leave_a_note():
    (finding,) = judge(with_structures(GTV, TARGET, replace(LUNG, off_slice_mm=2.0)), Gates())
    assert not finding.fatal
    assert finding.text.startswith("Lung_neg+: contours lie up to 2.00 mm off")


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (replace(LUNG, united_slices=2), "Lung_neg+: contours cross one another on 2 slices"),
        (replace(GTV, finer_contours=9), "gtv+: passed over 9 contours between the slices"),
    ],
)
def test_what_costs_no_tumour_leaves_a_note(one: StructureFacts, text: str):
    others = [other for other in (GTV, TARGET, LUNG) if other.label != one.label]
    (finding,) = judge(with_structures(one, *others), Gates())
    assert not finding.fatal
    assert finding.text.startswith(text)


def test_grey_values_of_a_ct_are_its_window_s():
    assert judge(with_values(gtv_greys=1, body_greys=1), Gates()) == ()


def test_mr_values_have_no_unit_to_be_wrong_in():
    facts = with_values(lowest=0.0, highest=900.0)
    assert judge(facts, Gates())
    assert judge(replace(facts, kind=Kind.MR), Gates()) == ()
    constant = replace(with_values(lowest=5.0, highest=5.0), kind=Kind.MR)
    assert [finding.gate for finding in judge(constant, Gates())] == [Gate.VALUES]


@pytest.mark.parametrize(
    ("facts", "changes"),
    [
        (with_structures(replace(GTV, volume_ml=0.004), TARGET), {"gtv_ml": 0.001}),
        (with_structures(replace(GTV, voxels=5), TARGET), {"gtv_voxels": 5}),
        (with_structures(replace(GTV, in_target=0.4), TARGET), {"gtv_in_target": 0.4}),
        (with_structures(replace(GTV, in_image=0.4), TARGET), {"gtv_in_image": 0.4}),
        (with_volume(missing_slices=2, gaps_mm=(9.0,)), {"missing_slices": 2}),
        (with_volume(spacing_spread_mm=0.4), {"spacing_spread_mm": 0.4}),
        (with_volume(shear_mm=12.0), {"shear_mm": 12.0}),
        (with_volume(duplicate_positions=2), {"duplicates": 2}),
        (with_structures(replace(GTV, off_slice_mm=1.0), TARGET), {"off_slice_mm": 1.0}),
        (with_values(lowest=0.0), {"lowest_hu": 0.0}),
        (with_values(highest=-100.0), {"highest_hu": -100.0}),
        (with_values(share_below=0.5), {"share_below": 0.5}),
        (with_values(share_above=0.05), {"share_above": 0.05}),
    ],
)
def test_a_site_sets_its_own_thresholds_and_the_threshold_itself_passes(
    facts: CaseFacts, changes: dict[str, float]
):
    assert judge(facts, Gates())
    assert judge(facts, Gates(**changes)) == ()


def test_what_the_stub_exports_passes_every_gate(exported: Path, tmp_path: Path):
    pseudonyms = Pseudonyms(b"k" * 32)
    created = [
        convert(task, Dataset(), pseudonyms, tmp_path)
        for task in find_tasks(exported)
        if not task.problem
    ]
    assert [(one.state, one.reasons) for one in created] == [("created", ())] * 5
    assert {one.kind for one in created} == set(IMAGE_KINDS)


def test_a_case_that_a_gate_leaves_out_says_why_and_leaves_no_file(exported: Path, tmp_path: Path):
    export = Path(shutil.copytree(exported, tmp_path / "export"))
    pseudonyms = Pseudonyms(b"k" * 32)
    task = next(task for task in find_tasks(export) if not task.problem)
    out = tmp_path / "dataset"
    whole = convert(task, Dataset(), pseudonyms, out)
    assert whole.state == "created"
    assert len(whole.files) == 3

    images = sorted(task.folder.glob("CT*.dcm"), key=position)
    shutil.copy(images[0], images[0].with_name("CTagain.dcm"))
    images[len(images) // 2].unlink()
    (task.folder / MANIFEST_NAME).unlink()  # else it would be refused as changed
    entry = convert(task, Dataset(), pseudonyms, out)
    assert entry.state == "left out"
    assert any(reason.startswith("1 slice is missing") for reason in entry.reasons)
    assert any("lie where another image lies" in reason for reason in entry.reasons)
    assert not [path for path in out.rglob("*") if path.is_file()]


def position(path: Path) -> float:
    return float(pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient[2])
