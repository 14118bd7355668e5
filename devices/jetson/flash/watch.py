"""What NVIDIA's scripts say of themselves: how far they are, that they are done, and what mends what went wrong.

Receives lines of output; hands on stages, marks and advice. The words are those of the scripts of R36.4 to R39.2; of
others nothing is known, and then only the exit status counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Stage(NamedTuple):
    """A part of a flash, which a line of output begins."""

    name: str
    seconds: float
    """How long it may take before it counts as hung."""
    line: re.Pattern[str]
    advice: str = ""
    """What to do where it hangs."""


def _stage(name: str, minutes: float, line: str, advice: str = "") -> Stage:
    return Stage(name, 60 * minutes, re.compile(line), advice)


CABLE = ("plug the cable straight into a port of this machine, another port and a USB 2 one too, take another cable, "
         "keep ports awake (echo -1 | sudo tee /sys/module/usbcore/parameters/autosuspend), stop ModemManager and "
         "udisks2, put the board into recovery mode again")  # fmt: skip
WRITING = "look at the board's serial console; put the board into recovery mode again and run the same command again"

START = Stage("starting", 15 * 60.0, re.compile(r"(?!)"), "look at the log")
STAGES = (
    _stage("making images", 60, r"Generate flash packages|Making system\.img|generating system\.img"),
    _stage("making the image that flashes", 20, r"Generate rcm boot commandline"),
    _stage("images are made", 15, r"Finish generating flash package|system\.img built successfully"),
    _stage("writing several boards", 120, r"Start flashing device: ", "look at each board's log in initrdlog"),
    _stage("starting the board over USB", 8, r"Boot the device with flash initrd image", CABLE),
    _stage("waiting for the board", 5, r"Waiting for target to boot-up", CABLE),
    _stage("waiting for the board's network", 5, r"Waiting for device to expose ssh",
           "close tunnels, let NFS and SSH through the firewall (sudo ufw allow nfs), switch IPv6 on; " + CABLE),
    _stage("writing", 60, r"Run command: flash|SSH ready|Flashing target device started|Writing partition", WRITING),
    _stage("written", 10, r"Flash is successful|Flashing finish|has been flashed successfully",
           "the board is written; only the script did not end: press Reset and see whether it starts"),
)  # fmt: skip
"""In their order: a script reads a board's EEPROM with the same words as it starts it, so a stage is never gone back
to, and none begins with words of the boot ROM."""
IMAGES_MADE = "images are made"
WRITTEN = "written"

ADVICE = (
    (r"(\S+): command not found", "install what is missing: sudo ./tools/l4t_flash_prerequisites.sh"),
    (r"ERROR (\S+) not found! To install", "install what is missing: sudo ./tools/l4t_flash_prerequisites.sh"),
    (r"No space left on device", "make room on this machine's disk"),
    (r"[Tt]oo many (?:Jetson )?devices", "leave one board plugged in, or flash several: --massflash N"),
    (r"No devices to flash|No Jetson device found|BootRom is not running",
     "the board is not in recovery mode any more: put it there again"),
    (r"Device failed to boot to the initrd flash kernel|Device ping failed after RCM boot", CABLE),
    (r"might be timeout in USB (?:write|read)|ECID read failed|Reading board information failed",
     "take the board's power away, put it into recovery mode again; " + CABLE),
    (r"IPV6 is disabled", "sudo sysctl net.ipv6.conf.all.disable_ipv6=0"),
    (r"NFS server is not running|cannot mount the NFS server|NFS port is blocked",
     "sudo systemctl restart nfs-kernel-server; sudo ufw allow nfs; close tunnels"),
    (r"host cannot connect to its ssh server", "close tunnels, let SSH through the firewall; " + CABLE),
    (r"RAMCODE|ramcode", "the board tells another memory than it has: see NVIDIA's forum for this board's RAMCODE"),
    (r"Target board not found|Parsing boardid failed|Unrecognized module SKU",
     "the EEPROM names no board that this release knows: name one with --board-config, or take a newer release"),
    (r"num_sectors|[Ss]torage.*too small|exceeds.*(?:device|storage) size",
     "the drive is smaller than the layout wants: 64 GB on an Orin, 234 GiB on a Thor"),
)  # fmt: skip
_ADVICE = tuple((re.compile(pattern), advice) for pattern, advice in ADVICE)
_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def plain(line: str) -> str:
    """A line without what a terminal obeys."""
    return _TERMINAL.sub("", line).strip()[:500]


def stage_of(line: str, after: Stage = START) -> Stage | None:
    """The stage that a line begins, of those that come ``after`` one."""
    later = STAGES[STAGES.index(after) + 1 :] if after in STAGES else STAGES
    return next((stage for stage in later if stage.line.search(line)), None)


def advice_for(lines: Iterable[str]) -> str:
    """What mends the first thing that went wrong and is known; empty where none is."""
    return next((advice for line in lines for pattern, advice in _ADVICE if pattern.search(line)), "")


def written(text: str) -> bool:
    """Whether a board's log says that it was written."""
    return bool(STAGES[-1].line.search(text))


def complaint(lines: Iterable[str]) -> str:
    """The line that says best what went wrong: one that is known, else the first that calls itself an error, else the
    last."""
    said = [line for line in lines if line]
    known = (line for line in said if advice_for((line,)))
    wrong = (line for line in said if re.search(r"\berror\b|failed|failure|not found", line, re.IGNORECASE))
    return next(known, "") or next(wrong, "") or (said[-1] if said else "")
