"""Feed what reads files and connections of others with inputs that are almost right.

Run ``python benchmarks/fuzz.py TARGET --inputs 100000``; it needs Linux. No input may end in an
exception that is no sentence, take longer than a minute, or have the process grow by 500 MB. Input
17 of seed 1 is the same each time: what fails is told with the command that repeats it.

Where atheris is installed (``pip install atheris``, Linux and Python up to 3.13), ``--coverage``
has it choose the inputs by what they reach; it keeps what failed in a file of its own.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import io
import random
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from loguru import logger

MOST_MB = 500
LONGEST = 60  # seconds
LOOPBACK = "127.0.0.1"
ODD = (
    b"", b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\xff\xff", b"\x80\0", b"nan",
    b"1e400", b"-", b"\\", b"0", b"99999999999999999999", b";", b'"', b"\n", b"\0\0\0\0", b"'",
)  # fmt: skip

One = Callable[[bytes], None]
"""Takes an input; raises where the product does what it must not."""


class Target:
    """What is fed: the inputs that others are made from, and what takes one."""

    def __init__(self, seeds: list[bytes], one: One) -> None:
        self.seeds = seeds
        self.one = one


# --- inputs --------------------------------------------------------------------------------------


def almost(target: Target, chance: random.Random) -> bytes:
    """A seed with some changes."""
    data = bytearray(chance.choice(target.seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8, 20))):
        at = chance.randrange(len(data) + 1)
        length = min(chance.choice((1, 2, 4, 8, 16, 64, 512)), len(data) - at)
        match chance.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at : at + length] = chance.choice(ODD)
            case 2:
                data[at:at] = chance.choice(ODD)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * chance.choice((1, 1, 2, 50))
            case 5:
                other = chance.choice(target.seeds)
                there = chance.randrange(len(other) + 1)
                data[at : at + length] = other[there : there + length]
            case _:
                data[at : at + length] = chance.randbytes(length)
    return bytes(data)


# --- targets -------------------------------------------------------------------------------------


def _phantom(folder: Path, patient_id: str = "FUZZ") -> list[Path]:
    """A small patient with CT, MR, structure set, plan and registration."""
    from esapi_stub.sample import Box, Phantom, PhantomMr, PhantomStructure, write_phantom

    box = Box((0.0, 0.0, 0.0), (6.0, 6.0, 6.0))
    structures = (PhantomStructure("GTV1", "GTV", box), PhantomStructure("PTV1", "PTV", box))
    mr = PhantomMr(size=(8, 8, 2))
    write_phantom(folder, Phantom(patient_id, size=(8, 8, 2), structures=structures, mr=mr))
    return sorted(folder.iterdir())


@contextmanager
def readers(folder: Path) -> Iterator[Target]:
    """All that reads DICOM files of others."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

    from stardust_esapi.dicom.instance import owner_of, read_instance
    from stardust_esapi.dicom.read_registration import read_mr_to_ct
    from stardust_esapi.dicom.read_series import read_stack
    from stardust_esapi.dicom.read_structure_set import read_structures
    from stardust_esapi.errors import CaseError

    for path in _phantom(folder / "all"):
        modality = pydicom.dcmread(path).Modality
        if modality in ("CT", "MR"):
            (folder / modality).mkdir(exist_ok=True)
            path.rename(folder / modality / f"{modality}.{path.name}")
    ct, mr = (read_stack(folder / kind) for kind in ("CT", "MR"))
    paths = [min((folder / kind).iterdir()) for kind in ("CT", "MR")]
    paths += sorted((folder / "all").iterdir())
    seeds = [path.read_bytes() for path in paths]
    compressed = pydicom.dcmread(paths[0])
    compressed.compress(RLELossless, generate_instance_uid=False)
    deflated = pydicom.dcmread(paths[0])
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    for ds in (compressed, deflated):
        file = io.BytesIO()
        ds.save_as(file)
        seeds.append(file.getvalue())
    (folder / "one").mkdir()
    path = folder / "one" / "CT.dcm"
    other = replace(mr, frame_of_reference_uid="1.2.3")

    def one(data: bytes) -> None:
        path.write_bytes(data)
        owner_of(path)
        for read in (
            lambda: read_instance("CT.dcm", data),
            lambda: read_stack(path.parent).values(),
            lambda: read_structures(path),
            lambda: read_mr_to_ct([path], other, ct),
        ):
            with suppress(CaseError):
                read()

    yield Target(seeds, one)


