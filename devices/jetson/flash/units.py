"""What systemd runs on the device: the conversation, its first start, and the swap file.

Receives where things lie; hands on the text of units and of one script. The user's unit is a plain one that starts the
bundle once the packages are there; whatever writes a better one replaces ``service`` and nothing else.
"""

from __future__ import annotations

HOME = "/opt/edge-streamer"
BUNDLE, WHEELS, FIRST_START = f"{HOME}/bundle", f"{HOME}/wheels", f"{HOME}/first-start"
SERVICE = "edge-streamer.service"
SWAP_FILE, SWAP_UNIT, SWAP_MAKER = "/swapfile", "swapfile.swap", "edge-streamer-swap.service"


def service() -> str:
    """A unit of the user's own systemd, which lingers: sound servers run there and not in the system's. It waits for
    the sound server, since what starts before it sees no device."""
    return f"""[Unit]
Description=Edge Streamer: a conversation with {BUNDLE}
After=pipewire-pulse.service pulseaudio.service
Wants=pipewire-pulse.service
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStartPre={FIRST_START}
ExecStart=%h/.local/share/edge-streamer/env/bin/edge-streamer run {BUNDLE}
Restart=on-failure
RestartSec=5
TimeoutStartSec=15min
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


def first_start() -> str:
    """The environment, from the wheels that were brought along, once: a new folder that gets its name when complete."""
    return f"""#!/bin/sh
# Makes the environment of Edge Streamer from {WHEELS}, at the first start, without a network.
set -eu
at="$HOME/.local/share/edge-streamer"
[ -e "$at/env/complete" ] && exit 0
mkdir -p "$at"
rm -rf "$at/env"
python3 -m venv --system-site-packages "$at/env"
"$at/env/bin/pip" install --no-index --find-links {WHEELS} edge-streamer
touch "$at/env/complete"
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
