"""What the documentation shows works: every command is run, every block of settings loads.

A block of code says what it is (`KINDS`).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.main import get_command

from dicom_peers import free_port
from esapi_stub import cli
from esapi_stub.build import build
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, default_structures, write_phantom
from reviews import decide
from stand_ins import ROOT
from stardust_esapi.commands import program
from stardust_esapi.settings import load_settings
from support import Outcome, ending, row_of, write_case_list

PAGES = sorted(
    path
    for folder in (".", "docs", "docs/decisions", "approval", "approval/bundle")
    for path in (ROOT / folder).glob("*.md")
)
BLOCK = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", re.MULTILINE)

KINDS = {  # of blocks, and what is done with them here
    "bash": "each line is run, but for those below",
    "powershell": "not run: there is no Windows here; tests/approval runs what these start",
    "text": "nothing: it shows no command",
    "toml": "loaded as settings",
}
NOT_RUN = {  # how a command begins, and why it is not run here
    "scripts/": "it sets up an environment, and runs for minutes; scripts/test and CI are that",
    "python -m pip install": "it needs a package index; scripts/check installs the same",
    ".venv/bin/pre-commit install": "it changes the checkout's own hooks",
    "stardust-esapi demo": "its sample takes long; tests/commands has it with a smaller one",
    "esapi-stub sample": "its real patient takes long; what stands here for it is smaller",
    "stardust-esapi approval": "it needs launchers, and these a compiler: tests/approval has both",
}
# The sample has faults on purpose, and a database that is built anew lacks what was prepared in it.
SOMEBODY_HAS_TO_LOOK = re.compile(r"sample/cases|--from export |esapi compare")


def blocks(page: Path) -> list[tuple[str, str]]:
    return [(kind, text) for _, kind, text in BLOCK.findall(page.read_text(encoding="utf-8"))]


def commands(page: Path) -> list[str]:
    """The commands that a page shows, without comments."""
    lines = [line for kind, text in blocks(page) if kind == "bash" for line in text.splitlines()]
    return [bare for line in lines if (bare := re.sub(r"(^|\s+)#.*", "", line.strip()))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


SHOWING = [page for page in PAGES if commands(page)]


def test_every_block_says_what_it_is() -> None:
    text = [(name_of(page), page.read_text(encoding="utf-8")) for page in PAGES]
    kinds = {(name, kind) for name, page in text for _, kind, _ in BLOCK.findall(page)}
    assert {kind for _, kind in kinds} == KINDS.keys(), kinds
    fences = sum(len(re.findall(r"^ *```", page, re.MULTILINE)) for _, page in text)
    assert fences == 2 * sum(len(blocks(page)) for page in PAGES)


def test_every_block_of_settings_loads(tmp_path: Path) -> None:
    shown = [text for page in PAGES for kind, text in blocks(page) if kind == "toml"]
    assert len(shown) >= 3
    for number, text in enumerate(shown):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, encoding="utf-8")
        load_settings(path, folder=tmp_path)


def test_every_command_of_the_program_is_shown() -> None:
    shown = " ".join(line for page in PAGES for line in commands(page))
    names = {info.name or info.callback.__name__ for info in program.app.registered_commands}  # type: ignore[union-attr]
    assert [name for name in names if not re.search(rf"(esapi|Only) {name}\b", shown)] == []


def test_every_option_that_is_named_exists() -> None:
    known = {"--help", "--kills", "--inputs", "--folder", "--what-if"}  # of benchmarks, install.py
    for app in (program.app, cli.app):
        top = get_command(app)
        every = [top, *top.commands.values()]  # type: ignore[attr-defined]
        for command in every:
            for one in (command, *getattr(command, "commands", {}).values()):
                known |= {flag for p in one.params for flag in (*p.opts, *p.secondary_opts)}
    for page in PAGES:
        quoted = " ".join(re.findall(r"`([^`\n]+)`", page.read_text(encoding="utf-8")))
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", quoted))
        assert named <= known, (name_of(page), named - known)


# --- every command is run --------------------------------------------------------------------

WHOLE = Phantom(
    "0815",
    size=(32, 32, 14),
    contrast=PhantomContrast(slices=12, offset=3.0),
    mr=PhantomMr(),
    # Marrow: were the tumour brightest on the MR, a training file's window would cut it off.
    structures=tuple(replace(s, hu=300) if s.id == "PRV Cord" else s for s in default_structures()),
)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the examples name: list, database, export, ready list."""
    folder = tmp_path_factory.mktemp("shown")
    dicom, files = folder / "patient-dicom", ("--cases", "list.csv", "--out", "export")
    whole = write_phantom(dicom / "1", WHOLE)
    plain = write_phantom(dicom / "2", replace(WHOLE, patient_id="4711", contrast=None, mr=None))
    build(dicom, folder / "db")
    rejected = row_of(plain, Comment="abgelehnt")
    write_case_list(folder / "list.csv", [row_of(plain), *[rejected] * 11, row_of(whole)])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with pytest.raises(SystemExit) as left:
            program.main(["export", *files, "--esapi", "stub:db", "--write"])
        assert left.value.code in (0, None)
        with pytest.raises(SystemExit) as left:
            program.main(["check", *files[:2], "--esapi", "stub:db", "--review", "seen"])
    assert left.value.code in (0, None)
    decide(folder / "decisions.csv", folder / "seen", dict.fromkeys(range(2, 15), "accept"))
    shutil.copy(folder / "export" / "export_list.csv", folder)
    shutil.copytree(dicom, folder / "sample" / "dicom")
    faulty = row_of(plain, GTV="no such")
    write_case_list(folder / "sample" / "cases.csv", [row_of(whole), faulty])
    return folder


