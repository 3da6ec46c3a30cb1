"""The series of a case get their names together, and two cases may want the same one at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from pydicom import dcmread

from esapi_stub.sample import PatientUids, Phantom, PhantomContrast, PhantomMr, write_phantom
from stardust_esapi.dicom.derive_structure_set import derive_structure_set
from stardust_esapi.errors import CaseError, TransferError
from stardust_esapi.model import Case, Kind, TransferRequest
from stardust_esapi.record.ledger import Ledger, SeriesState
from stardust_esapi.transfer.deliver import deliver
from stardust_esapi.transfer.engine import Fetched
from stardust_esapi.verify.inspect import inspect_folder
from stardust_esapi.verify.manifest import read_manifest

PHANTOM = Phantom(
    "0815", size=(16, 16, 5), contrast=PhantomContrast(slices=4), mr=PhantomMr(size=(16, 18, 6))
)
NAMES = {"CT": "CT", "MR": "MR", "RTSTRUCT": "RS", "REG": "RE"}


@dataclass
class Copier:
    """An engine that copies what is asked for out of a folder."""

    source: Path
    before: Callable[[TransferRequest], None] = lambda request: None
    name: str = "copier"
    fetched: list[Kind] = field(default_factory=list)

    def fetch(
        self, request: TransferRequest, folder: Path, advance: Callable[[int], None]
    ) -> Fetched:
        self.before(request)
        self.fetched.append(request.kind)
        for number, path in enumerate(sorted(self.source.rglob("*.dcm"))):
            header = dcmread(path, stop_before_pixels=True)
            uids = {request.series_uid, request.structure_set_uid, request.registration_uid}
            if {header.SeriesInstanceUID, header.SOPInstanceUID} & uids:
                shutil.copy(path, folder / f"{NAMES[header.Modality]}.{number}.dcm")
                advance(number)
        return Fetched()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("source")


@pytest.fixture(scope="module")
def uids(source: Path) -> PatientUids:
    return write_phantom(source, PHANTOM)


@pytest.fixture
def requests(uids: PatientUids, source: Path) -> list[TransferRequest]:
    headers = [dcmread(path, stop_before_pixels=True) for path in source.rglob("*.dcm")]
    studies = {ds.SeriesInstanceUID: ds.StudyInstanceUID for ds in headers}
    return [
        TransferRequest(kind, "0815", uids.plan_id, studies[series], series, images=images)
        for kind, series, images in (
            (Kind.CT, uids.series_uid, 5),
            (Kind.KM, uids.km_series_uid, 4),
        )
    ]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path) as opened:
        opened.begin_run(version="", esapi="", engine="", case_list="")
        yield opened


@pytest.fixture
def case_of(
    ledger: Ledger, requests: list[TransferRequest], uids: PatientUids
) -> Callable[[str], Case]:
    """A prepared case with a GTV of its own."""

    def make(gtv: str) -> Case:
        case = Case(2, "0815", plan_id=uids.plan_id, series_uid=uids.series_uid, gtv_id=gtv)
        ledger.register([case])
        ledger.prepared(case, requests)
        return case

    return make


def test_no_series_has_its_name_before_all_are_there(
    tmp_path: Path, source: Path, ledger: Ledger, requests: list[TransferRequest], case_of
) -> None:
    case = case_of("GTV1")
    seen: list[tuple[Kind, bool]] = []

    def look(request: TransferRequest) -> None:
        seen.append((request.kind, any(tmp_path.glob("*_Export"))))

    delivered = deliver(case, requests, Copier(source, look), ledger, tmp_path, lambda *_: None)
    assert seen == [(Kind.CT, False), (Kind.KM, False)]
    assert delivered.folders == ledger.folders(case)
    assert all(
        (tmp_path / folder / "manifest.json").is_file() for folder in delivered.folders.values()
    )


def test_where_one_series_fails_the_others_get_no_name_either(
    tmp_path: Path, source: Path, ledger: Ledger, requests: list[TransferRequest], case_of
) -> None:
    case = case_of("GTV1")

    def fail(request: TransferRequest) -> None:
        if request.kind is Kind.KM:
            raise TransferError("the peer is gone.")

    with pytest.raises(TransferError, match="gone"):
        deliver(case, requests, Copier(source, fail), ledger, tmp_path, lambda *_: None)
    assert not any(tmp_path.glob("*_Export"))
    ledger.failed(case, "the peer is gone.")
    ledger.prepared(case, requests)
    deliver(case, requests, Copier(source), ledger, tmp_path, lambda *_: None)
    assert set(ledger.folders(case)) == {Kind.CT, Kind.KM}


def test_another_case_may_place_the_same_series_meanwhile(
    tmp_path: Path, source: Path, ledger: Ledger, requests: list[TransferRequest], case_of
) -> None:
    first, second = case_of("GTV1"), case_of("GTV2")
    copier = Copier(source)

    def overtake(request: TransferRequest) -> None:
        if request.kind is Kind.KM:  # the second has fetched its CT already
            deliver(first, requests, copier, ledger, tmp_path, lambda *_: None)

    delivered = deliver(
        second, requests, Copier(source, overtake), ledger, tmp_path, lambda *_: None
    )
    assert delivered.folders == ledger.folders(first) == ledger.folders(second)
    assert {one.state for one in ledger.series_of(second).values()} == {SeriesState.PLACED}
    third = case_of("GTV3")
    deliver(third, requests, copier, ledger, tmp_path, lambda *_: None)
    assert copier.fetched == [Kind.CT, Kind.KM]  # the third found all in place


def test_a_folder_that_came_from_elsewhere_is_left_alone(
    tmp_path: Path, source: Path, ledger: Ledger, requests: list[TransferRequest], case_of
) -> None:
    case = case_of("GTV1")
    foreign = tmp_path / "KM_Export" / "0815" / requests[1].series_uid
    foreign.mkdir(parents=True)
    with pytest.raises(CaseError, match="this program did not export it"):
        deliver(case, requests, Copier(source), ledger, tmp_path, lambda *_: None)
    assert list(foreign.iterdir()) == []
    assert not (tmp_path / "CT_Export").exists()


@pytest.fixture
def with_mr(uids: PatientUids, requests: list[TransferRequest]) -> list[TransferRequest]:
    """An MR that gets a structure set, before the CT that it gets it from."""
    mr = TransferRequest(
        Kind.MR, "0815", uids.plan_id, uids.mr_study_uid, uids.mr_series_uid,
        registration_uid=uids.registration_uid, images=6, derived_structure_set_uid="1.2.3.9",
    )  # fmt: skip
    return [mr, replace(requests[0], structure_set_uid=uids.structure_set_uid)]


def test_an_mr_has_its_structures_before_it_has_its_name(
    tmp_path: Path, source: Path, ledger: Ledger, with_mr: list[TransferRequest], case_of
) -> None:
    case = case_of("GTV1")
    ledger.prepared(case, with_mr)
    delivered = deliver(case, with_mr, Copier(source), ledger, tmp_path, lambda *_: None)
    folder = tmp_path / delivered.folders[Kind.MR]
    [file] = [file for file in read_manifest(folder).files if file.name.startswith("RS")]
    assert (file.name, file.sop_instance_uid) == ("RS.1.2.3.9.dcm", "1.2.3.9")
    assert ledger.series_of(case)[Kind.MR].remarks == ()
    assert inspect_folder(folder, with_mr[0], case.key).manifest == read_manifest(folder)


def test_an_mr_that_cannot_have_structures_is_exported_and_that_is_said(
    tmp_path: Path, source: Path, ledger: Ledger, with_mr: list[TransferRequest], case_of
) -> None:
    case = case_of("GTV1")
    with_mr[0] = replace(with_mr[0], registration_uid="")
    ledger.prepared(case, with_mr)
    delivered = deliver(case, with_mr, Copier(source), ledger, tmp_path, lambda *_: None)
    assert not list((tmp_path / delivered.folders[Kind.MR]).glob("RS*.dcm"))
    [remark] = ledger.series_of(case)[Kind.MR].remarks
    assert remark.startswith("The MR has no structure set: MR and CT lie in different frames")


def test_a_label_of_which_the_mr_shows_nothing_is_named(
    tmp_path: Path, source: Path, ledger: Ledger, with_mr: list[TransferRequest], case_of, mocker
) -> None:
    def without_labels(mr: Path, ct: Path, uid: str):
        return derive_structure_set(mr, ct, uid)[0], ("Lung", "gtv+", "target+")

    mocker.patch("stardust_esapi.transfer.deliver.derive_structure_set", without_labels)
    case = case_of("GTV1")
    ledger.prepared(case, with_mr)
    deliver(case, with_mr, Copier(source), ledger, tmp_path, lambda *_: None)
    remarks = ledger.series_of(case)[Kind.MR].remarks
    assert remarks == ("The MR shows nothing of gtv+ and target+.",)
