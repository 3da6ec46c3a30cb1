"""Command lines: what is typed into them stays what it is, whatever shell reads them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stardust_esapi.errors import UsageError
from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.names import folder_name
from stardust_esapi.settings import Network, Peer, Tls
from stardust_esapi.transfer.network.dcmtk_commands import quote_cmd, write_commands
from support import PATIENCE

FOLDER = "folder:I:\\import"
CT = TransferRequest(Kind.CT, "007", "Plan1", "1.2.1", "1.2.2", "1.2.3", images=120)
MR = TransferRequest(Kind.MR, "007", "Plan1", "1.3.1", "1.3.2", registration_uid="1.3.3", images=9)

# Everything that DCMTK's programs can be given, cmd.exe's and sh's special characters first.
titles = st.text(st.sampled_from("%^&!|<>()'`$;*?~ #=,-+aB"), min_size=1, max_size=16).filter(
    lambda title: title.strip() == title and title
)

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.strip)
peers = st.builds(Peer, ae_title=titles, host=st.just("10.0.0.5"), port=st.just(51402))
networks = st.builds(Network, peer=peers, aet=titles, destination=titles)


def _split(line: str) -> list[str]:
    """Read a line of a batch file as cmd.exe and then the C runtime do, and insist on safety.

    cmd.exe (delayed expansion off): ``%%`` is a percent sign, a single one begins a variable;
    outside quotes ``& | < > ^ ( ) !`` have a meaning. The C runtime: blanks divide outside
    quotes; backslashes before a quote escape it.
    """
    assert not re.search(r"(?<!%)%(%%)*(?!%)", line), f"a variable: {line}"
    line = line.replace("%%", "%")
    assert line.isascii(), "its meaning depends on the code page"
    assert line.isprintable()
    arguments, current, quoted, backslashes = [], None, False, 0
    for character in line:
        if character == '"':
            assert backslashes % 2 == 0, "cmd.exe does not know escaped quotes"
            if backslashes:
                assert current is not None
                current = current[: -backslashes // 2]
            quoted = not quoted
            current = current or ""
        elif character == " " and not quoted:
            if current is not None:
                arguments.append(current)
            current = None
        else:
            assert quoted or character not in "&|<>^()!@'`*?~;", f"{character} has a meaning"
            current = (current or "") + character
        backslashes = backslashes + 1 if character == "\\" else 0
    assert not quoted
    return arguments if current is None else [*arguments, current]


def _windows(path: Path) -> list[str]:
    text = path.read_bytes().decode("ascii")
    assert text.endswith("\r\n")
    assert text.replace("\r\n", "").isprintable()
    return text.split("\r\n")


def _calls(lines: list[str], program: str = "movescu") -> list[list[str]]:
    return [_split(line) for line in lines if line.startswith(program)]


def _intended(network: Network, *keys: str, into: str = "") -> list[str]:
    assert network.peer is not None
    own = [] if network.deliver else ["+P", str(network.port), "-od", into]
    return [
        *("movescu", "-v", "-S", "-aet", network.aet, "-aec", network.peer.ae_title),
        *("-to", "30", "-ta", "30", "-aem", network.destination or network.aet, *own),
        *(part for key in keys for part in ("-k", key)),
        *(network.peer.host, str(network.peer.port)),
    ]


def test_scripts_in_the_style_of_the_old_program(tmp_path: Path) -> None:
    network = Network(
        peer=Peer(ae_title="VMSDBD1", host="10.0.0.5", port=51402),
        aet="DCMTK",
        destination="VMSFD1",
        deliver=FOLDER,
    )
    windows, posix = write_commands([CT, MR], network, tmp_path)
    call = "movescu -v -S -aet DCMTK -aec VMSDBD1 -to 30 -ta 30 -aem VMSFD1"
    series = "-k 0008,0052=SERIES -k 0020,000D={} -k 0020,000E={} 10.0.0.5 51402"
    image = "-k 0008,0018={} -k 0008,0052=IMAGE -k 0020,000D={} -k 0020,000E= 10.0.0.5 51402"
    calls = [
        f"{call} {series.format('1.2.1', '1.2.2')}",
        f"{call} {image.format('1.2.3', '1.2.1')}",
        f"{call} {series.format('1.3.1', '1.3.2')}",
        f"{call} {image.format('1.3.3', '')}",
    ]
    assert (windows.name, posix.name) == ("transfer.cmd", "transfer.sh")
    assert [line for line in _windows(windows) if line.startswith("movescu")] == calls
    lines = posix.read_text().splitlines()
    assert [line for line in lines if line.startswith("movescu")] == calls
    for text in (windows.read_text(), posix.read_text()):
        assert "patient 007, plan Plan1, CT series, 120 images, 1 structure set" in text
        assert "patient 007, plan Plan1, MR series, 9 images, 1 registration" in text
        assert "received" not in text
    assert os.access(posix, os.X_OK)


@pytest.mark.skipif(os.name == "nt", reason="runs sh")
@settings(max_examples=60)
@given(networks, ids, ids, st.booleans())
def test_the_shell_script_calls_what_is_meant(
    network: Network, patient_id: str, plan_id: str, deliver: bool
) -> None:
    network = network.model_copy(update={"deliver": FOLDER if deliver else ""})
    request = TransferRequest(Kind.CT, patient_id, plan_id, "1.2.1", "1.2.2", images=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        windows, posix = write_commands([request], network, folder)
        fake = folder / "bin" / "movescu"
        fake.parent.mkdir()
        fake.write_text('#!/bin/sh\nprintf "%s\\0" movescu "$@"\n')
        fake.chmod(0o755)
        path = f"{fake.parent}:{os.defpath}"
        done = subprocess.run(
            [shutil.which("sh") or "sh", str(posix)],
            env={"PATH": path},
            cwd="/",
            capture_output=True,
            check=True,
            timeout=PATIENCE,
        )
        created = [path.relative_to(folder).as_posix() for path in folder.glob("received/*/*/*")]
        others = {path.name for path in folder.iterdir()} - {"received", "bin"}
        lines = _windows(windows)
    into = "" if deliver else created[0]
    keys = ("0008,0052=SERIES", "0020,000D=1.2.1", "0020,000E=1.2.2")
    assert done.stdout.decode().split("\0")[:-1] == _intended(network, *keys, into=into)
    assert not done.stderr
    assert len(created) == (not deliver)
    assert others == {"transfer.cmd", "transfer.sh"}
    assert _calls(lines) == [_intended(network, *keys, into=into)]
    if not deliver:
        plain = folder_name(patient_id)
        assert not plain.isascii() or into == f"received/CT_Export/{plain}/1.2.2"
        [line] = [line for line in lines if line.startswith("if not exist")]
        _, _, _, looked, _, made_by_cmd = _split(line)
        assert looked == made_by_cmd == into.replace("/", "\\")


@given(networks, ids, ids)
def test_remarks_are_nothing_but_remarks(network: Network, patient_id: str, plan_id: str) -> None:
    network = network.model_copy(update={"deliver": FOLDER})
    request = TransferRequest(Kind.CT, patient_id, plan_id, "1.2.1", "1.2.2", images=1)
    with tempfile.TemporaryDirectory() as name:
        windows, posix = write_commands([request, request], network, Path(name))
        lines, shell = _windows(windows), posix.read_text().split("\n")
    fixed = {"", "@echo off", "popd", "set TCP_NODELAY=1", 'pushd "%~dp0" || exit /b 1'}
    fixed |= {"setlocal EnableExtensions DisableDelayedExpansion"}
    rest = [line for line in lines if line not in fixed and not line.startswith("movescu ")]
    assert len(rest) == 3
    assert all(re.fullmatch(r"rem [\w .,:?-]+", line, re.ASCII) for line in rest), rest
    assert sum(line.startswith("#") for line in shell) == 4


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"')))
def test_an_argument_of_a_batch_file_reads_back(argument: str) -> None:
    assert _split(f"movescu {quote_cmd(argument)} end") == ["movescu", argument, "end"]


@pytest.mark.parametrize("argument", ['a"b', "a\nb", "a\r", "\x1a", "ä", "a\0"])
def test_what_no_quoting_makes_safe_is_refused(argument: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be written to a \.cmd file"):
        quote_cmd(argument)


PEER = Peer(ae_title="VMSDBD1", host="10.0.0.5", port=51402)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Network(), "No peer is set"),
        (Network(peer=PEER, aet="@file"), "AE title '@file'"),
        (Network(peer=PEER, aet='a"b'), "AE title"),
        (Network(peer=PEER, destination="Ä"), "AE title 'Ä'"),
        (Network(peer=PEER.model_copy(update={"host": "@file"})), "host is '@file'"),
        (Network(peer=PEER.model_copy(update={"host": "-h"})), "host is '-h'"),
        (Network(peer=PEER, deliver=FOLDER), r"set network\.destination"),
        (Network(peer=PEER, deliver=FOLDER, destination="VMSFD1", retrieve="get"), "C-GET never"),
        (Network(peer=PEER, bind="127.0.0.1"), "listens on all addresses"),
        (Network(peer=PEER, tls=Tls(certificate="c", key="k", ca="a")), "know no TLS"),
    ],
)
def test_settings_that_the_programs_cannot_follow(
    network: Network, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        write_commands([CT], network, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uid", ["*", "1.2.*", "1.2\\1.3", "1.2E+05", "", "1.2 & calc", "1.2\n"])
def test_only_uids_get_into_a_command(uid: str, tmp_path: Path) -> None:
    wrong = TransferRequest(Kind.CT, "007", "", "1.2.1", uid, images=1)
    with pytest.raises(UsageError, match="is no UID"):
        write_commands([CT, wrong], Network(peer=PEER), tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_test_of_the_parser_can_fail() -> None:
    def refused() -> Iterator[str]:
        for line in ("movescu a&b", "movescu %PATH%", 'movescu "a" & "b"', "movescu a^b", 'm "a'):
            try:
                _split(line)
            except AssertionError:
                yield line

    assert len(list(refused())) == 5
    assert _split('m "a & b" "c\\\\" d') == ["m", "a & b", "c\\", "d"]
