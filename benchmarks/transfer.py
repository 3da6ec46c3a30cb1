"""How fast series of CT slices come from a Query/Retrieve SCP: our engine beside other receivers.

Run ``python benchmarks/transfer.py``: some 15 minutes, 3 GB in a temporary folder; it needs Linux,
DCMTK and Orthanc. The tables are printed, and written into ``docs/performance.md``.

Each receiver listens before its time begins and ends after it; imports of Python do not count.

DCMTK as it comes loses 44 ms an image to Nagle's algorithm. ``TCP_NODELAY=1`` in the environment of
its programs, the sender's and the receiver's, switches that off: so it is measured first, and what
it then takes is what everything is compared with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from page import write_tables

ROOT = Path(__file__).parents[1]
LOOPBACK = "127.0.0.1"
SLICES = 200
LARGE_PDU = "131072"
OURS = "**ours**, fetch alone"
ANCHOR = "DCMTK: `movescu` to `storescp +B`, PDU 128 KiB"
ASKED = "DCMTK: `findscu`, then the same"
NODELAY = " with `TCP_NODELAY=1`"
"""How the name of a peer ends where it runs, with all receivers, without Nagle's algorithm."""


@dataclass(frozen=True)
class Series:
    """One series at the peer; a patient and a study of its own."""

    patient_id: str
    study_uid: str
    series_uid: str


@dataclass(frozen=True)
class Job:
    """What a receiver is to do; the same for all of them."""

    peer: str
    peer_port: int
    aet: str
    port: int
    series: tuple[Series, ...]
    folder: str

    @property
    def images(self) -> int:
        return SLICES * len(self.series)


@dataclass(frozen=True)
class Taken:
    """Seconds, and the most memory that one of our or pynetdicom's processes had, MB."""

    seconds: float
    memory: float = 0.0


# --- the receivers -------------------------------------------------------------------------------


