"""The service on this device: its unit and the keeper written, systemd told, and what must be known to start it.

Receives how it is set up; hands on what was done and what is left to do, a line each.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from edge_streamer.devices.jetson.releases.disk import telling
from edge_streamer.devices.jetson.releases.places import Root
from edge_streamer.devices.jetson.releases.unit import GROUPS, NAME, Service
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import write_file

SYSTEM_UNITS = Path("/etc/systemd/system")
SYSTEM_ROOT = Path("/opt/edge-streamer")
KEEPER = ("keeper.py", "places.py")
ASK_SECONDS = 60.0


def default_root() -> Path:
    """The user's own, or the system's for root."""
    if os.geteuid() == 0:
        return SYSTEM_ROOT
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data, "edge-streamer")


def units_folder(system: bool) -> Path:
    if system:
        return SYSTEM_UNITS
    return Path(os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config"), "systemd/user")


def service_for(root: Path, system: bool, user: str = "") -> Service:
    """As this machine has it: its Python, and of the groups those that are there."""
    there = []
    for group in GROUPS:
        with suppress(KeyError):
            there.append(grp.getgrnam(group).gr_name)
    return Service(root, system, system_python(), user, there)


def system_python() -> str:
    """A Python that no release brings."""
    for name in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if os.access(name, os.X_OK) and _new_enough(name):
            return name
    return str(getattr(sys, "_base_executable", sys.executable))


def _new_enough(python: str) -> bool:
    words = [python, "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 10))"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(words, check=False, timeout=ASK_SECONDS).returncode == 0
    return False


def keeper_files() -> dict[str, bytes]:
    """The keeper's files, by their path below the root."""
    here = Path(__file__).parent
    return {f"keeper/{name}": (here / name).read_bytes() for name in KEEPER}


def install(service: Service) -> Iterator[str]:
    """Write the keeper and the unit, and have systemd start it with the machine. InputError where that is refused."""
    root, unit = Root(service.root), units_folder(service.system) / NAME
    with telling(root):
        root.releases.mkdir(parents=True, exist_ok=True)
        for name, text in keeper_files().items():
            path = root.path / name
            path.parent.mkdir(exist_ok=True)
            write_file(path, text)
        unit.parent.mkdir(parents=True, exist_ok=True)
        write_file(unit, service.text().encode())
    yield f"{unit}: written"
    if not service.system:
        who = _name()
        yield _told(["loginctl", "enable-linger", who], f"{who} lingers: it starts with the machine, without a login")
    yield _told([*systemctl(service.system), "daemon-reload"], "systemd has read it")
    yield _told([*systemctl(service.system), "enable", NAME], "it starts with the machine")
    if root.led_to(root.current) is None:
        yield "no release is current yet: edge-streamer releases add FOLDER, then edge-streamer releases activate ID"
    else:
        yield f"start it now: {' '.join(systemctl(service.system))} restart {NAME}"


def uninstall(system: bool) -> Iterator[str]:
    """Stop the service and remove its unit; releases stay. InputError where it is not installed."""
    unit = units_folder(system) / NAME
    if not unit.exists():
        raise InputError(f"{unit} is not there: no {'system' if system else 'user'} service is installed")
    yield _told([*systemctl(system), "disable", "--now", NAME], "stopped, and started no more")
    with telling(Root(unit.parent)):
        unit.unlink()
    yield f"{unit}: removed; releases stay where they are"
    yield _told([*systemctl(system), "daemon-reload"], "systemd has forgotten it")


def systemctl(system: bool) -> list[str]:
    return ["systemctl"] if system else ["systemctl", "--user"]


def installed(root: Path) -> bool | None:
    """Whether the service of ``root`` is the system's (True) or the user's; None where there is none."""
    for system in (False, True):
        with suppress(OSError):
            if f"{root}/keeper/keeper.py" in (units_folder(system) / NAME).read_text():
                return system
    return None


def restart(system: bool) -> str:
    """Begin it anew with what is current; why not, empty where it is under way. What became of it is the state's."""
    return _asked([*systemctl(system), "restart", "--no-block", NAME])


def _told(words: Sequence[str], done: str) -> str:
    why = _asked(words)
    return f"left to do: {' '.join(words)} ({why})" if why else done


def _asked(words: Sequence[str]) -> str:
    """Why a program refused; empty where it did as told."""
    if shutil.which(words[0]) is None:
        return f"there is no {words[0]} here"
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=ASK_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else " ".join(done.stderr.decode("utf-8", "replace").split())[:200] or "refused"


def _name() -> str:
    import pwd

    with suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid())
