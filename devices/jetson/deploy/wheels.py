"""The folder of wheels for a board that may have no network: all that this package needs, for its Python and processor.

Receives a folder, a Python (``3.10``) and an architecture; fills the folder by pip, and hands on what is in it.

pip judges the conditions of requirements (``python_version < "3.11"``) by the Python that it runs on, also where it
loads for another one. So they are judged here, and what is still wanted is asked for until nothing is.
"""

from __future__ import annotations

import email.parser
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from edge_streamer.devices.jetson.deploy.payload import SOUND, fits, wheels_in
from edge_streamer.devices.jetson.releases.first import canonical, distribution
from edge_streamer.runtime.errors import InputError

NEWEST_GLIBC = {"3.10": 35, "3.12": 39}
"""glibc 2.x of the boards that have this Python: Ubuntu 22.04 (JetPack 6), 24.04 (JetPack 7); others as the oldest."""
OLDEST_GLIBC = 17
NO_WHEELS = (SOUND,)
"""Built on the board, once: `pip wheel pyaudio`, and the wheel put into the folder."""
PIP_SECONDS = 3600
TREE = ("src", "devices", "export", "quantization", "runtime")
ROUNDS = 10
SAME_BYTES = {"SOURCE_DATE_EPOCH": "315532800"}
"""A wheel of the same files is the same wheel, and is not sent again."""
SOURCE = Path(__file__).resolve().parents[3]


class Goal(NamedTuple):
    """What wheels are wanted for."""

    python: str
    architecture: str
    extras: tuple[str, ...]

    @property
    def tags(self) -> list[str]:
        """Words for pip."""
        digits = self.python.replace(".", "")
        newest = NEWEST_GLIBC.get(self.python, min(NEWEST_GLIBC.values()))
        platforms = [f"manylinux_2_{minor}_{self.architecture}" for minor in range(newest, OLDEST_GLIBC - 1, -1)]
        platforms += [f"manylinux2014_{self.architecture}", f"linux_{self.architecture}"]
        found = ["--only-binary=:all:", "--python-version", self.python, "--implementation", "cp"]
        for abi in (f"cp{digits}", "abi3", "none"):
            found += ["--abi", abi]
        for platform in platforms:
            found += ["--platform", platform]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What conditions of requirements are judged by."""
        return {
            "python_version": self.python, "python_full_version": f"{self.python}.0", "platform_system": "Linux",
            "platform_machine": self.architecture, "sys_platform": "linux", "os_name": "posix",
            "implementation_name": "cpython", "platform_python_implementation": "CPython",
            "implementation_version": f"{self.python}.0", "platform_release": "", "platform_version": "",
        }  # fmt: skip


def make(folder: Path, goal: Goal, own: Path | None, tell: Callable[[str], object]) -> list[Path]:
    """Fill ``folder``; what is there and fits stays. InputError where something cannot be had."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("edge_streamer-*.whl"):
        old.unlink()
    tell("our own wheel")
    _own_wheel(folder, own)
    wanted = ["pip"]  # boards often lack Debian's python3-venv, which brings it
    for _ in range(ROUNDS):
        missing = [*wanted, *lacking(sorted(folder.glob("*.whl")), goal)]
        if not missing:
            break
        tell(f"loading {', '.join(missing)}")
        _pip(["download", "--dest", str(folder), "--find-links", str(folder), *goal.tags, *missing],
             f"the wheels for Python {goal.python} on {goal.architecture} cannot be had")  # fmt: skip
        wanted = []
    else:
        raise InputError(f"the wheels in {folder} want ever more; empty it and try again")
    found = wheels_in(folder)
    wrong = [path.name for path in found if not fits(path.name, goal.architecture, goal.python)]
    if wrong:
        raise InputError(f"{folder} holds {wrong[0]}, which is not for Python {goal.python} on {goal.architecture}; "
                         "remove it, or name an empty folder")  # fmt: skip
    return found