def run_dcmtk(job: Job, program: str, *options: str, level: str = "SERIES") -> None:
    """Fetch one series after the other, as the command files of the old program do."""
    for one in job.series:
        subprocess.run(
            [
                *(program, "-S", "-aet", job.aet, "-aec", job.peer, *options),
                *("-k", f"0008,0052={level}", "-k", f"0020,000D={one.study_uid}"),
                *("-k", f"0020,000E={one.series_uid}", LOOPBACK, str(job.peer_port)),
            ],
            check=True,
            cwd=job.folder,  # movescu +B writes there even with -od
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


def movescu_alone(job: Job, *options: str) -> Taken:
    return timed(partial(run_dcmtk, job, "movescu", *options, "+P", str(job.port)))


def getscu(job: Job, *options: str) -> Taken:
    return timed(partial(run_dcmtk, job, "getscu", *options))


def movescu_to_storescp(job: Job, *options: str, asked: bool = False) -> Taken:
    from dicom_peers import wait_for_port

    def move() -> None:
        if asked:  # which images there are, as our engine does before it has them sent
            run_dcmtk(job, "findscu", "-k", "0008,0018", level="IMAGE")
        run_dcmtk(job, "movescu", "-aem", job.aet)

    receiver = subprocess.Popen(
        ["storescp", *options, str(job.port)], cwd=job.folder, stdout=subprocess.DEVNULL
    )
    try:
        wait_for_port(job.port, receiver)
        return timed(move)
    finally:
        receiver.terminate()
        receiver.wait()


def copy(job: Job, source: Path) -> Taken:
    folders = [source / one.series_uid for one in job.series]
    return timed(lambda: subprocess.run(["cp", "-r", *folders, job.folder], check=True))


def plain(job: Job, at_a_time: int) -> Taken:
    """Receive as pynetdicom's own examples do: decode each dataset and save it."""
    from pydicom.dataset import Dataset
    from pynetdicom import AE, StoragePresentationContexts, evt
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

    def store(event: evt.Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        dataset.save_as(Path(job.folder, f"{dataset.SOPInstanceUID}.dcm"), True)
        return 0

    def move(one: Series) -> None:
        wanted = Dataset()
        wanted.QueryRetrieveLevel = "SERIES"
        wanted.StudyInstanceUID = one.study_uid
        wanted.SeriesInstanceUID = one.series_uid
        mover = AE(job.aet)
        mover.add_requested_context(Move)
        association = mover.associate(LOOPBACK, job.peer_port, ae_title=job.peer)
        for _ in association.send_c_move(wanted, job.aet, Move):
            pass
        association.release()

    receiver = AE(job.aet)
    receiver.supported_contexts = StoragePresentationContexts
    server = receiver.start_server(
        (LOOPBACK, job.port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    with ThreadPoolExecutor(at_a_time) as pool:
        taken = timed(lambda: list(pool.map(move, job.series)))
    server.shutdown()
    return taken


def ours(job: Job, *, verified: bool) -> Taken:
    """Fetch with our engine, or deliver: fetch, prove every file, make all durable, rename."""
    from stardust_esapi.model import Case, Kind, TransferRequest
    from stardust_esapi.record.ledger import Ledger
    from stardust_esapi.settings import Network, Peer
    from stardust_esapi.transfer.deliver import deliver
    from stardust_esapi.transfer.network.qr_engine import QrEngine

    root = Path(job.folder)
    network = Network(
        peer=Peer(ae_title=job.peer, host=LOOPBACK, port=job.peer_port),
        aet=job.aet,
        port=job.port,
        bind=LOOPBACK,
        associations=2,  # for several series
    )
    requests = [
        TransferRequest(Kind.CT, s.patient_id, "Plan1", s.study_uid, s.series_uid, images=SLICES)
        for s in job.series
    ]
    cases = [
        Case(row, one.patient_id, plan_id="Plan1", series_uid=one.series_uid)
        for row, one in enumerate(job.series, 2)
    ]

    def advance(_: int) -> None:
        pass

    def fetch(request: TransferRequest) -> None:
        (root / request.series_uid).mkdir()
        engine.fetch(request, root / request.series_uid, advance)

    def prove(case: Case, request: TransferRequest) -> None:
        with ledger.sibling() as own:
            deliver(case, [request], engine, own, root, lambda _, images: advance(images))

    with (
        QrEngine(network, root / "quarantine") as engine,
        ThreadPoolExecutor(network.associations) as pool,
    ):
        if not verified:
            return timed(lambda: list(pool.map(fetch, requests)))
        with Ledger(root) as ledger:
            ledger.begin_run(version="", esapi="", engine="qr", case_list="")
            ledger.register(cases)
            for case, request in zip(cases, requests, strict=True):
                ledger.prepared(case, [request])
            return timed(lambda: list(pool.map(prove, cases, requests)))


IN_A_CHILD: dict[str, Callable[[Job], Taken]] = {
    "plain": partial(plain, at_a_time=1),
    "plain-2": partial(plain, at_a_time=2),
    "fetch": partial(ours, verified=False),
    "deliver": partial(ours, verified=True),
}


def child(job: Job, what: str) -> Taken:
    """Run a Python receiver in a process of its own, which tells what it took."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what],
        input=json.dumps(asdict(job)),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Taken(**json.loads(done.stdout))


def be_child(what: str) -> None:
    values = json.load(sys.stdin)
    values["series"] = tuple(Series(**one) for one in values["series"])
    if what.startswith("plain"):
        import pynetdicom  # noqa: F401 - its import is not what is measured
    else:
        from loguru import logger

        import stardust_esapi.transfer.network.qr_engine  # noqa: F401

        logger.remove()
        logger.add(sys.stderr, level="WARNING")
    taken = IN_A_CHILD[what](Job(**values))
    # Not getrusage: what it tells begins with the parent's peak.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    print(json.dumps({"seconds": taken.seconds, "memory": peak}))


def timed(work: Callable[[], object]) -> Taken:
    started = time.perf_counter()
    work()
    return Taken(time.perf_counter() - started)


@dataclass(frozen=True)
class Method:
    """One receiver.

    Attributes:
        name: As the table calls it.
        run: Receives all series of a job.
        single: Whether it takes part where there is one series.
    """

    name: str
    run: Callable[[Job], Taken]
    single: bool = True


def all_methods(source: Path) -> list[Method]:
    fast = ("+B", "-pdu", LARGE_PDU)
    return [
        Method(ANCHOR, lambda j: movescu_to_storescp(j, *fast)),
        Method(ASKED, lambda j: movescu_to_storescp(j, *fast, asked=True)),
        Method(OURS, partial(child, what="fetch")),
        Method("**ours**, verified, durable, in place", partial(child, what="deliver")),
        Method("plain pynetdicom", partial(child, what="plain")),
        Method(
            "plain pynetdicom, 2 series at a time", partial(child, what="plain-2"), single=False
        ),
        Method("DCMTK: `movescu` to `storescp`", movescu_to_storescp),
        Method("DCMTK: `getscu +B`, PDU 128 KiB", lambda j: getscu(j, *fast)),
        Method("DCMTK: `getscu`", getscu),
        Method("DCMTK: `movescu +P +B`, PDU 128 KiB", lambda j: movescu_alone(j, *fast)),
        Method("DCMTK: `movescu +P`", movescu_alone),
        Method("`cp` of the files", partial(copy, source=source)),
    ]


# --- the peers and what they hold ----------------------------------------------------------------


def make_series(folder: Path, number: int) -> Series:
    """Write a CT of 200 slices with noise in them, as valid files."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    chance = np.random.default_rng(number)
    one = Series(f"BENCH{number:03d}", generate_uid(), generate_uid())
    frame = generate_uid()
    (folder / one.series_uid).mkdir(parents=True)
    for index in range(SLICES):
        ds = Dataset()
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid()
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.StudyDate, ds.StudyTime = "20240103", "101112"
        ds.Modality, ds.Manufacturer = "CT", "Benchmark"
        ds.AccessionNumber = ds.ReferringPhysicianName = ""
        ds.PatientName, ds.PatientID = "Benchmark", one.patient_id
        ds.PatientBirthDate = ds.PatientSex = ""
        ds.StudyInstanceUID, ds.SeriesInstanceUID = one.study_uid, one.series_uid
        ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 1, index + 1
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = frame, ""
        ds.ImagePositionPatient, ds.SliceThickness = [-250, -250, index * 2], 2
        ds.ImageOrientationPatient, ds.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.977, 0.977]
        ds.KVP, ds.AcquisitionNumber = "120", 1
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = 512
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope = 1, 0, 1
        ds.PixelData = chance.integers(-1000, 1000, (512, 512), np.int16).tobytes()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.save_as(folder / one.series_uid / f"CT{index:03d}.dcm", enforce_file_format=True)
    return one


@contextmanager
def peer(name: str, folder: Path, our_port: int, source: Path) -> Iterator[tuple[str, int]]:
    """Start a peer that holds the series; gives its AE title and port."""
    import dicom_peers

    program = name.removesuffix(NODELAY)
    start = {"dcmqrscp": dicom_peers.dcmqrscp, "orthanc": dicom_peers.orthanc}[program]
    home = folder / name.replace(NODELAY, "-nodelay")
    os.environ["TCP_NODELAY"] = str(int(name.endswith(NODELAY)))  # the receivers inherit it too
    with start(home, our_port) as node:
        if program == "dcmqrscp":
            # It need not be sent what lies on its disk. Sent to by several at the same time, it
            # takes one's file for the other's.
            files = sorted(source.rglob("*.dcm"))
            fillers = [["dcmqridx", str(home / "db"), *map(str, files)]]
        else:
            storescu = ["storescu", "-aec", node.ae_title, "-pdu", LARGE_PDU, "+sd"]
            fillers = [
                [*storescu, LOOPBACK, str(node.port), str(series)] for series in source.iterdir()
            ]
        # All at the same time: storescu waits most of the time.
        running = [subprocess.Popen(filler) for filler in fillers]
        if sum(filler.wait() for filler in running):
            raise SystemExit(f"{name} did not take the series it should hold")
        yield node.ae_title, node.port


# --- the measurement -----------------------------------------------------------------------------

Results = dict[str, list[Taken]]
"""By method: what each round took."""


def measure(methods: list[Method], job: Job, repeat: int) -> Results:
    """Let the methods take turns, so that a busy moment of the machine hits them all."""
    chosen = [method for method in methods if method.single or len(job.series) > 1]
    results: Results = {method.name: [] for method in chosen}
    for turn in range(repeat):
        for method in chosen:
            taken = run_once(method, job)
            results[method.name].append(taken)
            print(
                f"{job.peer:9} {len(job.series):3} series, round {turn + 1}: {taken.seconds:7.2f} s"
                f" {taken.memory:5.0f} MB  {method.name}",
                flush=True,
            )
    return results


def run_once(method: Method, job: Job) -> Taken:
    folder = Path(job.folder)
    folder.mkdir()
    os.sync()
    try:
        taken = method.run(job)
        images = sum(
            path.stat().st_size > 512 * 512 * 2 and not path.name.startswith("ledger")
            for path in folder.rglob("*")
        )
        if images != job.images:
            raise SystemExit(f"{method.name} brought {images} of {job.images} images")
    finally:
        shutil.rmtree(folder)
    return taken


def ratio(results: Results, name: str, base: str) -> float:
    """How many times as long as another a method took: the median over the rounds of both."""
    return statistics.median(
        taken.seconds / other.seconds
        for taken, other in zip(results[name], results[base], strict=True)
    )


def median(results: Results, name: str) -> float:
    return statistics.median(taken.seconds for taken in results[name])


def memory(results: Results, name: str) -> float:
    return max(taken.memory for taken in results[name])


def table(peer_name: str, methods: list[Method], found: dict[int, Results]) -> Iterator[str]:
    """One peer's table: for each number of series seconds, images a second, times the anchor."""
    counts = sorted(found)
    heads = [f"{n} series, s | images/s | times DCMTK" for n in counts]
    yield f"| from {peer_name} | {' | '.join(heads)} | memory, MB |"
    yield f"| --- {'| ---: ' * (3 * len(counts) + 1)}|"
    for method in methods:
        cells = []
        for count in counts:
            results = found[count]
            if method.name in results:
                seconds = median(results, method.name)
                cells += [f"{seconds:.2f}", f"{SLICES * count / seconds:.0f}"]
                cells.append(f"{ratio(results, method.name, ANCHOR):.2f}")
            else:
                cells += ["", "", ""]
        most = max((memory(r, method.name) for r in found.values() if method.name in r), default=0)
        yield f"| {method.name} | {' | '.join(cells)} | {f'{most:.0f}' if most else ''} |"


def bars(methods: list[Method], found: dict[str, dict[int, Results]]) -> Iterator[str]:
    """What was promised, and whether it is so."""
    yield "| bar | measured | met |"
    yield "| --- | --- | --- |"

    def row(bar: str, unit: str, values: dict[str, float], met: Callable[[float], bool]) -> str:
        text = ", ".join(f"{where}: {value:.2f}{unit}" for where, value in values.items())
        return f"| {bar} | {text} | {'yes' if all(map(met, values.values())) else '**no**'} |"

    def each(name: str, base: str, peers: Sequence[str] = ()) -> dict[str, float]:
        return {
            f"{peer_name} {count}": ratio(results, name, base)
            for peer_name, counts in found.items()
            for count, results in counts.items()
            if name in results and peer_name in (peers or found)
        }

    even = [name for name in found if name.endswith(NODELAY)]
    if even:
        both = "`TCP_NODELAY=1` on both sides"
        for what, base in (("`findscu` and `movescu`", ASKED), ("`movescu` alone", ANCHOR)):
            bar = f"at most twice the time of {what}, {both}"
            yield row(bar, "", each(OURS, base, even), lambda r: r <= 2)
    if "dcmqrscp" in found:
        alone = each("DCMTK: `movescu +P`", OURS, ["dcmqrscp"])
        yield row("at least 8 times `movescu +P`, as it comes", "", alone, lambda r: r >= 8)
    yield row(
        "at least 1.3 times the plain pynetdicom receiver",
        "",
        each("plain pynetdicom", OURS),
        lambda r: r >= 1.3,
    )
    most = {
        f"{peer_name} {count}": max(
            memory(results, m.name) for m in methods if m.name.startswith("**ours")
        )
        for peer_name, counts in found.items()
        for count, results in counts.items()
    }
    yield row("at most 250 MB of memory", " MB", most, lambda mb: mb <= 250)


def versions() -> str:
    from importlib.metadata import version

    words = subprocess.run(["movescu", "--version"], capture_output=True, text=True, check=False)
    dcmtk = words.stdout.partition("dcmtk: movescu v")[2].split()[0]
    orthanc = subprocess.run(["Orthanc", "--version"], capture_output=True, text=True, check=False)
    return (
        f"{os.cpu_count()} cores, Linux {os.uname().release.partition('-')[0]}, "
        f"Python {sys.version.split()[0]}, pynetdicom {version('pynetdicom')}, DCMTK {dcmtk}, "
        f"Orthanc {orthanc.stdout.split()[1]}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", default="1,10", help="numbers of series, such as 1,10")
    parser.add_argument("--peers", default="dcmqrscp,orthanc")
    parser.add_argument("--nodelay", action="store_true", help="only with TCP_NODELAY=1, no page")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--quick", action="store_true", help="1 and 2 series, 1 round, no page")
    parser.add_argument("--child", choices=IN_A_CHILD, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        be_child(wanted.child)
        return
    sys.path.insert(0, str(ROOT / "tests"))
    from dicom_peers import OUR_AET, free_port

    counts = [1, 2] if wanted.quick else [int(count) for count in wanted.series.split(",")]
    found: dict[str, dict[int, Results]] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = root / "source"
        series = tuple(make_series(source, number) for number in range(max(counts)))
        methods = all_methods(source)
        programs = wanted.peers.split(",")
        as_they_come = [] if wanted.nodelay else programs
        for peer_name in [f"{one}{NODELAY}" for one in programs] + as_they_come:
            port = free_port()
            with peer(peer_name, root, port, source) as (ae_title, peer_port):
                # With Nagle's algorithm it is all one wait: one series tells.
                for count in counts if peer_name.endswith(NODELAY) else counts[:1]:
                    job = Job(ae_title, peer_port, OUR_AET, port, series[:count], str(root / "out"))
                    results = measure(methods, job, 1 if wanted.quick else wanted.repeat)
                    found.setdefault(peer_name, {})[count] = results
    lines = [f"{datetime.now(UTC):%Y-%m-%d}, {versions()}.", "", *bars(methods, found)]
    for peer_name, results_of in found.items():
        lines += ["", *table(peer_name, methods, results_of)]
    print("\n".join(lines))
    if not wanted.quick and not wanted.nodelay:
        write_tables("benchmarks/transfer.py", lines)


if __name__ == "__main__":
    main()
