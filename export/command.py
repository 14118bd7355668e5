"""``edge-streamer export wan-streamer``: a model becomes a bundle; ``export --triton``: a bundle, Triton's models.

Receives a preset, and where there are any, a whole model's weights or a language model's checkpoint; hands on a
bundle's folder that was run against the torch model before it got its name. Or receives a bundle, and hands on a model
repository for NVIDIA's Triton Inference Server, for which torch is not needed (triton/).
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge_streamer.runtime import extras
from edge_streamer.runtime.commands.numbers import count
from edge_streamer.runtime.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from edge_streamer.export.wan_streamer.config import Config
    from edge_streamer.export.wan_streamer.model import WanStreamer
    from edge_streamer.export.write import Exported, Origin

PRESET_NAMES = ("tiny", "demo", "qwen2.5-0.5b")
MOST_SESSIONS = 10_000
LARGE = 200_000_000
"""Parameters above which the command says beforehand that it will take a while."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", choices=["wan-streamer"], help="the kind of model")
    parser.add_argument("--preset", choices=PRESET_NAMES, help="its size")
    parser.add_argument("--weights", type=Path, help="a .safetensors file of the whole model; random without it")
    parser.add_argument("--backbone", type=Path, help="a Hugging Face Qwen2.5 folder for the Transformer")
    parser.add_argument("--window", type=int, metavar="UNITS", help="units that text and sound are remembered for")
    parser.add_argument("--video-window", type=int, metavar="UNITS", help="units that pictures are remembered for")
    parser.add_argument("--prefix-tokens", type=int, metavar="N", help="places of the pinned prefix; 0 for none")
    parser.add_argument(
        "--attention", choices=["split", "concat", "turned"], help="how rings and new tokens are joined"
    )
    parser.add_argument("--seed", type=int, default=0, help="of random weights (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="the folder to make, not there yet or empty")
    triton = parser.add_argument_group("instead of a model, a bundle for Triton Inference Server")
    triton.add_argument("--triton", type=Path, metavar="BUNDLE", help="write a model repository of this bundle")
    triton.add_argument("--models", choices=["all", "unit", "graphs"],
                        help="the whole bundle as one model, each graph as one, or all (default)")  # fmt: skip
    triton.add_argument("--sessions", type=lambda word: count(word, 1, MOST_SESSIONS), metavar="N",
                        help="conversations at once (default 8)")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    _check_words(args)
    return _for_triton(args) if args.triton else _from_model(args)


def _check_words(args: argparse.Namespace) -> None:
    """The words are of one of the two kinds. InputError."""
    of_model = {
        name: getattr(args, name)
        for name in ("model", "preset", "weights", "backbone", "window", "video_window", "prefix_tokens", "attention")
    }
    if args.triton is None:
        if lacking := [word for word, value in (("wan-streamer", args.model), ("--preset", args.preset)) if not value]:
            raise InputError(f"export lacks {' and '.join(lacking)}; wanted these, or --triton BUNDLE, and --out DIR")
        if args.models or args.sessions:
            raise InputError("--models and --sessions are for --triton BUNDLE; leave them out, or name the bundle")
    elif given := [name for name, value in of_model.items() if value is not None]:
        words = ", ".join("wan-streamer" if name == "model" else f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"--triton takes a bundle that is made already; leave out {words}")


def _for_triton(args: argparse.Namespace) -> int:
    if not extras.installed("onnx"):  # with the other extra of this command would come torch, which is not needed here
        raise InputError(extras.needed("export --triton", "quantize", ["onnx"]))
    from edge_streamer.export.triton.config import SESSIONS, Served
    from edge_streamer.export.triton.repository import write_repository

    made = write_repository(args.triton, args.out, args.models or "all", Served(args.sessions or SESSIONS))
    count_of = f"{len(made)} model{'' if len(made) == 1 else 's'}"
    print(f"{args.out}: {count_of} for Triton; {args.out / 'README.md'} says who calls which")
    for model in made:
        print(f"  {model.name:32} {model.states or 'no'} state{'' if model.states == 1 else 's'} in Triton")
    print(f"next: tritonserver --model-repository {shlex.quote(str(args.out))} --model-control-mode explicit "
          f"{' '.join(f'--load-model {model.name}' for model in (made if args.models == 'graphs' else made[:1]))}"
          )  # fmt: skip
    return 0


def _from_model(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from edge_streamer.export.write import export_bundle
    from edge_streamer.runtime.files import check_new_folder

    check_new_folder(args.out)
    console = Console(file=sys.stderr)

    def tell(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    notes: list[str] = []
    config, tokenizer = read_inputs(args, notes.append)
    random = what_is_random(args)
    if random:  # first and last: what comes between is long, and looks as if a trained model were made
        tell(random)
    for note in notes:
        tell(note)
    start = time.perf_counter()
    columns = (TextColumn("{task.description:34}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("model", total=None)

        def progress(doing: str, done: int, steps: int) -> None:
            bar.update(task, description=doing, completed=done, total=steps)
            if not console.is_terminal:
                print(f"[{done}/{steps}] {doing} ({time.perf_counter() - start:.0f} s)", file=sys.stderr, flush=True)

        model, origin = make_model(args, config)
        exported = export_bundle(model, tokenizer, origin, args.out, progress)
    _show(exported, args.out, time.perf_counter() - start)
    if random:
        print(random)
    return 0


def _show(exported: Exported, out: Path, seconds: float) -> None:
    """What was made, how near it is to the torch model, and what to run next."""
    from edge_streamer.runtime.pages.terminal import next_command

    print(f"{out}: {exported.bundle.size / 1e6:.1f} MB in {seconds:.0f} s, proven against the torch model")
    for quantity, error in exported.errors.items():
        print(f"  {quantity:24} relative error {error:.1e}")
    print(f"  {exported.seconds_per_unit * 1e3:.1f} ms per unit on this machine (a unit is 160 ms)")
    print(next_command("check", out))


def what_is_random(args: argparse.Namespace) -> str:
    """A line where the bundle is no trained model; empty where ``--weights`` names one."""
    if args.weights:
        return ""
    which = "all weights but the Transformer's are" if args.backbone else "the weights are"
    return (
        f"{which} random numbers (seed {args.seed}): the bundle runs and can be measured, but understands nothing and "
        "answers noise; --weights FILE takes those of a trained model"
    )


def configure(args: argparse.Namespace) -> Config:
    """The preset with the command line's changes. InputError where they make no model."""
    from edge_streamer.export.wan_streamer.config import PRESETS, with_attention

    names = {"window": "window_units", "video_window": "video_window_units", "prefix_tokens": "prefix_tokens"}
    changes = {field: getattr(args, name) for name, field in names.items() if getattr(args, name) is not None}
    try:
        config = dataclasses.replace(PRESETS[args.preset], **changes)
    except ValueError as error:
        raise InputError(f"preset {args.preset} with {changes}: {error}") from None
    return with_attention(config, args.attention) if args.attention else config


def read_inputs(args: argparse.Namespace, tell: Callable[[str], None]) -> tuple[Config, Tokenizer]:
    """The model's sizes and its tokenizer. All that can be wrong with the files but the values of weights is told here,
    before the model is built, which takes a while. ``tell`` hears what of them is left out."""
    from edge_streamer.export.wan_streamer.backbone import open_backbone
    from edge_streamer.export.wan_streamer.tokenizer import byte_level, from_backbone

    if args.weights and not args.weights.is_file():
        raise InputError(f"--weights {args.weights}: there is no such file; wanted a .safetensors file")
    config = configure(args)
    if not args.backbone:
        return config, byte_level()
    open_backbone(args.backbone, config)
    tokenizer, config = from_backbone(args.backbone / "tokenizer.json", config, tell)
    return config, tokenizer


def make_model(args: argparse.Namespace, config: Config) -> tuple[WanStreamer, Origin]:
    """The model with its weights, and where they came from."""
    from edge_streamer.export.wan_streamer.backbone import load_backbone
    from edge_streamer.export.wan_streamer.model import build
    from edge_streamer.export.wan_streamer.weights import load_weights, read_origin
    from edge_streamer.export.write import Origin

    weights, licence, backbone = f"random, seed {args.seed}", "none: random numbers", ""
    model = build(config, args.seed)
    if args.backbone:
        load_backbone(model, args.backbone)
        backbone = args.backbone.name
        weights, licence = f"{weights}, but the Transformer from the backbone", "that of the backbone"
    if args.weights:
        load_weights(model, args.weights)
        digest = hashlib.sha256(args.weights.read_bytes()).hexdigest()
        made, granted = read_origin(args.weights)
        weights = f"{args.weights.name}, SHA-256 {digest}{f'; {made}' if made else ''}"
        licence = granted or "that of the weight file"
    return model, Origin(weights, licence, backbone)
