"""``python -m edge_streamer.export.demo_model.train --out weights.safetensors``: the demo model, from nothing.

Receives a table of commands and a seed; hands on the weights of the preset ``demo``. Words are said by espeak-ng, all
else is drawn. Stages, each kept in the work folder so that a run that was killed goes on where it stood:

    words      every command and many other words, in many voices
    video | audio, camera      the codecs and the camera's encoder, two processes of one thread each
    clips      conversations, encoded once, in two processes
    listen, understand, speak, joint, whole, rollout      the Transformer (learning.py)
    polish     the decoders once more, latents as they are, in two processes

About eighty minutes on two cores with bfloat16 instructions; without them the same numbers take longer. On a GPU
(``--device``) all that can run at once does, and the machine's other cores draw what is learnt from (compute.py); it is
the same training, not the same numbers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from edge_streamer.runtime.extras import missing as absent
from edge_streamer.runtime.extras import needed

try:
    import torch
    from torch import nn
except ModuleNotFoundError as missing:
    if __name__ != "__main__" or missing.name != "torch":
        raise
    print(needed("train:", "export", absent("export")), file=sys.stderr)
    sys.exit(2)

from edge_streamer.export.demo_model import codecs, compute, learning
from edge_streamer.export.demo_model.dataset import Clips, make_clips, random_scene, told
from edge_streamer.export.demo_model.fitting import Stage, Tell, keep
from edge_streamer.export.demo_model.speech import TRAIN_VARIANTS, Bank, agent_phrases, load_bank, record
from edge_streamer.export.demo_model.throats import make_throats
from edge_streamer.export.demo_model.words import others
from edge_streamer.export.wan_streamer.config import DEMO, Config
from edge_streamer.export.wan_streamer.model import WanStreamer, build
from edge_streamer.export.wan_streamer.weights import save_weights
from edge_streamer.runtime.child import python_m
from edge_streamer.runtime.commands.parser import Parser
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.world.avatar import IDENTITIES
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.table import SHIPPED, read_table
from edge_streamer.runtime.files import digest, write_file
from edge_streamer.runtime.outputs import check_outputs

CLIPS = {"short": (1600, 36), "long": (500, 72)}
"""Conversations, and units of each: 5.8 s, and 11.5 s, the longest recall and its answer."""
FEWEST = 12
"""Of each, at any scale: every identity must be among them."""
LICENCE = "Apache-2.0; learnt from made-up scenes and from words said by espeak-ng"
PER_COMMAND, PER_OTHER = 1000, 5
"""Recordings of each word."""
AT_ONCE = 2
"""Processes side by side on a CPU."""


@dataclass
class Workshop:
    """The work folder and what is in it."""

    folder: Path
    seed: int
    commands: Path
    scale: float
    """Of all steps and counts: below 1 only for trying the pipeline."""
    rollout: bool = True
    """With the last stage."""
    history_noise: float = learning.HISTORY_NOISE

    @property
    def mark(self) -> str:
        """What the work folder's results are of."""
        return ", ".join((f"seed {self.seed}, commands {self._table}, scale {self.scale}", *self._unusual))

    @property
    def origin(self) -> str:
        """What the weights say of themselves."""
        own = f"commands {self._table}", f"scale {self.scale}"
        usual = self._table == digest(SHIPPED)[:16], self.scale == 1.0
        words = [word for word, is_usual in zip(own, usual, strict=True) if not is_usual]
        return ", ".join((f"edge_streamer.export.demo_model.train, seed {self.seed}", *words, *self._unusual))

    @property
    def _table(self) -> str:
        return digest(self.commands)[:16]

    @property
    def _unusual(self) -> list[str]:
        """What is for comparison alone; unsaid where it is as usual, so that older work folders go on."""
        noise = [] if self.history_noise == learning.HISTORY_NOISE else [f"history noise {self.history_noise}"]
        return noise + ([] if self.rollout else ["no rollout"])

    def steps(self, stage: Stage) -> Stage:
        return replace(stage, steps=max(2, round(stage.steps * self.scale)))

    def count(self, number: int) -> int:
        return max(2, round(number * self.scale))

    @cached_property
    def world(self) -> World:
        """The table and the agent's voice."""
        table = read_table(self.commands)
        return World(table, [agent_phrases(table.phrases, identity) for identity in range(IDENTITIES)])

    @cached_property
    def others(self) -> tuple[str, ...]:
        return others(self.world.table)

    @property
    def config(self) -> Config:
        return DEMO

    def scenes(self, kind: str, half: int) -> list[Scene]:
        """Every second training scene of a kind."""
        (count, units), first = CLIPS[kind], 100000 * list(CLIPS).index(kind)
        numbers = range(first + half, first + max(FEWEST, self.count(count)), 2)
        return [random_scene(self.seed, n, self.world, self.others, units) for n in numbers]

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.pt"

    def keep(self, name: str, value: object) -> None:
        """Keep a stage's result."""
        keep(self.file(name), value)

    def kept(self, name: str) -> Any:
        """A stage's result, where the training computes."""
        return torch.load(self.file(name), weights_only=True, map_location=compute.device())

    def take(self, name: str, module: nn.Module) -> None:
        """Load a stage's result into ``module``."""
        module.load_state_dict(self.kept(name))

    def model(self) -> WanStreamer:
        """A model with what has been trained so far."""
        with torch.device("cpu"):  # whose generator is the same everywhere
            model = build(self.config, self.seed)
        for name, part in (("audio", model.audio_vae), ("video", model.video_vae), ("camera", model.user_video)):
            if self.file(name).is_file():
                self.take(name, part)
        return model.to(compute.device())