@dataclass
class Desk:
    """Where the commands of a page are typed: a copy of the clinic, with a peer where one is named.

    Attributes:
        folder: The copy; ``D:\\`` of the examples too.
        port: Where the peer listens.
        own: Where we do.
    """

    folder: Path
    port: int
    own: int

    def typed(self, command: str) -> list[str]:
        """A command as it is typed here."""
        command = command.replace("StardustExporterReadOnly", "stardust-esapi")  # takes the same
        command = command.replace("D:\\", "").replace("10.0.0.5:51402", f"127.0.0.1:{self.port}")
        command = command.replace("--port 51402", f"--port {self.port}")
        command = command.replace("127.0.0.1:11112", f"127.0.0.1:{self.own}")
        return shlex.split(command.replace("\\", "/"))


@pytest.fixture
def desk(clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    folder = shutil.copytree(clinic, tmp_path / "desk")
    desk = Desk(folder, free_port(), free_port())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("STARDUST_ESAPI", f"stub:{folder / 'db'}")  # for want of an Eclipse
    monkeypatch.setenv("STARDUST_NETWORK__PORT", str(desk.own))
    monkeypatch.setenv("STARDUST_DATASET__WORKERS", "1")
    return desk


def serving(desk: Desk) -> Iterator[None]:
    """The peer of the examples, started by the very command that a page shows."""
    [command] = [one for page in SHOWING for one in commands(page) if "esapi-stub serve" in one]
    _, *arguments = desk.typed(command)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "esapi_stub", *arguments], stdout=subprocess.PIPE, text=True
    )
    with ending(daemon):
        assert daemon.stdout is not None
        assert "Serving db" in daemon.stdout.readline()
        yield


@pytest.mark.parametrize("page", SHOWING, ids=name_of)
def test_every_command_that_is_shown_runs(
    page: Path, desk: Desk, run: Callable[..., Outcome], run_stub: Callable[..., Outcome]
) -> None:
    peer = serving(desk) if any("10.0.0.5" in one for one in commands(page)) else iter([None])
    programs = {"stardust-esapi": run, "esapi-stub": run_stub}
    for _ in peer:
        for command in commands(page):
            if command.startswith((*NOT_RUN, "esapi-stub serve")):
                continue
            name, *arguments = desk.typed(command)
            done = programs[name](*arguments)
            expected = 1 if SOMEBODY_HAS_TO_LOOK.search(command) else 0
            assert done.code == expected, f"{command}\n{done.text}"
    for mark, explained in (("ledger.sqlite", "output.md"), ("dataset.json", "dataset.md")):
        text = (ROOT / "docs" / explained).read_text(encoding="utf-8")
        for left in desk.folder.glob(f"*/{mark}"):
            names = {path.name for path in left.parent.iterdir()}
            assert {name for name in names if f"`{name}" not in text} == set(), left.parent


def test_the_peer_of_the_examples_is_served(desk: Desk) -> None:
    for _ in serving(desk):
        pass


def test_what_is_not_run_is_shown_somewhere() -> None:
    shown = [command for page in SHOWING for command in commands(page)]
    assert [start for start in NOT_RUN if not any(one.startswith(start) for one in shown)] == []
