"""The approval record: what it says, with and without evidence, and by which rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stand_ins import ROOT
from stardust_esapi.approval.assembly import Assembly
from stardust_esapi.approval.evidence import read_evidence
from stardust_esapi.approval.manifest import Manifest, Target
from stardust_esapi.approval.record import read_rules, render_record
from stardust_esapi.approval.site import Dependency, Site
from stardust_esapi.errors import UsageError

TEMPLATE = ROOT / "approval" / "record.md.j2"
MANIFEST = Manifest("0.1.0", Target("3.12", "win_amd64"), {"a.py": "0" * 64, "b.py": "1" * 64})
SITE = Site(MANIFEST, (Dependency("numpy", "2.5.5"), Dependency("pythonnet", "3.2.1")))
LAUNCHERS = [
    Assembly("StardustExporter.exe", MANIFEST.version, "a" * 64, True, MANIFEST, False),
    Assembly("StardustExporterReadOnly.exe", MANIFEST.version, "b" * 64, False, MANIFEST, False),
]
ESAPI = Assembly("VMS.TPS.Common.Model.API.dll", "1.0.450.29", "c" * 64, False, None, False)
STAND_IN = Assembly("VMS.TPS.Common.Model.API.dll", "", "d" * 64, False, None, True)

REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="5"
  timestamp="2026-11-25T08:00:00.000000+00:00" hostname="h">
<testcase classname="tests.test_a" name="test_one"/>
<testcase classname="tests.test_a" name="test_two[a|b]"/>
<testcase classname="tests.test_a" name="test_three"><skipped message="no"/></testcase>
<testcase classname="tests.test_b" name="test_four"><failure message="x">y</failure></testcase>
<testcase classname="tests.test_b" name="test_five"><error message="x">y</error></testcase>
</testsuite></testsuites>
"""


def record(*, esapi=ESAPI, settings=None, evidence=None, template=TEMPLATE) -> str:
    return render_record(template, SITE, LAUNCHERS, [esapi], read_rules(settings), evidence)


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of a part's tables, without their heads."""
    part = text.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    cells = [re.split(r" (?<!\\)\| ", line.strip("| ")) for line in lines]
    return [
        row
        for row, below in zip(cells, [*cells[1:], []], strict=True)
        if row[0] != "---" and below[:1] != ["---"]
    ]


@pytest.fixture
def report(tmp_path) -> Path:
    path = tmp_path / "report.xml"
    path.write_text(REPORT, encoding="utf-8")
    return path


def test_what_is_approved() -> None:
    text = record()
    assert text.startswith(
        f"# Approval record: stardust-esapi 0.1.0, launchers {MANIFEST.version}\n"
    )
    assert rows(text, "1. ") == [
        ["`StardustExporter.exe`", MANIFEST.version, "**yes**", f"`{'a' * 64}`"],
        ["`StardustExporterReadOnly.exe`", MANIFEST.version, "no", f"`{'b' * 64}`"],
        ["`VMS.TPS.Common.Model.API.dll`", "1.0.450.29", f"`{'c' * 64}`"],
    ]
    assert f"SHA-256 `{MANIFEST.digest}`" in text
    assert "2 files" in text
    assert rows(text, "4. ") == [
        ["stardust-esapi", "0.1.0"],
        ["numpy", "2.5.5"],
        ["pythonnet", "3.2.1"],
    ]
    assert "`zCopyFromPlan`" in text
    assert "`zCopyFromPlan_KM`" in text


def test_a_stand_in_is_not_for_clinical_use() -> None:
    assert "Not for clinical use" not in record()
    text = record(esapi=STAND_IN)
    assert "**Not for clinical use.**" in text
    assert ["`VMS.TPS.Common.Model.API.dll`", "not stated (stand-in)", f"`{'d' * 64}`"] in rows(
        text, "1. "
    )


def test_the_built_in_rules() -> None:
    text = record()
    assert "The built-in rules: no settings file was given." in text
    assert rows(text, "3. ") == [
        ["`helper structure`", "starts-with", "`z`", "is not copied"],
        [
            "`planning structure`",
            "contains",
            "`prv`, `ring`, `body`, `haut`, `saum`, `couch`, `help`",
            "is not copied",
        ],
        ["`suffix OAR`", "ends-with", "` OAR`", "loses the word from its id"],
        ["(empty)", "`CONTROL`"],
        ["`BOLUS`", "`CONTROL`"],
        ["`MARKER`", "`CONTROL`"],
        ["any other that ESAPI cannot add", "`CONTROL`"],
        ["go on when a structure other than target and GTV cannot be copied", "no"],
        ["relative difference of volumes allowed on another grid", "0.05"],
    ]