# ---- stages ----


def make_bank(shop: Workshop, tell: Tell) -> Bank:
    """The words."""
    path = shop.folder / "words.npz"
    if not path.is_file():
        wanted = {word: shop.count(PER_COMMAND) for word in shop.world.table.words}
        wanted |= {word: shop.count(PER_OTHER) for word in shop.others}
        said = lambda n, of: tell("words", n, of, "")  # noqa: E731
        throats = make_throats(shop.folder / "throats", shop.seed)
        record(wanted, TRAIN_VARIANTS, shop.seed, progress=said, throats=throats).save(path)
    return load_bank(path)


def make_audio(shop: Workshop, tell: Tell) -> None:
    model = shop.model()
    codecs.train_audio(model, shop.world.phrases, shop.seed, shop.folder, tell, shop.steps(codecs.AUDIO))
    shop.keep("audio", model.audio_vae.state_dict())


def make_camera(shop: Workshop, tell: Tell) -> None:
    model = shop.model()
    codecs.train_camera(model, shop.seed, shop.folder, tell, shop.steps(codecs.CAMERA))
    shop.keep("camera", model.user_video.state_dict())


def make_video(shop: Workshop, tell: Tell) -> None:
    model = shop.model()
    codecs.train_video(model, shop.seed, shop.folder, tell, shop.steps(codecs.VIDEO))
    shop.keep("video", model.video_vae.state_dict())


def polish(shop: Workshop, name: str, tell: Tell) -> None:
    """A decoder once more."""
    model = shop.model()
    if name == "polish-audio":
        codecs.train_audio(model, shop.world.phrases, shop.seed, shop.folder, tell, shop.steps(codecs.POLISH_AUDIO))
        shop.keep(name, model.audio_vae.state_dict())
    else:
        codecs.train_video(model, shop.seed, shop.folder, tell, shop.steps(codecs.POLISH_VIDEO))
        shop.keep(name, model.video_vae.state_dict())


