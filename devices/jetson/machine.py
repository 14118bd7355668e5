"""The doctor's look at the machine: power, clocks, memory, disk, cameras, sound, permissions, the desktop.

Receives facts; hands on lines.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_streamer.devices.jetson.facts import Facts
from edge_streamer.devices.jetson.line import Line, fail, ok, warn
from edge_streamer.runtime.files import size_text

LITTLE_MEMORY, LITTLE_DISK, NO_DISK = 2_000_000_000, 5_000_000_000, 500_000_000
"""Bytes: below them a board builds engines with trouble, and below the last nothing can be written."""
SMALL_BLOCK = 4_000_000
"""Bytes: the kernel's largest block of 4 kB pages; less means that memory is in small pieces."""
COMPACT = "sudo sysctl vm.compact_memory=1"


def lines(facts: Facts) -> Iterator[Line]:
    if facts.power.modes or facts.jetson:
        yield _mode(facts)
    yield _clocks(facts)
    yield from _memory(facts)
    yield _disk(facts)
    yield _cameras(facts)
    yield _sound(facts)
    yield from _permissions(facts)
    yield _desktop(facts)


def _mode(facts: Facts) -> Line:
    power = facts.power
    every = ", ".join(f"{number} {name}" for number, name in sorted(power.modes.items()))
    if not power.modes:
        return warn("power mode", "/etc/nvpmodel.conf has none", "sudo nvpmodel -q")
    best = power.best
    mend = f"sudo nvpmodel -m {best} (then 'sudo nvpmodel -q': over SSH a mode that wants a restart fails silently)"
    if power.current is None:
        return warn("power mode", f"not told; there are {every}", "sudo nvpmodel -q")
    if power.current not in power.modes:
        return warn("power mode", f"{power.current}, which /etc/nvpmodel.conf has not; there are {every}", mend)
    now = f"{power.modes[power.current]} (id {power.current})"
    if power.current != best and best is not None:
        return warn("power mode", f"{now}; {power.modes[best]} is faster; there are {every}", mend)
    return ok("power mode", f"{now}, the fastest; there are {every}")


def _clocks(facts: Facts) -> Line:
    power = facts.power
    governor = f"governor {power.governor}" if power.governor else "no governor"
    if power.pinned is None:
        return ok("clocks", f"not told; {governor}")
    if power.pinned:
        return ok("clocks", f"pinned; {governor}")
    if facts.jetson:
        return warn("clocks", f"rise and fall with load, {governor}: units take uneven time", "sudo jetson_clocks")
    if power.governor == "powersave":
        return warn("clocks", governor, "sudo cpupower frequency-set -g performance")
    return ok("clocks", governor)


def _memory(facts: Facts) -> Iterator[Line]:
    memory = facts.memory
    if memory.free is None or memory.total is None:
        yield warn("memory", "the kernel does not tell", "cat /proc/meminfo")
        return
    said = f"{size_text(memory.free)} free of {size_text(memory.total)}"
    if memory.free < LITTLE_MEMORY:
        mend = "sudo systemctl isolate multi-user.target" if facts.desktop_runs else "end other programs: top -o %MEM"
        yield warn("memory", said, mend)
    else:
        yield ok("memory", said)
    if memory.largest_block is not None:
        small = memory.largest_block < SMALL_BLOCK
        usual = "; 4.2 MB is usual" if small else ", about the most that a kernel has"
        block = f"the largest free piece is {size_text(memory.largest_block)}{usual}"
        yield warn("largest block", block, COMPACT) if small else ok("largest block", block)
    if facts.jetson and not memory.swap:
        yield warn("swap", "none: building an engine may take more memory than there is",
                   "sudo fallocate -l 8G /swapfile && sudo chmod 600 /swapfile && sudo mkswap /swapfile && "
                   "sudo swapon /swapfile")  # fmt: skip
    else:
        there = f"{size_text(memory.swap_free or 0)} free of {size_text(memory.swap)}" if memory.swap else "none"
        yield ok("swap", there)


