"""The plug-ins, started by the stand-in of Eclipse on an open patient."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from esapi_stub.database import configure, describe
from esapi_stub.surface import VERSIONS
from launchers.installed import ESAPI, HOME, PATIENT, RUNTIME, VERSION
from stand_ins import ROOT, assemblies
from stardust_esapi.approval.compile import build_launchers
from stardust_esapi.approval.manifest import Target, make_manifest

WRITABLE = "StardustExporter.esapi.dll"
READ_ONLY = "StardustExporterReadOnly.esapi.dll"
DARK_RED = (139, 0, 0)


def sets(db) -> list[str]:
    (patient,) = describe(db)["patients"]
    return [s["id"] for s in patient["structure_sets"]]


@pytest.fixture(autouse=True)
def _approved(installation) -> None:
    configure(installation.db, clinical=True, script_approved=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_plug_in_gets(installation, manifest, version) -> None:
    configure(installation.db, version=version)
    said = installation.plug_in(version=version)
    assert (said.code, said.err) == (0, "")
    assert said.out == "Nothing was to be done.\nThe patient was not changed.\n"
    (facts,) = said.facts
    assert facts["host"] == {
        "Name": "StardustExporter.esapi",
        "Version": manifest.version,
        "IsWriteable": True,
        "ManifestDigest": manifest.digest,
        "Verified": True,
        "Difference": "",
    }
    assert (facts["entry"], facts["apartment"]) == ("EclipseStub", "STA")
    assert facts["options"] == {
        "cases": str(installation.folder / "cases.csv"),
        "out": str(installation.folder / "out"),
    }
    assert (facts["patient"], facts["plan"], facts["structure_set"]) == (PATIENT, "Plan1", "CT_1")
    assert facts["may_write"] is True
    assert facts["cancelled"] is False
    assert facts["path"][-1] == str(installation.site)
    assert facts["flags"]["isolated"] == 1


@pytest.mark.parametrize(
    ("patient", "screen", "seen"),
    [(PATIENT, "CT_1", (PATIENT, None, "CT_1")), ("-", "", (None, None, None))],
)
def test_other_screens(installation, patient, screen, seen) -> None:
    (facts,) = installation.plug_in(patient=patient, screen=screen).facts
    assert (facts["patient"], facts["plan"], facts["structure_set"]) == seen


@pytest.mark.parametrize("save", [True, False])
def test_the_user_saves_or_drops(installation, save) -> None:
    said = installation.plug_in(save=save, FAKE_DEED="write")
    word = "saved" if save else "dropped"
    assert said.out == f"made 2 is there.\nThe changes were {word}.\n"
    assert sets(installation.db) == (["CT_1", "made 2"] if save else ["CT_1"])


def test_a_second_run_in_the_same_eclipse(installation) -> None:
    said = installation.plug_in(WRITABLE, WRITABLE, save=True, FAKE_DEED="write_more")
    assert (said.code, said.err) == (0, "")
    first, second = said.facts
    assert first["process"] == second["process"]
    assert (first["sets"], second["sets"]) == (["CT_1"], ["CT_1", "made 2"])
    assert sets(installation.db) == ["CT_1", "made 2", "made 3"]


def test_a_run_after_an_error(installation) -> None:
    said = installation.plug_in(WRITABLE, WRITABLE, FAKE_DEED="fail")
    assert said.code == 1
    assert len(said.facts) == 2
    line, again = said.err.splitlines()
    assert line == again
    assert line.startswith(
        "The script ended with an error: StardustExporter.esapi ended with an error that was not "
        "foreseen: ValueError: no such thing (launcher.py, line "
    )


def test_what_python_says_at_the_end_is_said_once(installation) -> None:
    said = installation.plug_in(FAKE_DEED="finish_badly")
    assert (said.out, said.err) == ("The patient was not changed.\n", "One case failed.\n")


def test_both_launchers_of_one_version_in_one_eclipse(installation) -> None:
    said = installation.plug_in(READ_ONLY, WRITABLE)
    assert (said.code, said.err) == (0, "")
    reading, writing = said.facts
    assert (reading["host"]["IsWriteable"], writing["host"]["IsWriteable"]) == (False, True)
    assert (reading["may_write"], writing["may_write"]) == (False, True)


def test_the_read_only_one_cannot_write(installation) -> None:
    said = installation.plug_in(READ_ONLY, save=True, FAKE_DEED="write")
    assert said.code == 1
    assert "No valid license to modify patient data with script." in said.err
    assert sets(installation.db) == ["CT_1"]


def test_other_files_stop_it(installation) -> None:
    (installation.site / "added.py").write_text("")
    said = installation.plug_in()
    assert (said.code, said.python_started) == (1, False)
    (line,) = said.err.splitlines()
    assert line.startswith("The script ended with an error: The Python files that ")
    assert ": added site/added.py. Nothing is run." in line


def test_the_read_only_one_warns_and_goes_on(installation) -> None:
    (installation.site / "added.py").write_text("")
    said = installation.plug_in(READ_ONLY)
    assert said.code == 0
    assert ": added site/added.py." in said.err
    (facts,) = said.facts
    assert (facts["host"]["Verified"], facts["host"]["Difference"]) == (
        False,
        "added site/added.py",
    )


def test_unapproved_files_in_memory_stop_the_writable_one(installation, origin) -> None:
    """The read-only one loaded them; then the files were put right."""
    module = installation.site / "stardust_esapi" / "commands" / "launcher.py"
    approved = module.read_text()
    module.write_text(
        approved + "\ndef plug_in_repair(context, window):\n"
        f"    Path({str(module)!r}).write_text({approved!r})\n"
        "    return 'Repaired.'\n"
    )
    said = installation.plug_in(READ_ONLY, WRITABLE, FAKE_DEED="repair")
    assert module.read_text() == approved
    assert (said.code, len(said.facts)) == (1, 1)
    assert "Close Eclipse and start it again." in said.err.splitlines()[-1]


def test_another_version_in_the_same_eclipse(installation, tmp_path) -> None:
    """Eclipse keeps the first one loaded, and so its Python."""
    site = shutil.copytree(installation.site, tmp_path / "newer" / "site")
    (site / "stardust_esapi" / "more.py").write_text("")
    newer = make_manifest(site, HOME, "0.2.0", Target(VERSION, "linux_x86_64"))
    build_launchers(
        ROOT / "approval" / "launchers", assemblies(ESAPI), site / RUNTIME, newer, site.parent
    )
    shutil.copy(installation.folder / "StardustExporter.ini", site.parent)
    said = installation.plug_in(READ_ONLY, str(site.parent / WRITABLE))
    assert (said.code, len(said.facts)) == (1, 1)
    assert "start" in said.err


def test_no_ini(installation) -> None:
    (installation.folder / "StardustExporter.ini").unlink()
    said = installation.plug_in()
    assert (said.code, said.python_started) == (1, False)
    (line,) = said.err.splitlines()
    assert "There is no " in line


# --- the stand-in of Eclipse itself ---


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"patient": "nobody"}, "no patient nobody"),
        ({"screen": "C1/none"}, "no plan and no structure set C1/none"),
        ({"patient": "-"}, "Without a patient there is no C1/Plan1"),
    ],
)
def test_eclipse_refuses(installation, arguments, word) -> None:
    said = installation.plug_in(**arguments)
    assert (said.code, said.python_started) == (2, False)
    assert word in said.err


def test_eclipse_explains_itself(installation) -> None:
    said = installation.ended(installation.start("mono", assemblies(ESAPI) / "EclipseStub.exe"))
    assert said.code == 2
    assert said.err.startswith("EclipseStub.exe DB PATIENT")


# --- the window ---


def test_without_a_display_there_is_no_window(installation) -> None:
    said = installation.plug_in(STARDUST_NO_WINDOW="", DISPLAY="")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Nothing was to be done.")


def test_a_display_that_cannot_be_opened(installation) -> None:
    said = installation.plug_in(STARDUST_NO_WINDOW="", DISPLAY=":987")
    assert said.code == 0
    assert len(said.facts) == 1


def test_the_window_shows_and_cancels(installation) -> None:
    (installation.site / "added.py").write_text("")
    said = installation.plug_in(
        READ_ONLY, wrapper=("xvfb-run", "-a"), FAKE_DEED="show", STARDUST_NO_WINDOW=""
    )
    assert said.code == 0
    assert "added.py" not in said.text  # the window says it
    pictures = []
    for name in ("running", "cancelling", "finished"):
        with Image.open(installation.folder / f"{name}.png") as image:
            pictures.append(image.convert("RGB"))
    for picture in pictures:
        width, height = picture.size
        assert picture.getpixel((5, 5)) == (0, 0, 0)  # the empty screen around it
        inside = picture.crop((40, 60, width - 40, height - 40))
        colours = inside.getcolors(1 << 20)
        assert len(colours) > 10  # letters, a button
        assert sum(max(colours)[1]) > 500  # on a light ground
        assert DARK_RED in {colour for _, colour in colours}  # the warning
    assert len({picture.tobytes() for picture in pictures}) == 3
