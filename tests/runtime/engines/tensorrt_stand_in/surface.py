"""What the bindings of one TensorRT offer, read off the real ones: classes, methods, their arguments, enum members.

    python surface.py tensorrt_bindings > surfaces/tensorrt-10.3.0.json

Needs nothing but Python, because it runs under whichever interpreter the bindings were made for; `.ci/bindings` fetches
them and runs it. The bindings of TensorRT itself import over libraries that only define the symbols they link against,
so what is read here is real, and nothing of it was ever called.

Written down are the top level's names, and of the classes below all that they have; pybind11 tells the arguments in the
first lines of a docstring, one line for each way to call a method.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from typing import Any

CLASSES = (
    "Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILayer",
    "ILogger", "INetworkDefinition", "IOptimizationProfile", "IProfiler", "IProgressMonitor", "IRuntimeConfig",
    "ITensor", "ITimingCache", "OnnxParser", "ParserError", "Runtime",
)  # fmt: skip
"""Those that the engine uses, or might."""
_SIGNATURE = re.compile(r"^(?:\d+\. )?(\w+)\((.*)\)(?: -> .*)?$")
_ARGUMENT = re.compile(r"(?:^|, )(\*{0,2}\w+)(?=[:,=]|$)")


def surface(module: Any) -> dict[str, Any]:
    """All of it: ``version``, ``names``, ``classes`` (name -> member -> ways to call it, None for a property), and
    ``enums`` (name -> members)."""
    names = [name for name in dir(module) if not name.startswith("_")]
    classes = {name: _members(getattr(module, name)) for name in CLASSES if name in names}
    enums = {name: list(members) for name in names if (members := _enum(getattr(module, name)))}
    severity = _enum(module.ILogger.Severity)
    return {
        "version": module.__version__,
        "names": names,
        "classes": classes,
        "enums": {**enums, "ILogger.Severity": list(severity)},
    }


def _enum(value: Any) -> dict[str, Any]:
    return getattr(value, "__members__", {}) if isinstance(value, type) else {}


def _members(found: Any) -> dict[str, list[list[str]] | None]:
    names = [name for name in dir(found) if not name.startswith("_") and not _enum(getattr(found, name))]
    if "__init__" in vars(found):
        names.append("__init__")
    return {name: _ways(name, getattr(found, name)) for name in names}


def _ways(name: str, member: Any) -> list[list[str]] | None:
    """The argument names of every way to call it, without ``self``; none where the docstring tells none."""
    if isinstance(member, property) or not callable(member):
        return None
    ways = []
    for line in (member.__doc__ or "").splitlines():
        said = _SIGNATURE.match(line.strip())
        if said and said[1] == name and said[2] != "*args, **kwargs":
            arguments = _ARGUMENT.findall(_flat(said[2]))
            ways.append([argument for argument in arguments if argument != "self"])
    return ways


def _flat(arguments: str) -> str:
    """Without what stands in brackets, whose commas part no arguments."""
    before = ""
    while before != arguments:
        before, arguments = arguments, re.sub(r"\[[^\[\]]*\]|<[^<>]*>|\([^()]*\)", "", arguments)
    return arguments


def one_line_each(found: dict[str, Any]) -> str:
    """As JSON of one line per entry, so that a change shows as one."""
    parts = []
    for key, value in found.items():
        if isinstance(value, dict):
            rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{rows}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    sys.stdout.write(one_line_each(surface(importlib.import_module(sys.argv[1]))))
