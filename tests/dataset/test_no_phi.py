"""Nothing that was in the export and names a patient is in the dataset, in any form.

The export is made through the stub ESAPI; its files then get what a clinic's own archive would have
put into them (as the engine ``qr`` leaves them), and new manifests.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from leaks import leaks
from stardust_esapi.dataset.build import DatasetJob, build_dataset
from stardust_esapi.dataset.entry import Entry
from stardust_esapi.model import IMAGE_KINDS
from stardust_esapi.record.ledger import LEDGER_NAME
from stardust_esapi.settings import Dataset as DatasetSettings
from stardust_esapi.settings import Format
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import (
    MANIFEST_NAME,
    read_manifest,
    write_manifest,
)

KEY = bytes(range(32))
NAMES = ("Geheimrat", "Gerda", "Geheim", "Schmidt-Überlein", "Maître", "Hausärztin")

# What a structure set's reader needs, and what says of a device no more than its make.
_KEPT = {
    "ROIName", "ROIObservationLabel", "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
    "StructureSetLabel", "StructureSetName", "BodyPartExamined", "CodingSchemeDesignator",
    "CodeMeaning", "CodeValue", "SeriesDescription", "PatientPosition", "ContentLabel",
}  # fmt: skip
_TEXT = {"LO", "SH", "ST", "LT", "UT", "UC", "AE", "PN", "AS", "UR"}
_SHORTEST = 4


def identify(dataset: Dataset, patient: int, number: int) -> None:
    """Put into a file what a clinic's archive would: all of it made up, none of it twice."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Schmidt-Überlein^Gerda^Marie^Dr."
    dataset.PatientBirthDate = f"195{patient}0823"
    dataset.PatientBirthTime = "041739.113"
    dataset.PatientBirthName = "Maître"
    dataset.PatientMotherBirthName = "Kowalczyk"
    dataset.OtherPatientIDs = f"OTHER-98{patient}761"
    dataset.PatientAddress = "Nelkengasse 17b, 97070"
    dataset.PatientTelephoneNumbers = "+49 931 5550123"
    dataset.PatientComments = "Enkelin arbeitet im Haus"
    dataset.AdditionalPatientHistory = "Sturz im Juli"
    dataset.EthnicGroup = "Sorbisch"
    dataset.Occupation = "Orgelbauerin"
    dataset.PatientAge = "071Y"
    dataset.MedicalRecordLocator = f"MRL-55{patient}12"
    dataset.AccessionNumber = f"ACC{patient}8800{number:03}"
    dataset.StudyID = f"ST-77{patient}31"
    dataset.StudyDate = f"2023041{patient}"
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = f"2023051{patient}"
    dataset.AcquisitionDateTime = f"2023052{patient}093127.5512"
    dataset.InstanceCreationDate = f"2023061{patient}"
    dataset.ReferringPhysicianName = "Hausärztin^Hilde"
    dataset.PerformingPhysicianName = dataset.OperatorsName = "Quandt^Ottokar"
    dataset.PhysiciansOfRecord = "Vukovic^Mirjana"
    dataset.InstitutionName = "Klinikum Musterstadt"
    dataset.InstitutionAddress = "Am Hubland 99"
    dataset.InstitutionalDepartmentName = "Strahlenklinik Nord"
    dataset.StationName = "CTSCAN-0417"
    dataset.DeviceSerialNumber = f"SN-4466{patient}"
    dataset.ProtocolName = "Protokoll Quandt"
    dataset.StudyDescription = "Verlauf bei Überlein"
    dataset.ImageComments = f"Aufnahme {number} mit Kissen der Tochter"
    dataset.DeviceUID = f"1.3.12.2.1107.5.1.4.9{patient}417.30000023"
    request = Dataset()
    request.RequestedProcedureID = f"RP-6{patient}093"
    request.RequestingPhysician = "Zweitmeinung^Zeno"
    request.StudyInstanceUID = f"1.2.276.0.7230010.3.1.2.8323{patient}"
    dataset.RequestAttributesSequence = Sequence([request])
    private = dataset.private_block(0x0099, "STATION LOCAL", create=True)
    private.add_new(0x01, "LO", f"privat-{patient}-Bettnachbar")
    private.add_new(0x02, "OB", b"UNDECLARED-CRADLE")


