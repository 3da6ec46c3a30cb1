"""The internal layer of the C# stub gives what the Python stub gives: the very same doubles.

A small program answers questions, one a line: it is compiled from the layer's own sources.
"""

from __future__ import annotations

import json
import random
import subprocess
import warnings
from copy import deepcopy
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pydicom.valuerep import format_number_as_ds
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from skimage.measure import find_contours, label

from esapi_stub import database, resample, rtstruct, system
from esapi_stub.build import build
from esapi_stub.database import Database
from esapi_stub.grid import Grid, area_and_centroid, coverage, inside
from esapi_stub.records import SeriesRecord, SliceRecord, derived_uid, numbered, unique
from esapi_stub.rtstruct import StructureRecord
from esapi_stub.sample import Phantom, PhantomContrast, PhantomMr, Sphere, write_phantom

SOURCES = Path(__file__).parents[2] / "stubs" / "csharp" / "Stub"
REAL = Path(__file__).parents[2] / "stubs" / "esapi_stub" / "sample" / "data" / "rtss.dcm"
LIBRARIES = ("Mono.Posix", "System.Numerics", "System.Runtime.Serialization", "System.Xml.Linq")
MOMENT = system.DateTime(2023, 11, 14, 22, 13, 20)
OBLIQUE = (0.96, 0.28, 0.0, -0.224, 0.768, 0.6)
PHANTOMS = {
    "contrast and MR": Phantom(
        "Prüfkörper 12",
        patient_name="Gläsern^Ännchen",
        size=(24, 20, 8),
        spacing=(6.0, 6.0, 5.0),
        contrast=PhantomContrast(slices=4, offset=6.5),
        mr=PhantomMr(size=(8, 8, 3)),
    ),
    "feet first": Phantom("2", size=(12, 10, 6), spacing=(5.0, 4.0, 3.0), patient_position="FFS"),
    "prone, odd scale": Phantom(
        "3", size=(12, 10, 6), patient_position="HFP", rescale_slope=2.5, approved=True
    ),
    "oblique": Phantom("4", size=(14, 12, 8), spacing=(7.0, 6.5, 4.7), image_orientation=OBLIQUE),
}


class CsharpError(Exception):
    """What C# raised: kind and message."""


