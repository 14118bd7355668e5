"""The kernels' PTX, made from their source by NVRTC: ``python -m tests.runtime.engines.cuda_kernels.compile``.

Receives the folder of an NVRTC (``pip install --target FOLDER nvidia-cuda-nvrtc-cu12==12.6.*``); writes
``runtime/engines/cuda/kernels.ptx`` or, with ``--check``, compares it. NVRTC needs no GPU.

Choices: NVRTC of CUDA 12.6 writes PTX 8.5, which the driver of JetPack 6.2 takes and every later one; the architecture
is compute_75, the oldest that TensorRT 10 runs on. ``--cubins`` compiles for the architectures of boards instead, and
writes nothing: it proves that the source compiles for each (which ones depends on the NVRTC).
"""

from __future__ import annotations

import argparse
import ctypes
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve()
SOURCE = HERE.parents[4] / "runtime" / "engines" / "cuda" / "kernels.cu"
PTX = SOURCE.with_suffix(".ptx")
VIRTUAL = "compute_75"
WANTED = "8.5"
"""The newest PTX that the oldest board's driver takes."""


class Nvrtc:
    """The few calls of NVRTC that this needs (NVRTC's own pages, *Basic Usage*)."""

    def __init__(self, folder: Path):
        found = sorted(folder.rglob("libnvrtc.so.*"))
        if not found:
            sys.exit(f"{folder} holds no libnvrtc.so; wanted a folder that NVRTC was installed into")
        for beside in sorted(folder.rglob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(beside), ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(found[0]), ctypes.RTLD_GLOBAL)
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} ended with status {status}")

    def compile(self, source: str, architecture: str, what: str = "PTX") -> bytes:
        """``what``: PTX, or CUBIN for a real architecture. SystemExit with NVRTC's words where it does not compile."""
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None)
        options = [f"--gpu-architecture={architecture}".encode(), b"--std=c++17", b"--fmad=false"]
        try:
            self._call("nvrtcCompileProgram", program, len(options), (ctypes.c_char_p * len(options))(*options))
        except RuntimeError:
            self._call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            self._call("nvrtcGetProgramLog", program, log)
            sys.exit(f"NVRTC {self.version} for {architecture}: {log.value.decode()}")
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        made = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, made)
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        return made.raw


def without_notes(ptx: str) -> str:
    """``ptx`` without comments, which name the compiler's build."""
    return re.sub(r"^//.*\n", "", ptx, flags=re.MULTILINE).strip()


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.runtime.engines.cuda_kernels.compile")
    parser.add_argument("nvrtc", type=Path, help="folder that NVRTC was installed into")
    parser.add_argument("--check", action="store_true", help="compare with the kernels.ptx that is there")
    parser.add_argument("--cubins", nargs="+", metavar="SM", help="compile for these instead: sm_87 sm_110 ...")
    args = parser.parse_args(words)
    nvrtc, source = Nvrtc(args.nvrtc), SOURCE.read_text()
    if args.cubins:
        for architecture in args.cubins:
            made = nvrtc.compile(source, architecture, "CUBIN")
            print(f"NVRTC {nvrtc.version}, {architecture}: a cubin of {len(made)} bytes")
        return 0
    ptx = without_notes(nvrtc.compile(source, VIRTUAL).rstrip(b"\0").decode()) + "\n"
    if f".version {WANTED}\n" not in ptx:
        sys.exit(f"NVRTC {nvrtc.version} writes another PTX than {WANTED}; wanted the one of CUDA 12.6")
    if args.check:
        if ptx != PTX.read_text():
            sys.exit(f"{PTX.name} is not what NVRTC {nvrtc.version} makes of {SOURCE.name}; make it again")
        print(f"{PTX.name} is what NVRTC {nvrtc.version} makes of {SOURCE.name}")
        return 0
    PTX.write_text(ptx)
    print(f"{PTX}: {len(ptx)} bytes, PTX {WANTED}, {VIRTUAL}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
