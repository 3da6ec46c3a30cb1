"""Command lines of DCMTK's programs: argument lists to run, and scripts for people to run.

DCMTK takes an argument that begins with ``@`` for the name of a file with more arguments, and
``*``, ``?`` and the backslash in a key for a pattern or a list. Only UIDs that are UIDs, and AE
titles and hosts without such characters, get into a command line.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from pydicom.dataset import Dataset

from stardust_esapi.choices import Retrieve
from stardust_esapi.errors import UsageError
from stardust_esapi.files import atomic_write
from stardust_esapi.model import TransferRequest
from stardust_esapi.names import folder_name
from stardust_esapi.settings import Network, Peer
from stardust_esapi.transfer.network.query import identifier
from stardust_esapi.wording import counted

SCRIPT_NAME: Final = "transfer"
"""Of the scripts, without ``.cmd`` and ``.sh``."""

ENVIRONMENT: Final = {"TCP_NODELAY": "1"}
"""For DCMTK's programs: by default their small responses wait for the peer's delayed TCP
acknowledgement, some 40 ms an image (DCMTK, "Environment Variables")."""

_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_HOST = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:-]*")
_CMD_PLAIN = re.compile(r"[A-Za-z0-9_+./:,=-]+")


def import_folder(network: Network) -> Path | None:
    """The File Daemon's folder to collect from; None where the programs receive themselves."""
    path = network.deliver.removeprefix("folder:")
    return Path(path) if path else None


def check_network(network: Network) -> Peer:
    """Make sure that DCMTK's programs can do what is set.

    Returns:
        The peer.

    Raises:
        UsageError: They cannot, or a setting must not get into a command line.
    """
    if network.peer is None:
        raise UsageError("No peer is set. Give --peer AE@HOST:PORT, or network.peer.")
    if network.tls:
        raise UsageError(
            "movescu and getscu know no TLS. Use the engine qr, or take network.tls away."
        )
    receives = not network.deliver
    if network.bind and receives and network.retrieve is Retrieve.MOVE:
        raise UsageError(
            "movescu listens on all addresses. Leave network.bind empty, or use the engine qr."
        )
    if not receives and network.retrieve is Retrieve.GET:
        raise UsageError(
            "C-GET never delivers to a File Daemon. Set network.retrieve to move, or leave "
            "network.deliver empty."
        )
    if not receives and not network.destination:
        raise UsageError(
            "network.deliver names the File Daemon's folder: set network.destination to its AE "
            "title, such as VMSFD1."
        )
    for title in (network.aet, network.peer.ae_title, network.destination or network.aet):
        if not title.isascii() or not title.isprintable() or title[0] == "@" or '"' in title:
            raise UsageError(
                f"The AE title {title!r} cannot be given to DCMTK's programs. Write it in ASCII "
                'without " and without a leading @, or use the engine qr.'
            )
    if not _HOST.fullmatch(network.peer.host):
        raise UsageError(f"The peer's host is {network.peer.host!r}. Write a name or an address.")
    return network.peer


def check_uids(uids: Iterable[str]) -> None:
    """Make sure that UIDs are UIDs: a ``*`` would move whatever the peer has.

    Raises:
        UsageError: One is not.
    """
    for uid in uids:
        if not _UID.fullmatch(uid):
            raise UsageError(
                f"{uid!r} is no UID. A spreadsheet may have damaged it: restore it as text."
            )


def uids_of(request: TransferRequest) -> list[str]:
    """The UIDs that a request names."""
    companions = (request.structure_set_uid, request.registration_uid, request.object_uid)
    return [request.study_uid, request.series_uid, *filter(None, companions)]


def find_command(network: Network, query: Dataset, into: str) -> list[str]:
    """Argument list of ``findscu``; responses are written to files in a folder.

    Args:
        network: As :func:`check_network` takes it.
        query: Identifier of the C-FIND.
        into: The folder.
    """
    return ["findscu", *_common(network), "-X", "-od", into, *_keys(query), *_address(network)]


def retrieve_command(network: Network, query: Dataset, into: str) -> list[str]:
    """Argument list of ``movescu`` or ``getscu``.

    Args:
        network: As :func:`check_network` takes it.
        query: Identifier of the C-MOVE or C-GET.
        into: Folder that instances go to, where the program receives them.
    """
    receive = [] if network.deliver else ["-od", into]
    if network.retrieve is Retrieve.GET:
        command = ["getscu", "-v", *_common(network), *receive]
    else:
        if receive:
            receive = ["+P", str(network.port), *receive]
        move = ["-aem", network.destination or network.aet]
        command = ["movescu", "-v", *_common(network), *move, *receive]
    return [*command, *_keys(query), *_address(network)]


