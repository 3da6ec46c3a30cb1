"""What the documents name exists: files, folders, functions, links, and the licence."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from stand_ins import ROOT

PARTS = ("approval", "benchmarks", "docs", "scripts", "stardust_esapi", "stubs", "tests")
DOCUMENTS = sorted(
    path
    for folder in (ROOT, *(ROOT / part for part in PARTS))
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
    if path.name != "CHANGELOG.md"
)
ROOMS = {path.stem for path in (ROOT / "stardust_esapi").iterdir() if path.name[0] not in "_."}
# A dotted name that ends so is a file's.
FILES = re.compile(
    r".*\.(cmd|csv|dcm|dll|exe|html|ini|jsonl?|lock|md|py|sh|sqlite|toml|txt|xlsx|xml|ya?ml)"
)


def every_file() -> list[str]:
    """All files of the checkout, each with a slash before it."""
    return [
        f"/{path.relative_to(ROOT).as_posix()}"
        for part in PARTS
        for path in (ROOT / part).rglob("*")
    ]


def missing(text: str, folder: Path) -> list[str]:
    """Whatever a document names and nobody can find."""
    quoted = re.findall(r"`([^`\n]+)`", text)
    links = re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", text)
    whole = re.findall(rf"(?<![\w./\\-])(?:{'|'.join(PARTS)})/[\w./-]*\w/?", text)
    names = [name for name in quoted if re.fullmatch(r"[\w./-]+\.(py|cs|j2|ps1)", name)]
    dotted = [
        name
        for name in quoted
        if re.fullmatch(r"[a-z_]+(\.[A-Za-z_]\w*)+", name) and not FILES.fullmatch(name)
    ]
    known = every_file()
    return [
        *(link for link in links if "://" not in link and not (folder / link).exists()),
        *(path for path in whole if not (ROOT / path).exists()),
        *(name for name in names if not any(path.endswith(f"/{name}") for path in known)),
        *(name for name in dotted if not resolves(name)),
    ]


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of ours, or something in one."""
    package = name if name.startswith("esapi_stub.") else f"stardust_esapi.{name}"
    try:
        pkgutil.resolve_name(package)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_exists(document: Path) -> None:
    assert missing(document.read_text(encoding="utf-8"), document.parent) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "`gone.py`",
        "[here](nowhere.md)",
        "run scripts/gone now",
        "`prepare.locate.gone`",
        "`gone.locate`",
    ],
)
def test_what_is_not_there_is_found(wrong: str) -> None:
    right = (
        "[this](tests), `prepare/locate.py`, `prepare.locate.locate`, `report.html`, scripts/test."
    )
    assert missing(right, ROOT) == []
    assert len(missing(f"{right} {wrong}", ROOT)) == 1


def test_every_room_and_every_decision_has_its_place() -> None:
    map_ = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [room for room in sorted(ROOMS - {"py"}) if f"`{room}" not in map_] == []
    pages = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    assert re.findall(r"\((0[^)]+)\)", index) == pages


def test_both_packages_have_the_licence() -> None:
    assert (ROOT / "stubs" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
