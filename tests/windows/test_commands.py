"""The written .cmd in cmd.exe: what it gives to movescu is what was meant."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stardust_esapi.model import Kind, TransferRequest
from stardust_esapi.settings import Network, Peer
from stardust_esapi.transfer.network.dcmtk_commands import write_commands

STAND_IN = Path(__file__).parents[2] / "build" / "windows" / "movescu.exe"
GIVES_UP = b" || exit /b 1"
UIDS = ("1.2.1", "1.2.2", "1.2.3")
PLAIN = ("A", "B", "C", "0815", "Plan1")
# Peer, own and destination's AE title; patient id and plan.
NAMES = [
    PLAIN,
    ("%PATH%", "%%", "%", "%0815%", "%~dp0"),
    ("a^b", "^", "^^", "A^B", "^"),
    ("a&b", "&echo", "|more", "A & del *", "a|b>c<d"),
    ("!PATH!", "(a)", ")", "!x!", "(x)"),
    ("A B", "a, b;c=d", "end .", "PAT ID 7.", "Plan \\"),
    ("'a'", "`b`", "$c ~*?", "Müller Ä", "ß→☃"),
    ("-k", "--", "/c", "con", "nul"),
    ("#", "a=b", "a,b", 'A"B', "a/b\\c"),
]


@pytest.mark.parametrize("folder", ["plain", "Übung & ^mehr (1)!"])
def test_every_argument_arrives(tmp_path: Path, folder: str) -> None:
    (tmp_path / "bin").mkdir()
    shutil.copy(STAND_IN, tmp_path / "bin")
    calls = tmp_path / "calls"
    expected = []
    for number, (peer, own, destination, patient, plan) in enumerate(NAMES):
        network = Network(
            peer=Peer(ae_title=peer, host="10.0.0.5", port=51402),
            aet=own,
            destination=destination,
        )
        place = tmp_path / folder / str(number)
        place.mkdir(parents=True)
        request = TransferRequest(Kind.CT, patient, plan, *UIDS, images=3)
        script, _ = write_commands([request], network, place)
        # Wine's cmd does what follows || even after success.
        text = script.read_bytes()
        assert (text.count(b"||"), text.count(GIVES_UP)) == (1, 1)
        script.write_bytes(text.replace(GIVES_UP, b""))
        subprocess.run(
            ["cmd", "/c", script.name],
            env=os.environ
            | {"PATH": f"{tmp_path / 'bin'};{os.environ['PATH']}", "MOVESCU_CALLS": str(calls)},
            check=True,
            stdin=subprocess.PIPE,
            cwd=place,
        )
        [into] = [path.relative_to(place).as_posix() for path in place.glob("received/*/*/*")]
        assert sorted(path.name for path in place.iterdir()) == [
            *("received", "transfer.cmd", "transfer.sh")
        ]
        first = ["-v", "-S", "-aet", own, "-aec", peer, "-to", "30", "-ta", "30"]
        first += ["-aem", destination, "+P", str(network.port), "-od", into]
        for keys in (
            ["0008,0052=SERIES", "0020,000D=1.2.1", "0020,000E=1.2.2"],
            ["0008,0018=1.2.3", "0008,0052=IMAGE", "0020,000D=1.2.1", "0020,000E="],
        ):
            flags = [word for key in keys for word in ("-k", key)]
            expected.append([*first, *flags, "10.0.0.5", "51402"])
    told = calls.read_text("utf-8").removesuffix("\n\n").split("\n\n")
    assert [call.split("\n") for call in told] == expected
