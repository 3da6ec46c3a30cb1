"""The anonymised breast patient of dicompyler-core, made whole.

Its RT Structure Set and RT Plan are real and written as they are, and so is one of the 98 CT
slices they refer to. The other 97 are painted from the contours, on the positions and under the
UIDs that the structure set names. A contrast CT and an MR are painted from the same anatomy.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian

from esapi_stub.rtstruct import points_of
from esapi_stub.sample.dicom import (
    FloatArray,
    Grid,
    PatientUids,
    add_noise,
    derived_uid,
    ds,
    file_path,
    mr_signal,
    paint,
    registration,
    rigid,
    save,
    series_header,
    transform,
    write_images,
)
from esapi_stub.sample.phantom import mr_grid, write_mr

DATA = Path(__file__).parent / "data"
AIR = -1000
# What each ROI looks like, HU, without and with contrast agent; later ROIs lie over earlier ones.
TISSUES: Mapping[str, tuple[int, int]] = {
    "BODY": (40, 45),
    "Breast": (-60, -50),
    "Lt Lung": (-750, -745),
    "Heart": (45, 160),
    "Tumor Bed": (65, 130),
}
# 1 mm above the planning CT's sixth plane, with a smaller field of view.
KM_ORIGIN = (-250.0, -514.0, -106.4407)
KM_SPACING = (0.976562, 0.976562, 3.0)
KM_SIZE = (512, 512, 60)
MR_TO_CT = rigid((2.0, -1.5, 4.0), (12.5, -310.0, -985.0))
MR_CENTRE = np.array([70.0, -290.0, -17.0])  # the breast, in the CT's frame of reference
MR_SPACING = (1.25, 1.25, 4.0)
MR_SIZE = (256, 256, 40)
STUDY_KEYWORDS = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def write_real_patient(folder: Path, *, contrast: bool = True, mr: bool = True) -> PatientUids:
    """Write patient 123456: 98 CT slices, structure set and plan.

    Args:
        folder: Made if missing; files of other patients in it are left alone.
        contrast: Add a contrast CT in the same study and frame of reference: 60 planes that hold
            the breast and lie between the planning CT's planes, with other pixels.
        mr: Add an MR in its own study and frame of reference, and the registration to the CT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    real_slice = dcmread(DATA / "ct.0.dcm")
    structure_set = dcmread(DATA / "rtss.dcm")
    plan = dcmread(DATA / "rtplan.dcm")
    sop_uids, grid = _series(structure_set, real_slice)
    labels = _labels(structure_set, sop_uids, grid)
    shutil.copyfile(DATA / "rtss.dcm", file_path(folder, structure_set, 0))
    shutil.copyfile(DATA / "rtplan.dcm", file_path(folder, plan, 0))
    _write_planning_ct(folder, real_slice, sop_uids, grid, labels)

    def anatomy(points: FloatArray) -> NDArray[np.uint8]:
        index = grid.to_index(points).round().astype(np.intp)
        inside = ((index >= 0) & (index < grid.size)).all(axis=-1)
        column, row, plane = index[inside].T
        found = np.zeros(points.shape[:-1], dtype=np.uint8)
        found[inside] = labels[plane, row, column]
        return found

    frame = str(real_slice.FrameOfReferenceUID)
    enhanced = [AIR, *(with_agent for _, with_agent in TISSUES.values())]
    km_series = mr_study = mr_series = mr_frame = registration_uid = ""
    if contrast:
        km_series = derived_uid(real_slice.SeriesInstanceUID, "KM")
        km_grid = Grid(KM_ORIGIN, grid.orientation, KM_SPACING, KM_SIZE)
        planes = KM_SIZE[2]
        write_images(
            folder,
            _km_header(real_slice, km_series),
            km_grid,
            add_noise(paint(km_grid, anatomy, enhanced), km_series, lowest=AIR),
            [derived_uid(km_series, str(plane)) for plane in range(planes)],
            files=_scattered(planes),
            instances=range(1, planes + 1),
            syntax=ImplicitVRLittleEndian,
        )
    if mr:
        mr_study = derived_uid(real_slice.StudyInstanceUID, "MR")
        mr_series = derived_uid(real_slice.SeriesInstanceUID, "MR")
        mr_frame = derived_uid(frame, "MR")
        registration_uid = derived_uid(frame, "MR to CT")
        study = Dataset()
        for keyword in STUDY_KEYWORDS:
            setattr(study, keyword, real_slice[keyword].value)
        save(folder, registration(study, registration_uid, MR_TO_CT, mr_frame, frame), 0)
        study.StudyInstanceUID = mr_study
        write_mr(
            folder,
            series_header(study, "MR", mr_series, 1, "T1 KM"),
            mr_grid(MR_TO_CT, MR_CENTRE, MR_SPACING, MR_SIZE),
            mr_frame,
            lambda points: anatomy(transform(MR_TO_CT, points)),
            mr_signal(enhanced),
        )
    return PatientUids(
        patient_id=str(real_slice.PatientID),
        plan_id=str(plan.RTPlanLabel),
        structure_set_label=str(structure_set.StructureSetLabel),
        study_uid=str(real_slice.StudyInstanceUID),
        series_uid=str(real_slice.SeriesInstanceUID),
        frame_of_reference_uid=frame,
        sop_instance_uids=sop_uids,
        structure_set_uid=str(structure_set.SOPInstanceUID),
        plan_uid=str(plan.SOPInstanceUID),
        km_series_uid=km_series,
        km_frame_of_reference_uid=frame if contrast else "",
        mr_study_uid=mr_study,
        mr_series_uid=mr_series,
        mr_frame_of_reference_uid=mr_frame,
        registration_uid=registration_uid,
    )


