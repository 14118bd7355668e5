"""``edge-streamer flash`` against a Linux_for_Tegra that is none: what it runs, in which order, and how it goes on."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_streamer.devices.jetson.flash import job
from edge_streamer.devices.jetson.flash.progress import Progress
from edge_streamer.devices.jetson.system import System
from edge_streamer.runtime.commands import flash, flash_options
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.flash import l4t
from tests.devices.jetson.flash.l4t import Recorded, snapshot
from tests.devices.jetson.flash.test_prepare import KEY

INITRD = "./tools/kernel_flash/l4t_initrd_flash.sh"
NANO = [INITRD, "--external-device", "nvme0n1p1", "-c", "tools/kernel_flash/flash_l4t_t234_nvme.xml", "-p",
        "-c bootloader/generic/cfg/flash_t234_qspi.xml", "--showlogs", "--network", "usb0", "jetson-orin-nano-devkit",
        "internal"]  # fmt: skip
NANO_ONLY = [INITRD, "--flash-only", "--showlogs", "--network", "usb0", "jetson-orin-nano-devkit", "internal"]

Flash = Callable[..., int]


@pytest.fixture(autouse=True)
def much_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_streamer.devices.jetson.flash.host._free", lambda _: 10**12)


class Bench:
    """A machine, a Linux_for_Tegra on it and boards at its ports."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.owners = folder, Recorded()
        self.tegra = folder / "Linux_for_Tegra"
        self.system = System(folder / "host")

    def make(self, version: str = "36.4.3", *boards: dict[str, str], **more: Any) -> Path:
        self.system = l4t.host(self.folder, *(boards or (l4t.board(),)))
        return l4t.make(self.folder, version, **more)

    def flash(self, words: str = "", *, yes: bool = True) -> int:
        parser = argparse.ArgumentParser()
        flash_options.add_arguments(parser)
        args = parser.parse_args([f"--l4t={self.tegra}", *(["--yes"] if yes else []), *shlex.split(words)])
        return flash.main(args, flash.Machine(self.system, "x86_64", os.geteuid(), self.owners))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


