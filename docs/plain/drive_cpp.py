"""python docs/plain/drive_cpp.py BUNDLE OUT.npz MINE.npz: drive.cpp, built and run on what OUT.npz holds

OUT.npz is written by ``tests.plain.reference``, MINE.npz gets the same names. Headers are those that
``docs/plain/headers.sh FOLDER`` fetched; the environment variable EDGE_STREAMER_ONNXRUNTIME_HEADERS names FOLDER. The
library is the installed onnxruntime's.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

ANSWERS = ("tokens", "scores", "latents.video", "latents.audio", "samples", "frames")


def build(folder: Path) -> Path:
    """Compiles drive.cpp into ``folder``; the library gets a link there, by the name that programs look for."""
    package = importlib.util.find_spec("onnxruntime")
    folders = (package and package.submodule_search_locations) or []
    libraries = [file for place in folders for file in Path(place, "capi").glob("libonnxruntime.so.*")]
    assert libraries, "no onnxruntime is installed that has capi/libonnxruntime.so.*"
    headers = Path(os.environ["EDGE_STREAMER_ONNXRUNTIME_HEADERS"])
    program, link, source = folder / "drive", folder / "libonnxruntime.so.1", Path(__file__).with_name("drive.cpp")
    link.symlink_to(libraries[0])
    compiler = os.environ.get("CXX") or shutil.which("g++") or "c++"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-isystem", headers, "-isystem", headers / "onnxruntime"]
    subprocess.run([compiler, *flags, source, link, f"-Wl,-rpath,{folder}", "-o", program], check=True)
    return program


def drive(program: Path, bundle: Path, reference: Path, mine: Path) -> None:
    """Runs ``program`` on the inputs in ``reference`` and writes its answers to ``mine``."""
    with np.load(reference) as arrays, tempfile.TemporaryDirectory() as folder:
        for name in {*arrays.files} - {*ANSWERS}:
            arrays[name].astype(np.float32).tofile(Path(folder, f"{name}.bin"))
        subprocess.run([program, bundle, str(arrays["seed"]), folder, folder], check=True)
        raw = {name: np.fromfile(Path(folder, f"{name}.bin"), np.float32) for name in ANSWERS}
        np.savez(mine, **{n: raw[n].astype(arrays[n].dtype).reshape(arrays[n].shape) for n in ANSWERS})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="build drive.cpp and run it on what tests.plain.reference wrote")
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="BUNDLE OUT.npz MINE.npz")
    parser.add_argument("--build", type=Path, metavar="FOLDER", help="build it there")
    parser.add_argument("--program", type=Path, help="run this, built before")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        built = given.program or build(given.build or Path(place))
        if given.files:
            drive(built, *given.files)
