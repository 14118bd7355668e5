"""Everything that can be in the way is one clear line, and all of them are told at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.flash import host, preflight, tree, usb
from edge_streamer.devices.jetson.flash.preflight import Wanted
from edge_streamer.devices.jetson.line import Line
from edge_streamer.devices.jetson.system import System
from tests.devices.jetson.flash import l4t

NANO = Wanted("orin-nano", "nvme", "jetson-orin-nano-devkit")
THOR = Wanted("thor", "nvme", "jetson-agx-thor-devkit")


def looked(
    path: Path, system: System, wanted: Wanted = NANO, *, root: bool = True, architecture: str = "x86_64",
    free: int = 10**12, allow: tuple[str, ...] = (),
) -> list[Line]:  # fmt: skip
    found = tree.read(path, uid=path.stat().st_uid if path.exists() else 0)
    read = host.read(system, path, architecture=architecture, root=root)
    read = host.Host(**{**vars(read), "free": free})
    return preflight.lines(read, found, usb.found(system), wanted, allow)


def failed(lines: list[Line]) -> list[str]:
    return [f"{line.name}: {line.found} -> {line.mend}" for line in preflight.failed(lines)]


@pytest.fixture
def tegra(tmp_path: Path) -> Path:
    return l4t.make(tmp_path)


def test_nothing_is_in_the_way(tegra: Path, tmp_path: Path) -> None:
    lines = looked(tegra, l4t.host(tmp_path, l4t.board()))
    assert failed(lines) == []
    assert {line.state for line in lines} == {"ok"}, lines
    names = [line.name for line in lines]
    assert len(names) == len(set(names))


REMOVED = "\nPackage: abootimg\nStatus: deinstall ok config-files\n"
HOSTS = {
    "another system": (dict(os_release='ID=fedora\nVERSION_ID="42"\n'), {}, "host: fedora 42 on x86_64 -> "),
    "another processor": ({}, dict(architecture="aarch64"), "host: ubuntu 22.04 on aarch64 -> "),
    "another Ubuntu": (dict(os_release='ID=ubuntu\nVERSION_ID="24.04"\n'), {},
                       "host: ubuntu 24.04 on x86_64, for R36 -> flash from Ubuntu 20.04 or 22.04 on x86-64"),
    "a container": (dict(dockerenv=""), {}, "machine: this is a container -> "),
    "another container": (dict(cgroup="0::/system.slice/docker-1.scope\n"), {}, "machine: this is a container -> "),
    "WSL": (dict(osrelease="5.15.1-microsoft-standard-WSL2\n"), {}, "machine: this is WSL -> "),
    "a virtual machine": (dict(sys_vendor="QEMU\n"), {}, "machine: this is a virtual machine -> "),
    "a user": ({}, dict(root=False), "root: no -> run it as root: sudo"),
    "no dpkg": (dict(status=None), {}, "packages: no dpkg here"),
    "no package": (dict(status="Package: abootimg\nStatus: install ok installed\n"), {},
                   "packages: 32 of 33 missing: binfmt-support, binutils, cpio, "),
    "a removed package": (dict(status=l4t.dpkg(l4t.PACKAGES[1:]) + REMOVED), {},
                          "packages: 1 of 33 missing: abootimg -> in "),
    "no disk": ({}, dict(free=10**9), "disk: 1.0 GB free in "),
    "nosuid": (dict(mountinfo="22 1 8:1 / / rw,nosuid,nodev shared:1 - ext4 /dev/sda1 rw\n"), {},
               "mount: / is mounted nodev, nosuid -> sudo mount -o remount,dev,suid /"),
    "NTFS": (dict(mountinfo="22 1 8:1 / / rw,relatime - fuseblk /dev/sdb1 rw,user_id=0\n"), {}, "lies on fuseblk (/)"),
    "no IPv6": (dict(disable_ipv6="1\n"), {}, "network: IPv6 is off"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTS)
def test_the_host(tegra: Path, tmp_path: Path, kind: str) -> None:
    files, more, said = HOSTS[kind]
    if "dockerenv" in files:
        (tmp_path / "host").mkdir()
        (tmp_path / "host/.dockerenv").touch()
        files = {}
    lines = looked(tegra, l4t.host(tmp_path, l4t.board(), **files), **more)  # type: ignore[arg-type]
    assert len(failed(lines)) == 1, failed(lines)
    assert said in failed(lines)[0]
    assert "\n" not in failed(lines)[0]


def test_what_only_may_be_in_the_way_is_a_warning(tegra: Path, tmp_path: Path) -> None:
    system = l4t.host(tmp_path, l4t.board(), autosuspend="2\n")
    (tmp_path / "host/etc/ufw").mkdir()
    (tmp_path / "host/etc/ufw/ufw.conf").write_text("ENABLED=yes\n")
    active = System(system.root, lambda words: "active\n" if words[-1] == "udisks2.service" else "")
    lines = looked(tegra, active, free=40_000_000_000)
    assert failed(lines) == []
    warned = {line.name: line for line in lines if line.state == "warn"}
    assert set(warned) == {"usb power", "network", "automount", "disk"}
    assert warned["usb power"].mend == "echo -1 | sudo tee /sys/module/usbcore/parameters/autosuspend"
    assert warned["automount"].mend == "sudo systemctl stop udisks2"


TREES = {
    "no folder": (lambda path: shutil.rmtree(path / "bootloader"), "l4t: "),
    "no root": (lambda path: shutil.rmtree(path / "rootfs/etc"), "rootfs: "),
    "no release": (lambda path: (path / "rootfs/etc/nv_tegra_release").unlink(), "release: not told by"),
    "an unknown release": (lambda path: (path / "rootfs/etc/nv_tegra_release").write_text(l4t.release("35.4.1")),
                           "release: R35.4.1 -> known are R36 (JetPack 6)"),
    "no config": (lambda path: (path / "jetson-orin-nano-devkit.conf").unlink(),
                  "config: jetson-orin-nano-devkit.conf is not in "),
}  # fmt: skip


@pytest.mark.parametrize("kind", TREES)
def test_the_tree(tegra: Path, tmp_path: Path, kind: str) -> None:
    change, said = TREES[kind]
    change(tegra)
    lines = looked(tegra, l4t.host(tmp_path, l4t.board()))
    assert any(line.startswith(said) for line in failed(lines)), failed(lines)
    assert all("\n" not in line for line in failed(lines))


def test_what_is_there_in_place_of_the_tree_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "talk.wav").write_bytes(b"RIFF")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").touch()
    l4t.make(tmp_path / "above")
    (tmp_path / "hollow/bootloader").mkdir(parents=True)
    for name in ("flash.sh", "apply_binaries.sh"):
        (tmp_path / "hollow" / name).touch()
    (tmp_path / "hollow/rootfs").mkdir()
    cases = {
        "nix": "nix does not exist -> unpack", "empty": "empty is an empty folder -> unpack",
        "talk.wav": "talk.wav is a file -> unpack", "other": "other is no Linux_for_Tegra: a folder without its",
        "above": f"-> --l4t {tmp_path}/above/Linux_for_Tegra", "hollow": "hollow tells no release: it is not all of",
    }  # fmt: skip
    system = l4t.host(tmp_path, l4t.board(), status=l4t.dpkg(l4t.PACKAGES[1:]))
    for name, said in cases.items():
        for wanted in (NANO, NANO._replace(board="")):
            lines = {line.partition(":")[0]: line for line in failed(looked(tmp_path / name, system, wanted))}
            assert said in lines["l4t"], lines
            assert lines["packages"] == "packages: 1 of 33 missing: abootimg -> sudo apt-get install abootimg"


def test_a_space_in_the_path_is_told(tmp_path: Path) -> None:
    tegra = l4t.make(tmp_path / "my board")
    assert "a space in the path" in failed(looked(tegra, l4t.host(tmp_path, l4t.board())))[0]


def test_a_root_of_a_users_is_refused(tegra: Path, tmp_path: Path) -> None:
    found = tree.read(tegra, uid=12345)
    assert not found.root_owned
    read = host.read(l4t.host(tmp_path, l4t.board()), tegra, architecture="x86_64", root=True)
    lines = preflight.lines(read, found, ([usb.Port("1-3", "7523", False)], []), NANO)
    assert "it was unpacked without sudo -> sudo rm -rf" in failed(lines)[0]


def test_binaries_are_applied_and_the_right_ones(tmp_path: Path) -> None:
    cases = {
        "plain": (l4t.make(tmp_path / "a", applied=False, driver=""), NANO, "7523", "has not run -> in "),
        "openrm on Orin": (l4t.make(tmp_path / "b", "39.2.0", driver="openrm"), NANO, "7523",
                           "ran with --openrm, which a Jetson Orin Nano must not have"),
        "none on Thor": (l4t.make(tmp_path / "c", "39.2.0"), THOR, "7026",
                         "ran without --openrm, which a Jetson AGX Thor needs"),
    }  # fmt: skip
    for path, wanted, product, said in cases.values():
        lines = looked(path, l4t.host(path, l4t.board(product)), wanted)
        assert any("binaries" in line and said in line for line in failed(lines)), failed(lines)
    right = l4t.make(tmp_path / "d", "39.2.0", driver="openrm")
    assert failed(looked(right, l4t.host(right, l4t.board("7026")), THOR)) == []


def test_a_release_for_other_boards_and_storages(tmp_path: Path) -> None:
    thor_only = l4t.make(tmp_path / "a", "38.4.0")
    lines = looked(thor_only, l4t.host(thor_only, l4t.board()))
    assert "release: R38.4.0 does not flash a Jetson Orin Nano -> unpack R36 or R39" in failed(lines)
    orin = l4t.make(tmp_path / "b")
    lines = looked(orin, l4t.host(orin, l4t.board()), NANO._replace(storage="emmc"))
    assert failed(lines) == [
        "storage: emmc: R36 does not flash a Jetson Orin Nano to the module's eMMC -> --storage nvme or sd"
    ]


PORTS = {
    "none": ([], "board: none in recovery mode -> put the board into Force Recovery Mode"),
    "a running one": ([l4t.board("7020", "1-4")], "board: 1-4 runs Linux; it is not in recovery mode -> sudo reboot"),
    "another board": ([l4t.board("7023", "2-1")],
                      "board: AGX Orin (0955:7023) at port 2-1: not a Jetson Orin Nano -> unplug it, or: --board agx-"),
    "two": ([l4t.board(), l4t.board("7623", "1-4")],
            "board: 2 in recovery mode: Orin Nano 8 GB (0955:7523) at port 1-3; Orin Nano 4 GB (0955:7623) at port 1-4 "
            "-> leave 1 plugged in, or: --massflash 2"),
}  # fmt: skip


@pytest.mark.parametrize("kind", PORTS)
def test_the_board(tegra: Path, tmp_path: Path, kind: str) -> None:
    boards, said = PORTS[kind]
    lines = looked(tegra, l4t.host(tmp_path, *boards))
    assert len(failed(lines)) == 1
    assert failed(lines)[0].startswith(said)


def test_several_boards_are_of_one_kind(tegra: Path, tmp_path: Path) -> None:
    system = l4t.host(tmp_path, l4t.board(), l4t.board("7623", "1-4"))
    said = failed(looked(tegra, system, NANO._replace(boards=2)))
    assert said[0].startswith("board: several kinds in recovery mode: Orin Nano 4 GB and Orin Nano 8 GB -> ")


def test_a_hub_is_a_warning_and_other_devices_are_nothing(tegra: Path, tmp_path: Path) -> None:
    other = {"/sys/bus/usb/devices/3-1/idVendor": "046d\n", "/sys/bus/usb/devices/3-1/idProduct": "7523\n"}
    lines = looked(tegra, l4t.host(tmp_path, l4t.board("7523", "1-3.2"), other))
    assert failed(lines) == []
    assert next(line for line in lines if line.name == "board").mend == "behind a hub (1-3.2): plug it in directly"


def test_firmware_is_told_before(tmp_path: Path) -> None:
    new = l4t.make(tmp_path / "a", "39.2.0")
    line = next(line for line in looked(new, l4t.host(new, l4t.board())) if line.name == "firmware")
    assert line.state == "warn"
    assert "cards of JetPack 6 do not start in it any more" in line.found
    assert "changing the card is not enough" in line.mend


def test_a_line_may_be_allowed_by_name(tegra: Path, tmp_path: Path) -> None:
    system = l4t.host(tmp_path, l4t.board(), sys_vendor="QEMU\n")
    assert [line.name for line in preflight.failed(looked(tegra, system))] == ["machine"]
    assert failed(looked(tegra, system, allow=("machine",))) == []


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    system = l4t.host(tmp_path, os_release="", status=None, sys_vendor="QEMU\n", disable_ipv6="1\n")
    lines = looked(tmp_path / "empty", system, root=False, architecture="aarch64", free=0)
    assert [line.name for line in preflight.failed(lines)] == [
        "host", "machine", "root", "packages", "l4t", "board", "network"
    ]  # fmt: skip


def test_a_host_full_of_rubbish_is_read(tegra: Path, tmp_path: Path) -> None:
    rubbish = "\x00\udcff - - -\n\n" * 3
    names = ("os_release", "mountinfo", "autosuspend", "cgroup", "osrelease", "sys_vendor", "disable_ipv6")
    system = l4t.host(
        tmp_path, l4t.board("7523\x1b[31m"), **dict.fromkeys(names, rubbish.encode("utf-8", "replace").decode())
    )
    assert [line.name for line in preflight.failed(looked(tegra, system))] == ["host", "board"]


def test_the_list_of_packages_is_the_trees_own(tegra: Path) -> None:
    (tegra / tree.PREREQUISITES).write_text("package_list=(abootimg\n\tnewtool)\n")
    assert tree.read(tegra).packages == ("abootimg", "newtool", "lz4", "python-is-python3")
    (tegra / tree.PREREQUISITES).unlink()
    assert tree.read(tegra).packages == tree.PACKAGES
