"""What the tests share: phantoms in a stub database, the real data, the command line in-process."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from loguru import logger
from pynetdicom import AE

import left_running
from browser import a_page
from esapi_stub import cli
from esapi_stub.build import build
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, write_phantom, write_real_patient
from stardust_esapi.commands import program
from support import PATIENCE, Clinic, Outcome, check_labels, row_of, spawn, write_case_list

# No test fails by the clock: machines differ, and this one may be busy.
_ANY_MACHINE = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
# The same examples each time: a red run means that something has changed.
hypothesis.settings.register_profile(
    "derandomised", derandomize=True, database=None, **_ANY_MACHINE
)
# Others each time, for scripts/fuzz.
hypothesis.settings.register_profile("random", max_examples=500, print_blob=True, **_ANY_MACHINE)
hypothesis.settings.load_profile(os.environ.get("STARDUST_HYPOTHESIS", "derandomised"))

left_running.mark()


def pytest_collection_finish() -> None:
    """What is there by now stays: each search for garbage goes through the tests' own things."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Nothing that a test has started outlives its module, and nothing the session."""
    result = yield
    if os.environ.get("ESAPI_CONTRACT", "").startswith("clr"):
        return result  # .NET lives in this very process, and the stub's process as long as it does
    if nextitem is None:
        left = left_running.end(lambda test: True)
    elif nextitem.path != item.path:
        # A fixture of the session may be set up for any test; whatever else is there is left.
        left = left_running.end(lambda test: test.endswith("(call)"))
    else:
        left = []
    if left:
        pytest.fail("Processes were left running:\n" + "\n".join(left), pytrace=False)
    return result


@pytest.fixture(scope="session", autouse=True)
def _patient_peers() -> Iterator[None]:
    """No DICOM peer of the tests gives up: where none of ours is set, pynetdicom's limits are."""
    make = AE.__init__

    def make_patient(entity: AE, *arguments: Any, **named: Any) -> None:
        make(entity, *arguments, **named)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = PATIENCE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AE, "__init__", make_patient)
        yield


@pytest.fixture(scope="session")
def _clinics(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Clinic]:
    @cache
    def make(*phantoms: Phantom) -> Clinic:
        folder = tmp_path_factory.mktemp("clinic")
        uids = tuple(
            write_phantom(folder / "dicom" / str(number), phantom)
            for number, phantom in enumerate(phantoms)
        )
        build(folder / "dicom", folder / "db")
        return Clinic(folder / "db", uids)

    return make


@pytest.fixture
def clinic_of(_clinics: Callable[..., Clinic], tmp_path: Path) -> Callable[..., Clinic]:
    """A stub database of phantoms, and beside it the files that it was made of."""

    def copy(*phantoms: Phantom) -> Clinic:
        made = _clinics(*phantoms)
        shutil.copytree(made.db.parent, tmp_path, dirs_exist_ok=True)
        return Clinic(tmp_path / "db", made.patients)

    return copy


@pytest.fixture(scope="session")
def real_clinic(tmp_path_factory: pytest.TempPathFactory) -> Clinic:
    """The real RT data with contrast CT and MR; for reading only."""
    folder = tmp_path_factory.mktemp("real")
    uids = write_real_patient(folder / "dicom")
    build(folder / "dicom", folder / "db")
    return Clinic(folder / "db", (uids,))


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """What is logged as a warning, or worse."""
    told: list[str] = []
    sink = logger.add(told.append, level="WARNING", format="{message}")
    yield told
    logger.remove(sink)


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    """A page of a headless Chromium."""
    with a_page() as page:
        yield page


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the command line in this process, as a user would.

    Whatever it exports is read once more, as the trainer reads it: GTV and target, and no other
    structure, are found under their labels.
    """

    def invoke(*arguments: object) -> Outcome:
        outcome = _invoke(program.main, arguments, capfd)
        if arguments[0] in ("export", "transfer") and "--out" in arguments[:-1]:
            check_labels(Path(arguments[arguments.index("--out") + 1]))
        return outcome

    return invoke


@pytest.fixture
def run_stub(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run the stub's own program in this process."""
    return lambda *arguments: _invoke(cli.main, arguments, capfd)


def _invoke(
    main: Callable[[list[str]], None],
    arguments: Iterable[object],
    capfd: pytest.CaptureFixture[str],
) -> Outcome:
    capfd.readouterr()
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments)])
    out, err = capfd.readouterr()
    code = left.value.code
    return Outcome(code if isinstance(code, int) else 0, out, err)


CONTRAST = Phantom(
    "0000471108150042",
    size=(32, 32, 14),
    contrast=PhantomContrast(slices=12, offset=3.0),
    mr=PhantomMr(size=(24, 24, 10)),
    patient_name="Geheimrat^Gerda",
)
PLAIN = replace(CONTRAST, patient_id="PAT-ÄÖ-778899", contrast=None, mr=None)
MAGNET = replace(CONTRAST, patient_id="A/17.bc-5566", contrast=None)
LOST = replace(PLAIN, patient_id="PAT-LOST-334455")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of an export; for reading only.

    A case with contrast CT and MR, a plain one, one with an MR alone, one that failed (no such
    plan), and the plain one again under other words: the same series and structure set.
    """
    folder = tmp_path_factory.mktemp("export")
    uids = [
        write_phantom(folder / "dicom" / phantom.patient_id.replace("/", "_"), phantom)
        for phantom in (CONTRAST, PLAIN, MAGNET, LOST)
    ]
    build(folder / "dicom", folder / "db")
    contrast, plain, magnet, lost = (row_of(patient) for patient in uids)
    rows = [contrast, plain, magnet, lost | {"PlanID": "Plan9"}, plain | {"PlanID": ""}]
    cases = write_case_list(folder / "cases.csv", rows)
    process = spawn(
        "export", "--cases", cases, "--out", folder / "out", "--esapi", f"stub:{folder / 'db'}",
        "--write",
    )  # fmt: skip
    said, _ = process.communicate()
    assert process.returncode == 1, said  # one failed, as it should
    return folder / "out"
