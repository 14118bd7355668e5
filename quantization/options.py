"""What `edge-streamer quantize` may be told: schemes, targets, estimators and their defaults.

Receives a parser; hands on the arguments to command.py, which does the work. Nothing here needs more than the base
install, so that the help is there before the extra is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_streamer.quantization.vocabulary import (
    AUTO,
    BOUND,
    CALIBRATION_UNITS,
    ESTIMATOR,
    ESTIMATORS,
    SCHEMES,
    TARGETS,
    USUAL,
)
from edge_streamer.runtime.commands.engine_option import add_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a float32 bundle's folder or archive")
    parser.add_argument("--scheme", required=True, choices=(*SCHEMES, AUTO),
                        help="int8: products of integers; int4: 4-bit weights; both with the codecs in 8 bits; "
                        "fp16, bf16: products in 16 bits (bf16: orin, thor); fp8, nvfp4: thor; auto: each layer in as "
                        "few bits as --max-error allows")  # fmt: skip
    parser.add_argument("--target", choices=TARGETS, default="cpu",
                        help="what will run it; orin and thor take TensorRT's operators (default: cpu)")  # fmt: skip
    parser.add_argument("--input-range", choices=ESTIMATORS, default=ESTIMATOR,
                        help="what takes the largest code where the range of inputs is a constant (int8 for orin and "
                        "thor, fp8): the largest input seen, the 99.99th percentile, or what errs least on inputs seen "
                        f"(default: {ESTIMATOR})")  # fmt: skip
    parser.add_argument("--rings", choices=("float32", "int8"), default="float32",
                        help="of keys and values; int8 takes a quarter of the memory (default: float32)")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="the folder to make; the report is beside it")  # fmt: skip
    parser.add_argument("--calibrate", type=Path, nargs="+", metavar="MEDIA", default=[],
                        help="sounds or films of somebody who speaks (default: the evaluation's scenes where they fit, "
                        "else the demo's conversation)")  # fmt: skip
    parser.add_argument("--calibration-units", type=int, default=CALIBRATION_UNITS, metavar="N",
                        help=f"at most so many units of them (default: {CALIBRATION_UNITS})")  # fmt: skip
    parser.add_argument("--measure", type=Path, nargs="+", metavar="MEDIA", default=[],
                        help="what to measure on (default: other scenes where they fit, else the same)")  # fmt: skip
    parser.add_argument("--units", type=int, default=USUAL, metavar="N",
                        help=f"units of 160 ms to measure over, twice (default: {USUAL})")  # fmt: skip
    parser.add_argument("--max-error", type=float, metavar="DB",
                        help="make nothing where the latents' error is above this, e.g. -25 (auto: what it aims "
                        f"at, for samples and frames too; default {BOUND:g})")  # fmt: skip
    parser.add_argument("--beside", type=Path, nargs="+", metavar="REPORT.json", default=[],
                        help="earlier reports of the same bundle and target: the page says which of all to "
                        "ship")  # fmt: skip
    add_engine(parser, "what measures; calibration takes the CPU")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