class Csharp:
    """Asks the C# layer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, question: str, **members):
        line = json.dumps({"ask": question} | members, default=_plain, ensure_ascii=False)
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if isinstance(answer, dict) and set(answer) == {"kind", "message"}:
            raise CsharpError(answer["kind"], answer["message"])
        return answer

    def refusal(self, question: str, **members) -> tuple[str, str]:
        """Kind and message of what it raises."""
        with pytest.raises(CsharpError) as caught:
            self(question, **members)
        kind, message = caught.value.args
        return kind, message


def _plain(value):
    if is_dataclass(value):
        return asdict(value)
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def assert_same(answer, expected) -> None:
    """Same numbers to the last bit, also the sign of zero."""
    answer, expected = (json.loads(json.dumps(one, default=_plain)) for one in (answer, expected))
    assert answer == expected
    assert repr(answer) == repr(expected)


@pytest.fixture(scope="module")
def csharp(tmp_path_factory):
    program = tmp_path_factory.mktemp("csharp") / "Parity.exe"
    sources = [Path(__file__).parent / "csharp" / "Parity.cs", *sorted(SOURCES.glob("*.cs"))]
    flags = ["-langversion:7", "-optimize+", "-warn:4", "-warnaserror+", "-nowarn:649"]
    references = [f"-r:{library}" for library in LIBRARIES]
    command = ["mcs", "-nologo", *flags, *references, f"-out:{program}", *map(str, sources)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    with subprocess.Popen(
        ["mono", str(program)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        yield Csharp(process)
        process.stdin.close()


# --- numbers ---

any_float = st.floats(allow_nan=False, allow_infinity=False)
place = st.floats(-600, 600)
many = settings(max_examples=60, deadline=None)


@given(st.lists(st.one_of(any_float, place, place.map(lambda x: round(x, 4))), min_size=1))
@many
def test_numbers_are_written_and_read_as_python_does(csharp, numbers) -> None:
    assert csharp("repr", numbers=numbers) == [repr(number) for number in numbers]
    texts = [form.format(n) for n in numbers for form in ("{!r}", "{:.20e}", " {:.17f} ", "{:+g}")]
    assert_same(csharp("parse", texts=texts), [float(text) for text in texts])
    fitting = [number for number in numbers if abs(number) < 1e300]
    assert_same(csharp("round", numbers=fitting), [np.round(n, 4) for n in fitting])
    assert csharp("decimal", numbers=fitting) == [
        repr(n) if len(repr(n)) <= 16 else format_number_as_ds(n) for n in fitting
    ]


def test_numbers_at_the_edges(csharp) -> None:
    powers = [sign * 2.0**exponent for exponent in range(-1074, 1024) for sign in (1, -1)]
    halves = [sign * (n + 0.5) * 2.0**-15 for n in range(200) for sign in (1, -1)]
    near = [10.0**n * (1 + k * 2.0**-52) for n in range(-6, 18) for k in range(-3, 4)]
    numbers = [0.0, -0.0, 5e-324, 1.7976931348623157e308, *powers, *halves, *near]
    assert csharp("repr", numbers=numbers) == [repr(number) for number in numbers]
    assert_same(csharp("parse", texts=[repr(n) for n in numbers]), numbers)
    texts = [".5", "5.", "1e400", "-1e-400", "0e999", "00012", "1.7976931348623159e308"]
    half = ["1.00000000000000011102230246251565404236316680908203125", "9007199254740993"]
    parsed = csharp("parse", texts=[*texts[:2], *texts[3:6], *half])
    assert_same(parsed, [float(text) for text in (*texts[:2], *texts[3:6], *half)])
    assert csharp.refusal("repr", numbers=["1e999"])[0] == "System.ArgumentException"
    for wrong in ("", "x", "1.2.3", "1e", "0x10", "1 2", "--1"):
        assert csharp.refusal("parse", texts=[wrong])[0] == "System.FormatException"
    assert csharp("decimal", numbers=halves) == [
        repr(n) if len(repr(n)) <= 16 else format_number_as_ds(n) for n in halves
    ]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 127, 128, 129, 136, 255, 300, 1000, 5001])
def test_sums_run_in_the_order_of_numpy(csharp, count) -> None:
    generator = np.random.default_rng(count)
    points = generator.normal(size=(count, 3)) * 10.0 ** generator.integers(-3, 4, (count, 1))
    weights = generator.uniform(0.1, 5, count)
    assert_same(csharp("sum", numbers=points[:, 1].copy()), points[:, 1].sum())
    assert_same(csharp("average", points=points), np.average(points, axis=0))
    weighted = np.average(points, axis=0, weights=weights.tolist())
    assert_same(csharp("average", points=points, weights=weights), weighted)


# --- geometry ---

# Quarters meet the lines that coverage is measured on, and one another.
coordinate = st.one_of(st.floats(-4, 14), st.integers(-16, 56).map(lambda n: n / 4))
flat_polygon = st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=9)
flat_polygons = st.lists(flat_polygon, min_size=1, max_size=4)


@given(flat_polygons, st.lists(st.tuples(coordinate, coordinate), min_size=1))
@settings(max_examples=150, deadline=None)
def test_polygons(csharp, polygons, points) -> None:
    arrays = [np.array(polygon) for polygon in polygons]
    covered = csharp("coverage", polygons=polygons, width=10, height=8)
    assert_same(covered, coverage(arrays, 10, 8))
    hits = [inside(np.array(point), arrays) for point in points]
    assert_same(csharp("inside", polygons=polygons, points=points), hits)
    area, centroid = area_and_centroid(arrays)
    found = csharp("area_and_centroid", polygons=polygons)
    assert_same(found, [area, *centroid.tolist()])


def test_large_polygons(csharp) -> None:
    """Long enough for numpy to add by blocks."""
    angle = np.linspace(0, 2 * np.pi, 777, endpoint=False)
    outer = np.stack([40.3 * np.cos(angle) + 50.1, 30.7 * np.sin(angle) + 48.9], axis=-1)
    polygons = [outer, (outer - 50) / 3 + 50, outer[::3] / 20 + 45]
    area, centroid = area_and_centroid(polygons)
    found = csharp("area_and_centroid", polygons=polygons)
    assert_same(found, [area, *centroid.tolist()])
    covered = csharp("coverage", polygons=polygons, width=100, height=90)
    assert_same(covered, coverage(polygons, 100, 90))


def grid_of(spacing, size, rotation, origin) -> Grid:
    axes = Rotation.from_euler("xyz", rotation, degrees=True).as_matrix()
    return Grid(origin, *(tuple(axis.tolist()) for axis in axes), tuple(spacing), size)


def straight_grid(spacing, size, origin, signs, order) -> Grid:
    """Rows along a patient axis: what most images are."""
    axes = np.eye(3)[list(order)] * np.array(signs)[:, None]
    axes[2] = np.cross(axes[0], axes[1])
    return Grid(origin, *(tuple(axis.tolist()) for axis in axes), tuple(spacing), size)


mm = st.one_of(st.floats(0.5, 4), st.sampled_from([0.5, 0.9765625, 1.0, 1.25, 2.0, 3.0]))
three_mm = st.tuples(mm, mm, mm)
shift = st.one_of(st.floats(-6, 6), st.integers(-12, 12).map(lambda n: n / 2))
three_shifts = st.tuples(shift, shift, shift)
angle = st.floats(-180, 180)
small = st.just((12, 10, 6))
oblique_grid = st.builds(grid_of, three_mm, small, st.tuples(angle, angle, angle), three_shifts)
tilted_grid = st.builds(
    grid_of, three_mm, small, st.tuples(*[st.floats(-20, 20)] * 3), three_shifts
)
sign = st.sampled_from([1.0, -1.0])
axis_grid = st.builds(
    straight_grid,
    three_mm,
    small,
    three_shifts,
    st.tuples(sign, sign, sign),
    st.permutations(range(3)),
)
plain_grid = st.builds(
    straight_grid, three_mm, small, three_shifts, st.just((1.0, 1.0, 1.0)), st.just((0, 1, 2))
)
any_grid = st.one_of(plain_grid, axis_grid, tilted_grid, oblique_grid)


@given(any_grid, any_grid, st.lists(st.tuples(place, place, place), min_size=1))
@many
def test_grids(csharp, grid, other, points) -> None:
    assert_same(csharp("to_patient", grid=grid, points=points), grid.to_patient(points))
    assert_same(csharp("to_index", grid=grid, points=points), grid.to_index(points))
    moved = grid.onto_plane(np.array(points), 3)
    assert_same(csharp("onto_plane", grid=grid, points=points, plane=3), moved)
    for one in points:  # alone as among others
        assert grid.to_index(one).tolist() == csharp("to_index", grid=grid, points=[one])[0]
    near = replace(grid, origin=(grid.origin[0] + 0.009, *grid.origin[1:]))
    for target in (grid, near, other, replace(grid, size=(12, 10, 7))):
        assert csharp("same_as", grid=grid, target=target) is grid.same_as(target)


def contour_list(contours):
    """Contours by plane as JSON can have them."""
    return [{"plane": plane, "polygons": contours[plane]} for plane in sorted(contours)]


index = st.one_of(st.floats(-3, 14), st.integers(-6, 28).map(lambda n: n / 2))
drawn_polygon = st.lists(st.tuples(index, index), min_size=3, max_size=8)
drawn_planes = st.dictionaries(
    st.integers(0, 5), st.lists(drawn_polygon, min_size=1, max_size=3), min_size=1, max_size=4
)


def on_plane(polygon, plane: int, grid: Grid) -> np.ndarray:
    return grid.to_patient([(*point, plane) for point in polygon])


@given(any_grid, any_grid, drawn_planes)
@settings(max_examples=200, deadline=None)
def test_contours_on_another_grid(csharp, source, target, planes) -> None:
    contours = {
        plane: [on_plane(polygon, plane, source) for polygon in polygons]
        for plane, polygons in planes.items()
    }
    expected = resample.resample(contours, source, target)
    answer = csharp("resample", grid=source, target=target, contours=contour_list(contours))
    assert_same(answer, contour_list(expected))


SOURCE = grid_of((1.0, 1.0, 2.0), (60, 60, 30), (0, 0, 0), (-29.5, -29.5, -29.0))


@pytest.mark.parametrize(
    "target",
    [
        SOURCE,
        replace(SOURCE, origin=(-29.2, -29.1, -28.1)),
        replace(SOURCE, origin=(-29.5, -29.5, -28.0)),  # planes midway between the source's
        replace(SOURCE, spacing=(0.5, 0.5, 1.0)),
        grid_of((0.8, 1.1, 3.0), (70, 40, 20), (0, 0, 0), (-28.0, -22.0, -28.0)),
        grid_of((1.2, 0.9, 1.5), (60, 60, 30), (0, 0, 180), (35.0, 27.0, -20.0)),
        grid_of((1.0, 1.0, 2.0), (60, 60, 30), (90, 0, 0), (-29.0, -29.0, 29.0)),
        grid_of((0.9, 1.1, 2.0), (60, 60, 30), (20, -35, 10), (-30.0, -20.0, -35.0)),
        replace(SOURCE, size=(60, 60, 5), origin=(0.0, -29.5, -4.0)),  # cuts it off
        replace(SOURCE, origin=(500.0, 0.0, 0.0)),  # nothing of it is seen
    ],
)
def test_shapes_on_another_grid(csharp, target) -> None:
    """A shell whose sections are rings, two parts, and a shape that reaches out of the image."""

    class Like:  # the sample's shapes want the sample's own grid
        axes = SOURCE.axes
        position = staticmethod(lambda plane: SOURCE.to_patient((0, 0, plane)))

    shapes = [Sphere((3, -4, 2), 13, 8), Sphere((-20, 15, 5), 6), Sphere((25, -20, -10), 9)]
    contours = {}
    for plane in range(SOURCE.size[2]):
        if polygons := [p for shape in shapes for p in shape.contours(Like, plane)]:
            contours[plane] = polygons
    expected = resample.resample(contours, SOURCE, target)
    assert bool(expected) is (target.origin[0] < 500)
    answer = csharp("resample", grid=SOURCE, target=target, contours=contour_list(contours))
    assert_same(answer, contour_list(expected))
    assert csharp("resample", grid=SOURCE, target=target, contours=[]) == []


@given(any_grid, st.lists(drawn_polygon, max_size=3), drawn_polygon)
@settings(max_examples=150, deadline=None)
def test_adding_and_subtracting(csharp, grid, old, new) -> None:
    before = [on_plane(polygon, 2, grid) for polygon in old]
    drawn = on_plane(new, 2, grid)
    for name, change in (("add", resample.add), ("subtract", resample.subtract)):
        answer = csharp(name, grid=grid, polygons=before, points=drawn, plane=2)
        assert_same(answer, change(before, drawn, 2, grid))


@pytest.mark.parametrize("seed", range(8))
def test_traced_lines(csharp, seed) -> None:
    """Also where corners are exactly at the level and where high values touch at a corner."""
    generator = np.random.default_rng(seed)
    values = [0.0, 0.25, 0.5, 0.5, 0.75, 1.0] if seed % 2 else [0.0, 1.0]
    field = np.pad(generator.choice(values, (14, 17)), 1)
    if seed > 5:
        field = generator.uniform(0, 1, (14, 17))  # lines that end at the border, too
    assert_same(csharp("find_contours", field=field), find_contours(field, 0.5))


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 4, 5), (3, 4, 5)])
def test_values_between_voxels(csharp, size) -> None:
    generator = np.random.default_rng(1)
    voxels = generator.integers(-1000, 3000, size)
    points = generator.uniform(-1, np.array(size), (200, 3))
    whole = points.round(0)
    edges = np.array(
        [[z, y, x] for z in (0, size[0] - 1) for y in (0, size[1] - 1) for x in (0.0,)]
    )
    points = np.concatenate(
        [points, whole, edges, np.where(generator.random((200, 3)) < 0.5, points, whole).clip(0)]
    )
    expected = map_coordinates(voxels.astype(float), points.T, order=1, cval=np.nan)
    expected = [None if np.isnan(value) else value for value in expected.tolist()]
    assert None in expected
    assert_same(csharp("interpolate", voxels=voxels, points=points), expected)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.1, 0.3, 1.0])
def test_separate_parts(csharp, share) -> None:
    generator = np.random.default_rng(4)
    for size in ((1, 9, 9), (6, 8, 9)):
        voxels = generator.random(size) < share
        assert csharp("label", voxels=voxels.astype(int)) == label(voxels, return_num=True)[1]


# --- ids, dates, database ---


def test_uids_and_ids(csharp) -> None:
    for parts in (("1.2.3", 4), ("1.2.3", "series"), ("Prüfkörper",), ("a", "b", 12), ("0",)):
        assert csharp("derived_uid", texts=[str(part) for part in parts]) == derived_uid(*parts)
    taken = ["ct_1", "CT_2", "Größe", "STRASSE", "a" * 16, "MR", "Straße_1", "5µm"]
    wanted = ["CT", "mr", "", "   ", "a" * 20, "GRÖSSE", "straße", "5μM", "Neu", " x ", "MR" * 9]
    for text in wanted:
        assert csharp("numbered", prefix=text, texts=taken) == numbered(text, taken)
        for prefix in ("Structure", ""):
            answer = csharp("unique", text=text, prefix=prefix, texts=taken)
            assert answer == unique(text, prefix, taken)


@given(st.text(st.characters(max_codepoint=0xFF, exclude_categories=["C"]), max_size=20), st.data())
@many
def test_ids_ignore_case(csharp, text, data) -> None:
    change = data.draw(st.sampled_from([str.upper, str.lower, str.swapcase, str.title]))
    taken = [change(text), change(text)[:14] + "_1"]
    assert csharp("unique", text=text, prefix="S", texts=taken) == unique(text, "S", taken)


def test_dates(csharp, monkeypatch) -> None:
    dates = ["20240102", "2024.01.02", "20240230", "", "2024", "19991231"]
    times = ["", "12", "1234", "123456", "12:34:56", "235959.123456", "240000", "1234567"]
    for day in dates:
        for time in times:
            found = system.parse_dicom_date(day, time)
            expected = found and found.ToString("yyyyMMddHHmmss")
            if day != "2024":  # Python reads some of its digits as a month
                assert csharp("date", texts=[day, time]) == expected
    assert csharp("record_date", text="20240102030405") == "20240102030405"
    assert csharp("record_date", text="20240102") == "20240102000000"
    assert csharp("record_date", text="") is None
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert csharp("now", text="1700000000") == system.now().ToString("yyyyMMddHHmmss")
    before = system.datetime.now()  # as a clock on the wall shows it
    shown = system.datetime.strptime(csharp("now", text=""), "%Y%m%d%H%M%S")
    assert before.replace(microsecond=0) <= shown <= system.datetime.now()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    for number, phantom in enumerate(PHANTOMS.values()):
        write_phantom(folder / "dicom" / str(number), phantom)
    build(folder / "dicom", folder / "db", version="16.1")
    return folder / "db"


@pytest.fixture
def db(tmp_path, built) -> Path:
    """The built database, under links that a save replaces."""
    root = tmp_path / "db"
    for path in built.rglob("*"):
        here = root / path.relative_to(built)
        if path.is_file():
            here.parent.mkdir(parents=True, exist_ok=True)
            here.hardlink_to(path)
    return root


def patients(root: Path):
    """Each patient's summary, record and folder."""
    found = Database.open(root)
    return [(s, found.load(s), found.folder(s)) for s in found.patients]


