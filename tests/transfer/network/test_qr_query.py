"""Finding what a peer holds, with peers that are strict, sloppy or both."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from stardust_esapi.errors import TransferError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.transfer.network.association import Answer, comment, listing
from stardust_esapi.transfer.network.query import (
    Holding,
    QueryRefusedError,
    find_holdings,
    identifier,
)

RTSS, REG = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.66.1"
REQUEST = TransferRequest(
    Kind.CT, "Ä*1", "Plan1", "1.1", "1.1.1", structure_set_uid="9.1", images=2
)
KEYS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SOPInstanceUID")


def row(*values: str) -> dict[str, str]:
    return dict(zip(KEYS, values, strict=True))


IMAGES = [row("Ä*1", "1.1", "1.1.1", "CT", "5.1"), row("Ä*1", "1.1", "1.1.1", "CT", "5.2")]
OTHER_PATIENT = row("Ä21", "3.1", "3.1.1", "RTSTRUCT", "9.3")


class Peer:
    """Answers from a table, and keeps the queries."""

    def __init__(self, *rows: dict[str, str], relational: bool = True, filters: bool = True):
        self.rows = [*IMAGES, OTHER_PATIENT, *rows]
        self.relational = relational
        self.filters = filters
        self.queries: list[Dataset] = []

    def find(self, query: Dataset) -> list[Dataset]:
        self.queries.append(query)
        level = query.QueryRetrieveLevel
        needed = {"STUDY": [], "SERIES": KEYS[1:2], "IMAGE": KEYS[1:3]}[level]
        if not self.relational and not all(query.get(key) for key in needed):
            raise QueryRefusedError("status A900")
        answers = []
        for values in self.rows:
            if self.filters and any(
                query.get(key) and "*" not in query.get(key) and query.get(key) != values[key]
                for key in KEYS
            ):
                continue
            answers.append(identifier(level, **{k: values[k] for k in KEYS if k in query}))
        return answers


SAME_STUDY = row("Ä*1", "1.1", "1.1.9", "RTSTRUCT", "9.1")
OTHER_STUDY = row("Ä*1", "2.1", "2.1.9", "RTSTRUCT", "9.1")
DECOYS = [
    row("Ä*1", "1.1", "1.1.8", "RTSTRUCT", "9.2"),
    row("Ä*1", "1.1", "1.1.7", "REG", "8.1"),
    row("Ä*1", "2.1", "2.1.7", "RTPLAN", "7.1"),
]


@pytest.mark.parametrize("relational", [True, False])
@pytest.mark.parametrize("structure_set", [SAME_STUDY, OTHER_STUDY])
def test_the_structure_set_is_found_wherever_it_lies(structure_set, relational: bool) -> None:
    peer = Peer(*DECOYS, structure_set, relational=relational)
    images, found = find_holdings(peer.find, REQUEST)
    assert images.sop_instance_uids == ("5.1", "5.2")
    assert images.whole_series
    assert (images.study_uid, images.series_uid) == ("1.1", "1.1.1")
    study, series = structure_set["StudyInstanceUID"], structure_set["SeriesInstanceUID"]
    assert found == Holding(study, series, RTSS, ("9.1",))


def test_a_peer_that_ignores_keys_is_not_believed() -> None:
    sloppy = Peer(*DECOYS, SAME_STUDY, filters=False)
    sloppy.rows = sloppy.rows[2:]
    with pytest.raises(TransferError, match="holds 0 of its 2 images"):
        find_holdings(sloppy.find, REQUEST)
    sloppy.rows = [*IMAGES, *DECOYS, OTHER_PATIENT]
    with pytest.raises(TransferError, match=r"does not hold its structure set 9\.1"):
        find_holdings(sloppy.find, REQUEST)
    sloppy.rows.append(SAME_STUDY)
    assert find_holdings(sloppy.find, REQUEST)[1].series_uid == "1.1.9"


def test_another_patients_studies_are_left_alone() -> None:
    peer = Peer(*DECOYS, relational=False)  # its ids fit the wildcard in ours
    with pytest.raises(TransferError, match="does not hold"):
        find_holdings(peer.find, REQUEST)
    assert {q.get("StudyInstanceUID") for q in peer.queries} == {"1.1", "2.1", ""}


def test_every_query_names_the_hierarchy_above_its_level() -> None:
    peer = Peer(*DECOYS, OTHER_STUDY, relational=False)
    find_holdings(peer.find, REQUEST)
    for query in peer.queries:
        above = {"STUDY": [], "SERIES": KEYS[1:2], "IMAGE": KEYS[1:3]}[query.QueryRetrieveLevel]
        assert all(key in query for key in above)


def test_a_registration_is_found_by_its_own_modality() -> None:
    request = TransferRequest(Kind.MR, "Ä*1", "", "1.1", "1.1.1", registration_uid="8.1", images=2)
    found = find_holdings(Peer(*DECOYS, relational=False).find, request)
    assert found[1] == Holding("1.1", "1.1.7", REG, ("8.1",))
    assert found[0].sop_class_uid.name == "MR Image Storage"


def test_an_image_that_is_listed_twice_counts_once() -> None:
    with pytest.raises(TransferError, match="holds 2 of its 3 images"):
        find_holdings(
            Peer(IMAGES[0]).find, TransferRequest(Kind.CT, "Ä*1", "", "1.1", "1.1.1", images=3)
        )


def test_an_answer_reads_as_words_and_numbers() -> None:
    answer = Answer(0xA702, 3, 2, 1, ("1.2", "1.3"), "no route")
    assert str(answer) == (
        "status A702 (Refused: Out of resources, unable to perform sub-operations), 3 completed, "
        "2 failed, 1 with warnings, failed: 1.2, 1.3, comment: no route"
    )
    assert not answer.clean
    assert not answer.permanent
    assert Answer(0xA801).permanent
    assert not Answer(0, 5, 0, 1).clean
    assert "C123" in str(Answer(0xC123))


def test_a_long_list_is_cut() -> None:
    assert listing(["1", "2", "3"]) == "1, 2, 3"
    assert listing(["1", "2", "3", "4", "5"]) == "1, 2, 3 and 2 more"


def test_what_a_peer_says_is_one_line_without_commands_for_a_terminal() -> None:
    status = Dataset()
    assert comment(status) == ""
    status.ErrorComment = "No route \x1b[2J\r\nto \x07Köln"
    assert comment(status) == "No route [2Jto Köln"
    status = Dataset()
    with pytest.warns(UserWarning, match="exceeds the maximum length"):
        status.ErrorComment = "x" * 1000
    assert comment(status) == "x" * 64
