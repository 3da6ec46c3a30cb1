"""The site folder: made by pip from pinned wheels, and refused where it holds anything else."""

from __future__ import annotations

import re
import shutil

import pytest

from approval_site import make_site
from stardust_esapi.approval.manifest import Target
from stardust_esapi.approval.site import RUNTIME, Dependency, read_site
from stardust_esapi.errors import UsageError

WINDOWS = Target("3.12", "win_amd64")


def test_what_a_site_folder_holds(pristine_site, home) -> None:
    site = read_site(pristine_site, home)
    assert site.manifest.package == "0.1.0"
    assert site.manifest.target == WINDOWS
    assert site.dependencies == (
        Dependency("Compiled.Thing", "2.0"),
        Dependency("pythonnet", "3.2.1"),
    )
    assert sorted(site.manifest.files) == [
        "home/DLLs/_ssl.pyd",
        "home/Lib/encodings/__init__.py",
        "home/python312.dll",
        "home/vcruntime140.dll",
        f"site/{RUNTIME}",
        "site/share/thing.1",
        "site/stardust_esapi/__init__.py",
        "site/stardust_esapi/commands/program.py",
        "site/thing/Größe µ.txt",
        "site/thing/core.cp312-win_amd64.pyd",
    ]
    assert {path.name for path in (pristine_site / "bin").iterdir()} == {
        "stardust-esapi",
        "thing-tool",
    }


def test_a_site_folder_is_the_same_wherever_it_lies(pristine_site, wheels, tmp_path, home) -> None:
    again = tmp_path / "other place" / "Größe" / "site"
    make_site(again, wheels / "requirements.txt", wheels=wheels, target=WINDOWS)
    assert read_site(again, home).manifest.text == read_site(pristine_site, home).manifest.text
    assert [path.name for path in again.parent.iterdir()] == ["site"]


def test_a_site_folder_is_never_made_twice(site, wheels) -> None:
    with pytest.raises(UsageError, match="exists already"):
        make_site(site, wheels / "requirements.txt", wheels=wheels, target=WINDOWS)


def test_a_wheel_that_nobody_pinned_is_not_installed(wheels, write_wheel, tmp_path) -> None:
    other = shutil.copytree(wheels, tmp_path / "wheels")
    write_wheel(other, "pythonnet", "3.2.1", {"pythonnet/evil.py": b""})
    site = tmp_path / "site"
    with pytest.raises(UsageError, match=r"(?s)pip could not create the site folder:.*HASH"):
        make_site(site, other / "requirements.txt", wheels=other, target=WINDOWS)
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_requirements_without_hashes_are_not_installed(wheels, tmp_path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("pythonnet==3.2.1\n")
    with pytest.raises(UsageError, match=r"(?s)pip could not create the site folder:.*hash"):
        make_site(tmp_path / "site", lock, wheels=wheels, target=WINDOWS)
    assert not (tmp_path / "site").exists()


def test_the_package_may_come_from_a_wheel_beside_the_lock(wheels, tmp_path, home) -> None:
    lock = tmp_path / "requirements.txt"
    lines = (wheels / "requirements.txt").read_text().splitlines(keepends=True)
    lock.write_text("".join(line for line in lines if not line.startswith("stardust")))
    (package,) = wheels.glob("stardust_esapi-*.whl")
    make_site(tmp_path / "site", lock, package, wheels, WINDOWS)
    assert read_site(tmp_path / "site", home).manifest.package == "0.1.0"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda site: (site / "evil.py").write_bytes(b""), "added site/evil.py"),
        (lambda site: (site / "share" / "thing.1").unlink(), "missing site/share/thing.1"),
        (lambda site: (site / RUNTIME).write_bytes(b""), f"changed site/{RUNTIME}"),
        (
            lambda site: (site / "x-1.dist-info").mkdir(),
            "has metadata of a package unknown",
        ),
        (
            lambda site: shutil.copytree(
                site / "pythonnet-3.2.1.dist-info", site / "PythonNet-3.0.dist-info"
            ),
            "holds pythonnet twice",
        ),
        (
            lambda site: shutil.rmtree(site / "stardust_esapi-0.1.0.dist-info"),
            "is no site folder: stardust-esapi is not installed in it",
        ),
        (lambda site: (site / "linked").symlink_to("share"), "site/linked is a link"),
    ],
)
def test_what_no_wheel_brought_is_refused(site, spoil, says, home) -> None:
    spoil(site)
    with pytest.raises(UsageError, match=says):
        read_site(site, home)


def test_many_strangers_are_counted_and_the_first_are_named(site, home) -> None:
    for number in range(9):
        (site / f"evil{number}.py").write_bytes(b"")
    with pytest.raises(UsageError, match=r"9 files in .*evil0.*evil4\.py\)") as raised:
        read_site(site, home)
    assert "evil5" not in str(raised.value)


def test_packages_for_two_pythons(site, write_wheel, wheels, tmp_path, home) -> None:
    wheel = write_wheel(
        tmp_path / "more", "other", "1", {"other.so": b""}, "cp311-cp311-manylinux_2_17_x86_64"
    )
    shutil.unpack_archive(wheel, site, "zip")
    with pytest.raises(
        UsageError, match=re.escape("different Pythons (3.11, 3.12, linux_x86_64, win_amd64)")
    ):
        read_site(site, home)


def test_no_site_folder(tmp_path, home) -> None:
    with pytest.raises(UsageError, match="is no site folder"):
        read_site(tmp_path / "nowhere", home)
