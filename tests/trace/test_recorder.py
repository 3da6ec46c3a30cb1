"""What stands in a trace of one call."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from esapi_stub.system import ApplicationException
from stardust_esapi.esapi.backend import Backend
from stardust_esapi.esapi.stub_backend import StubBackend
from stardust_esapi.trace.archive import parse
from stardust_esapi.trace.recorder import FAILED, Recorder, Thing


@pytest.fixture
def file() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def recorder(file: io.StringIO) -> Recorder:
    backend = SimpleNamespace(refusal=lambda error: StubBackend.refusal(cast("Any", None), error))
    return Recorder(cast("Backend", backend), file)


def lines(file: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_an_answer_and_how_long_it_took(recorder: Recorder, file: io.StringIO) -> None:
    assert recorder.ask("Patient", "Patient.Id", lambda: "0815", recorder.conceal.token) == "0815"
    [line] = lines(file)
    assert line.pop("ms") >= 0
    assert line == {"on": "Patient", "member": "Patient.Id", "args": [], "gives": "id#1"}


def refuse() -> None:
    raise ApplicationException("No such thing as 0815.")


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (
            refuse,
            {"throws": {"type": "System.ApplicationException", "message": "no such thing as #"}},
        ),
        (lambda: int("x"), {"throws": {"type": "ValueError", "message": "invalid literal"}}),
        (lambda: cast("Any", 1).Modality, {"absent": True}),
    ],
)
def test_whatever_is_thrown_is_an_answer(
    recorder: Recorder, file: io.StringIO, run: Any, told: dict[str, Any]
) -> None:
    assert recorder.ask("Image", "Image.Modality", run, str) is FAILED
    [line] = lines(file)
    if told.get("throws", {}).get("type") == "ValueError":
        line["throws"]["message"] = line["throws"]["message"][:15]
    assert {name: line[name] for name in told} == told


def test_a_call_that_ends_the_process_is_named_by_the_last_line(
    recorder: Recorder, file: io.StringIO
) -> None:
    class Died(BaseException):
        pass

    def die() -> None:
        raise Died

    recorder.note({"trace": 1})
    recorder.ask("Patient", "Patient.Id", lambda: "0815", len)
    with pytest.raises(Died):
        recorder.ask("Structure", "Structure.GetContoursOnImagePlane", die, len, -1)
    assert file.getvalue().splitlines()[-1] == (
        '{"on": "Structure", "member": "Structure.GetContoursOnImagePlane", "args": [-1]'
    )
    trace = parse(file.getvalue())
    assert trace.facts == {"trace": 1}
    assert [call["member"] for call in trace.calls] == ["Patient.Id"]


def test_a_collection_that_breaks_off_is_empty(recorder: Recorder, file: io.StringIO) -> None:
    def broken() -> Any:
        yield 1
        refuse()

    patient = Thing("Patient", "Patient", SimpleNamespace(Studies=broken(), Courses=[5, 6]))
    assert recorder.children(patient, "Studies", "Study") == []
    assert [one.place for one in recorder.children(patient, "Courses", "Course")] == [
        "Patient.Courses[0]",
        "Patient.Courses[1]",
    ]
    assert [sorted(line)[-1] for line in lines(file)] == ["throws", "on"]
