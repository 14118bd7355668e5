"""Kills the preparation of a root file system at random instants: FOLDER SEED TIMES, one line for each that went wrong

A process of its own without threads, so that it may fork. Each time a fresh root is prepared by a child, which is
killed (SIGKILL) at a random instant of the time that a preparation takes; then every file must be the old or the new
one, and what says that it is whole must be right; then it is prepared again, and must be what one without a kill is.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from edge_streamer.devices.jetson.deploy.payload import File, Payload, text_file
from edge_streamer.devices.jetson.flash import prepare
from edge_streamer.devices.jetson.flash.app import App
from edge_streamer.devices.jetson.flash.rootfs import STAGING, Owners, Rootfs
from edge_streamer.devices.jetson.flash.settings import Settings, Trusted, Wifi
from tests.devices.jetson.flash import l4t

Snapshot = dict[str, tuple[Any, ...]]


def wanted(folder: Path) -> Settings:
    (folder / "core.onnx").write_bytes(os.urandom(1_000_000))
    files = (File("bundle/core.onnx", "0", 1_000_000, folder / "core.onnx"), text_file("bundle/manifest.json", b"{}"),
             text_file("wheels/edge_streamer-1.0-py3-none-any.whl", os.urandom(300_000)))  # fmt: skip
    return Settings(
        user="ada", hashed="$6$salt$" + "x" * 86, keys=("ssh-ed25519 " + "A" * 68,), hostname="kitchen",
        timezone="Europe/Berlin", locale="en_US.UTF-8", wifi=(Wifi("home", "correct horse"),),
        power_mode="MAXN_SUPER", modules=("p3767-0003",), swap=8 << 30, app=App(Payload(files), b"signed"),
        trust=(Trusted("release-key", b"ssh-ed25519 x release-key\n"),),
    )  # fmt: skip


def owners() -> Owners:
    """Real ones where they can be given."""
    return Owners() if os.geteuid() == 0 else l4t.Recorded()


def prepared(root: Path, settings: Settings) -> None:
    with Rootfs(root, owners()) as rootfs:
        prepare.prepare(rootfs, settings)


def seen(root: Path) -> Snapshot:
    """What lies in a root, but for what was staged and for the notes."""
    found = l4t.snapshot(root)
    return {name: state for name, state in found.items() if not name.startswith((STAGING, prepare.NOTES))}


def killed(root: Path, settings: Settings, seconds: float) -> bool:
    """Prepare in a child, and kill it then; whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        try:
            prepared(root, settings)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(folder: Path, seed: int, times: int) -> int:
    chance, settings = random.Random(seed), wanted(folder)
    fresh, reference = l4t.root(folder / "fresh"), folder / "reference"
    shutil.copytree(fresh, reference, symlinks=True)
    begun = time.perf_counter()
    prepared(reference, settings)
    takes = time.perf_counter() - begun
    before, after, wrong, in_time = seen(fresh), seen(reference), 0, 0
    for number in range(times):
        root = folder / f"root-{number}"
        shutil.copytree(fresh, root, symlinks=True)
        in_time += killed(root, settings, chance.uniform(0, 1.2 * takes))
        now = seen(root)
        halves = [name for name, state in now.items() if state not in (before.get(name), after.get(name))]
        with Rootfs(root, write=False) as rootfs:
            whole = prepare.whole(rootfs) == settings.fingerprint()
        if halves or (whole and now != after):
            print(f"{number}: by halves: {halves}; whole: {whole}")
            wrong += 1
        prepared(root, settings)
        again = seen(root)
        if again != after or (root / STAGING).exists():
            other = sorted(name for name in {*again, *after} if again.get(name) != after.get(name))
            print(f"{number}: {[(name, again.get(name), after.get(name)) for name in other]} after it was run again")
            wrong += 1
        shutil.rmtree(root)
    print(f"{in_time} of {times} were killed before their end, each within {1000 * takes:.0f} ms")
    return 1 if wrong or in_time < times // 4 else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