SUPER = [*NANO[:-2], "jetson-orin-nano-devkit-super", "internal"]
CARD = ["mmcblk0p1" if word == "nvme0n1p1" else word for word in NANO]
BOARDS = {
    "orin-nano": ("36.4.3", "7523", "", "initrd", NANO),
    "orin-nano super": ("36.4.3", "7523", "--super", "initrd", SUPER),
    "orin-nano sd": ("36.4.3", "7523", "--storage sd", "initrd", CARD),
    "orin-nx": ("36.4.3", "7323", "", "initrd", NANO),
    "agx-orin": ("36.4.3", "7023", "", "flash", ["./flash.sh", "jetson-agx-orin-devkit", "internal"]),
    "thor": ("38.4.0", "7026", "", "top", ["./l4t_initrd_flash.sh", "jetson-agx-thor-devkit", "internal"]),
    "thor of R39": ("39.2.0", "7026", "", "top", ["./l4t_initrd_flash.sh", "jetson-agx-thor-devkit", "internal"]),
    "orin-nano of R39": ("39.2.0", "7523", "--super --erase-all", "top",
                         ["./l4t_initrd_flash.sh", "--erase-all", "jetson-orin-nano-devkit-super", "internal"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOARDS)
def test_the_scripts_get_nvidias_words(bench: Bench, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    version, product, words, script, wanted = BOARDS[kind]
    driver = "openrm" if product == "7026" else "nvgpu"
    tegra = bench.make(version, l4t.board(product), driver=driver)
    l4t.behave(tegra, **{script: l4t.EMMC_WRITTEN if script == "flash" else [*l4t.IMAGES_MADE, *l4t.WRITTEN]})
    assert bench.flash(words) == 0
    assert l4t.words(tegra) == [wanted]
    call = l4t.calls(tegra)[0]
    assert call["in"] == str(tegra)
    printed = capsys.readouterr().out
    assert f"sudo {shlex.join(wanted)}" in printed, "every command is printed"
    assert "board at 1-3: written" in printed


def test_a_dry_run_writes_and_runs_nothing(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    tegra = bench.make()
    (bench.folder / "key.pub").write_text(KEY)
    before = snapshot(bench.folder, times=True)
    words = f"--dry-run --user ada --ssh-key {bench.folder / 'key.pub'} --hostname kitchen --power-mode 25W --wifi home"
    assert bench.flash(words, yes=False) == 0
    assert snapshot(bench.folder, times=True) == before
    printed = capsys.readouterr().out
    assert f"sudo {shlex.join(NANO)}" in printed
    assert "rootfs is prepared: user ada; host kitchen; Wi-Fi home; power mode 25W; start no desktop" in printed
    assert l4t.words(tegra) == []


def test_a_dry_run_tells_what_is_in_the_way_and_the_commands(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.make()
    bench.system = l4t.host(bench.folder, l4t.board(), sys_vendor="QEMU\n")
    assert bench.flash("--dry-run") == 2
    printed = capsys.readouterr().out
    assert "this is a virtual machine" in printed
    assert f"sudo {shlex.join(NANO)}" in printed


def test_nothing_is_run_where_something_is_in_the_way(bench: Bench) -> None:
    tegra = bench.make()
    bench.system = l4t.host(bench.folder, l4t.board(), sys_vendor="QEMU\n", disable_ipv6="1\n")
    before = snapshot(tegra, times=True)
    with pytest.raises(InputError, match=r"2 in the way \(machine, network\); nothing was changed"):
        bench.flash()
    assert snapshot(tegra, times=True) == before


def test_somebody_must_say_yes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tegra = bench.make()
    with pytest.raises(InputError, match="nobody is there to say yes"):
        bench.flash(yes=False)
    monkeypatch.setattr(flash, "_asked", lambda: False)
    assert bench.flash(yes=False) == 1
    assert l4t.words(tegra) == []


def test_the_root_is_prepared_before_and_the_password_is_no_word(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    tegra = bench.make()
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    (bench.folder / "key.pub").write_text(KEY)
    (bench.folder / "wifi").write_text("correct horse\n")
    words = f"--user ada --no-password --ssh-key {bench.folder / 'key.pub'} --hostname kitchen --wifi home"
    assert bench.flash(f"{words} --wifi-password-file {bench.folder / 'wifi'} --timezone Europe/Berlin --swap 8G") == 0
    assert "\nada:x:1000:" in (tegra / "rootfs/etc/passwd").read_text()
    assert "ada:!:" in (tegra / "rootfs/etc/shadow").read_text()
    called = json.dumps(l4t.calls(tegra))
    printed = capsys.readouterr().out
    assert "correct horse" not in called + printed
    assert "then: edge-streamer doctor" in printed
    logs = list((tegra / "edge-streamer-flash/logs").glob("*/flash.log"))
    assert len(logs) == 1
    assert "Flash is successful" in logs[0].read_text()


def test_what_failed_goes_on_with_the_images_that_are_there(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    tegra = bench.make()
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.TIMED_OUT])
    assert bench.flash("--hostname kitchen") == 1
    printed = capsys.readouterr().out
    assert (
        "fail  board at 1-3: exit status 4: 16:12:15.022 - Error: Device ping failed after RCM boot.; plug" in printed
    )
    l4t.behave(tegra, initrd=l4t.WRITTEN)
    assert bench.flash("--hostname kitchen") == 0
    assert l4t.words(tegra) == [NANO, NANO_ONLY]
    assert "images: as they were made before" in capsys.readouterr().out
    # Another host name is another root file system, and so other images.
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    assert bench.flash("--hostname hall") == 0
    assert l4t.words(tegra)[-1] == NANO


def test_images_that_were_not_finished_are_made_again(bench: Bench) -> None:
    tegra = bench.make()
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE[:-1], ("exit", 1)])
    assert bench.flash() == 1
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, ("exit", 1)])
    assert bench.flash() == 1
    assert bench.flash() == 1
    assert l4t.words(tegra) == [NANO, NANO, NANO_ONLY]


def test_an_emmc_goes_on_with_its_image(bench: Bench) -> None:
    tegra = bench.make("36.4.3", l4t.board("7023"))
    l4t.behave(tegra, flash=[*l4t.EMMC_WRITTEN[:4], ("exit", 1)])
    assert bench.flash() == 1
    l4t.behave(tegra, flash=l4t.EMMC_WRITTEN[3:])
    assert bench.flash() == 0
    assert l4t.words(tegra)[-1] == ["./flash.sh", "-r", "jetson-agx-orin-devkit", "internal"]


def test_one_that_hangs_is_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    tegra = bench.make()
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WAITS, ("sleep", 600)])
    assert bench.flash("--patience 0.002") == 1
    assert "hung while waiting for the board for 1 s; plug the cable" in capsys.readouterr().out