@pytest.fixture(scope="module")
def export(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export with identities in every file, of which no ledger and no list is left."""
    root = Path(shutil.copytree(exported, tmp_path_factory.mktemp("phi") / "Export Geheim"))
    (root / LEDGER_NAME).unlink()
    (root / MANIFEST_NAME).unlink()
    patients: dict[str, int] = {}
    for folder in sorted(path.parent for path in root.glob(f"*/*/*/{MANIFEST_NAME}")):
        before = read_manifest(folder)
        patient = patients.setdefault(before.request.patient_id, len(patients) + 1)
        for number, path in enumerate(sorted(folder.glob("*.dcm"))):
            dataset = pydicom.dcmread(path)
            identify(dataset, patient, number)
            dataset.save_as(path)
        (folder / MANIFEST_NAME).unlink()
        after = inspect_folder(folder, before.request, before.case_key)
        write_manifest(folder, after.manifest)
    assert len(patients) == 3
    # A case that a gate stops, and one that cannot be read: reasons tell no names either.
    (plain,) = (root / "CT_Export" / "PAT-ÄÖ-778899").iterdir()
    _nth(plain, "CT*.dcm", 6).unlink()
    (magnet,) = (root / "MR_Export" / "A%2F17.bc-5566").iterdir()
    damaged = _nth(magnet, "MR*.dcm", 4)
    damaged.write_bytes(damaged.read_bytes()[:900])
    for folder in (plain, magnet):
        _list_as_they_are(folder)
    return root


def _list_as_they_are(folder: Path) -> None:
    """A manifest of damaged files, as if they had come so."""
    manifest = read_manifest(folder)
    files = tuple(
        replace(entry, size=(folder / entry.name).stat().st_size)
        for entry in manifest.files
        if (folder / entry.name).exists()
    )
    (folder / MANIFEST_NAME).unlink()
    write_manifest(folder, replace(manifest, files=files))


def _nth(folder: Path, pattern: str, number: int) -> Path:
    return sorted(folder.glob(pattern))[number]


class Silent:
    def start(self, cases: int) -> None: ...

    def finish(self, entry: Entry) -> None: ...


def make_dataset(export: Path, out: Path, key: Path, mapping: Path) -> list[Entry]:
    """Create a dataset from an export, with everything that can be in one."""
    key.write_text(KEY.hex())  # the same in every run: so are all bytes, and so is what is found
    settings = DatasetSettings(formats=tuple(Format), dicom=True, key=key, workers=1)
    return list(build_dataset(DatasetJob(export, out, settings, mapping), Silent()).entries)


# --- what to look for -----------------------------------------------------------------------


def identifying(root: Path) -> dict[str, str]:
    """Every value of an export that names or dates something, with where it stands."""
    found: dict[str, str] = dict.fromkeys(NAMES, "a name")
    found[root.name] = "the export's folder"
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        found.setdefault(path.stem if path.is_file() else path.name, "a path")
        if path.name == MANIFEST_NAME:
            manifest = read_manifest(path.parent)
            found[manifest.request.patient_id] = "a patient id"
            found[manifest.case_key] = "a case's key"
        if path.suffix == ".dcm" and path.stat().st_size > 1000:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            for value, keyword in _values(dataset):
                found.setdefault(value, f"{keyword} of {relative.parts[0]}")
    for kind in IMAGE_KINDS:
        found.pop(kind.folder, None)
    for own in ("manifest", "failed"):  # files of this program's own naming
        found.pop(own, None)
    return {value: where for value, where in found.items() if len(value) >= _SHORTEST}


def _values(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for element in dataset.iterall():
        keyword = element.keyword or str(element.tag)
        values = element.value if element.VM > 1 else [element.value]
        for value in values:
            text = str(value).strip()
            if element.VR == "UI" and not text.startswith("1.2.840.10008."):
                yield text, keyword
            elif element.VR in ("DA", "DT") and text:
                yield from ((form, keyword) for form in _dates(text))
            elif element.VR == "TM" and len(text) > 6 and not text.endswith(".000000"):
                yield text, keyword
            elif element.VR in _TEXT and keyword not in _KEPT:
                yield text, keyword
                if element.VR == "PN":
                    yield from ((part, keyword) for part in text.split("^"))
            elif element.tag.is_private and element.VR == "OB":
                yield value.decode().rstrip("\0"), keyword  # padded to an even length


def _dates(text: str) -> Iterator[str]:
    year, month, day = text[:4], text[4:6], text[6:8]
    yield text[:8]
    yield f"{year}-{month}-{day}"
    yield f"{day}.{month}.{year}"
    if len(text) > 8:
        yield text


# --- the tests ------------------------------------------------------------------------------


def test_the_search_finds_every_value_in_every_hiding_place(export: Path, tmp_path: Path):
    """Else that nothing is found would mean nothing."""
    values = identifying(export)
    assert len(values) > 300
    for expected in (
        "0000471108150042", "PAT-ÄÖ-778899", "A/17.bc-5566", "Schmidt-Überlein", "Geheimrat",
        "19510823", "2023-04-11", "ACC18800003", "ST-77131", "Zweitmeinung", "RP-61093",
        "privat-1-Bettnachbar", "UNDECLARED-CRADLE", "Klinikum Musterstadt", "041739.113",
        "1.3.12.2.1107.5.1.4.91417.30000023",
    ):  # fmt: skip
        assert expected in values
    secret = "PAT-ÄÖ-778899"
    places = {
        "plain.txt": secret.encode(),
        "capitals.txt": secret.lower().encode(),
        "latin.txt": secret.encode("latin-1"),
        "wide.bin": secret.encode("utf-16-le"),
        "escaped.json": json.dumps({"id": secret}).encode(),
        "link.html": b"<a href='" + quote(secret).encode() + b"'>",
        "packed.nii.gz": gzip.compress(b"x" * 100 + secret.encode()),
        "embedded.html": b'<img src="data:image/png;base64,'
        + base64.b64encode(_png(secret)) + b'">',
        "picture.png": _png(secret),
    }  # fmt: skip
    for name, data in places.items():
        (tmp_path / name).write_bytes(data)
    np.savez_compressed(tmp_path / "case.npz", label_names=np.array(["background", secret]))
    (tmp_path / "dicom" / secret).mkdir(parents=True)
    found = leaks(tmp_path, {secret: "id"})
    for name in (*places, "case.npz", "dicom/"):
        assert any(f" {name}" in leak for leak in found), name
    assert leaks(tmp_path, {"another": "id"}) == []


def _png(secret: str) -> bytes:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("Comment", secret, zip=True)
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "PNG", pnginfo=texts)
    assert zlib.crc32(buffer.getvalue())
    return buffer.getvalue()


def test_nothing_of_the_export_is_in_any_byte_of_the_dataset(export: Path, tmp_path: Path):
    out, key, mapping = (tmp_path / name for name in ("dataset", "site.key", "mapping.csv"))
    entries = make_dataset(export, out, key, mapping)
    assert {entry.kind for entry in entries if entry.created} == set(IMAGE_KINDS)
    reasons = [reason for entry in entries for reason in entry.reasons]
    assert any("1 slice is missing" in reason for reason in reasons)
    assert any("damaged" in reason for reason in reasons)

    endings = {path.suffix for path in out.rglob("*") if path.is_file()}
    assert endings >= {".npz", ".gz", ".png", ".json", ".html", ".dcm"}
    assert leaks(out, identifying(export)) == []


def test_the_key_and_the_mapping_are_not_in_the_dataset(export: Path, tmp_path: Path):
    out, key, mapping = (tmp_path / name for name in ("dataset", "site.key", "mapping.csv"))
    make_dataset(export, out, key, mapping)
    assert leaks(out, {KEY.hex(): "the key"}) == []
    data = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert KEY not in data
    assert base64.b64encode(KEY)[:-4] not in data
    # What is told outside is what undoes it all.
    text = mapping.read_text(encoding="utf-8")
    assert "PAT-ÄÖ-778899" in text
    patients = {path.name for path in (out / "dicom").iterdir()}
    assert patients <= {line.partition(";")[0] for line in text.splitlines()[1:]}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset",
        "mapping.csv",
        "site.key",
    ]