def make_half(shop: Workshop, half: int, tell: Tell) -> None:
    """Every second clip."""
    model, made, done = shop.model(), {}, 0
    scenes = {kind: shop.scenes(kind, half) for kind in CLIPS}
    total = sum(map(len, scenes.values()))
    for kind, some in scenes.items():
        before = done
        clips = make_clips(model, some, lambda n, _: tell(f"clips-{half}", before + n, total, ""))  # noqa: B023
        made[kind] = {"video": clips.video, "audio": clips.audio, "camera": clips.camera}
        done += len(some)
    shop.keep(f"clips-{half}", made)


def load_clips(shop: Workshop, kind: str) -> Clips:
    """Both halves."""
    parts = [shop.kept(f"clips-{half}")[kind] for half in range(2)]
    scenes = [scene for half in range(2) for scene in shop.scenes(kind, half)]
    video, audio, camera = (torch.cat([part[name] for part in parts]) for name in ("video", "audio", "camera"))
    return Clips(scenes, video, audio, camera, told(scenes, shop.config))


def make_transformer(shop: Workshop, bank: Bank, tell: Tell) -> WanStreamer:
    """All of learning.py's stages."""
    short, long = (load_clips(shop, kind) for kind in CLIPS)
    lesson = learning.Lesson(
        shop.model(), short, long, bank, tuple(shop.world.table.words), shop.others, shop.seed, shop.history_noise
    )
    for name, teach, stage in learning.stages(shop.rollout):
        if shop.file(name).is_file():
            shop.take(name, lesson.parts())
            continue
        teach(lesson, shop.folder, tell, shop.steps(stage))
        shop.keep(name, lesson.parts().state_dict())
    return lesson.model


def run_child(shop: Workshop, name: str, tell: Tell) -> None:
    """One stage in this process."""
    torch.set_num_threads(1)
    codecs_of = {"audio": make_audio, "camera": make_camera, "video": make_video}
    if name in codecs_of:
        codecs_of[name](shop, tell)
    elif name.startswith("polish"):
        polish(shop, name, tell)
    else:
        make_half(shop, int(name[-1]), tell)


