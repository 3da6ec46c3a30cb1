"""The demo cohort: DICOM of several patients and the Case-Selector list that names them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from esapi_stub.sample.dicom import PatientUids
from esapi_stub.sample.phantom import (
    Empty,
    Phantom,
    PhantomContrast,
    PhantomDose,
    PhantomMr,
    PhantomStructure,
    Sphere,
    default_structures,
    write_phantom,
)
from esapi_stub.sample.real import MR_SIZE, write_real_patient

# The columns of TPS-Mining, then what the Case-Selector adds to rows without a label.
COLUMNS = (
    *("Patient-ID", "Nachname", "Vorname", "Series", "SeriesUID", "PlanID", "Fx", "GD", "ED"),
    *("StructureSetID", "LastTreated", "TargetID", "TargetVolume", "GTV#>10GyAndInPTV", "GTV"),
    *("GTV-Volume", "HUavg", "HU StdDev", "RelVarHU", "PNG_Path", "KM_Series_UID"),
    *("KM_Series_Comment", "MR_Series_UID", "MR_Slices", "MR_Series_Comment", "MRregUID"),
    *("OtherGTV", "Comment", "AcceptedDate", "casekind", "RefinementDate"),
)
Row = dict[str, str]


def write_sample(folder: Path, *, patients: int = 9) -> Path:
    """Write ``dicom/`` (a numbered folder a patient) and ``cases.csv`` into a folder.

    The first patient's contours are real, with contrast CT and MR. Then come phantoms: a contrast
    CT under an id with leading zeros, feet first with an umlaut and found by series, prone with an
    MR and a slash in the id; then the faults: an empty GTV, a contrast CT in another frame of
    reference, a plan that does not exist, a target that leaves the contrast CT, an id whose leading
    zeros the list has lost with an MR that no registration joins to the CT. More patients than nine
    are phantoms without fault. The list ends with a row that has GTV and target exchanged, a
    rejected row and one whose id Excel has damaged.

    Args:
        folder: Made if missing.
        patients: How many patients to write, from the start of that order.

    Returns:
        The case list: UTF-8, ``;``, with a header that was begun by a row without a label.
    """
    dicom = folder / "dicom"
    real = write_real_patient(dicom / "0001")
    rows = [_real_row(real)]
    for number in range(2, patients + 1):
        phantom = _phantom(number)
        uids = write_phantom(dicom / f"{number:04d}", phantom)
        rows.append(_phantom_row(phantom, uids))
        if number == 2:
            rows[-1]["Label"] = "Wasser"
        elif number == 3:
            rows[-1]["PlanID"] = ""
        elif number == 7:
            rows[-1]["PlanID"] = "Plan9"
        elif number == 9:  # as pandas leaves it; PNG_Path still has the zeros
            rows[-1]["Patient-ID"] = rows[-1]["Patient-ID"].lstrip("0")
    first = rows[0]
    exchanged = {
        "TargetID": first["GTV"],
        "TargetVolume": first["GTV-Volume"],
        "GTV": first["TargetID"],
        "GTV-Volume": first["TargetVolume"],
        "Comment": "nicht ok?",
    }
    rows.append(first | exchanged)
    rows.append(first | {"TargetID": "Borders", "Comment": "Abgelehnt"})
    rows.append(first | {"Patient-ID": "1.23456E+05", "PNG_Path": ""})
    path = folder / "cases.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(COLUMNS)
        for row in rows:
            values = [row.get(column, "") for column in COLUMNS]
            # A label stands before the comment and makes the row longer than the header.
            label = [row["Label"]] if "Label" in row else []
            at = COLUMNS.index("Comment")
            writer.writerow(values[:at] + label + values[at:])
    return path


def _phantom(number: int) -> Phantom:
    """The phantom that is patient ``number`` (from 2)."""
    structures = default_structures()
    without_gtv = tuple(replace(s, shape=Empty()) if s.id == "GTV1" else s for s in structures)
    mr = PhantomMr(noise=30)
    cohort = (
        Phantom(
            "0004711", patient_name="Phantom^Wasser", contrast=PhantomContrast(), approved=True
        ),
        Phantom(
            "Prüfkörper 12",
            patient_name="Phantom^Gläsern",
            patient_position="FFS",
            size=(64, 40, 24),
            spacing=(2.0, 3.5, 2.5),
        ),
        Phantom(
            "A/17.b",
            patient_name="Phantom^Bauchlage",
            patient_position="HFP",
            reversed_on_disk=True,
            rescale_intercept=0.0,
            mr=mr,
        ),
        Phantom("PH-LEER", patient_name="Phantom^Leer", structures=without_gtv),
        Phantom(
            "PH-FOR",
            patient_name="Phantom^Bezugssystem",
            contrast=PhantomContrast(own_frame_of_reference=True),
        ),
        Phantom("PH-PLAN", patient_name="Phantom^Planlos"),
        Phantom(
            "PH-RAND",
            patient_name="Phantom^Abgeschnitten",
            contrast=PhantomContrast(slices=8),
        ),
        Phantom("0000815", patient_name="Phantom^Nullen", mr=replace(mr, registered=False)),
    )
    phantom = Phantom(
        f"PH{number:05d}",
        patient_name=f"Phantom^Nummer{number}",
        patient_position=("HFS", "FFS", "HFP", "FFP")[number % 4],
        reversed_on_disk=number % 3 == 0,
        contrast=PhantomContrast() if number % 2 else None,
        mr=mr if number % 5 == 0 else None,
    )
    if number - 2 < len(cohort):
        phantom = cohort[number - 2]
    # Marrow: were the tumour brightest on an MR, the window of a training file would cut it off.
    with_marrow = (replace(s, hu=300) if s.id == "PRV Cord" else s for s in phantom.structures)
    return replace(phantom, structures=tuple(with_marrow), dose=PhantomDose())


def _real_row(uids: PatientUids) -> Row:
    return _row(uids) | {
        "Nachname": "boost",
        "Vorname": "breast",
        "Fx": "7",
        "GD": "14",
        "ED": "2",
        "TargetID": "Breast",
        "TargetVolume": "400.05",
        "GTV": "Tumor Bed",
        "GTV-Volume": "13.16",
        "OtherGTV": "Tumor Bed Block",
        "MR_Slices": str(MR_SIZE[2]),
        "casekind": "BC",
    }


def _phantom_row(phantom: Phantom, uids: PatientUids) -> Row:
    last, first = phantom.patient_name.split("^")
    structures = {structure.id: structure for structure in phantom.structures}
    return _row(uids) | {
        "Nachname": last,
        "Vorname": first,
        "Fx": "25",
        "GD": "50",
        "ED": "2",
        "TargetID": "PTV1",
        "TargetVolume": _volume(structures["PTV1"]),
        "GTV": "GTV1",
        "GTV-Volume": _volume(structures["GTV1"]),
        # The mining counts the volume among the slices.
        "MR_Slices": str(phantom.mr.size[2] + 1) if phantom.mr else "0",
        "casekind": "Sonstiges",
    }


def _volume(structure: PhantomStructure) -> str:
    return f"{structure.shape.volume:.2f}" if isinstance(structure.shape, Sphere) else "0"


def _row(uids: PatientUids) -> Row:
    return {
        "Patient-ID": uids.patient_id,
        "Series": "CT_1",
        "SeriesUID": uids.series_uid,
        "PlanID": uids.plan_id,
        "StructureSetID": uids.structure_set_label,
        "LastTreated": "02.01.2024",
        "GTV#>10GyAndInPTV": "1",
        "PNG_Path": rf"\\server\share\middleSlices\{uids.patient_id}_{uids.plan_id}.png".replace(
            "/", "_"
        ),
        "KM_Series_UID": uids.km_series_uid,
        "KM_Series_Comment": "CT KM" if uids.km_series_uid else "",
        "MR_Series_UID": uids.mr_series_uid,
        "MR_Series_Comment": "T1 KM" if uids.mr_series_uid else "",
        "MRregUID": uids.registration_uid,
        "Comment": "ok",
        "AcceptedDate": "03.01.2024",
    }