def _series(structure_set: Dataset, real_slice: Dataset) -> tuple[tuple[str, ...], Grid]:
    """The images that the contours lie on, rising along z, and the grid they make."""
    heights = {
        str(contour.ContourImageSequence[0].ReferencedSOPInstanceUID): points_of(contour)[0, 2]
        for roi in structure_set.ROIContourSequence
        for contour in roi.get("ContourSequence", [])
    }
    sop_uids = tuple(sorted(heights, key=heights.__getitem__))
    lowest = heights[sop_uids[0]]
    x, y, z = (float(value) for value in real_slice.ImagePositionPatient)
    row, column = (float(value) for value in real_slice.PixelSpacing)
    step = (heights[sop_uids[-1]] - lowest) / (len(sop_uids) - 1)
    # Contours are rounded to 0.01 mm, the slice is not: the slice decides.
    bottom = z - (heights[str(real_slice.SOPInstanceUID)] - lowest)
    orientation = tuple(float(value) for value in real_slice.ImageOrientationPatient)
    size = (int(real_slice.Columns), int(real_slice.Rows), len(sop_uids))
    return sop_uids, Grid((x, y, bottom), orientation, (column, row, step), size)


def _labels(structure_set: Dataset, sop_uids: Sequence[str], grid: Grid) -> NDArray[np.uint8]:
    """Tissue of every voxel of the planning CT: 1 + its index in TISSUES; (z, y, x)."""
    numbers = {str(roi.ROIName): roi.ROINumber for roi in structure_set.StructureSetROISequence}
    drawn = {roi.ReferencedROINumber: roi for roi in structure_set.ROIContourSequence}
    planes = {uid: plane for plane, uid in enumerate(sop_uids)}
    labels = np.zeros(grid.size[::-1], dtype=np.uint8)
    for label, name in enumerate(TISSUES, start=1):
        toggles = np.zeros(labels.shape, dtype=np.uint8)
        for contour in drawn[numbers[name]].ContourSequence:
            column, row, _ = grid.to_index(points_of(contour)).T
            plane = planes[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            _toggle(toggles[plane], row, column)
        # Even-odd rule: a contour within a contour is a hole.
        labels[np.bitwise_xor.accumulate(toggles, axis=2).astype(bool)] = label
    return labels


def _toggle(toggles: NDArray[np.uint8], row: FloatArray, column: FloatArray) -> None:
    """Mark in each row the voxels from which on a polygon's inside and outside change places.

    All contours together cost one pass over the volume; ``skimage.draw.polygon`` tests every
    voxel against every vertex, which takes many times as long.
    """
    rows, columns = toggles.shape
    next_row, next_column = np.roll(row, -1), np.roll(column, -1)
    lines = np.arange(rows)[:, None]
    y, edge = np.nonzero((row <= lines) != (next_row <= lines))
    along = (y - row[edge]) / (next_row - row)[edge]
    x = np.ceil(column[edge] + along * (next_column - column)[edge]).astype(np.intp)
    seen = x < columns
    np.bitwise_xor.at(toggles, (y[seen], np.maximum(x[seen], 0)), 1)


def _write_planning_ct(
    folder: Path,
    real_slice: Dataset,
    sop_uids: Sequence[str],
    grid: Grid,
    labels: NDArray[np.uint8],
) -> None:
    table = np.array([AIR, *(plain for plain, _ in TISSUES.values())], dtype=np.int16)
    planes = len(sop_uids)
    files = _scattered(planes)
    real = sop_uids.index(real_slice.SOPInstanceUID)
    shutil.copyfile(DATA / "ct.0.dcm", file_path(folder, real_slice, files[real]))
    header = deepcopy(real_slice)
    del header.SliceLocation
    write_images(
        folder,
        header,
        grid,
        add_noise(table[labels], "2", lowest=AIR),
        [uid if plane != real else "" for plane, uid in enumerate(sop_uids)],
        files=files,
        # The real slice has number 1 and lies at the top.
        instances=range(planes, 0, -1),
        syntax=ImplicitVRLittleEndian,
    )


def _km_header(real_slice: Dataset, series_uid: str) -> Dataset:
    header = deepcopy(real_slice)
    del header.SliceLocation
    header.SeriesInstanceUID = series_uid
    header.SeriesNumber = 5
    header.SeriesDescription = "CT KM"
    header.ContrastBolusAgent = "Iodine"
    header.PixelSpacing = ds((KM_SPACING[1], KM_SPACING[0]))
    header.Columns, header.Rows = KM_SIZE[:2]
    return header


def _scattered(planes: int) -> list[int]:
    """An order on disk that is not the order in space; 37 is prime to the sizes used here."""
    return [plane * 37 % planes for plane in range(planes)]