def test_half_prepared_is_never_flashed(bench: Bench) -> None:
    tegra = bench.make()
    notes = tegra / "rootfs/etc/edge-streamer"
    notes.mkdir()
    (notes / "preparing.json").write_text("{}")
    with pytest.raises(InputError, match="is half prepared: it was interrupted; run the same command again"):
        bench.flash()
    assert l4t.words(tegra) == []
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    assert bench.flash("--hostname kitchen") == 0
    assert not (notes / "preparing.json").exists()


def test_images_without_a_board_and_then_the_board(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    tegra = bench.make("36.4.3", {})
    l4t.behave(tegra, initrd=l4t.IMAGES_MADE)
    with pytest.raises(InputError, match=r"1 in the way \(board\)"):
        bench.flash("--image-only")
    with pytest.raises(InputError, match=r"1 in the way \(board\)"):
        bench.flash("--image-only --board orin-nano")
    assert bench.flash("--image-only --module p3767-0005 --fab 300 --hostname kitchen") == 0
    assert l4t.words(tegra) == [[INITRD, "--no-flash", *NANO[1:]]]
    environment = l4t.calls(tegra)[0]["environment"]
    assert (environment["BOARDID"], environment["BOARDSKU"], environment["FAB"]) == ("3767", "0005", "300")
    assert "sudo BOARDID=3767 BOARDSKU=0005 FAB=300 " in capsys.readouterr().out
    assert bench.flash("--image-only --module p3767-0005 --fab 300 --hostname kitchen") == 0
    assert len(l4t.words(tegra)) == 1, "they are there"
    bench.system = l4t.host(bench.folder, l4t.board())
    l4t.behave(tegra, initrd=l4t.WRITTEN)
    assert bench.flash("--hostname kitchen") == 0
    assert l4t.words(tegra)[1:] == [NANO_ONLY]


def test_images_for_one_module_are_not_flashed_to_another(bench: Bench) -> None:
    tegra = bench.make("36.4.3", {})
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    assert bench.flash("--image-only --module p3767-0004") == 0
    bench.system = l4t.host(bench.folder, l4t.board("7523"))
    assert bench.flash() == 0
    assert l4t.words(tegra)[1:] == [NANO]


def several(*ports: str) -> list[tuple[str, ...]]:
    return [("say", f"Start flashing device: {port}, rcm instance: {n}, PID: 1") for n, port in enumerate(ports)]


def test_of_several_boards_each_ones_outcome_is_told(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    tegra = bench.make("36.4.3", l4t.board("7323", "1-3"), l4t.board("7323", "1-4"), l4t.board("7323", "2-1"))
    good = "\n".join(step[1] for step in l4t.WRITTEN)
    bad = "\n".join(step[1] for step in l4t.TIMED_OUT if step[0] == "say")
    l4t.behave(tegra, initrd=[
        *several("1-3", "1-4"), ("write", "initrdlog/flash_1-3_0_20261128-210000.log", good),
        ("write", "initrdlog/flash_1-4_1_20261128-210000.log", bad), ("say", "Flash complete (WITH FAILURES)"),
    ])  # fmt: skip
    assert bench.flash("--massflash 3") == 1
    assert [words[1] for words in l4t.words(tegra)] == ["--no-flash", "--flash-only"]
    printed = capsys.readouterr().out
    assert "ok    board at 1-3: written" in printed
    assert "fail  board at 1-4: 16:12:15.022 - Error: Device ping failed after RCM boot.; plug the cable" in printed
    assert "fail  board at 2-1: it was not begun: " in printed
    told = json.loads((tegra / "edge-streamer-flash/state/flashed.json").read_text())
    assert set(told["boards"]) == {"1-3", "1-4", "2-1"}


def test_the_board_says_what_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "SETTLE_SECONDS", 0.0)
    tegra = bench.make()
    l4t.behave(tegra, identify=[("say", l4t.IDENTIFIED.format(sku="0005"))], initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    assert bench.flash("--identify") == 0
    assert l4t.words(tegra) == [["./nvautoflash.sh", "--print_boardid"], NANO]
    l4t.behave(tegra, identify=[("say", l4t.IDENTIFIED.format(sku="0000"))])
    with pytest.raises(InputError, match="the board says that it is a p3767-0000, which is no Jetson Orin Nano"):
        bench.flash("--identify")
    assert len(l4t.words(tegra)) == 3


def test_sdk_manager_is_told_what_it_documents(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.make()
    parser = argparse.ArgumentParser()
    flash_options.add_arguments(parser)
    args = parser.parse_args(["--sdkmanager", "--jetpack", "6.2", "--dry-run"])
    assert flash.main(args, flash.Machine(bench.system, "x86_64", os.geteuid(), bench.owners)) == 2, "it is not there"
    assert (
        "sdkmanager --cli --action install --login-type devzone --product Jetson --target-os Linux --version 6.2 "
        "--target JETSON_ORIN_NANO_TARGETS --flash --license accept --exit-on-finish" in capsys.readouterr().out
    )


REFUSED = {
    "--sdkmanager --jetpack 6.2 --user ada": "SDK Manager brings its own root file system",
    "--module p3767-0005": "--module is for images without a board",
    "--fab 300": "say more of a --module",
    "--image-only --module p9999-0001": "p9999-0001 is no module of",
    "--board thor --super": "--super is for Orin Nano and NX",
    "--user ada --no-password": "nobody could log in as ada",
    "--user ada": "nobody is there to type it",
    "--password-file x": "a password is a user's",
    "--bundle .": "name both --bundle and --wheels",
    "--swap 8": "no size of a swap file",
    "--ssh-key /nowhere --user ada --no-password": "cannot read /nowhere: No such file",
    "--wifi a --wifi-password-file x --wifi-password-file y": "--wifi stands once and --wifi-password-file 2 times",
}


@pytest.mark.parametrize("words", REFUSED)
def test_words_that_do_not_go_together(bench: Bench, words: str) -> None:
    tegra = bench.make()
    more = " --hostname kitchen" if words.startswith("--password-file") else ""
    before = snapshot(tegra, times=True)
    with pytest.raises(InputError, match=REFUSED[words].replace("(", r"\(")) as error:
        bench.flash(words + more)
    assert "\n" not in str(error.value)
    assert snapshot(tegra, times=True) == before


def test_two_at_once_do_not_work_in_one_folder(bench: Bench) -> None:
    tegra = bench.make()
    first = Progress(tegra)
    first.begin()
    with first.alone(), pytest.raises(InputError, match="another edge-streamer flash works in"):
        bench.flash()
    assert l4t.words(tegra) == []


def test_a_script_of_a_run_that_was_killed_is_not_joined_by_another(bench: Bench) -> None:
    tegra = bench.make()
    l4t.behave(tegra, initrd=[("sleep", 600)])
    state = Progress(tegra)
    state.begin()
    left = subprocess.Popen([INITRD], cwd=tegra, start_new_session=True)  # as one leaves it who gets SIGKILL
    state.running(left.pid)
    try:
        with pytest.raises(InputError, match=rf"is still at work \(process {left.pid}\); wait"):
            bench.flash()
    finally:
        left.kill()
        left.wait()
    l4t.behave(tegra, initrd=[*l4t.IMAGES_MADE, *l4t.WRITTEN])
    assert bench.flash() == 0


def test_ctrl_c_says_how_to_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    bench.make()
    monkeypatch.setattr(job, "do", stopped)
    assert bench.flash() == 130
    assert "run the same command: it goes on with what is done" in capsys.readouterr().err


def test_without_a_board_everything_else_is_told_too(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.make("36.4.3", {})
    bench.system = l4t.host(bench.folder, sys_vendor="QEMU\n", autosuspend="2\n")
    with pytest.raises(InputError, match=r"2 in the way \(machine, board\); nothing was changed"):
        bench.flash("--dry-run")
    printed = capsys.readouterr().out
    assert "none in recovery mode, and none was named" in printed
    assert "--board orin-nano | orin-nx | agx-orin | thor | thor-t4000" in printed
    assert "ports sleep after 2 s" in printed


def test_wrong_options_are_told_beside_what_is_in_the_way(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.make()
    bench.system = l4t.host(bench.folder, l4t.board(), sys_vendor="QEMU\n")
    words = "--dry-run --user Ada --wifi 'my net' --swap 8X --bundle . --timezone Mars --hostname a_b --power-mode 9W"
    with pytest.raises(InputError, match="every command is printed once the options are right") as error:
        bench.flash(words)
    printed = capsys.readouterr().out
    for said in ("'Ada' is no user's name", "'8X' is no size", "name both --bundle and --wheels", "no time zone Mars",
                 "'a_b' is no host's name", "no power mode '9W'", "this is a virtual machine"):  # fmt: skip
        assert printed.count(said) == 1, said
    assert "nobody is here who could: Password of Ada on the device, Password of the network my net" in printed
    assert "7 in the way (options, machine); nothing was changed" in str(error.value)
    assert "sudo ./tools" not in printed


def test_wrong_options_are_told_with_words_that_do_not_go_together(bench: Bench) -> None:
    bench.make()
    with pytest.raises(InputError, match=r"--super is for Orin Nano and NX.*; '8X' is no size of a swap file"):
        bench.flash("--board thor --super --swap 8X")
    with pytest.raises(InputError, match=r"nobody is there to type it.*'8X' is no size of a swap file"):
        bench.flash("--user ada --swap 8X")


def test_a_dry_run_says_what_its_commands_wait_for(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.make("36.4.3", {})
    (bench.tegra / "rootfs/etc/passwd").unlink()
    with pytest.raises(InputError, match="printed once a board is there or named, Linux_for_Tegra and its rootfs are"):
        bench.flash("--dry-run")
    with pytest.raises(InputError, match=r"every command is printed once Linux_for_Tegra and its rootfs are unpacked$"):
        bench.flash("--dry-run --board orin-nano")
    bench.system = l4t.host(bench.folder, l4t.board(), sys_vendor="QEMU\n")
    l4t.root(bench.tegra / "again")
    (bench.tegra / "rootfs/etc/passwd").write_text((bench.tegra / "again/etc/passwd").read_text())
    with pytest.raises(InputError, match=r"every command is printed once its release is for this board$"):
        bench.flash("--dry-run --storage emmc")
    assert bench.flash("--dry-run") == 2
    assert capsys.readouterr().out.endswith("1 in the way (machine); nothing was run\n")
    with pytest.raises(InputError, match=r"every command is printed by --dry-run already$"):
        bench.flash()
