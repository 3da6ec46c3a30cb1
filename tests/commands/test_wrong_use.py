"""Wrong use names what is wrong, what was given and what is possible, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from command_line import COMMANDS
from stardust_esapi.errors import UsageError
from stardust_esapi.setting_words import Setting
from stardust_esapi.settings import Settings, load_settings, settings_schema
from support import Outcome, write_case_list

Run = Callable[..., Outcome]
SETTINGS = settings_schema().settings()
# Words of pydantic and click that no user shall meet.
RAW = re.compile(
    r"Input should|Extra inputs|Value error|Field required|unable to|is not one of|\[type"
)
WRONG = ("zzzz", "-1", "2.5", "", "[", "{}", "nan", "1e400", "\\", "ä" * 80)


def chosen(command: Any) -> Iterator[tuple[Any, type]]:
    """The options of a command that do not take just any text, and their types."""
    for param in command.params:
        if param.name in ("help", "install_completion", "show_completion"):
            continue
        annotation = get_type_hints(command.callback)[param.name]
        kinds = [kind for kind in (get_args(annotation) or (annotation,)) if kind is not type(None)]
        if isinstance(kinds[0], type) and issubclass(kinds[0], int | float | StrEnum):
            yield param, kinds[0]


def required(command: Any) -> list[str]:
    words = []
    for param in command.params:
        if param.required:
            words += [param.opts[0], "x"] if param.opts[0].startswith("-") else ["x"]
    return words


@pytest.fixture(autouse=True)
def _empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_every_option_says_what_it_takes(
    run: Run, tmp_path: Path, words: list[str], command: Any
) -> None:
    for param, kind in chosen(command):
        name = param.opts[0]
        if kind is bool:
            said = run(*words, *required(command), f"{name}=zzzz")
            assert said.err.strip() == f"{name} takes no value."
        else:
            said = run(*words, *required(command), name, "zzzz")
            assert said.err.startswith(f"{name} is 'zzzz': write "), said.err
            if issubclass(kind, StrEnum):
                assert all(member.value in said.err for member in kind)
        assert said.code == 2
        assert not RAW.search(said.text), said.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "command"), COMMANDS)
def test_what_is_missing_or_too_much_is_named(
    run: Run, tmp_path: Path, words: list[str], command: Any
) -> None:
    wrong = [[*required(command), "--zzzz"], [*required(command), "one", "too many"]]
    wrong += [[]] if required(command) else []
    wrong += [[param.opts[0]] for param in command.params if param.opts[0] in ("--out", "--cases")]
    for arguments in wrong:
        said = run(*words, *arguments)
        assert said.code == 2, said.text
        assert said.err.count("\n") == 1, said.err
        assert not RAW.search(said.text)
        for word in ("--zzzz", "too many"):
            assert word not in arguments or word in said.err
    assert not list(tmp_path.iterdir())


def test_the_nearest_word_is_offered(run: Run) -> None:
    for arguments, near in (
        (["xport"], "export"),
        (["settings", "chexck"], "check"),
        (["export", "--caes", "x"], "--cases"),
        (["export", "--cases", "x", "--out", "o", "--engine", "esap"], "esapi"),
        (["export", "--cases", "x", "--out", "o", "--retry=failedd"], "failed"),
        (["doctor", "--esapi", "eclips"], "eclipse"),
    ):
        said = run(*arguments)
        assert f"Did you mean {near}?" in said.text, said.text


@pytest.mark.parametrize(
    "line",
    [
        "export --cases absent.csv --out out --esapi {db}",
        "export --cases absent.csv --out out --esapi {db} --write",
        "export --cases c.csv --out out --esapi stub:none --write",
        "export --cases c.csv --out out --esapi stub:none",
        "export --cases c.csv --out out --esapi {db} --rows 99",
        "export --cases c.csv --out out --esapi {db} --rows x --write",
        "export --cases c.csv --out out --esapi {db} --patient 9 --write",
        "export --cases c.csv --out out --esapi {db} --write --engine qr",
        "export --cases c.csv --out out --esapi {db} --kinds pet",
        "export --cases c.csv --out out --esapi {db} --kinds plan",
        "export --cases c.csv --out out --settings wrong.toml",
        "export --cases c.csv --out out --settings none.toml",
        "check --cases absent.csv --esapi {db}",
        "check --cases c.csv --esapi stub:none",
        "transfer --list absent.csv --out out --peer A@127.0.0.1:9",
        "transfer --list c.csv --out out --peer A@127.0.0.1:9",
        "transfer --list ready.csv --out out",
        "transfer --list ready.csv --out out --peer x",
        "transfer --list ready.csv --out out --engine esapi",
        "transfer --list ready.csv --out out --commands-only",
        "dataset --from nowhere --out out",
        "dataset --from . --out out",
        "dataset --from . --out out --format mha",
        "dataset --from . --out out --split 7",
        "dataset --from . --out out --mapping out/who.csv",
        "status nowhere",
        "verify nowhere",
        "record --patient 1 --out out/trace.zip --esapi stub:none",
        "compare absent.zip --patient 1 --esapi stub:none",
        "doctor --peer x",
        "settings check wrong.toml",
        "settings show --settings none.toml",
        "approval show nowhere",
        "approval check nowhere --site nowhere",
        "approval build --site no --esapi no --out out --launchers no",
        "demo c.csv",
    ],
)
def test_wrong_use_leaves_nothing_behind(
    run: Run, empty_database: Path, tmp_path: Path, line: str
) -> None:
    write_case_list(
        Path("c.csv"), [{"Patient-ID": "1", "PlanID": "P", "TargetID": "T", "GTV": "G"}]
    )
    ready = "Patient-ID;PlanID;Kind;StudyUID;SeriesUID;StructureSetUID;RegistrationUID;Images"
    Path("ready.csv").write_text(f"{ready}\n1;P;CT;1.2;1.3;1.4;;5\n", "utf-8")
    Path("wrong.toml").write_text("engin = 'qr'\n", "utf-8")
    before = sorted(tmp_path.rglob("*"))
    said = run(*(word.format(db=f"stub:{empty_database}") for word in line.split()))
    assert said.code == 2, said.text
    assert said.err.strip()
    assert "Traceback" not in said.text
    assert not RAW.search(said.text)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stub database with one patient, for reading only."""
    from esapi_stub.build import build
    from esapi_stub.sample import Phantom, write_phantom

    folder = tmp_path_factory.mktemp("clinic")
    write_phantom(folder / "dicom", Phantom("1", size=(16, 16, 4)))
    build(folder / "dicom", folder / "db")
    return folder / "db"


