"""What `edge-streamer lint` may be told

Receives a parser; hands on the arguments to command.py, which does the work. Nothing here needs more than the base
install.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.quantization.lint.targets import BOARDS, NAMES, PORTABLE, TARGETS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    known = "; ".join(f"{target.name}: {target.about}" for target in TARGETS.values())
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="its folder or archive")
    parser.add_argument("--target", choices=NAMES, default=PORTABLE,
                        help=f"what shall run it; {known}; {PORTABLE}: all of these (default)")  # fmt: skip
    parser.add_argument("--board", choices=tuple(BOARDS),
                        help="of a target that runs on several: what this one lacks is refused, not noted")  # fmt: skip
    parser.add_argument("--build", action="store_true",
                        help="also ask the real parser and builder, which need no GPU: TensorRT-RTX (the extra lint) "
                        "for boards and PCs, ONNX Runtime for CPUs")  # fmt: skip
    parser.add_argument("--parser", type=Path, nargs="+", metavar="FOLDER", default=[],
                        help="with --build: ask the TensorRT-RTX in these folders, each from pip install --target "
                        "FOLDER, and not the one installed here")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