def _disk(facts: Facts) -> Line:
    if facts.disk_free is None:
        return warn("disk", "not told", "df -h")
    said = f"{size_text(facts.disk_free)} free"
    if facts.disk_free < NO_DISK:
        return fail("disk", said, "free some: sudo apt-get clean; du -xh / 2>/dev/null | sort -h | tail")
    if facts.disk_free < LITTLE_DISK:
        return warn("disk", f"{said}: engines of a large bundle take as much as its weights", "sudo apt-get clean")
    return ok("disk", said)


def _cameras(facts: Facts) -> Line:
    if not facts.cameras:
        return ok("cameras", "none; run goes without, or with --camera film:FILE")
    names = ", ".join(f"{one.name or 'without a name'} ({one.path})" for one in facts.cameras)
    if not all(one.usable for one in facts.cameras):
        return warn("cameras", f"{names}: this user may not open all of them", _join(facts, "video"))
    if facts.jetson and any(one.csi for one in facts.cameras) and not facts.argus:
        return warn("cameras", f"{names}: CSI, but the daemon that serves them does not run",
                    "sudo systemctl restart nvargus-daemon")  # fmt: skip
    return ok("cameras", names)


def _sound(facts: Facts) -> Line:
    cards = ", ".join(facts.cards) or "no sound card"
    if facts.sound_server == "system":
        return warn("sound server", f"a system-wide one; {cards}: it serves only members of its group",
                    _join(facts, "pulse-access") if "pulse-access" not in facts.groups else
                    "none needed where 'edge-streamer devices' lists what you want")  # fmt: skip
    if facts.sound_server == "user":
        return ok("sound server", f"the user's; {cards}")
    if facts.cards:
        return ok("sound server", f"none runs for this user: ALSA's devices are taken; {cards}")
    return ok("sound server", f"none; {cards}")


def _permissions(facts: Facts) -> Iterator[Line]:
    if facts.root:
        yield ok("permissions", "root: everything may be opened")
        return
    closed = [name for name, usable in facts.gpu_files if not usable]
    if closed:
        # Without these files no CUDA program starts; on a Jetson they belong to group video, since JetPack 6 to render.
        yield fail("GPU permissions", f"user {facts.user or '?'} may not use {', '.join(closed)}",
                   _join(facts, "video,render"))  # fmt: skip
    elif facts.gpu_files:
        yield ok("GPU permissions", f"{facts.user or 'this user'} may use {', '.join(n for n, _ in facts.gpu_files)}")
    if facts.sound_devices and not any(usable for _, usable in facts.sound_devices) and not facts.sound_server:
        yield warn("sound permissions", "this user may not open a sound device, and no sound server runs",
                   _join(facts, "audio"))  # fmt: skip
    lacks = [name for name in ("audio", "video", "render") if name not in facts.groups]
    if facts.jetson and lacks and not closed:
        yield warn("groups", f"{facts.user or 'this user'} is not in {', '.join(lacks)}", _join(facts, ",".join(lacks)))
    else:
        member = [name for name in ("audio", "video", "render", "pulse-access") if name in facts.groups]
        yield ok("groups", ", ".join(member) or "none of audio, video, render")


def _join(facts: Facts, groups: str) -> str:
    return f"sudo usermod -aG {groups} {facts.user or '$USER'}, then log in again"


def _desktop(facts: Facts) -> Line:
    runs = "a desktop runs" if facts.desktop_runs else "no desktop runs"
    boots = {None: "", True: " now; one starts with the machine", False: ""}
    said = f"{runs}{boots[facts.desktop_boot]}"
    small = facts.module is not None and facts.module.gigabytes <= 8
    if small and (facts.desktop_runs or facts.desktop_boot):
        return warn("desktop", f"{said}: it takes up to 0.9 GB of the little memory there is",
                    "sudo systemctl set-default multi-user.target && sudo reboot")  # fmt: skip
    return ok("desktop", said)