def in_a_file(setting: Setting, value: str) -> str:
    *tables, name = setting.key
    return f"[{'.'.join(tables)}]\n{name} = {value}\n" if tables else f"{name} = {value}\n"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_says_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: Setting
) -> None:
    file = tmp_path / "own.toml"
    variable = f"STARDUST_{'__'.join(setting.key).upper()}"
    found = []
    for value in WRONG:
        file.write_text(in_a_file(setting, json.dumps(value, ensure_ascii=False)), "utf-8")
        found += refused(lambda: load_settings(file), f"{file}: {setting.name}", setting)
        if setting.name != "audit" and (value or sys.platform != "win32"):
            with monkeypatch.context() as patch:
                patch.setenv(variable, value)
                found += refused(load_settings, variable, setting)
    for value in ("{ zzzz = 1 }", "[[1]]", "1979-05-27"):
        file.write_text(in_a_file(setting, value), "utf-8")
        found += refused(lambda: load_settings(file), f"{file}: {setting.name}", setting)
    assert found, "nothing was refused"
    mistyped = Setting((*setting.key[:-1], f"{setting.key[-1]}x"), "", "", None)
    file.write_text(in_a_file(mistyped, "1"), "utf-8")
    [said] = refused(lambda: load_settings(file), f"{file}: {mistyped.name}", setting)
    assert f"Did you mean {setting.key[-1]}?" in said


def refused(load: Callable[[], object], name: str, setting: Setting) -> list[str]:
    """What is said of a wrong value; nothing where it is taken."""
    try:
        load()
    except UsageError as error:
        said = str(error)
        assert said.startswith(name), said
        assert not RAW.search(said), said
        return [said]
    return []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STARDUST_ENGIN", "STARDUST_ENGINE"),
        ("STARDUST_NETWORK_PORT", "STARDUST_NETWORK__PORT"),
        ("stardust_limits", "STARDUST_LIMIT"),
    ],
)
def test_a_mistyped_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=rf"Did you mean {meant}\?"):
        load_settings()


def test_variables_of_others_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STARDUST_NO_WINDOW", "STARDUST_HOME", "STARDUST_SELECTOR_PORT", "STARDUST_"):
        monkeypatch.setenv(name, "1")
    assert load_settings() == Settings()


def test_a_mistyped_key_of_the_old_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.ini"
    path.write_text("EXPORT_DICM=false\n")
    with pytest.raises(UsageError, match=r"EXPORT_DICM is no setting. Did you mean EXPORT_DICOM\?"):
        load_settings(path)
    path.write_text("COUNTER=many\nOLD_PATH=D:/x\n")
    with pytest.raises(UsageError, match=r"settings.ini: COUNTER is 'many': write a whole number"):
        load_settings(path)


def test_a_file_of_another_encoding_or_with_a_path_of_windows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_bytes('esapi = "stub:Prüfkörper"'.encode("cp1252"))
    with pytest.raises(UsageError, match="UTF-8"):
        load_settings(path)
    path.write_bytes("﻿limit = 3".encode())  # as Windows' editor saves it
    assert load_settings(path).limit == 3
    path.write_text(r'audit = "D:\users\x"')
    with pytest.raises(UsageError, match="a Windows path in single ones"):
        load_settings(path)


def test_what_holds_is_shown_with_where_it_comes_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("stardust-esapi.toml").write_text(
        'engine = "none"\n[network.tls]\ncertificate = "a"\nkey = "b"\nca = "c"\n'
    )
    Path("settings.ini").write_text("COUNTER=4\n")
    monkeypatch.setenv("STARDUST_ON_MISSING", "fail")
    said = run("settings", "show")
    assert said.code == 0
    lines = said.out.splitlines()
    assert len(lines) == len(SETTINGS)
    assert 'engine = "none"  # stardust-esapi.toml' in lines
    assert "limit = 4  # settings.ini" in lines
    assert 'on_missing = "fail"  # environment' in lines
    assert "# audit is not set  # default" in lines
    Path("shown.toml").write_text(said.out, "utf-8")
    assert load_settings(Path("shown.toml")) == load_settings()
    checked = run("settings", "check")
    assert (
        checked.out.strip()
        == "All settings fit: of environment, settings.ini, stardust-esapi.toml."
    )
