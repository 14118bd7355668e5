"""Nothing is written outside of a root file system, whatever it holds, and nothing in it by halves."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.flash.rootfs import STAGING, Rootfs
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.flash.l4t import Recorded, snapshot


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("theirs")
    return tmp_path


def written(place: Path, name: str, data: bytes = b"ours") -> None:
    with Rootfs(place / "root", Recorded()) as root:
        root.write(name, data)


LINKS = {
    "a folder, absolute": ("etc/conf", "{outside}", "etc/conf/file"),
    "a folder, relative": ("etc/conf", "../../outside", "etc/conf/file"),
    "a folder, by many dots": ("etc/conf", "../../../../../../../../../../{outside}", "etc/conf/file"),
    "the file itself": ("etc/file", "{outside}/file", "etc/file"),
    "the file itself, relative": ("etc/file", "../../outside/file", "etc/file"),
    "a link to a link": ("etc/conf", "other", "etc/conf/file"),
}


@pytest.mark.parametrize("kind", LINKS)
def test_no_link_leads_out(place: Path, kind: str) -> None:
    name, target, victim = LINKS[kind]
    (place / "root" / name).symlink_to(target.format(outside=place / "outside"))
    (place / "root/etc/other").symlink_to(place / "outside")
    before = snapshot(place / "outside", times=True)
    with suppress(InputError):
        written(place, victim)
    assert snapshot(place / "outside", times=True) == before
    assert not (place / "root" / STAGING).exists()


def test_a_link_is_followed_as_the_device_would(place: Path) -> None:
    """/lib -> usr/lib, and /var/run -> /run, which is the root's own."""
    root = place / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "run").mkdir()
    (root / "var").mkdir()
    (root / "lib").symlink_to("usr/lib")
    (root / "var/run").symlink_to("/run")
    (root / "up").symlink_to("../../usr")
    written(place, "lib/a")
    written(place, "var/run/b")
    written(place, "up/lib/c")
    assert sorted(path.name for path in (root / "usr/lib").iterdir()) == ["a", "c"]
    assert (root / "run/b").read_text() == "ours"


def test_dots_end_at_the_root(place: Path) -> None:
    written(place, "etc/../../../outside-of-it")
    assert (place / "root/outside-of-it").read_text() == "ours"
    assert not (place / "outside-of-it").exists()


def test_a_link_in_the_place_of_a_file_is_replaced_by_the_file(place: Path) -> None:
    (place / "root/etc/hostname").symlink_to("/etc/passwd")
    (place / "root/etc/passwd").write_text("root")
    written(place, "etc/hostname")
    assert not (place / "root/etc/hostname").is_symlink()
    assert (place / "root/etc/passwd").read_text() == "root"


def test_a_circle_of_links_is_refused(place: Path) -> None:
    (place / "root/etc/a").symlink_to("b")
    (place / "root/etc/b").symlink_to("a")
    with pytest.raises(InputError, match="Too many levels"):
        written(place, "etc/a/file")


def test_a_staging_folder_of_somebody_else_is_no_way_out(place: Path) -> None:
    (place / "root" / STAGING).symlink_to(place / "outside")
    before = snapshot(place / "outside")
    written(place, "etc/file")
    assert snapshot(place / "outside") == before
    assert not (place / "root" / STAGING).is_symlink()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_read_as_one(place: Path, kind: str) -> None:
    path = place / "root/etc/passwd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")  # the root has none: so it is missing, and this machine's is not taken
    with Rootfs(place / "root", Recorded()) as root:
        if kind == "device":
            assert root.read("etc/passwd") is None
        else:
            with pytest.raises(InputError, match="no regular file"):
                root.read("etc/passwd")


def test_a_folder_in_the_way_is_told(place: Path) -> None:
    (place / "root/etc/hostname").mkdir()
    with pytest.raises(InputError, match=r"cannot write /etc/hostname in .*; unpack"):
        written(place, "etc/hostname")


def test_modes_and_owners_are_given_before_the_name(place: Path) -> None:
    owners = Recorded()
    with Rootfs(place / "root", owners) as root:
        root.write("etc/secret", b"x", 0o600, (0, 0))
        root.folder("home/ada/.ssh", 0o700, (1000, 1000))
        root.write("home/ada/.ssh/authorized_keys", b"y", 0o600, (1000, 1000))
    assert stat.S_IMODE((place / "root/etc/secret").stat().st_mode) == 0o600
    assert stat.S_IMODE((place / "root/home/ada/.ssh").stat().st_mode) == 0o700
    assert owners.given["home/ada/.ssh"] == owners.given["home/ada/.ssh/authorized_keys"] == (1000, 1000)
    assert owners.given["home"] == (0, 0)


def test_what_is_there_as_wanted_is_left_alone(place: Path) -> None:
    owners = Recorded()
    with Rootfs(place / "root", owners) as root:
        root.write("etc/a", b"x", 0o640)
        root.link("etc/b", "a")
        before = snapshot(place / "root", times=True)
        root.write("etc/a", b"x", 0o640)
        root.link("etc/b", "a")
        assert {
            name: state for name, state in snapshot(place / "root", times=True).items() if name.startswith("etc/")
        } == {name: state for name, state in before.items() if name.startswith("etc/")}
        root.write("etc/a", b"y", 0o777, keep=True)
    assert stat.S_IMODE((place / "root/etc/a").stat().st_mode) == 0o640


def test_a_root_that_is_only_read_is_not_touched(place: Path) -> None:
    (place / "root/etc/a").write_text("x")
    before = snapshot(place / "root", times=True)
    with Rootfs(place / "root", write=False) as root:
        assert root.text("etc/a") == "x"
        assert root.names("etc") == ["a"]
        assert root.names("nowhere") == []
    assert snapshot(place / "root", times=True) == before


def test_what_a_killed_one_left_is_swept(place: Path) -> None:
    left = place / "root" / STAGING / "3"
    left.mkdir(parents=True)
    (left / "half").write_text("x")
    written(place, "etc/file")
    assert sorted(path.name for path in (place / "root").iterdir()) == ["etc"]


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot open the root file system"), Rootfs(tmp_path / "none"):
        pass