def test_open(csharp, db) -> None:
    database.configure(db, clinical=False, script_approved=False, locked_patients=["ä", "b"])
    for approved in (False, True):
        database.configure(db, clinical=approved, script_approved=False)
        opened = Database.open(db)
        generation, options, may_write, summaries, folders = csharp("open", path=db)
        assert generation == opened.generation
        assert_same(options, asdict(opened.settings))
        assert may_write is opened.settings.script_may_write
        assert_same(summaries, [asdict(summary) for summary in opened.patients])
        assert folders == [str(opened.folder(summary)) for summary in opened.patients]


def test_load_and_relations(csharp, db) -> None:
    for summary, record, _ in patients(db):
        loaded = csharp("load", path=db, summary=summary)
        assert_same(loaded, record.to_json())
        images, sets, by_series = csharp("relations", path=db, summary=summary)
        assert images == [record.series_of(image).uid for image in record.images]
        assert sets == [record.image_of(one).uid for one in record.structure_sets]
        assert by_series == [
            [one.uid for one in record.sets_of_series(series.uid)] for series in record.series
        ]


def test_a_saved_index_is_what_python_saves(csharp, tmp_path, db) -> None:
    for summary, record, folder in patients(db):
        record.summary.comment = 'sagt "ä\\ß"\n\t\x01 €😀 <b>&amp;'
        record.next_ordinal = 2_000_000
        record.images[0].user_origin = (0.1 + 0.2, -1e-7, 1e22)
        record.series[0].slices[0].slope = 1 / 3
        record.structure_sets[0].high_resolution = [1, 7]
        record.structure_sets[0].removed = True
        for plan in record.plans:
            plan.total_dose, plan.fractions = None, 30
        wanted = tmp_path / "wanted.json"
        database.write_json(wanted, record.to_json())
        assert csharp("save", path=db, to=wanted) == record.revision + 1
        index = folder / "index.json"
        saved = json.loads(index.read_bytes())
        assert_same(saved, record.to_json() | {"revision": record.revision + 1})
        by_csharp = index.read_bytes()
        loaded = Database.open(db).load(summary)
        record.revision += 1
        assert_same(loaded.to_json(), record.to_json())
        Database.open(db).write_index(loaded, loaded.revision)
        assert index.read_bytes() == by_csharp
        assert csharp.refusal("save", path=db, to=wanted) == (
            "System.ApplicationException",
            f"Patient {summary.id} was modified by another user. Nothing was saved.",
        )
        assert index.read_bytes() == by_csharp
        assert not list(folder.glob("*.tmp"))


