"""The folder of wheels for a board that may have no network: all that this package needs, for its Python and processor.

Receives a folder, a Python (``3.10``) and an architecture; fills the folder by pip, and hands on what is in it.

pip judges the conditions of requirements (``python_version < "3.11"``) by the Python that it runs on, also where it
loads for another one. So they are judged here, and what is still wanted is asked for until nothing is.
"""

from __future__ import annotations

import email.parser
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from email.message import Message
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from edge_streamer.devices.jetson.deploy.payload import SOUND, fits, wheels_in
from edge_streamer.devices.jetson.releases.first import canonical, distribution
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.files import replacing

OURS = "edge_streamer"
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
    """Fill ``folder``; what is there and fits stays. InputError where something cannot be had.

    All that is made or loaded lies aside until it is whole: whoever stops in between has the folder as it was."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = "is a file" if folder.is_file() else f"cannot be made: {error.strerror}"
        raise InputError(f"--make-wheels {folder} {what}; wanted a folder, new or of such wheels") from None
    _refuse_wrong(folder, [path for path in folder.glob("*.whl") if distribution(path.name) != OURS], goal)
    tell("our own wheel")
    with _aside() as aside:
        made = _own_wheel(aside, own)
        _check_extras(made, goal)
        _refuse_wrong(folder, [made], goal)
        _put(made, folder)
        for old in folder.glob(f"{OURS}-*.whl"):
            if old.name != made.name:
                old.unlink()
    wanted = ["pip"]  # boards often lack Debian's python3-venv, which brings it
    for _ in range(ROUNDS):
        missing = [*wanted, *lacking(sorted(folder.glob("*.whl")), goal)]
        if not missing:
            break
        tell(f"loading {', '.join(missing)}")
        with _aside() as aside:
            _pip(["download", "--dest", str(aside / "found"), "--find-links", str(folder), *goal.tags, *missing], aside,
                 f"the wheels for Python {goal.python} on {goal.architecture} cannot be had")  # fmt: skip
            for path in (aside / "found").glob("*.whl"):
                if not (folder / path.name).exists():
                    _put(path, folder)
        wanted = []
    else:
        raise InputError(f"the wheels in {folder} want ever more; empty it and try again")
    found = wheels_in(folder)
    _refuse_wrong(folder, found, goal)
    return found


@contextmanager
def _aside() -> Iterator[Path]:
    """A folder that goes at the end; pip's own temporary ones are in it."""
    with tempfile.TemporaryDirectory(prefix="edge-streamer-wheels-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _put(wheel: Path, folder: Path) -> None:
    """Copy a wheel into ``folder``, whole or not at all."""
    try:
        with replacing(folder / wheel.name) as partial:
            shutil.copyfile(wheel, partial)
    except OSError as error:
        raise InputError(f"{wheel.name} cannot be written to {folder}: {error.strerror or error}") from None


def _refuse_wrong(folder: Path, wheels: Sequence[Path], goal: Goal) -> None:
    wrong = sorted(path.name for path in wheels if not fits(path.name, goal.architecture, goal.python))
    if wrong:
        which = wrong[0] if len(wrong) == 1 else f"{len(wrong)} wheels ({wrong[0]} is one)"
        them = "it" if len(wrong) == 1 else "them"
        raise InputError(f"{folder}: {which} {'is' if len(wrong) == 1 else 'are'} not for Python {goal.python} on "
                         f"{goal.architecture}; remove {them}, or name an empty folder")  # fmt: skip


def _check_extras(own: Path, goal: Goal) -> None:
    """InputError where the package has no such extra."""
    there = {canonical(name): name for name in _said_by(own).get_all("Provides-Extra", [])}
    unknown = [name for name in goal.extras if canonical(name) not in there]
    if unknown:
        raise InputError(f"--extra {unknown[0]}: {own.name} has no such extra; it has {', '.join(there.values())}")


def _own_wheel(aside: Path, own: Path | None) -> Path:
    """The one that was given; else of this source tree; else of this version from the index."""
    if own is not None:
        if distribution(own.name) != OURS or not zipfile.is_zipfile(own):
            raise InputError(f"{own} is no wheel of {OURS}")
        return own
    from edge_streamer import __version__

    if (SOURCE / "pyproject.toml").is_file() and (SOURCE / "setup.py").is_file():
        words = ["wheel", "--no-deps", "--wheel-dir", str(aside), str(_copied(aside / "source"))]
    else:
        words = ["download", "--no-deps", "--only-binary=:all:", "--dest", str(aside), f"edge-streamer=={__version__}"]
    _pip(words, aside, "our own wheel cannot be made; give one by --own-wheel FILE")
    (made,) = aside.glob(f"{OURS}-*.whl")
    return made


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
    parse, said = _requirements().Requirement, _said_by(wheel)
    return distribution(wheel.name), str(said["Version"]), [parse(need) for need in said.get_all("Requires-Dist", [])]


def _said_by(wheel: Path) -> Message:
    """A wheel's METADATA. InputError where it is damaged."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1]
            text = archive.read(name).decode("utf-8", "replace")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel} is damaged: {error}; remove it and try again") from None
    return email.parser.Parser().parsestr(text, headersonly=True)


def _requirements() -> Any:
    """The reader of requirements that pip brings, or the one beside it."""
    for name in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise InputError("there is no pip here, which loads wheels; install it: python -m ensurepip")


def _pip(words: Sequence[str], aside: Path, failed: str) -> None:
    """Run pip, with its temporary folders in ``aside``. Whatever ends the waiting ends it, and what it started."""
    call = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    environment = {**os.environ, **SAME_BYTES, "TMPDIR": str(aside)}
    try:
        with subprocess.Popen(call, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                              env=environment, start_new_session=True) as pip:  # fmt: skip
            try:
                _, said = pip.communicate(timeout=PIP_SECONDS)
            except BaseException:
                with suppress(ProcessLookupError):  # a build is a process of its own
                    os.killpg(pip.pid, signal.SIGKILL)
                pip.wait()
                raise
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"{failed}: {error}") from None
    if pip.returncode:
        lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "pip failed")
        raise InputError(f"{failed}: {why[:400]}")