@contextmanager
def lists(folder: Path) -> Iterator[Target]:
    """Case lists: text, parts of a workbook, whole workbooks; the first byte says which."""
    import openpyxl

    from stardust_esapi.caselist import read_case_list
    from stardust_esapi.caselist.column_names import MINING, TAIL
    from stardust_esapi.errors import UsageError

    uid = "1.2.840.113619.2.55.3.{}"
    rows = [[*MINING, *TAIL]]
    for number in range(3):
        cells = dict.fromkeys(rows[0], "")
        cells |= {"Patient-ID": f"000{number}", "SeriesUID": uid.format(number), "PlanID": "Plan1"}
        cells |= {"TargetID": "PTV1", "GTV": "GTV1", "GTV-Volume": "41.5", "StructureSetID": "CT_1"}
        cells |= {"MR_Series_UID": uid.format(9), "MR_Slices": "180", "Comment": "gut"}
        rows.append(list(cells.values()))
    text = "\n".join(";".join(row) for row in rows)
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(folder / "seed.xlsx")
    workbook = (folder / "seed.xlsx").read_bytes()
    with zipfile.ZipFile(io.BytesIO(workbook)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet, strings = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
    # As Excel has it: a text that several cells share stands in a part of its own.
    parts[sheet] = parts[sheet].replace(b't="inlineStr"><is><t>gut</t></is>', b't="s"><v>0</v>')
    parts[strings] = b"<sst><si><t>gut</t></si></sst>"
    kinds = {0: "text", 1: sheet, 2: strings, 3: "xl/workbook.xml", 4: "file"}
    seeds = [b"\0" + text.encode(), b"\0" + text.replace(";", ",").encode("utf-16")]
    seeds += [bytes([kind]) + parts[name] for kind, name in kinds.items() if name in parts]
    seeds.append(b"\4" + workbook)

    def one(data: bytes) -> None:
        kind = kinds[data[0] % len(kinds)] if data else "text"
        path, content = folder / "list.xlsx", data[1:]
        if kind == "text":
            path = folder / "list.csv"
        elif kind in parts:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                for name, part in (parts | {kind: content}).items():
                    archive.writestr(name, part)
            content = file.getvalue()
        path.write_bytes(content)
        with suppress(UsageError):
            read_case_list(path)

    yield Target(seeds, one)


@contextmanager
def stub(folder: Path) -> Iterator[Target]:
    """A stub database from a folder with one odd file. The first byte says in place of which."""
    from pydicom import dcmread

    from esapi_stub.build import build

    dicom = folder / "dicom"
    for path in _phantom(dicom / "whole", "WHOLE"):
        if dcmread(path).Modality != "CT":  # its images are enough
            path.unlink()
    files = _phantom(dicom / "odd")
    seeds = [bytes([number]) + path.read_bytes() for number, path in enumerate(files)]

    def one(data: bytes) -> None:
        path = files[data[0] % len(files)] if data else files[0]
        before = path.read_bytes()
        path.write_bytes(data[1:])
        try:
            report = build(dicom, folder / "db")
        finally:
            path.write_bytes(before)
        assert report.patients > 0

    yield Target(seeds, one)


@contextmanager
def receiver(folder: Path) -> Iterator[Target]:
    """All that is sent over one connection to our port."""
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    from stardust_esapi.settings import Network
    from stardust_esapi.transfer.network.inbox import Inbox
    from stardust_esapi.transfer.network.receiver import Receiver

    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    network = Network(
        peer=f"PEER@{LOOPBACK}:104", aet="OURS", port=port, bind=LOOPBACK, timeout=LONGEST / 2
    )
    failures: list[str] = []
    logger.add(failures.append, level="ERROR")
    threading.excepthook = lambda failed: failures.extend(
        traceback.format_exception(failed.exc_value)
    )
    # PS3.8 9.3.2 and PS3.7 9.3.1.
    whole = _associate("OURS", "PEER", CTImageStorage, ExplicitVRLittleEndian)
    stranger = _associate("OURS", "OTHER", CTImageStorage, ExplicitVRLittleEndian)
    dataset = struct.pack("<HH2sH", 8, 0x18, b"UI", 6) + b"1.2.3\0"
    whole += _data(_store_command(CTImageStorage), 3) + _data(dataset, 2)
    release = _pdu(5, bytes(4))
    inbox = Inbox(folder / "quarantine")

    def one(data: bytes) -> None:
        connection = socket.create_connection((LOOPBACK, port), timeout=LONGEST)
        with connection, suppress(ConnectionError):
            connection.sendall(data)
            with suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass
        for kept in inbox.quarantined:
            if kept.path:
                kept.path.unlink()
        inbox.quarantined.clear()
        if failures:
            raise AssertionError("".join(failures))

    with Receiver(network, inbox.store):
        yield Target(
            [whole + release, whole, stranger, whole + whole, whole + _pdu(7, bytes(4))], one
        )


def _pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(content)) + content


