"""Which TensorRT is here, and in what its versions differ.

Receives nothing; hands on a :class:`Library`: the Python module of TensorRT (a system package on a board, from JetPack)
or of TensorRT-RTX (on a PC, from pip), its version, and what else would have to be asked of a version.

One path serves them all: strongly typed networks from ONNX, where precision is what the graph says. So nothing is asked
of the calibrators and precision flags that version 11 has no more. Every name used here and beside is compared with the
bindings of the versions below (tests/runtime/engines/tensorrt_stand_in).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from edge_streamer.runtime.errors import InputError, one_line

MODULES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
"""In this order: a board's own TensorRT, the package of TensorRT-RTX, and its bindings alone."""
VERSIONS = {False: ((10, 3), (12,)), True: ((1, 4), (2,))}
"""Whether it is TensorRT-RTX -> from, and up to below: what the bindings were compared with."""
HOW = "see 'edge-streamer engines' for what installs it here"


class Library(NamedTuple):
    """A TensorRT that can be used."""

    trt: Any
    """The module."""
    version: tuple[int, ...]
    is_rtx: bool
    """TensorRT for RTX: compiles for a PC's card when a context is made; its timing caches are empty."""

    @property
    def name(self) -> str:
        """``TensorRT 10.3.0``."""
        return f"TensorRT{'-RTX' if self.is_rtx else ''} {'.'.join(map(str, self.version))}"


def find(load: Callable[[str], Any] = import_module) -> Library:
    """The TensorRT of this machine. InputError where there is none, where it is broken, or where it is of a version
    that this edge-streamer does not know; it says what tells how one is
    installed."""
    broken = ""
    for name in MODULES:
        try:
            module = load(name)
        except ModuleNotFoundError as error:
            # Not there; a module of its own that is missing is another matter.
            broken = broken or (f"{name}: {one_line(error)}" if (error.name or "").split(".")[0] != name else "")
            continue
        except (ImportError, OSError, RuntimeError) as error:  # its shared libraries are missing, or of another version
            broken = broken or f"{name}: {one_line(error)}"
            continue
        return known(module, is_rtx="rtx" in name)
    if broken:
        raise InputError(f"TensorRT is here and cannot be loaded ({broken}); install it anew: {HOW}")
    raise InputError(f"TensorRT is not here; {HOW}")


def known(module: Any, is_rtx: bool) -> Library:
    """The library of a module. InputError where its version is not one that we know."""
    said = str(getattr(module, "__version__", "unknown"))
    numbers = re.match(r"[0-9]+(\.[0-9]+)*", said)
    version = tuple(map(int, numbers[0].split("."))) if numbers else ()
    library = Library(module, version, is_rtx)
    lowest, below = VERSIONS[is_rtx]
    if not lowest <= version < below:
        which = f"{'.'.join(map(str, lowest))} to {below[0] - 1}.x"
        raise InputError(f"TensorRT{'-RTX' if is_rtx else ''} is of version {said}; wanted {which}; {HOW}")
    return library


class Log(NamedTuple):
    """What a library said, for the errors of ours."""

    logger: Any
    """As TensorRT takes it; it must live as long as whatever was made with it."""
    said: list[str]
    """The errors since the last look."""

    def why(self) -> str:
        """What it said last, in a line, and forget it; in plain words where it said nothing."""
        text = "; ".join(dict.fromkeys(" ".join(line.split()) for line in self.said[-3:]))
        self.said.clear()
        return text or "the library does not say why"


def log_of(library: Library) -> Log:
    """A logger that shows nothing and remembers errors."""
    severity = library.trt.ILogger.Severity
    said: list[str] = []
    errors = (severity.INTERNAL_ERROR, severity.ERROR)

    class Remembers(library.trt.ILogger):  # type: ignore[misc, name-defined]  # the base is found when it is run
        def __init__(self) -> None:
            library.trt.ILogger.__init__(self)  # pybind11 asks for this form

        def log(self, level: Any, text: str) -> None:
            if level in errors:
                said.append(text)

    return Log(Remembers(), said)
