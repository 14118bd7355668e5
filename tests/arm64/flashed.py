"""A real arm64 root file system, prepared by `edge-streamer flash` in a Linux_for_Tegra that is none.

    python -m tests.arm64.flashed FOLDER ROOT WORDS ...

Receives a folder for that Linux_for_Tegra, the root file system, which moves there, and words of `flash`; hands on its
exit status. As root, since owners are real ones.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_streamer.runtime.commands import flash, flash_options
from tests.devices.jetson.flash import l4t

NVIDIAS = ("etc/nv_tegra_release", "etc/nvpmodel", "etc/nv")
"""What a root of NVIDIA's has and Debian's has not: its release, power modes, first set-up."""


def main(words: Sequence[str]) -> int:
    folder, real = map(Path, words[:2])
    tegra = l4t.make(folder)
    l4t.behave(tegra, initrd=l4t.IMAGES_MADE)
    for name in NVIDIAS:
        made = tegra / "rootfs" / name
        (shutil.copytree if made.is_dir() else shutil.copy2)(made, real / name)
    with (real / "var/lib/dpkg/status").open("a") as status:
        status.write(l4t.dpkg(["nvidia-l4t-nvgpu-driver"]))
    (real / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
    (real / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/nv-oem-config.target")
    shutil.rmtree(tegra / "rootfs")
    real.rename(tegra / "rootfs")
    parser = argparse.ArgumentParser()
    flash_options.add_arguments(parser)
    args = parser.parse_args([f"--l4t={tegra}", "--image-only", "--module=p3767-0005", "--yes", *words[2:]])
    # The host is files too: that of a PC as NVIDIA wants it. Its disk is this machine's.
    return flash.main(args, flash.Machine(l4t.host(folder), "x86_64"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
