"""A peer that lies: each lie is refused by name or does no harm, and nothing is misplaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loguru import logger
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, JPEGLosslessSV1, MRImageStorage, RTStructureSetStorage

from dicom_peers import OUR_AET
from lying_scp import CONTEXTS, Liar, Message, message_of
from stardust_esapi.errors import CaseError
from stardust_esapi.job.workspace import check_places
from stardust_esapi.model import Case, Kind, TransferRequest
from stardust_esapi.record.ledger import Ledger
from stardust_esapi.transfer.deliver import Delivered, deliver
from stardust_esapi.transfer.network.qr_engine import QrEngine
from stardust_esapi.verify.manifest import read_manifest

Lie = Callable[[list[Message]], Iterable[Message]]

CT, KM, RS = "1.2.826.1.1", "1.2.826.1.2", "1.2.826.1.3.1"
STUDY, FRAME = "1.2.826.1", "1.2.826.9"
IMAGES = {CT: 6, KM: 4}
PATIENT = {
    "PatientID": "4711",
    "IssuerOfPatientID": "KIS",
    "PatientName": "Geheim^Gerda",
    "PatientBirthDate": "19510823",
    "PatientSex": "F",
}
STRANGER = {"PatientName": "Fremd^Frieda", "PatientBirthDate": "19620131"}
REQUESTS = [
    TransferRequest(Kind.CT, "4711", "Plan1", STUDY, CT, RS, images=IMAGES[CT]),
    TransferRequest(Kind.KM, "4711", "Plan1", STUDY, KM, images=IMAGES[KM]),
]


def dataset(sop_class: str, uid: str, series: str, **values: object) -> Dataset:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.SOPClassUID, ds.SOPInstanceUID = "ISO_IR 192", sop_class, uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, series, FRAME
    for keyword, value in (PATIENT | values).items():
        setattr(ds, keyword, value)
    return ds


def image(series: str, number: int) -> Dataset:
    pixels = np.random.default_rng(number).integers(0, 2000, (12, 16), np.uint16)
    return dataset(
        str(CTImageStorage),
        f"{series}.{number}",
        series,
        Modality="CT",
        ImagePositionPatient=[-12, -9, 3 * number],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[1.5, 1.5],
        Rows=12,
        Columns=16,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=16,
        BitsStored=16,
        HighBit=15,
        PixelRepresentation=0,
        PixelData=pixels.tobytes(),
    )


def item(**values: object) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def structure_set() -> Dataset:
    named = [
        item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID=f"{CT}.{number}")
        for number in range(IMAGES[CT])
    ]
    series = item(SeriesInstanceUID=CT, ContourImageSequence=Sequence(named))
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=STUDY,
        RTReferencedSeriesSequence=Sequence([series]),
    )
    frame = item(FrameOfReferenceUID=FRAME, RTReferencedStudySequence=Sequence([study]))
    roi = item(ROINumber=1, ROIName="gtv+", ReferencedFrameOfReferenceUID=FRAME)
    ds = dataset(str(RTStructureSetStorage), RS, "1.2.826.1.3", Modality="RTSTRUCT")
    ds.ReferencedFrameOfReferenceSequence = Sequence([frame])
    ds.StructureSetROISequence = Sequence([roi])
    ds.ROIContourSequence = Sequence([item(ReferencedROINumber=1)])
    ds.RTROIObservationsSequence = Sequence([item(ReferencedROINumber=1)])
    return ds


TRUTH = [
    *(image(series, number) for series, count in IMAGES.items() for number in range(count)),
    structure_set(),
]


# --- lies: about one instance, wherever it is asked for ------------------------------------------


def about(uid: str, change: Callable[[Message], Message]) -> Lie:
    def lie(messages: list[Message]) -> list[Message]:
        return [change(one) if one.sop_instance == uid else one for one in messages]

    return lie


def of_slice(**values: object) -> Lie:
    return about(f"{CT}.2", lambda message: message.but(**values))


def of_set(**values: object) -> Lie:
    return about(RS, lambda message: message.but(**values))


def of_contrast(**values: object) -> Lie:
    """All of the contrast CT."""

    def lie(messages: list[Message]) -> list[Message]:
        return [
            one.but(**values) if one.dataset.SeriesInstanceUID == KM else one for one in messages
        ]

    return lie


def uncompressed_as_compressed(message: Message) -> Message:
    return replace(message, context=CONTEXTS[str(CTImageStorage), str(JPEGLosslessSV1)])


def without(uid: str) -> Lie:
    return lambda messages: [one for one in messages if one.sop_instance != uid]


def twice_and_different(messages: list[Message]) -> list[Message]:
    return [*messages, messages[0].but(PixelData=b"\1" * 384)]


def with_a_stranger(messages: list[Message]) -> list[Message]:
    return [message_of(dataset(str(CTImageStorage), "1.9.9", "1.9", PatientID="0815")), *messages]


MR = str(MRImageStorage)
REFUSED: dict[str, tuple[Lie, str]] = {
    "another patient's slice": (
        of_slice(**STRANGER, PixelData=b"\7" * 384),
        f"CT.{CT}.2.dcm bears another patient's name than most of its series",
    ),
    "a slice of another birth date": (of_slice(PatientBirthDate="19620131"), "another birth date"),
    "a slice of another sex": (of_slice(PatientSex="M"), "another sex"),
    "a slice of another issuer": (
        of_slice(IssuerOfPatientID="RIS"),
        "another issuer of the patient ID",
    ),
    "a set of another name and sex": (
        of_set(**STRANGER, PatientSex="M"),
        f"RS.{RS}.dcm bears another patient's name",
    ),
    "a set of another study": (of_set(StudyInstanceUID="1.9"), "it is of another study"),
    "a set of another frame": (of_set(FrameOfReferenceUID="1.9"), "another frame of reference"),
    "two slices at one position": (
        of_slice(ImagePositionPatient=[-12, -9, 3]),
        f"CT.{CT}.1.dcm and CT.{CT}.2.dcm lie at one position",
    ),
    "ten times the spacing": (of_slice(PixelSpacing=[15, 15]), "another Pixel Spacing"),
    "no rows": (of_slice(Rows=0), "lacks Rows"),
    "Rows left out": (of_slice(Rows=None), "lacks Rows"),
    "no position": (of_slice(ImagePositionPatient=None), "lacks Image Position"),
    "100 bytes of pixels": (of_slice(PixelData=bytes(100)), "100 bytes of pixels where its header"),
    "twice the rows": (of_slice(Rows=24), "384 bytes of pixels where its header says 768"),
    "another size": (of_slice(Rows=16, Columns=12), "another Rows and Columns"),
    "another orientation": (
        of_slice(ImageOrientationPatient=[0, 1, 0, 1, 0, 0]),
        "another orientation",
    ),
    "a slice of another frame": (of_slice(FrameOfReferenceUID="1.9"), "2 frames of reference"),
    "a slice of another patient ID": (of_slice(PatientID="4712"), "another patient (4712)"),
    "a slice of another series": (of_slice(SeriesInstanceUID="1.9"), "another series (1.9)"),
    "a slice of another study": (of_slice(StudyInstanceUID="1.9"), "another study (1.9)"),
    "another instance in the dataset": (of_slice(SOPInstanceUID="1.9"), "calls itself 1.9 inside"),
    "another class in the dataset": (of_slice(SOPClassUID=MR), "it is no CT Image Storage"),
    "another class in the command": (
        about(f"{CT}.2", lambda one: replace(one, sop_class=MR)),
        "it is no CT Image Storage",
    ),
    "another class in command and context": (
        about(f"{CT}.2", lambda one: replace(one, sop_class=MR, context=5)),
        "it is no CT Image Storage",
    ),
    "another instance in the command": (
        about(f"{CT}.2", lambda one: replace(one, sop_instance=f"{CT}.3")),
        f"calls itself {CT}.2 inside",
    ),
    "data of a context that was not negotiated": (
        about(f"{CT}.2", lambda one: replace(one, data_context=99)),
        "instances did not arrive",
    ),
    "data of a context that was not negotiated, after a command in halves": (
        about(f"{CT}.2", lambda one: replace(one, data_context=99, halved=True)),
        "instances did not arrive",
    ),
    "all of a context that was not negotiated": (
        about(f"{CT}.2", lambda one: replace(one, context=99)),
        "instances did not arrive",
    ),
    "a dataset that is cut off": (
        about(f"{CT}.2", lambda one: replace(one, cut=100)),
        f"CT.{CT}.2.dcm is cut off",
    ),
    "compressed, it says": (about(f"{CT}.2", uncompressed_as_compressed), "are not framed"),
    "one less, with success": (without(f"{CT}.5"), "1 of 7 instances did not arrive"),
    "twice and different": (twice_and_different, "twice, with different content"),
    "a contrast CT of another birth date": (
        of_contrast(PatientBirthDate="19510824"),
        "its series are not of one person: they differ in the birth date.",
    ),
    "a contrast CT of another sex and issuer": (
        of_contrast(PatientSex="M", IssuerOfPatientID="RIS", PatientName="Fremd"),
        "differ in the issuer of the patient ID and the patient's name and the sex.",
    ),
}


class Site:
    """A case, and where it is exported to."""

    def __init__(self, root: Path, ledger: Ledger, engine: QrEngine) -> None:
        self.root = root
        self._case = Case(2, "4711", plan_id="Plan1", series_uid=CT)
        self._ledger, self._engine = ledger, engine
        ledger.begin_run(version="", esapi="", engine="qr", case_list="")
        ledger.register([self._case])

    def deliver(self) -> Delivered:
        """As each run does it."""
        check_places(self._case, self._ledger, self.root)
        self._ledger.prepared(self._case, REQUESTS)
        arguments = self._engine, self._ledger, self.root, lambda *_: None
        return deliver(self._case, REQUESTS, *arguments)

    @property
    def warnings_kept(self) -> list[str]:
        return [
            remark
            for series in self._ledger.series_of(self._case).values()
            for remark in series.remarks
        ]


@pytest.fixture
def liar(our_port: int) -> Iterator[Liar]:
    with Liar(TRUTH, our_port, OUR_AET) as started:
        yield started


@pytest.fixture
def site(liar: Liar, network_of, tmp_path: Path) -> Iterator[Site]:
    with (
        Ledger(tmp_path) as ledger,
        QrEngine(network_of(liar.address, retries=0), tmp_path / "quarantine") as engine,
    ):
        yield Site(tmp_path, ledger, engine)


def exported(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*_Export/**/*") if path.is_file())


def check_as_in_truth(root: Path) -> None:
    """What is in place is what it says on its name, and all of the case."""
    truth = {ds.SOPInstanceUID: ds for ds in TRUTH}
    files = [path for path in exported(root) if path.suffix == ".dcm"]
    assert len(files) == len(truth)
    for path in files:
        ds = dcmread(path)
        assert path.name[3:] == f"{ds.SOPInstanceUID}.dcm"
        assert path.parent.name == (CT if ds.Modality == "RTSTRUCT" else ds.SeriesInstanceUID)
        assert path.parent.parent.name == ds.PatientID == "4711"


@pytest.mark.parametrize(("lie", "words"), REFUSED.values(), ids=list(REFUSED))
def test_a_lie_is_refused_by_name(site: Site, liar: Liar, lie: Lie, words: str) -> None:
    liar.lie = lie
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG")
    try:
        with pytest.raises(CaseError) as caught:
            site.deliver()
    finally:
        logger.remove(sink)
    message = str(caught.value)
    assert words in message
    assert "4711" in message
    assert exported(site.root) == []
    told = "".join([*lines, message])
    assert not any(word in told for word in ("Fremd", "Geheim", "1962", "1951"))


@pytest.mark.parametrize("name", [name for name in REFUSED if "not negotiated" in name])
def test_a_context_that_was_not_negotiated_aborts_the_association(
    site: Site, liar: Liar, name: str
) -> None:
    liar.lie, _ = REFUSED[name]
    with pytest.raises(CaseError):
        site.deliver()
    assert liar.broken_off == 1
    assert liar.statuses == [0, 0, 0]  # what came before, and the structure set afterwards


@pytest.mark.parametrize(
    "lie",
    [
        lambda messages: messages,  # the truth
        with_a_stranger,
        reversed,
        lambda messages: [*messages, *messages],
        # Of another context, but what it says of itself is right.
        about(f"{CT}.2", lambda one: replace(one, context=5)),
        about(f"{CT}.2", lambda one: replace(one, halved=True)),
        of_slice(PatientName="GEHEIM^GERDA^^^", PatientBirthDate="", PatientSex=""),
    ],
)
def test_what_does_no_harm_is_taken(site: Site, liar: Liar, lie: Lie) -> None:
    liar.lie = lie
    assert site.deliver().warnings == ()
    check_as_in_truth(site.root)
    folders = {kind.folder for kind in (Kind.CT, Kind.KM)}
    assert {path.name for path in site.root.glob("*_Export")} == folders
    assert sum(len(read_manifest(path).files) for path in site.root.glob("*_Export/*/*")) == 11


def test_another_spelling_on_another_series_is_said(site: Site, liar: Liar) -> None:
    liar.lie = of_contrast(PatientName="Geheim^G.")
    (warning,) = site.deliver().warnings
    assert "do not spell the patient's name alike" in warning
    assert "Geheim" not in warning
    check_as_in_truth(site.root)


def test_slices_that_do_not_lie_evenly_are_said(site: Site, liar: Liar) -> None:
    liar.lie = of_slice(ImagePositionPatient=[-12, -9, 7])
    site.deliver()
    (remark,) = site.warnings_kept
    assert "2.00 to 4.00 mm from one to the next" in remark
    check_as_in_truth(site.root)


def test_a_series_in_its_place_is_compared_with_what_comes_later(site: Site, liar: Liar) -> None:
    site.deliver()
    before = exported(site.root)
    contrast = next(site.root.glob("KM_Export/*/*"))
    contrast.rename(site.root / "aside")
    liar.lie = of_contrast(PatientSex="M")
    with pytest.raises(CaseError, match="they differ in the sex"):
        site.deliver()
    (site.root / "aside").rename(contrast)
    assert exported(site.root) == before