def _associate(called: str, calling: str, sop_class: str, syntax: str) -> bytes:
    def item(kind: int, content: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(content)) + content

    context = b"\1\0\0\0" + item(0x30, sop_class.encode()) + item(0x40, syntax.encode())
    user = item(0x51, struct.pack(">L", 1 << 14)) + item(0x52, b"1.2.3.4") + item(0x55, b"FUZZ")
    titles = struct.pack(">HH", 1, 0) + called.ljust(16).encode() + calling.ljust(16).encode()
    application = item(0x10, b"1.2.840.10008.3.1.1.1")
    return _pdu(1, titles + bytes(32) + application + item(0x20, context) + item(0x50, user))


def _data(fragment: bytes, control: int) -> bytes:
    return _pdu(4, struct.pack(">LBB", len(fragment) + 2, 1, control) + fragment)


def _store_command(sop_class: str) -> bytes:
    def uid(text: str) -> bytes:
        return text.encode() + b"\0" * (len(text) % 2)

    values = {2: uid(sop_class), 0x100: b"\1\0", 0x110: b"\1\0", 0x700: b"\0\0", 0x800: b"\0\0"}
    values[0x1000] = uid("1.2.3")
    elements = b"".join(struct.pack("<HHL", 0, e, len(v)) + v for e, v in values.items())
    return struct.pack("<HHLL", 0, 0, 4, len(elements)) + elements


TARGETS = {"readers": readers, "lists": lists, "stub": stub, "receiver": receiver}


# --- the loop ------------------------------------------------------------------------------------


def memory_mb() -> float:
    """The most that the process has had so far (of its parent, ``getrusage`` would tell too)."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def feed(target: Target, name: str, numbers: range, seed: int, until: float) -> int:
    """Feed a target with the inputs of these numbers, until the time is up; how many they were."""
    count, before = 0, memory_mb()
    for number in numbers:
        if time.monotonic() > until:
            break
        data = almost(target, random.Random(f"{name} {seed} {number}"))
        repeat = f"python benchmarks/fuzz.py {name} --seed {seed} --from {number} --inputs 1"
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        try:
            target.one(data)
        except BaseException:
            print(f"{name}: an input failed. Repeat it: {repeat}", file=sys.stderr)
            raise
        finally:
            faulthandler.cancel_dump_traceback_later()
        if (more := memory_mb() - before) > MOST_MB:
            raise SystemExit(f"{name}: {more:.0f} MB more after an input. Repeat it: {repeat}")
        count += 1
    return count


def main(arguments: list[str] | None = None) -> None:
    """Feed one target, and print how many inputs it has taken, and what they took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no longer than this")
    parser.add_argument("--coverage", action="store_true", help="by atheris, see above")
    wanted = parser.parse_args(arguments)
    logger.remove()  # of what is refused, there is much
    if wanted.coverage:
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=["stardust_esapi", "esapi_stub", "pydicom"]):
            _by_coverage(atheris, wanted)
        return
    with tempfile.TemporaryDirectory() as name, TARGETS[wanted.target](Path(name)) as target:
        for seed in target.seeds:
            target.one(seed)
        numbers = range(wanted.first, wanted.first + wanted.inputs)
        began = time.monotonic()
        count = feed(target, wanted.target, numbers, wanted.seed, began + wanted.seconds)
        taken = time.monotonic() - began
        print(f"{wanted.target}: {count} inputs, {taken:.0f} s, at most {memory_mb():.0f} MB")


def _by_coverage(atheris: ModuleType, wanted: argparse.Namespace) -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "work").mkdir()
        (folder / "corpus").mkdir()
        target = stack.enter_context(TARGETS[wanted.target](folder / "work"))
        for number, seed in enumerate(target.seeds):
            (folder / "corpus" / str(number)).write_bytes(seed)
        options = {"runs": wanted.inputs, "seed": wanted.seed, "rss_limit_mb": MOST_MB}
        options |= {"timeout": LONGEST, "max_len": 1 << 16, "print_final_stats": 1}
        if wanted.seconds < float("inf"):
            options["max_total_time"] = int(wanted.seconds)
        atheris.Setup(
            [
                sys.argv[0],
                *(f"-{key}={value}" for key, value in options.items()),
                str(folder / "corpus"),
            ],
            target.one,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