def test_the_rules_of_a_settings_file(tmp_path) -> None:
    settings = tmp_path / "clinic.toml"
    settings.write_text(
        "[structures]\n"
        'structure_set_id = "zAI"\nallow_failed = true\nvolume_tolerance = 0.1\n'
        '[[structures.rules]]\nname = "a|b"\nwhen = "equals"\nwords = ["x`y", "line\\nbreak"]\n'
        '[structures.types]\nMARKER = "SUPPORT"\n'
    )
    text = record(settings=settings)
    assert "From the settings file `clinic.toml`, SHA-256 `" in text
    assert rows(text, "3. ") == [
        [r"`a\|b`", "equals", "`` x`y ``, `line break`", "is not copied"],
        ["`MARKER`", "`SUPPORT`"],
        ["go on when a structure other than target and GTV cannot be copied", "yes"],
        ["relative difference of volumes allowed on another grid", "0.1"],
    ]
    assert "**new structure set** `zAI`" in text


def test_without_evidence_the_record_says_so() -> None:
    text = record()
    assert "**No test report was given** (`--evidence`)" in text
    assert "passed" not in text.split("## 5.")[1].split("Tests in the clinic")[0]


def test_evidence(report) -> None:
    evidence = read_evidence(report)
    assert (evidence.tests, evidence.passed) == (5, 2)
    text = record(evidence=evidence)
    part = text.split("\n## 5. Tests\n")[1].split("Tests in the clinic")[0]
    assert "report `report.xml`, run 2026-11-25T08:00:00.000000+00:00" in part
    assert "5 tests, 2 passed, 2 failed, 1 left out." in part
    assert [line for line in part.splitlines() if line.startswith("-")] == [
        "- **failed** `tests.test_b.test_four`",
        "- **failed** `tests.test_b.test_five`",
        "- left out: `tests.test_a.test_three`",
    ]
    assert "No test report" not in text


def test_evidence_without_a_fault(report) -> None:
    good = re.sub(r"<(skipped|failure|error) [^>]*(/>|>y</\1>)", "", REPORT)
    report.write_text(good, encoding="utf-8")
    part = record(evidence=read_evidence(report)).split("\n## 5. Tests\n")[1]
    assert "5 tests, 5 passed, 0 failed, 0 left out.\n\nTests in the clinic" in part


def test_evidence_of_a_real_run(pytester_report) -> None:
    evidence = read_evidence(pytester_report)
    assert (evidence.tests, evidence.passed) == (3, 1)
    assert len(evidence.failed) == 1
    assert evidence.failed[0].endswith("test_bad")
    assert len(evidence.skipped) == 1
    assert re.match(r"20\d\d-", evidence.date)


@pytest.fixture
def pytester_report(tmp_path) -> Path:
    """What pytest really writes."""
    import subprocess
    import sys

    (tmp_path / "test_x.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "@pytest.mark.skip\ndef test_none(): pass\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    ended = subprocess.run(
        [*command, "--junit-xml=report.xml"], cwd=tmp_path, check=False, stdout=subprocess.DEVNULL
    )
    assert ended.returncode == 1
    return tmp_path / "report.xml"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("no xml", "is no test report in junit's form"),
        ("<testsuites/>", r"tells of no test. Make it by pytest --junit-xml=report.xml"),
    ],
)
def test_what_is_no_evidence(report, content, says) -> None:
    report.write_text(content)
    with pytest.raises(UsageError, match=says):
        read_evidence(report)


@pytest.mark.parametrize("text", ["{{ nonsense }}", "{% if %}"])
def test_a_broken_template(tmp_path, text) -> None:
    (tmp_path / "record.md.j2").write_text(text)
    with pytest.raises(UsageError, match="The record cannot be created from"):
        record(template=tmp_path / "record.md.j2")


def test_the_guide_has_the_parts_that_the_record_names() -> None:
    guide = (ROOT / "approval" / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"(?m)^## (\d)\. (.+)$", guide)
    assert [number for number, _ in headings] == list("12345678")
    assert dict(headings)["4"] == "Test in the non-clinical system"
    text = record()
    assert "(guide, part 4)" in text
    assert re.findall(r"(?m)^## (\d)\. ", text) == list("123456")