def _own_wheel(folder: Path, own: Path | None) -> None:
    """The one that was given; else of this source tree; else of this version from the index."""
    if own is not None:
        if distribution(own.name) != "edge_streamer" or not zipfile.is_zipfile(own):
            raise InputError(f"{own} is no wheel of edge_streamer")
        (folder / own.name).write_bytes(own.read_bytes())
        return
    from edge_streamer import __version__

    with tempfile.TemporaryDirectory() as build:
        if (SOURCE / "pyproject.toml").is_file() and (SOURCE / "setup.py").is_file():
            words = ["wheel", "--no-deps", "--wheel-dir", build, str(_copied(Path(build, "source")))]
        else:
            words = ["download", "--no-deps", "--only-binary=:all:", "--dest", build, f"edge-streamer=={__version__}"]
        _pip(words, "our own wheel cannot be made; give one by --own-wheel FILE")
        for path in Path(build).glob("*.whl"):
            (folder / path.name).write_bytes(path.read_bytes())


def _copied(folder: Path) -> Path:
    """The source tree: a build leaves its own files in it, and would take up those of an earlier one."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for path in SOURCE.iterdir():
        if path.is_dir() and path.name in TREE:
            shutil.copytree(path, folder / path.name, symlinks=True, ignore=unwanted)
        elif path.is_file() and not path.name.startswith("."):
            folder.mkdir(exist_ok=True)
            shutil.copy2(path, folder / path.name)
    return folder


def lacking(wheels: Iterable[Path], goal: Goal) -> list[str]:
    """Requirements of these wheels that none of them meets. InputError where one is damaged, or of a version that
    another does not take. Of ONNX Runtime any build will do: all of them are the same module."""
    there, wanted = dict[str, str](), dict[str, None]()
    requirements: list[tuple[str, Any]] = []
    for path in wheels:
        folder = path.parent
        name, version, needs = _metadata(path)
        there[name] = version
        if name.startswith("onnxruntime_"):
            there.setdefault("onnxruntime", version)
        requirements += [(name, need) for need in needs]
    extras = {"edge_streamer": set(goal.extras)}
    grown = True
    while grown:  # an extra may ask for extras of others, and of itself
        grown = False
        for name, need in requirements:
            if need.extras and _holds(need, goal, extras.get(name, ())):
                mine = extras.setdefault(canonical(need.name), set())
                grown |= not need.extras <= mine
                mine |= need.extras
    for name, need in requirements:
        if _holds(need, goal, extras.get(name, ())) and canonical(need.name) not in NO_WHEELS:
            held = there.get(canonical(need.name))
            if held is None or not need.specifier.contains(held, prereleases=True):
                if held is not None:
                    raise InputError(f"{folder} holds {need.name} {held}, and {name} wants {need.specifier}; remove "
                                     "that wheel and try again")  # fmt: skip
                wanted[f"{need.name}{f'[{chr(44).join(sorted(need.extras))}]' if need.extras else ''}"
                       f"{need.specifier}"] = None  # fmt: skip
    return list(wanted)


def _holds(need: Any, goal: Goal, extras: Iterable[str]) -> bool:
    """Whether a requirement counts there."""
    if need.marker is None:
        return True
    return any(need.marker.evaluate({**goal.environment, "extra": extra}) for extra in ("", *extras))


def _metadata(wheel: Path) -> tuple[str, str, list[Any]]:
    """Name, version and requirements. InputError where it is damaged."""
    parse = _requirements().Requirement
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1]
            text = archive.read(name).decode("utf-8", "replace")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel} is damaged: {error}; remove it and try again") from None
    said = email.parser.Parser().parsestr(text, headersonly=True)
    needs = said.get_all("Requires-Dist", [])
    return distribution(wheel.name), str(said["Version"]), [parse(need) for need in needs]


def _requirements() -> Any:
    """The reader of requirements that pip brings, or the one beside it."""
    for name in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise InputError("there is no pip here, which loads wheels; install it: python -m ensurepip")


def _pip(words: Sequence[str], failed: str) -> None:
    call = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    try:
        done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, timeout=PIP_SECONDS, check=False,
                              env={**os.environ, **SAME_BYTES})  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{failed}: {error}") from None
    if done.returncode:
        lines = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip failed")
        raise InputError(f"{failed}: {why[:400]}")
