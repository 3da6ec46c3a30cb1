"""The manifest: its text, its place in an assembly, and how a folder differs from it."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stardust_esapi.approval.manifest import (
    FIRST_LINE,
    Change,
    Difference,
    Manifest,
    Target,
    compare,
    find_manifest,
    is_covered,
    make_manifest,
    parse_manifest,
    read_files,
)
from stardust_esapi.errors import UsageError

WINDOWS = Target("3.12", "win_amd64")
REFUSED = "".join(map(chr, range(32))) + "\x7f"  # what a manifest cannot hold

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
# Whatever else a file system may hold, odd ones often.
names = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters=REFUSED + "/"),
        st.sampled_from(" .'\"#\\;=%~\u2028\x85\ufeffé\U0001f600"),
    ),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
manifests = st.builds(
    Manifest,
    st.builds("{}.{}.{}".format, *[st.integers(0, 99)] * 3),
    st.builds(Target, st.sampled_from(["3.11", "3.12"]), st.sampled_from(["win_amd64", "any"])),
    st.dictionaries(paths, digests, max_size=8),
)


@contextmanager
def folder_of(files: dict[str, bytes]) -> Iterator[Path]:
    """A folder with these files, below the temporary folder of the machine."""
    with tempfile.TemporaryDirectory() as name:
        for path, data in files.items():
            (Path(name) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(name) / path).write_bytes(data)
        yield Path(name)


def of_site(manifest: Manifest) -> dict[str, str]:
    """The manifest's files of the site folder, by their paths there."""
    return {
        path.removeprefix("site/"): digest
        for path, digest in manifest.files.items()
        if not path.startswith("home/")
    }


@given(manifests)
def test_a_manifest_reads_back_as_it_was_written(manifest) -> None:
    assert parse_manifest(manifest.text) == manifest
    assert parse_manifest(manifest.text).text == manifest.text
    assert manifest.digest == hashlib.sha256(manifest.text.encode()).hexdigest()


@given(manifests, st.binary(max_size=50), st.binary(max_size=50))
def test_a_manifest_is_found_in_an_assembly(manifest, before, after) -> None:
    text = manifest.text.encode()
    decoy = f"{FIRST_LINE}\n".encode()  # as a string constant would stand there
    length = len(text).to_bytes(4, "little")
    assembly = before + b"\0\0\0\0" + decoy + length + text + after
    assert find_manifest(assembly) == manifest
    assert find_manifest(before + b"\0\0\0\0" + decoy + after) is None


@given(manifests, st.data())
def test_a_damaged_manifest_is_refused_or_another_one(manifest, data) -> None:
    text = manifest.text
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(exclude_categories=["Cs"]))
    damaged = text[:at] + letter + text[at + 1 :]
    assume(damaged != text)
    try:
        read = parse_manifest(damaged)
    except UsageError:
        return
    assert read.text == damaged
    assert read != manifest
    assert read.digest != manifest.digest


@given(manifests, st.data())
def test_a_manifest_that_is_cut_off_is_refused(manifest, data) -> None:
    text = manifest.text
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(UsageError, match="manifest"):
        parse_manifest(text[:cut])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text.replace("manifest 1", "manifest 2"), "does not start with"),
        (lambda text: text.replace("python 3.12", "python three"), "does not start with"),
        (lambda text: text.replace("\nend\n", "\nend"), "is not whole"),
        (lambda text: text + "x\nend\n", "Line 7 of the manifest makes no sense: 'end'"),
        (lambda text: text.replace("  a.py", " a.py"), "Line 5"),
        (lambda text: text.replace("  b.py", "  a.py"), "Line 6"),
        (lambda text: text.replace("  a.py", "  c.py"), "not in the order"),
    ],
)
def test_what_is_wrong_with_a_manifest_is_said(damage, says) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    text = Manifest("0.1.0", WINDOWS, {"a.py": digest, "b.py": digest}).text
    with pytest.raises(UsageError, match=says):
        parse_manifest(damage(text))


def test_the_text_is_as_the_launchers_expect_it() -> None:
    digest = hashlib.sha256(b"").hexdigest()
    manifest = Manifest("0.1.0", WINDOWS, {"b/c.py": digest, "B.dll": digest})
    assert manifest.text == (
        "stardust-esapi manifest 1\npackage 0.1.0\npython 3.12\nplatform win_amd64\n"
        f"{digest}  B.dll\n{digest}  b/c.py\nend\n"
    )


@given(manifests)
def test_the_version_is_made_of_package_and_content(manifest) -> None:
    *package, content = manifest.version.split(".")
    assert ".".join(package) == manifest.package
    assert int(content) < 65535
    assert int(content) == int(manifest.digest[:4], 16) % 65535


def test_no_part_of_a_version_is_more_than_an_assembly_can_have() -> None:
    tried = (Manifest(f"1.2.3+{number}", WINDOWS, {}) for number in range(10**6))
    manifest = next(one for one in tried if one.digest.startswith("ffff"))
    assert manifest.version == "1.2.3.0"


def test_a_version_that_is_no_base_for_an_assembly_version() -> None:
    with pytest.raises(UsageError, match=r"0\.1 is no base for an assembly version"):
        _ = Manifest("0.1", WINDOWS, {}).version
    assert Manifest("1.2.3rc1", WINDOWS, {}).version.startswith("1.2.3.")


