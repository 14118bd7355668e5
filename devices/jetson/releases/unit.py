"""The unit that systemd runs: a user's by default, the system's for boards that have ALSA alone.

Receives where releases lie; hands on a unit's text. Every directive is known to systemd 249 (Ubuntu 22.04, JetPack 6);
newer ones are not used: a growing pause before restarts, which systemd has from 254 on, is the keeper's.

Choices. ``Type=notify``: ready is a run that has answered its first unit, and the watchdog is fed where units go on, by
the run itself (runtime/health/service_manager.py). ``Restart=always``: a conversation that ends is begun again; only
``systemctl stop`` ends it. A stop is SIGTERM to the run alone, which ends after the unit in progress. Programs of the
keeper run outside of the sandbox (``+``), because they switch what the sandbox makes read-only.

A user's unit cannot have what needs a mount namespace or device rules (ProtectSystem, DevicePolicy, PrivateTmp,
capabilities): a user's systemd has no right to them. What works by system call filters and limits is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NAME = "edge-streamer.service"
START_SECONDS = 900
"""Until the first unit: the first start on a board may build engines."""
WATCHDOG_SECONDS = 40
"""More than the run's own limit for a step (30 s), after which it saves what can be saved."""
STOP_SECONDS = 10
"""A unit takes 160 ms; what was recorded is completed then."""
GROUPS = ("audio", "video", "render")
DEVICES = (
    ("char-alsa", "rw"), ("char-video4linux", "rw"), ("char-media", "rw"), ("char-drm", "rw"),
    # NVIDIA's: the desktop driver's and Jetson's, as /proc/devices names them, and two that have no name there.
    ("char-nv*", "rw"), ("char-host1x*", "rw"), ("/dev/nvmap", "rw"), ("/dev/nvsciipc", "rw"),
)  # fmt: skip


@dataclass(frozen=True)
class Service:
    """How the service is set up."""

    root: Path
    """Of the releases."""
    system: bool = False
    python: str = "/usr/bin/python3"
    """The system's own: it runs the keeper, whatever a release holds."""
    user: str = ""
    """Of a system unit; empty: one that systemd makes up while it runs."""
    groups: Sequence[str] = GROUPS
    """Of a system unit, those that are there."""
    memory: str = "80%"
    """What it may take at most, of the machine's."""

    def text(self) -> str:
        """The whole unit."""
        return "\n".join([*self._unit(), "", *self._service(), *self._guard(), "", *self._install(), ""])

    @property
    def keeper(self) -> Path:
        return self.root / "keeper/keeper.py"

    def _unit(self) -> list[str]:
        sound = [] if self.system else ["pipewire-pulse.service", "pulseaudio.service", "wireplumber.service"]
        after = ["sound.target", "nvargus-daemon.service", "nvpmodel.service"] if self.system else sound
        return [
            "[Unit]",
            "Description=Edge Streamer: a conversation",
            f"After={' '.join(after)}",
            *([] if self.system else ["Wants=pipewire-pulse.service"]),
            "# Never given up: an agent that nobody can log in to must come back.",
            "StartLimitIntervalSec=0",
        ]

    def _service(self) -> list[str]:
        plus = "+" if self.system else ""
        command = f"{quoted(self.python)} -I -B {quoted(str(self.keeper))}"
        root = quoted(str(self.root))
        state = " XDG_STATE_HOME=%S/edge-streamer-service" if self.system else ""
        return [
            "[Service]",
            "Type=notify",
            "NotifyAccess=main",
            f"ExecStartPre={plus}{command} begin {root}",
            f"ExecStart={command} start {root}",
            f"ExecStartPost={plus}{command} watch {root}",
            f"ExecStopPost={plus}{command} stopped {root}",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "Restart=always",
            "RestartSec=1",
            f"TimeoutStartSec={START_SECONDS}",
            f"TimeoutStopSec={STOP_SECONDS}",
            f"WatchdogSec={WATCHDOG_SECONDS}",
            "TimeoutAbortSec=5",
            "KillMode=mixed",
            "RuntimeDirectory=edge-streamer",
            "RuntimeDirectoryMode=0755",
            "RuntimeDirectoryPreserve=restart",
            "CacheDirectory=edge-streamer",
            # Of a system service, where the versions are that it has used: beside root's own, which it may not write.
            *(["StateDirectory=edge-streamer-service", "LogsDirectory=edge-streamer"] if self.system else []),
            f"Environment=XDG_CACHE_HOME=%C PYTHONUNBUFFERED=1{state}",
            "StandardInput=null",
            "StandardOutput=journal",
            "StandardError=journal",
            "# The loop's thread asks for real time, and for memory that is not paged out, where it may.",
            "LimitRTPRIO=20",
            "LimitNICE=-10",
            "LimitMEMLOCK=infinity",
            f"MemoryMax={self.memory}",
            "OOMPolicy=stop",
            "UMask=0022",
        ]

    def _guard(self) -> list[str]:
        """What it may not do."""
        families = "AF_UNIX" if self.system else "AF_UNIX AF_INET AF_INET6 AF_NETLINK"
        both = [
            "NoNewPrivileges=yes",
            f"RestrictAddressFamilies={families}",
            "RestrictNamespaces=yes",
            "RestrictSUIDSGID=yes",
            "LockPersonality=yes",
            "SystemCallArchitectures=native",
            "SystemCallFilter=@system-service",
            "SystemCallFilter=~@privileged @mount @reboot @swap @module @raw-io @obsolete @cpu-emulation @debug @clock",
            "SystemCallErrorNumber=EPERM",
        ]
        if not self.system:
            return both
        home = "read-only" if str(self.root).startswith(("/home/", "/root/")) else "yes"
        return [
            *([f"User={self.user}"] if self.user else ["DynamicUser=yes"]),
            *([f"SupplementaryGroups={' '.join(self.groups)}"] if self.groups else []),
            *both,
            "CapabilityBoundingSet=",
            "AmbientCapabilities=",
            "ProtectSystem=strict",
            f"ProtectHome={home}",
            "PrivateTmp=yes",
            "# Argus, which reads the cameras of a Jetson, is asked there.",
            "BindReadOnlyPaths=-/tmp/argus_socket",
            "PrivateNetwork=yes",
            "IPAddressDeny=any",
            "ProtectProc=invisible",
            "ProtectClock=yes",
            "ProtectHostname=yes",
            "ProtectKernelLogs=yes",
            "ProtectKernelModules=yes",
            "ProtectKernelTunables=yes",
            "ProtectControlGroups=yes",
            "RemoveIPC=yes",
            "DevicePolicy=closed",
            *(f"DeviceAllow={device} {access}" for device, access in DEVICES),
        ]

    def _install(self) -> list[str]:
        return ["[Install]", f"WantedBy={'multi-user' if self.system else 'default'}.target"]


def quoted(word: str) -> str:
    """A word of a command as systemd reads it."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(letter in escaped for letter in " '\"\\;") else escaped