def write_commands(
    requests: Iterable[TransferRequest], network: Network, folder: Path
) -> list[Path]:
    """Write the transfer of a ready list as scripts for Windows and for POSIX shells.

    They need DCMTK on the PATH and nothing of this program. Without a File Daemon the files are
    received into ``received/`` beside the script. The series of a structure set and the study of
    a registration stand in no ready list: these keys are sent empty, which matches any.

    Args:
        requests: The ready list.
        network: The peer, and how to talk to it.
        folder: An existing folder.

    Returns:
        The scripts: ``transfer.cmd`` and ``transfer.sh``.

    Raises:
        UsageError: The settings, or a UID of the list, must not get into a command line.
        OSError: The folder cannot be written to.
    """
    check_network(network)
    steps = [step for request in requests for step in _steps(request, network)]
    windows = [
        "@echo off",
        "rem Run by hand. An exit code of 0 proves nothing: count what arrived.",
        "setlocal EnableExtensions DisableDelayedExpansion",
        'pushd "%~dp0" || exit /b 1',
    ]
    posix = [
        "#!/bin/sh",
        "# Run by hand. An exit code of 0 proves nothing: count what arrived.",
        'cd -- "$(dirname -- "$0")" || exit 1',
    ]
    for name, value in ENVIRONMENT.items():
        windows.append(f"set {name}={value}")
        posix.append(f"export {name}={value}")
    for comment, into, commands in steps:
        windows += ["", f"rem {comment}"]
        posix += ["", f"# {comment}"]
        if not network.deliver:
            path = quote_cmd(str(PureWindowsPath(into)))
            windows.append(f"if not exist {path} mkdir {path}")
            posix.append(shlex.join(["mkdir", "-p", str(into)]))
        windows += [" ".join(map(quote_cmd, command)) for command in commands]
        posix += [shlex.join(command) for command in commands]
    windows += ["", "popd"]
    scripts = [folder / f"{SCRIPT_NAME}.cmd", folder / f"{SCRIPT_NAME}.sh"]
    atomic_write(scripts[0], "".join(f"{line}\r\n" for line in windows))
    atomic_write(scripts[1], "".join(f"{line}\n" for line in posix))
    scripts[1].chmod(0o755)
    return scripts


def quote_cmd(argument: str) -> str:
    """Write one argument for a batch file without delayed expansion.

    Within quotes cmd.exe takes all but ``%`` as it is; the program's own parser (Microsoft,
    "Parsing C command-line arguments") needs backslashes doubled before a quote.

    Raises:
        UsageError: It holds a quote, a control character or one beyond ASCII, whose meaning
            depends on the code page.
    """
    if _CMD_PLAIN.fullmatch(argument):
        return argument
    if '"' in argument or not (argument.isascii() and argument.isprintable()):
        raise UsageError(f"{argument!r} cannot be written to a .cmd file. Use plain characters.")
    trailing = len(argument) - len(argument.rstrip("\\"))
    return '"' + argument.replace("%", "%%") + "\\" * trailing + '"'


def _steps(
    request: TransferRequest, network: Network
) -> Iterator[tuple[str, PurePosixPath, list[list[str]]]]:
    """Comment, folder and commands of one series."""
    check_uids(uids_of(request))
    keys = {"StudyInstanceUID": request.study_uid, "SeriesInstanceUID": request.series_uid}
    if request.object_uid:
        queries = [identifier("IMAGE", **keys, SOPInstanceUID=request.object_uid)]
        what = f"1 {request.kind.words}"
    else:
        queries = [identifier("SERIES", **keys)]
        what = f"{request.kind} series, {counted(request.images, 'image')}"
    # A structure set is kept in its images' study; a registration belongs to two.
    companions = (
        ("1 structure set", request.structure_set_uid, request.study_uid),
        ("1 registration", request.registration_uid, ""),
    )
    for name, uid, study in companions:
        if uid:
            what += f", {name}"
            keys = {"StudyInstanceUID": study, "SeriesInstanceUID": "", "SOPInstanceUID": uid}
            queries.append(identifier("IMAGE", **keys))
    names = (request.kind.folder, folder_name(request.patient_id), folder_name(request.series_uid))
    into = PurePosixPath("received", *map(_ascii, names))
    whose = f"patient {request.patient_id}, plan {request.plan_id or 'not named'}"
    yield (
        # cmd.exe looks for % even in a remark.
        re.sub(r"[^A-Za-z0-9 .,_-]", "?", f"{whose}, {what}"),
        into,
        [retrieve_command(network, query, str(into)) for query in queries],
    )


def _ascii(name: str) -> str:
    """Write what is beyond ASCII as :func:`folder_name` writes what is unsafe."""
    return "".join(c if c.isascii() else "".join(f"%{b:02X}" for b in c.encode()) for c in name)


def _common(network: Network) -> list[str]:
    assert network.peer is not None
    seconds = str(math.ceil(network.timeout))
    titles = ["-aet", network.aet, "-aec", network.peer.ae_title]
    return ["-S", *titles, "-to", seconds, "-ta", seconds]


def _address(network: Network) -> list[str]:
    assert network.peer is not None
    return [network.peer.host, str(network.peer.port)]


def _keys(query: Dataset) -> list[str]:
    keys = []
    for element in query:
        tag = f"{element.tag.group:04X},{element.tag.element:04X}"
        keys += ["-k", f"{tag}={element.value or ''}"]
    return keys