def test_no_database_and_damaged_ones(csharp, tmp_path, db) -> None:
    kind = "EsapiStub.DatabaseError"
    nowhere = f"{tmp_path}/nowhere: no stub database is here."
    assert csharp.refusal("open", path=tmp_path / "nowhere") == (kind, nowhere)
    in_a_file = csharp.refusal("open", path=db / "database.json")
    assert in_a_file == (kind, f"{db}/database.json: no stub database is here.")
    content = json.loads((db / "database.json").read_bytes())
    summary = content["patients"][0]
    other = content | {"settings": content["settings"] | {"version": "17.0"}}
    more = content | {"settings": content["settings"] | {"more": 1}}
    for data, message in (
        ([1], "damaged"),
        ({}, "damaged"),
        ({"format": 1}, "damaged"),
        ({"format": 9}, f"{db}: stub database of format 9, not 1."),
        (more, "damaged"),
        (other, "The stub does not know ESAPI 17.0. Choose 15.6 or 16.1."),
    ):
        (db / "database.json").unlink()
        (db / "database.json").write_text(json.dumps(data))
        with pytest.raises(database.DatabaseError) as caught:
            Database.open(db)
        found, text = csharp.refusal("open", path=db)
        assert found == kind
        assert text == str(caught.value) if message != "damaged" else message in text
    (db / "database.json").write_text(json.dumps(content | {"more": 1}))
    assert csharp("open", path=db)[0] == Database.open(db).generation
    index = db / content["generation"] / summary["folder"] / "index.json"
    for damaged in ("{", "[]", '{"summary": 1}', json.dumps({"summary": summary}), ""):
        index.unlink(missing_ok=True)
        index.write_text(damaged)
        found, text = csharp.refusal("load", path=db, summary=summary)
        assert found == "System.ApplicationException"
        assert text.startswith(f"The database failed on the index: {index}: the index is damaged (")


