"""What the device starts besides the service's own unit: its first start, and the swap file.

Receives where things lie; hands on the text of units.
"""

from __future__ import annotations

from edge_streamer.devices.jetson.releases.unit import quoted

HOME = "/opt/edge-streamer"
FLASHED = f"{HOME}/flashed"
"""The folder that the first release is made of, as ``releases add`` takes it; its signature stands beside it."""
FIRST_START = f"{HOME}/first-start.py"
PYTHON = "/usr/bin/python3"
DROPIN = "first-start.conf"
FIRST_SECONDS = 7200
"""Unpacks some gigabytes onto a card, and may build engines."""
SWAP_FILE, SWAP_UNIT, SWAP_MAKER = "/swapfile", "swapfile.swap", "edge-streamer-swap.service"


def first_start(root: str, dropin: str, check: bool = True) -> str:
    """What is added to the service's unit until a release is current. Outside of the sandbox, as it makes what the talk
    never writes to; what systemd repeats waits longer each time, as any start that failed."""
    return f"""# Makes the first release, of {FLASHED}, and then removes this file.
[Service]
ExecStartPre=+{PYTHON} -I -B {FIRST_START} {quoted(root)} {FLASHED} {quoted(dropin)}{"" if check else " --no-check"}
TimeoutStartSec={FIRST_SECONDS}
"""


def swap_maker(size: int) -> str:
    """Makes the swap file at the first start, on the device: in the image it would only be flashed."""
    return f"""[Unit]
Description=A swap file of {size} bytes
ConditionPathExists=!{SWAP_FILE}
DefaultDependencies=no
RequiresMountsFor={SWAP_FILE}
After=systemd-remount-fs.service systemd-growfs-root.service
Before={SWAP_UNIT}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'rm -f {SWAP_FILE}.new; fallocate -l {size} {SWAP_FILE}.new; chmod 600 {SWAP_FILE}.new; \
mkswap {SWAP_FILE}.new; mv {SWAP_FILE}.new {SWAP_FILE}'
"""


def swap() -> str:
    return f"""[Unit]
Description=The swap file {SWAP_FILE}
Wants={SWAP_MAKER}
After={SWAP_MAKER}
ConditionPathExists={SWAP_FILE}

[Swap]
What={SWAP_FILE}

[Install]
WantedBy=multi-user.target
"""
