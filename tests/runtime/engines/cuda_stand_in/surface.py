"""What the real ``cuda-bindings`` have: ``python -m tests.runtime.engines.cuda_stand_in.surface FOLDER [FOLDER ...]``.

Receives folders that versions of it were installed into (``pip install --target FOLDER cuda-bindings==12.8.0``; 13
needs ``cuda-pathfinder`` beside it, which pip brings); writes ``surface.json``: by version, functions with how many
arguments they take, and the members of enumerations with their values. With ``--check`` it compares instead. No driver
is needed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SURFACE = Path(__file__).resolve().with_name("surface.json")
ENUMS = ("CUresult", "CUdevice_attribute", "CUstream_flags", "CUevent_flags", "CUstreamCaptureMode")
"""Those that we use members of."""

Surface = dict[str, Any]


def describe() -> Surface:
    """Of the bindings that this process can import."""
    from importlib.metadata import version

    from cuda.bindings import driver

    functions = {}
    for name in dir(driver):
        if re.fullmatch(r"cu[A-Z]\w*", name):
            first = (getattr(driver, name).__doc__ or "").split("\n")[0]
            if found := re.fullmatch(rf"{name}\((.*)\)", first):
                functions[name] = len([word for word in found[1].split(",") if word.strip()])
    enums = {name: {member.name: int(member.value) for member in getattr(driver, name)} for name in ENUMS}
    return {"version": version("cuda-bindings"), "functions": functions, "enums": enums}


def of(folder: Path) -> Surface:
    """Of those in a folder; in a process of its own, since a process imports one version."""
    module = "tests.runtime.engines.cuda_stand_in.surface"  # as a command this file has another name
    code = f"import json; from {module} import describe; print(json.dumps(describe()))"
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=root,
        env={"PYTHONPATH": f"{folder}:{root}"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{folder}: {done.stderr.strip().splitlines()[-1]}")
    came: Surface = json.loads(done.stdout)
    return came


def read() -> dict[str, Surface]:
    """What is committed, by version."""
    came: dict[str, Surface] = json.loads(SURFACE.read_text())
    return came


def written(surfaces: list[Surface]) -> str:
    text = json.dumps({surface["version"]: surface for surface in surfaces}, sort_keys=True, separators=(",", ":"))
    return re.sub(r'((?:"\w+":-?\d+,){6})', r"\1\n", text) + "\n"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.runtime.engines.cuda_stand_in.surface")
    parser.add_argument("folders", type=Path, nargs="+", help="that cuda-bindings were installed into")
    parser.add_argument("--check", action="store_true", help="compare with what is committed")
    args = parser.parse_args(words)
    found = [of(folder) for folder in args.folders]
    if args.check:
        committed = read()
        for surface in found:
            if committed.get(surface["version"]) != surface:
                sys.exit(f"cuda-bindings {surface['version']}: not what {SURFACE.name} says; make it again")
            print(f"cuda-bindings {surface['version']} has what {SURFACE.name} says")
        return 0
    SURFACE.write_text(written(found))
    print(f"{SURFACE}: {', '.join(surface['version'] for surface in found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
