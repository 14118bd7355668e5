"""A script is followed, told how far it is, ended where it hangs, and what it complains of becomes advice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_streamer.devices.jetson.flash import run, watch
from edge_streamer.devices.jetson.flash.routes import Command
from edge_streamer.runtime.errors import InputError
from tests.devices.jetson.flash import l4t


def ran(folder: Path, *steps: object, patience: float = 1.0) -> tuple[run.Ran, list[str]]:
    tegra = l4t.make(folder)
    l4t.behave(tegra, top=steps)
    told: list[str] = []
    return run.run(Command(("./l4t_initrd_flash.sh", "x")), tegra, folder / "log", told.append, patience=patience), told


def test_a_flash_goes_through_its_stages(tmp_path: Path) -> None:
    done, told = ran(tmp_path, *l4t.IMAGES_MADE, *l4t.WRITTEN)
    assert done.done
    assert told == done.stages == [
        "making images", "images are made", "starting the board over USB", "waiting for the board",
        "waiting for the board's network", "written",
    ]  # fmt: skip
    log = (tmp_path / "log").read_text()
    assert log.startswith("$ sudo ./l4t_initrd_flash.sh x\n")
    assert "Flash is successful" in log


def test_one_that_says_nothing_is_ended_with_advice(tmp_path: Path) -> None:
    before = time.monotonic()
    done, _ = ran(tmp_path, *l4t.WAITS, ("sleep", 600), patience=0.002)
    assert time.monotonic() - before < 30
    assert done.hung is not None
    assert "hung while waiting for the board for " in done.why()
    assert "plug the cable straight into a port" in done.why()


def test_a_hang_that_was_waited_for_has_no_children_left(tmp_path: Path) -> None:
    mark = f"flash-test-{os.getpid()}"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntrap '' INT TERM\nsleep 611 & echo {mark} $!\nwait\n")
    script.chmod(0o755)
    done = run.run(Command((str(script),)), tmp_path, tmp_path / "log", patience=0.0003)
    assert done.hung is not None
    child = int(next(line for line in done.lines if mark in line).split()[1])
    for _ in range(50):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("a child of the script lives on")


def test_one_who_left_the_pipe_open_is_not_waited_for(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nsleep 600 &\necho done\n")
    script.chmod(0o755)
    before = time.monotonic()
    assert run.run(Command((str(script),)), tmp_path, tmp_path / "log").done
    assert time.monotonic() - before < 20


COMPLAINTS = {
    "16:12:15.022 - Error: Device ping failed after RCM boot.": "plug the cable straight into a port",
    "Device failed to boot to the initrd flash kernel. Please retrive the serial log": "plug the cable straight",
    "ERROR sshpass not found! To install - please run:": "sudo ./tools/l4t_flash_prerequisites.sh",
    "./flash.sh: line 3: strings: command not found": "sudo ./tools/l4t_flash_prerequisites.sh",
    "Error, too many devices in RCM mode": "--massflash N",
    "No devices to flash": "put it there again",
    "IPV6 is disabled. Please enable IPV6 when running this tool": "disable_ipv6=0",
    "NFS server is not running": "nfs-kernel-server",
    "ERROR: might be timeout in USB write.": "take the board's power away",
    "dd: error writing: No space left on device": "make room on this machine's disk",
}


@pytest.mark.parametrize("line", COMPLAINTS)
def test_what_nvidias_scripts_say_becomes_advice(tmp_path: Path, line: str) -> None:
    done, _ = ran(
        tmp_path, ("say", "Cleaning"), ("say", f"\x1b[31m{line}\x1b[0m"), ("say", "Cleaning up..."), ("exit", 3)
    )
    assert not done.done
    assert line in done.why()
    assert COMPLAINTS[line] in done.why()
    assert "\n" not in done.why()
    assert "\x1b" not in done.why()


def test_an_unknown_end_names_the_log(tmp_path: Path) -> None:
    done, _ = ran(tmp_path, ("say", "Hm."), ("exit", 9))
    assert done.why() == f"exit status 9: Hm.; see {tmp_path / 'log'}"


def test_stages_never_go_back() -> None:
    waiting = next(stage for stage in watch.STAGES if stage.name == "waiting for the board")
    assert watch.stage_of("Step 1: Generate flash packages", waiting) is None
    assert watch.stage_of("Flash is successful", waiting) is not None
    assert watch.stage_of("Success") is None, "which a script says also after images alone"


def test_a_script_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot run ./none.sh in .*: No such file"):
        run.run(Command(("./none.sh",)), tmp_path, tmp_path / "log")


def test_ctrl_c_stops_the_script_too(tmp_path: Path) -> None:
    """As a person presses it: one signal to our process alone, since the script is in a session of its own."""
    tegra = l4t.make(tmp_path)
    l4t.behave(tegra, top=[("say", "Waiting for target to boot-up..."), ("sleep", 600)])
    code = (
        "import sys; from pathlib import Path; from edge_streamer.devices.jetson.flash import run, routes\n"
        "try: run.run(routes.Command(('./l4t_initrd_flash.sh',)), Path(sys.argv[1]), Path(sys.argv[2]), print)\n"
        "except KeyboardInterrupt: print('stopped', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-u", "-c", code, str(tegra), str(tmp_path / "log")], text=True,
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    timer = threading.Timer(60, process.kill)
    timer.start()
    assert process.stdout.readline() == "waiting for the board\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopped\n"
    assert process.wait() == 0
    timer.cancel()
    process.stdout.close()
