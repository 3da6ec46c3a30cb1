"""Files that are replaced or added after they were compared: none of them ever runs."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from launchers.installed import MODULES, TRAP, Installation
from support import until

PACKAGE = "stardust_esapi"
MOMENTS = 12
GROUPS = 2


@dataclass(frozen=True)
class Swap:
    """A file, and what takes its place: it does the same, and leaves a mark."""

    file: Path
    original: Path
    spoilt: Path

    def do(self) -> None:
        _replace(self.file, self.spoilt)

    def undo(self) -> None:
        _replace(self.file, self.original)


def _replace(file: Path, other: Path) -> None:
    aside = file.with_name(f"{file.name}.aside")
    shutil.copy(other, aside)
    aside.replace(file)


@pytest.fixture
def at_home(installation: Installation, private_home: Path) -> Installation:
    installation.configure(home=str(private_home))
    return installation


@pytest.fixture
def swaps(at_home: Installation, private_home: Path, tmp_path: Path) -> list[Swap]:
    package, modules = at_home.site / PACKAGE, private_home / MODULES
    found = [
        Swap(file, tmp_path / f"original-{number}", tmp_path / f"spoilt-{number}")
        for number, file in enumerate(
            [
                modules / "encodings" / "utf_8.py",  # among the first three that Python imports
                modules / "json" / "decoder.py",
                package / "__init__.py",
                package / "late.py",
                compiled(package),
            ]
        )
    ]
    for swap in found:
        content = swap.file.read_bytes()
        spoilt = (
            content + f"\n{TRAP.replace('.trap', f'.{swap.file.name}.trap')}".encode()
            if swap.file.suffix == ".py"
            else content.replace(b"json speedups", b"JSON speedups")
        )
        assert spoilt != content
        swap.original.write_bytes(content)
        swap.spoilt.write_bytes(spoilt)
    return found


def compiled(package: Path) -> Path:
    (found,) = package.glob("_json.*.so")
    return found


def refused(file: Path) -> str:
    return (
        f"{file} is not among the files that were compared, or was changed since. Nothing more is "
        "run. Install the approved files again.\n"
    )


def test_each_mark_would_be_seen(at_home: Installation, swaps: list[Swap]) -> None:
    """The read-only launcher goes on with the files that it has found different."""
    for swap in swaps:
        swap.do()
        with pytest.raises(AssertionError, match="code ran that must never run"):
            at_home.read_only("late")
        for mark in at_home.folder.glob("*.trap"):
            mark.unlink()
        swap.undo()


@pytest.mark.slow
@pytest.mark.parametrize("group", range(GROUPS))
def test_what_is_swapped_at_any_moment_of_the_start_does_not_run(
    at_home: Installation, swaps: list[Swap], group: int
) -> None:
    """The moments follow from how long a start takes here; no verdict depends on them."""

    def start() -> subprocess.Popen[str]:
        """All is compared when this returns: only then is Python's library loaded."""
        started = at_home.start("mono", at_home.folder / "StardustExporter.exe", "late")
        maps = Path(f"/proc/{started.pid}/maps")
        until(lambda: started.poll() is not None or "/libpython" in maps.read_text())
        return started

    process = start()
    begun = time.monotonic()
    said = at_home.ended(process)
    whole = time.monotonic() - begun
    assert (said.code, said.text) == (0, "late\n")
    for moment in range(group, MOMENTS, GROUPS):
        process = start()
        time.sleep(whole * moment / MOMENTS)
        for swap in swaps:
            swap.do()
        said = at_home.ended(process)  # it looks for marks
        assert (said.code, said.text) in [
            (0, "late\n"),
            (3, refused(compiled(at_home.site / PACKAGE))),
        ]
        for swap in swaps:
            swap.undo()


# --- one at a time, after Python is up ---


def test_what_was_compared_is_imported_though_the_file_is_another(
    at_home: Installation, swaps: list[Swap]
) -> None:
    (late,) = (swap for swap in swaps if swap.file.name == "late.py")
    said = at_home.run("replace", late.file, late.spoilt, f"{PACKAGE}.late")
    assert (said.code, said.text) == (0, "")


def test_a_compiled_module_that_was_changed_is_not_loaded(
    at_home: Installation, swaps: list[Swap]
) -> None:
    module = swaps[-1]
    said = at_home.run("replace", module.file, module.spoilt, f"{PACKAGE}._json")
    assert (said.code, said.text) == (3, refused(module.file))


@pytest.mark.parametrize("name", ["added.py", "late.so", "folder/added.py"])
def test_what_was_added_is_not_imported(at_home: Installation, tmp_path: Path, name: str) -> None:
    file = at_home.site / PACKAGE / name
    file.parent.mkdir(exist_ok=True)
    added = tmp_path / "added"
    added.write_text(TRAP)
    module = f"{PACKAGE}.{name.rpartition('.')[0].replace('/', '.')}"
    said = at_home.run("replace", file, added, module)
    assert (said.code, said.text) == (3, refused(file))


def test_compiled_python_is_not_looked_at(at_home: Installation, tmp_path: Path) -> None:
    added = tmp_path / "added"
    added.write_text(TRAP)
    said = at_home.run("replace", at_home.site / PACKAGE / "added.pyc", added, f"{PACKAGE}.added")
    assert said.code == 1
    assert f"ModuleNotFoundError: No module named '{PACKAGE}.added'" in said.err


def test_a_loader_that_a_package_makes_for_itself_gets_no_other_file(
    at_home: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "elsewhere.py"
    file.write_text(TRAP)
    said = at_home.run("load", file)
    assert (said.code, said.text) == (3, refused(file))