def side_by_side(shop: Workshop, names: list[str], tell: Tell) -> None:
    """Stages in processes of one thread each, as many at once as the machine bears; those whose result is there are
    left out. InputError where one fails."""
    missing = [name for name in names if not shop.file(name).is_file()]
    at_once = len(names) if compute.on_gpu() else AT_ONCE
    drawing = -(-compute.processes() // at_once)
    with ThreadPoolExecutor(at_once) as pool:
        statuses = list(pool.map(lambda name: _in_a_process(shop, name, drawing, tell), missing))
    for name, status in zip(missing, statuses, strict=True):
        if status:
            raise InputError(f"stage {name} ended with status {status}; run the command again to go on")


def _in_a_process(shop: Workshop, name: str, drawing: int, tell: Tell) -> int:
    """Run a stage in a process of its own, which tells its progress line by line: stage, done, total, figures. Its exit
    status."""
    command = [*python_m("edge_streamer.export.demo_model.train"), *_child_words(shop, name)]
    command += ["--device", compute.device().type, "--processes", str(drawing)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            stage, done, total, *figures = line.rstrip("\n").split("\t")
            tell(stage, int(done), int(total), "".join(figures))
    return child.returncode


def _child_words(shop: Workshop, name: str) -> list[str]:
    """All that the mark of the work folder holds, so that the child finds it its own."""
    words = ["--out", "-", "--child", name, "--work", str(shop.folder), "--seed", str(shop.seed)]
    words += ["--commands", str(shop.commands), "--scale", str(shop.scale)]
    return [*words, "--history-noise", str(shop.history_noise), *([] if shop.rollout else ["--no-rollout"])]


@contextmanager
def shown() -> Iterator[Tell]:
    """A bar per stage; without a terminal a line now and then."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console, began, last = Console(stderr=True), time.monotonic(), {"": 0.0}
    columns = (TextColumn("{task.description:10}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[figures]}"),
                  console=console, disable=not console.is_terminal) as bars:  # fmt: skip
        tasks: dict[str, int] = {}

        def tell(stage: str, done: int, total: int, figures: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, figures="")
            bars.update(tasks[stage], completed=done, total=total, figures=figures)  # type: ignore[arg-type]
            now = time.monotonic()
            if not console.is_terminal and (now - last.get(stage, 0.0) > 10.0 or done == total):
                last[stage] = now
                print(f"[{now - began:5.0f} s] {stage} {done}/{total}  {figures}", file=sys.stderr, flush=True)

        yield tell


def train(shop: Workshop, out: Path) -> None:
    """All stages, then the file."""
    with shown() as tell:
        bank = make_bank(shop, tell)
        side_by_side(shop, ["video", "audio", "camera"], tell)
        side_by_side(shop, ["clips-0", "clips-1"], tell)
        model = make_transformer(shop, bank, tell)
        side_by_side(shop, ["polish-audio", "polish-video"], tell)
        shop.take("polish-audio", model.audio_vae)
        shop.take("polish-video", model.video_vae)
    save_weights(model.cpu(), out, shop.origin, LICENCE)


def main(arguments: list[str] | None = None) -> int:
    parser = Parser(
        prog="python -m edge_streamer.export.demo_model.train", description="Train the demo model from nothing."
    )
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    parser.add_argument("--commands", type=Path, default=SHIPPED, help="a table of commands and answers (JSON)")
    parser.add_argument("--work", type=Path, help="folder of the stages' results (default: OUT with .work added)")
    parser.add_argument("--device", choices=compute.DEVICES, default="auto", help="auto: the GPU where there is one")
    parser.add_argument("--processes", type=int, help="that draw ahead (default: for a GPU all cores but two)")
    parser.add_argument("--no-rollout", action="store_true", help="leave the last stage out, for comparison")
    parser.add_argument("--history-noise", type=float, default=learning.HISTORY_NOISE, help="0 for comparison")
    parser.add_argument("--scale", type=float, default=1.0, help="of all steps; below 1 only to try the pipeline")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child is None:
        if args.out.suffix != ".safetensors":
            raise InputError(f"--out {args.out}: wanted a name that ends in .safetensors")
        check_outputs({"--out": args.out}, {})
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; wanted 0 or more")
    if not args.history_noise >= 0.0:
        raise InputError(f"--history-noise is {args.history_noise}; wanted 0 or more")
    if not 0.0 < args.scale <= 4.0:
        raise InputError(f"--scale is {args.scale}; wanted more than 0, at most 4")
    if args.processes is not None and args.processes < 0:
        raise InputError(f"--processes is {args.processes}; wanted 0 (nobody draws ahead) or more")
    read_table(args.commands)  # before the work folder is there and marked with it
    compute.use(args.device, args.processes)
    work = args.work or args.out.with_name(f"{args.out.name}.work")
    shop = Workshop(work, args.seed, args.commands, args.scale, not args.no_rollout, args.history_noise)
    check_work(shop)
    if args.child:
        run_child(shop, args.child, lambda *told: print(*told, sep="\t", flush=True))
        return 0
    began = time.monotonic()
    train(shop, args.out)
    print(f"{args.out}: trained in {(time.monotonic() - began) / 60:.0f} minutes; results of the stages are in {work}")
    return 0


def check_work(shop: Workshop) -> None:
    """Make the work folder, or see that it belongs to this training. InputError where it holds another's results, or
    cannot be made."""
    try:
        shop.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the work folder {shop.folder} cannot be made ({error.strerror}); name another") from error
    mark = shop.folder / "training.txt"
    if not mark.is_file():
        write_file(mark, shop.mark.encode())
    elif mark.read_text() != shop.mark:
        raise InputError(
            f"{shop.folder} holds a training of {mark.read_text()}; wanted {shop.mark}: name another --work"
        )


def entry() -> int:
    """``main`` with errors as one line and status 2."""
    try:
        return main()
    except InputError as error:
        print(f"train: {error}", file=sys.stderr)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(entry())