@settings(deadline=None)
@given(st.dictionaries(names, st.binary(max_size=9), min_size=1, max_size=5), st.data())
def test_every_difference_is_named_whatever_the_names(home, files, data) -> None:
    content = {f"package/{name}": text for name, text in files.items()}
    changed = data.draw(st.sets(st.sampled_from(sorted(content))))
    missing = data.draw(st.sets(st.sampled_from(sorted(content)))) - changed
    added = {f"{path}+" for path in data.draw(st.sets(st.sampled_from(sorted(content))))}
    added -= content.keys()
    with folder_of(content) as site:
        manifest = make_manifest(site, home, "0.1.0", WINDOWS)
        assert of_site(manifest) == {
            path: hashlib.sha256(text).hexdigest() for path, text in content.items()
        }
        assert compare(parse_manifest(manifest.text), read_files(site, home, "3.12")) == []
        for path in changed:
            (site / path).write_bytes(content[path] + b"!")
        for path in missing:
            (site / path).unlink()
        for path in added:
            (site / path).write_bytes(b"")
        differences = compare(manifest, read_files(site, home, "3.12"))
    assert {(one.change, one.path) for one in differences} == (
        {(Change.CHANGED, f"site/{path}") for path in changed}
        | {(Change.MISSING, f"site/{path}") for path in missing}
        | {(Change.ADDED, f"site/{path}") for path in added}
    )
    assert [one.path.encode("utf-16-be") for one in differences] == sorted(
        one.path.encode("utf-16-be") for one in differences
    )


@pytest.mark.parametrize(
    ("path", "covered"),
    [
        ("stardust_esapi/commands/program.py", True),
        ("bin", True),
        ("bin/tool", False),
        ("bin/tool.exe", False),
        ("Scripts/below/tool.exe", False),
        ("package/bin/tool.exe", True),
        ("bin/tool.py", False),
        ("a-1.dist-info/METADATA", False),
        ("a-1.dist-info/licenses/LICENSE.txt", False),
        ("package/b-1.dist-info/evil.pyd", False),
        ("a.dist-info", True),
        ("package/__pycache__/x.cpython-312.pyc", False),
        ("package/__pycache__/deep/evil.so", False),
        ("__pycache__", True),
        ("package/x.cpython-312.pyc", True),
    ],
)
def test_what_a_manifest_covers(home, path, covered) -> None:
    assert is_covered(f"site/{path}") is covered
    with folder_of({path: b"", "other.py": b""}) as site:
        assert (f"site/{path}" in read_files(site, home, "3.12")) is covered


@pytest.mark.parametrize("target", ["elsewhere", "elsewhere/evil.py"])
def test_a_link_is_added_and_not_followed(home, target, tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "evil.py").write_bytes(b"")
    with folder_of({"package/module.py": b""}) as site:
        manifest = make_manifest(site, home, "0.1.0", WINDOWS)
        (site / "linked").symlink_to(tmp_path / target)
        found = read_files(site, home, "3.12")
        assert compare(manifest, found) == [Difference(Change.ADDED, "site/linked")]
        with pytest.raises(UsageError, match="site/linked is a link"):
            make_manifest(site, home, "0.1.0", WINDOWS)


def test_a_link_to_the_same_file_is_changed(home) -> None:
    with folder_of({"module.py": b"", "bin/same.py": b""}) as site:
        manifest = make_manifest(site, home, "0.1.0", WINDOWS)
        (site / "module.py").unlink()
        (site / "module.py").symlink_to("bin/same.py")
        found = read_files(site, home, "3.12")
        assert [str(one) for one in compare(manifest, found)] == ["changed site/module.py"]


def test_a_file_that_cannot_be_read_is_changed(home) -> None:
    with folder_of({"module.py": b""}) as site:
        manifest = make_manifest(site, home, "0.1.0", WINDOWS)
        (site / "module.py").unlink()
        os.mknod(site / "module.py", stat.S_IFSOCK)
        found = read_files(site, home, "3.12")
        assert [str(one) for one in compare(manifest, found)] == ["changed site/module.py"]
        with pytest.raises(UsageError, match=r"'site/module.py' cannot be read"):
            make_manifest(site, home, "0.1.0", WINDOWS)


@pytest.mark.parametrize("name", [b"line\nbreak.py", b"\x1b[2Jclear.py", b"\xff\xfe.py"])
def test_a_name_that_no_manifest_can_hold(name, home) -> None:
    with folder_of({"module.py": b""}) as site:
        manifest = make_manifest(site, home, "0.1.0", WINDOWS)
        (site / os.fsdecode(name)).write_bytes(b"")
        with pytest.raises(UsageError, match="has a name that a manifest cannot hold"):
            make_manifest(site, home, "0.1.0", WINDOWS)
        (difference,) = compare(manifest, read_files(site, home, "3.12"))
    said = str(difference)
    assert said.startswith("added site/")
    assert said.isprintable()
    said.encode()


def test_no_site_folder(home, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"There is no site folder .* Check --site"):
        read_files(tmp_path / "nowhere", home, "3.12")


def test_no_python_in_the_folder(home, tmp_path) -> None:
    with pytest.raises(UsageError, match=r"holds no Python 3\.13 .* Check --home"):
        read_files(tmp_path, home, "3.13")