def test_a_file_is_replaced_in_one_piece(csharp, tmp_path) -> None:
    path = tmp_path / "Über uns.json"
    for text in ("one", "zwei ä"):
        csharp("write_durably", path=path, text=text)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]
    assert "nowhere" in csharp.refusal("write_durably", path=tmp_path / "nowhere" / "x", text="")[1]


# --- RT Structure Sets ---


def described(structure: StructureRecord):
    """A structure as the C# layer describes it."""
    found = {key: value for key, value in vars(structure).items() if key != "removed"}
    return found | {"contours": contour_list(structure.contours)}


@pytest.mark.parametrize("name", PHANTOMS)
def test_structures_of_phantoms(csharp, built, name) -> None:
    (record, folder) = next(
        (record, folder)
        for summary, record, folder in patients(built)
        if summary.id == PHANTOMS[name].patient_id
    )
    structure_set = record.structure_sets[0]
    path = folder / structure_set.file
    for series in record.series:
        if series.grid:  # also against images that the set does not lie on
            expected = [described(structure) for structure in rtstruct.read(path, series)]
            assert_same(csharp("read", path=path, series=series), expected)
            assert_same(csharp("copy", path=path, series=series), expected)
            assert len(expected) == 8


@pytest.fixture(scope="module")
def real() -> SeriesRecord:
    """A series that the real structure set lies on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(REAL)
        heights = [
            float(contour.ContourData[2])
            for roi in dataset.ROIContourSequence
            for contour in roi.get("ContourSequence", [])
        ]
        grid = Grid(
            (-250.0, -500.0, min(heights) - 9.0),
            *((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
            (0.976562, 0.976562, 3.0),
            (512, 512, 98),
        )
        frame = str(dataset.StructureSetROISequence[0].ReferencedFrameOfReferenceUID)
        return SeriesRecord(
            id="CT",
            uid="1.2.3",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            frame_of_reference_uid=frame,
            grid=grid,
            slices=[SliceRecord(f"1.2.3.{plane}", "") for plane in range(98)],
        )


def test_real_structures(csharp, real) -> None:
    expected = rtstruct.read(REAL, real)
    assert sum(len(structure.contours) for structure in expected) > 100
    answer = csharp("read", path=REAL, series=real)
    assert_same(answer, [described(structure) for structure in expected])


def test_a_small_change_of_real_structures(csharp, real, tmp_path, built) -> None:
    record = deepcopy(patients(built)[0][1].structure_sets[0])
    record.file, record.id = str(REAL), "zCopy"
    structures = rtstruct.read(REAL, real)
    structures[1].redrawn = True
    structures[2].name = "Lunge links"
    del structures[3]
    assert_same_file(csharp, tmp_path, record, structures, real, REAL.parent)


def assert_same_file(csharp, tmp_path, structure_set, structures, series, folder) -> Path:
    """Both write the same bytes, apart from who wrote it; give the file that C# wrote."""
    expected = rtstruct.write(structure_set, structures, series, folder, MOMENT)
    made = tmp_path / "csharp.dcm"
    csharp(
        "write",
        set=structure_set,
        structures=[described(structure) for structure in structures],
        series=series,
        folder=folder,
        text=MOMENT.ToString("yyyyMMddHHmmss"),
        to=made,
    )
    content = made.read_bytes()
    (tmp_path / "python.dcm").write_bytes(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = pydicom.dcmread(made), pydicom.dcmread(tmp_path / "python.dcm")
        assert ours.to_json_dict() == theirs.to_json_dict()
    metas = [dict(one.file_meta.to_json_dict()) for one in (ours, theirs)]
    for meta in metas:
        assert meta.pop("00020012")["Value"]
        assert meta.pop("00020013")["Value"]
        meta.pop("00020000")
    assert metas[0] == metas[1]
    bodies = [
        bytes_[144 + one.file_meta.FileMetaInformationGroupLength :]
        for bytes_, one in ((content, ours), (expected, theirs))
    ]
    assert bodies[0] == bodies[1]
    assert content[:132] == expected[:132]
    again = rtstruct.read(made, series)
    theirs_again = rtstruct.read(tmp_path / "python.dcm", series)
    assert_same([described(s) for s in again], [described(s) for s in theirs_again])
    return made


def changed(structures: list[StructureRecord], grid: Grid) -> list[StructureRecord]:
    """Renamed, recoloured, redrawn, cleared, removed and new structures."""
    found = deepcopy(structures)
    found[0].color = (1, 2, 3)
    found[1].name = found[1].id = "Größe +"
    square = [(2.1, 2.2), (6.3, 2.4), (6.5, 6.6), (2.7, 6.8)]
    plane = min(found[2].contours, default=1)
    old = found[2].contours.get(plane, [])
    found[2].contours[plane] = resample.add(old, on_plane(square, plane, grid), plane, grid)
    found[3].contours = {}
    for structure in (found[2], found[3], found[7]):  # the last is a point, which is kept
        structure.redrawn = True
    del found[4]
    new = StructureRecord(20, "Neu", "Neu", "ORGAN", (0, 0, 255), redrawn=True)
    new.contours = {
        1: [on_plane(square, 1, grid), on_plane([(0, 0), (1 / 3, 0), (0, 1 / 7)], 1, grid)],
        0: [on_plane(square[::-1], 0, grid)],
    }
    empty = StructureRecord(21, "Leer", "Leer", "CTV", redrawn=True)
    return [*found, new, empty]


@pytest.mark.parametrize("name", PHANTOMS)
def test_a_new_structure_set(csharp, tmp_path, built, name) -> None:
    (record, folder) = next(
        (record, folder)
        for summary, record, folder in patients(built)
        if summary.id == PHANTOMS[name].patient_id
    )
    source = record.structure_sets[0]
    series = record.series_of(record.image_of(source))
    structures = rtstruct.read(folder / source.file, series)
    for structure in structures:
        structure.redrawn = True
    structure_set = replace(source, uid=derived_uid("new"), id="zCopyFromPlan", file="")
    made = assert_same_file(csharp, tmp_path, structure_set, structures, series, folder)
    assert str(pydicom.dcmread(made).PatientName) == PHANTOMS[name].patient_name
    more = changed(structures, series.grid)
    assert_same_file(csharp, tmp_path, structure_set, more, series, folder)
    assert_same_file(csharp, tmp_path, structure_set, [], series, folder)


def implicit(dataset: pydicom.Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


def deflated(dataset: pydicom.Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def undefined_lengths(dataset: pydicom.Dataset) -> None:
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = True
            for number, item in enumerate(element.value):
                item.is_undefined_length_sequence_item = number % 2 == 0
                undefined_lengths(item)


def undefined_lengths_implicit(dataset: pydicom.Dataset) -> None:
    implicit(dataset)
    undefined_lengths(dataset)


def latin_1(dataset: pydicom.Dataset) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.StructureSetROISequence[0].ROIName = "Körper"
    dataset.StructureSetROISequence[5].ROIDescription = "für später"


def no_character_set(dataset: pydicom.Dataset) -> None:
    implicit(dataset)
    del dataset.SpecificCharacterSet
    dataset.PatientName = dataset.PatientID = "ASCII"


def private_and_unknown(dataset: pydicom.Dataset) -> None:
    block = dataset.private_block(0x3287, "Someone", create=True)
    block.add_new(0x01, "UN", b"\x01\x02\x03\x04")
    inner = pydicom.Dataset()
    inner.add_new(0x00080100, "SH", "CODE")
    block.add_new(0x02, "SQ", [inner])
    dataset.add_new(0x00091001, "OB", b"\xff\xfe\x00\xe0")
    dataset.preamble = b"\x07" * 128


def no_colors_and_numbers(dataset: pydicom.Dataset) -> None:
    """Items of one sequence without their partners in the others."""
    implicit(dataset)
    del dataset.ROIContourSequence[1].ROIDisplayColor
    dataset.ROIContourSequence[2].ROIDisplayColor = [300, -5, 7]
    del dataset.ROIContourSequence[5]
    del dataset.RTROIObservationsSequence[2]
    dataset.StructureSetROISequence[3].ROIName = "a" * 30
    dataset.StructureSetROISequence[4].ROIName = dataset.StructureSetROISequence[0].ROIName.lower()
    dataset.StructureSetROISequence[6].ReferencedFrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        implicit,
        deflated,
        undefined_lengths,
        undefined_lengths_implicit,
        latin_1,
        no_character_set,
        private_and_unknown,
        no_colors_and_numbers,
    ],
)
def test_a_changed_structure_set_keeps_the_rest(csharp, tmp_path, built, change) -> None:
    _, record, folder = patients(built)[0]
    structure_set = deepcopy(record.structure_sets[0])
    series = record.series_of(record.image_of(structure_set))
    dataset = pydicom.dcmread(folder / structure_set.file)
    change(dataset)
    dataset.save_as(tmp_path / "RS.dcm", enforce_file_format=True)
    structure_set.file, structure_set.id = "RS.dcm", "Planung"
    structures = rtstruct.read(tmp_path / "RS.dcm", series)
    answer = csharp("read", path=tmp_path / "RS.dcm", series=series)
    assert_same(answer, [described(structure) for structure in structures])
    assert_same_file(csharp, tmp_path, structure_set, structures, series, tmp_path)
    more = changed(structures, series.grid)
    if change is no_character_set:
        more[1].name = more[1].id = "Groesse"
    made = assert_same_file(csharp, tmp_path, structure_set, more, series, tmp_path)
    # And once more on top of what C# wrote.
    structure_set.file = made.name
    again = rtstruct.read(made, series)
    assert_same_file(csharp, tmp_path, structure_set, again[1:], series, tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_coordinates_of_any_length_survive(csharp, tmp_path, built, seed) -> None:
    generator = random.Random(seed)
    _, record, folder = patients(built)[0]
    structure_set = replace(record.structure_sets[0], file="")
    series = record.series_of(record.image_of(structure_set))
    points = [
        [generator.choice([-1, 1]) * generator.random() * 10.0 ** generator.randint(-20, 15)] * 3
        for _ in range(3000)
    ]
    structure = StructureRecord(1, "X", "X", "CTV", contours={2: [np.array(points)]}, redrawn=True)
    assert_same_file(csharp, tmp_path, structure_set, [structure], series, folder)


def test_damaged_and_foreign_structure_sets(csharp, tmp_path, built) -> None:
    _, record, folder = patients(built)[0]
    structure_set = record.structure_sets[0]
    series = record.series_of(record.image_of(structure_set))
    content = (folder / structure_set.file).read_bytes()
    path = tmp_path / "RS.dcm"

    def refused() -> str:
        kind, message = csharp.refusal("read", path=path, series=series)
        assert kind == "System.ApplicationException"
        assert message.startswith("The database failed on structure set CT_1: ")
        return message

    for damaged in (b"damaged", content[:2000], content[:-7]):
        path.write_bytes(damaged)
        refused()
    path.unlink()
    refused()
    dataset = pydicom.dcmread(folder / structure_set.file)
    dataset.SpecificCharacterSet = "ISO_IR 144"
    dataset.save_as(path)
    assert "character set ISO_IR 144" in refused()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    contour = dataset.ROIContourSequence[1].ContourSequence[0]
    contour.ContourData = contour.ContourData[:-1]
    dataset.save_as(path)
    assert "no whole points" in refused()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False)
    assert "unsupported transfer syntax" in refused()


# --- pixels ---


def test_pixels_of_all_images(csharp, built) -> None:
    modalities = set()
    for _, record, folder in patients(built):
        for series in record.series:
            for one in series.slices[::2]:
                expected = pydicom.dcmread(folder / one.file).pixel_array.astype(np.int32)
                rows, columns = expected.shape
                answer = csharp("pixels", path=folder / one.file, height=rows, width=columns)
                assert_same(answer, expected.ravel())
                modalities.add(series.modality)
    assert modalities == {"CT", "MR"}


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_pixels_of_other_encodings(csharp, tmp_path, built, bits, signed, syntax) -> None:
    image = first_image(built)
    kind = f"{'i' if signed else 'u'}{bits // 8}"
    limits = np.iinfo(kind)
    values = np.linspace(limits.min, limits.max, image.Rows * image.Columns).astype(kind)
    image.BitsAllocated = image.BitsStored = bits
    image.HighBit, image.PixelRepresentation = bits - 1, signed
    image.PixelData = values.tobytes()
    image["PixelData"].VR = "OB" if bits == 8 else "OW"
    image.file_meta.TransferSyntaxUID = syntax
    image.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    answer = csharp("pixels", path=tmp_path / "x.dcm", height=image.Rows, width=image.Columns)
    assert_same(answer, pydicom.dcmread(tmp_path / "x.dcm").pixel_array.astype(np.int32).ravel())


def test_compressed_and_damaged_pixels_are_refused(csharp, tmp_path, built) -> None:
    image = first_image(built)
    rows, columns = image.Rows, image.Columns
    path = tmp_path / "x.dcm"

    def refused(height: int = rows) -> str:
        kind, message = csharp.refusal("pixels", path=path, height=height, width=columns)
        assert kind == "System.ApplicationException"
        assert message.startswith("The database failed on image CT_1: ")
        return message

    image.save_as(path)
    assert "whole grey values" in refused(rows + 1)
    path.write_bytes(path.read_bytes()[:-100])
    assert "ends too early" in refused()
    image.PixelData = image.PixelData[:-100]
    image.save_as(path)
    assert "whole grey values" in refused()
    image = first_image(built)
    image.compress(RLELossless, generate_instance_uid=False)
    image.save_as(path)
    assert "is compressed, which the C# stub cannot read" in refused()


def test_a_structure_set_on_compressed_images(csharp, tmp_path, built) -> None:
    """Patient and study can be read of them."""
    _, record, folder = patients(built)[0]
    image = pydicom.dcmread(folder / record.series[0].slices[0].file)
    image.compress(RLELossless, generate_instance_uid=False)
    image.save_as(tmp_path / "image.dcm")
    series = deepcopy(record.series[0])
    series.slices[0].file = "image.dcm"
    structure_set = replace(record.structure_sets[0], file="")
    assert_same_file(csharp, tmp_path, structure_set, [], series, tmp_path)


def first_image(root: Path) -> pydicom.Dataset:
    _, record, folder = patients(root)[0]
    series = next(one for one in record.series if one.modality == "CT" and one.slices)
    return pydicom.dcmread(folder / series.slices[0].file)
