"""Training of the demo model: the split holds, a killed run goes on exactly, scenes are what they should be."""

from __future__ import annotations

import hashlib
import os
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edge_streamer.export.demo_model import compute, learning, speech, train
from edge_streamer.export.demo_model.clips import Writer
from edge_streamer.export.demo_model.codecs import even_looks, voice_clip
from edge_streamer.export.demo_model.dataset import slot_tokens
from edge_streamer.export.demo_model.fitting import Losses, Stage, Task, fit, in_turn, keep
from edge_streamer.export.demo_model.throats import TOGETHER, make_throats
from edge_streamer.export.demo_model.words import HELD_OUT, TRAIN, held_out
from edge_streamer.export.wan_streamer.config import PRESETS
from edge_streamer.export.wan_streamer.model import build
from edge_streamer.export.wan_streamer.weights import save_weights
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.world.backgrounds import HELD_OUT_BACKGROUNDS, TRAIN_BACKGROUNDS
from edge_streamer.runtime.evaluation.world.motion import BLINK_CHANCE
from edge_streamer.runtime.evaluation.world.script import UNIT, Script, direct, plan_answers
from edge_streamer.runtime.evaluation.world.table import SHIPPED
from tests.export.demo_model.made_up import TABLE, unknown

LENGTHS = [16000 + 300 * i for i in range(len(TABLE.phrases))]
UNITS = 72


def scripts(count: int) -> list[Script]:
    return [Writer(np.random.default_rng(i), TABLE, unknown(), LENGTHS, UNITS).write() for i in range(count)]


def test_held_out_means_held_out() -> None:
    assert not set(speech.TRAIN_VARIANTS) & set(speech.HELD_OUT_VARIANTS)
    assert speech.HELD_OUT_ACCENT not in speech.ACCENTS
    assert not set(TRAIN) & set(HELD_OUT)
    assert not set(TRAIN_BACKGROUNDS) & set(HELD_OUT_BACKGROUNDS)
    assert not set(TABLE.words) & {word for phrase in (*unknown(), *held_out(TABLE)) for word in phrase.split()}


def test_training_voices_come_from_the_training_side_alone() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        accent, variant = speech.random_voice(rng, speech.TRAIN_VARIANTS).name.split("+")
        assert accent in speech.ACCENTS
        assert variant in speech.TRAIN_VARIANTS


@pytest.mark.parametrize("accent", [*speech.ACCENTS, speech.HELD_OUT_ACCENT])
def test_every_accent_has_every_variant(accent: str) -> None:
    said = {speech.say("weather", speech.Voice(f"{accent}+{variant}")).tobytes() for variant in ("f2", "m3", "Alex")}
    assert len(said) == 3, "espeak-ng leaves out the variant of an accent that it knows under another name"


def test_made_up_throats_speak_and_differ(tmp_path: Path) -> None:
    throats = make_throats(tmp_path, seed=1, count=TOGETHER + 1)
    assert throats[0].data != throats[-1].data, "espeak-ng knows no more than 349 voices"
    few = [throats[0], throats[TOGETHER - 1], throats[-1]]
    said = [speech.say("weather", speech.Voice(f"en-us+{throat.name}", data=throat.data)) for throat in few]
    again = speech.say("weather", speech.Voice(f"en-us+{few[0].name}", data=few[0].data))
    assert np.array_equal(said[0], again)
    unknown = speech.say("weather", speech.Voice("en-us"))
    assert all(4000 < len(sound) < 16000 for sound in said)
    assert len({sound.tobytes() for sound in [*said, unknown]}) == 4, "espeak-ng takes its own voice for an unknown one"
    voices = [speech.random_voice(np.random.default_rng(i), ("f1",), throats=throats) for i in range(60)]
    made_up = [voice.data is not None for voice in voices]
    assert 0.4 < np.mean(made_up) < 0.8
    assert all(("throat" in voice.name) == made for voice, made in zip(voices, made_up, strict=True))


def test_noise_that_says_when_to_blink_is_still_normal() -> None:
    torch.manual_seed(0)
    noise = torch.randn(1, 40000, 5, 24)
    blinks = (torch.rand(1, 40000) < BLINK_CHANCE).to(torch.int8)
    made = learning.blinking_noise(noise, blinks)
    size = made[0, :, learning.BLINK_TOKEN].sum(-1) / 24**0.5
    assert float(size[blinks[0] == 1].min()) > float(size[blinks[0] == 0].max())
    assert abs(float(made.mean())) < 0.01
    assert float(made.std()) == pytest.approx(1.0, abs=0.01)
    assert float((size.pow(4)).mean()) == pytest.approx(3.0, abs=0.2), "no other shape than the normal one's"
    correlation = np.corrcoef(made[0, :, learning.BLINK_TOKEN].T.numpy())
    assert abs(correlation - np.eye(24)).max() < 0.03
    assert torch.equal(learning.blinking_noise(noise, torch.full_like(blinks, -1)), noise)


def test_scripts_hold_everything_that_must_be_learnt() -> None:
    made = scripts(150)
    answers = [answer for script in made for answer in plan_answers(script, TABLE, LENGTHS)]
    said = {word for script in made for word in (s.word for s in script.said if s.kind == "command")}
    assert said == set(TABLE.words)
    assert {answer.phrase for answer in answers} == set(range(len(TABLE.phrases)))
    assert 0.05 < np.mean([answer.cut for answer in answers]) < 0.5
    assert any(script.typed for script in made)
    assert any(s.kind == "other" for script in made for s in script.said)
    starts = np.bincount([answer.start % UNIT // 640 for answer in answers], minlength=4)
    assert (starts > len(answers) / 16).all(), "answers start anywhere inside a unit"


def test_recall_is_asked_after_up_to_eight_seconds() -> None:
    waits = []
    for script in scripts(150):
        for answer in plan_answers(script, TABLE, LENGTHS):
            if answer.word == TABLE.recall.word and script.shown and answer.phrase != len(LENGTHS) - 1:
                newest = max(s.start * 640 for s in script.shown if s.start * 640 < answer.asked)
                waits.append((answer.asked - newest) / 16000)
    assert min(waits) < 1.5
    assert max(waits) > 7.5


def test_slots_say_state_and_words() -> None:
    config = PRESETS["demo"]
    phrases = [np.zeros(n, np.float32) for n in LENGTHS]
    for script in scripts(5):
        intent = direct(script, TABLE, phrases)
        slots = slot_tokens(intent, config)
        assert slots.shape == (UNITS, 1 + config.text_slots)
        assert np.array_equal(slots[:, 0] == config.token_speak, intent.speaking)
        spoken = slots[:, 1:].flatten()
        assert bytes(spoken[spoken < config.token_pad].tolist()) == b"".join(intent.text)


def test_codecs_see_blinks_and_cuts() -> None:
    rng = np.random.default_rng(0)
    looks = [even_looks(rng, 4) for _ in range(60)]
    assert np.mean([look.eyes.min() < 0.5 for look in looks]) > 0.5
    assert len({int(look.icon[0]) for look in looks}) > 10
    clip = voice_clip(rng, [[np.ones(16000, np.float32)]], 8)
    assert clip.shape == (8 * UNIT,)


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3, 2))


class Turned(nn.Module):
    """A kernel, a layer's matrix and a bias: what Muon takes and what it does not."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kernel = nn.Conv1d(2, 3, 4)
        self.core = nn.ModuleDict({"layers": nn.Linear(3, 3)})


def turned_losses(module: Turned, kill_at: int | None = None):
    def losses(step: int) -> Losses:
        if step == kill_at:
            raise Killed
        rng = np.random.default_rng([6, step])
        x = torch.from_numpy(rng.standard_normal((8, 2, 4)).astype(np.float32))
        came = module.core["layers"](module.kernel(x)[..., 0])
        return {"square": (came - x.sum(2) @ torch.ones(2, 3)).pow(2).mean()}

    return Task(lambda step: step, losses)


def test_muon_takes_kernels_and_layers_and_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_streamer.export.demo_model.fitting.KEEP_SECONDS", 0.0)
    stage, shown = Stage("turned", steps=300, rate=0.05, turn=0.3), list[str]()
    whole = Turned()
    names = {name for name, _ in whole.named_parameters()}
    (tmp_path / "whole").mkdir()
    fit(stage, whole, turned_losses(whole), tmp_path / "whole", lambda *told: shown.append(told[3]))
    assert {name for name, _ in whole.named_parameters()} == names, "kernels are kernels again"
    assert float(shown[-1].split()[-1]) < 0.5
    killed = Turned()
    with pytest.raises(Killed):
        fit(stage, killed, turned_losses(killed, kill_at=77), tmp_path, lambda *_: None)
    again = Turned()
    fit(stage, again, turned_losses(again), tmp_path, lambda *_: None)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


class Killed(Exception):
    """Stands for a kill."""


def line_losses(module: Line, kill_at: int | None = None):
    def losses(step: int) -> Losses:
        if step == kill_at:
            raise Killed
        rng = np.random.default_rng([5, step])
        x = torch.from_numpy(rng.standard_normal((8, 3)).astype(np.float32))
        return {"square": (x @ module.weight - x[:, :2]).pow(2).mean(), "_shown": torch.ones(())}

    return Task(lambda step: step, losses)


def test_a_killed_run_goes_on_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_streamer.export.demo_model.fitting.KEEP_SECONDS", 0.0)
    stage, silent = Stage("line", steps=300, rate=0.02, average=0.9), lambda *_: None
    whole = Line()
    (tmp_path / "whole").mkdir()
    fit(stage, whole, line_losses(whole), tmp_path / "whole", silent)
    killed = Line()
    with pytest.raises(Killed):
        fit(stage, killed, line_losses(killed, kill_at=123), tmp_path, silent)
    again = Line()
    fit(stage, again, line_losses(again), tmp_path, silent)
    assert torch.equal(again.weight, whole.weight)
    assert float((whole.weight.detach() - torch.eye(3)[:, :2]).abs().max()) < 0.05
    assert not list(tmp_path.glob("*.checkpoint"))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch has threads; the children use none
def test_what_other_processes_draw_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, here, there = Stage("line", steps=40, rate=0.02), Line(), Line()
    where = set[int]()

    def task(module: Line) -> Task[tuple[int, np.ndarray]]:
        draw = lambda step: (os.getpid(), np.random.default_rng([5, step]).standard_normal((8, 3)))  # noqa: E731

        def losses(made: tuple[int, np.ndarray]) -> Losses:
            where.add(made[0])
            x = torch.from_numpy(made[1].astype(np.float32))
            return {"square": (x @ module.weight - x[:, :2]).pow(2).mean()}

        return Task(draw, losses)

    fit(stage, here, task(here), tmp_path, lambda *_: None)
    assert where == {os.getpid()}
    monkeypatch.setattr(compute, "_drawing", 2)
    fit(stage, there, task(there), tmp_path, lambda *_: None)
    assert len(where) == 3, "two processes drew"
    assert torch.equal(here.weight, there.weight)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # torch has threads; the children use none
def test_a_draw_that_fails_elsewhere_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "_drawing", 2)
    module = Line()

    def draw(step: int) -> int:
        if step == 7:
            raise InputError("nobody says anything")
        return step

    task = Task(draw, lambda _: {"square": module.weight.pow(2).sum()})
    with pytest.raises(InputError, match="nobody says anything"):
        fit(Stage("line", steps=40, rate=0.02), module, task, tmp_path, lambda *_: None)


def test_tasks_in_turn_count_their_own_steps() -> None:
    one, other = Task(lambda n: ("one", n), lambda _: {}), Task(lambda n: ("other", n), lambda _: {})
    both = in_turn(one, other, one)
    assert [both.draw(step)[1] for step in range(6)] == [
        ("one", 0), ("other", 0), ("one", 1), ("one", 2), ("other", 1), ("one", 3),
    ]  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setattr("sys.argv", ["train", "--out", str(tmp_path / "w.safetensors"), "--device", "cuda"])
    assert train.entry() == 2
    assert "sees no GPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_work_folder_of_another_training_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    train.check_work(train.Workshop(tmp_path, 0, SHIPPED, 1.0))
    monkeypatch.setattr("sys.argv", ["train", "--out", "w.safetensors", "--work", str(tmp_path), "--seed", "1"])
    assert train.entry() == 2
    assert "holds a training of seed 0" in capsys.readouterr().err


@pytest.mark.parametrize("changes", [{"rollout": False}, {"history_noise": 0.0}])
def test_a_work_folder_knows_what_is_for_comparison(changes: dict[str, Any], tmp_path: Path) -> None:
    usual = train.Workshop(tmp_path, 3, SHIPPED, 1.0)
    assert usual.mark == f"seed 3, commands {hashlib.sha256(SHIPPED.read_bytes()).hexdigest()[:16]}, scale 1.0"
    train.check_work(usual)
    train.check_work(usual)
    with pytest.raises(InputError, match="holds a training of seed 3"):
        train.check_work(replace(usual, **changes))
    other = replace(usual, folder=tmp_path / "other", **changes)
    train.check_work(other)
    with pytest.raises(InputError, match=r"holds a training of seed 3.*(noise 0.0|no rollout)"):
        train.check_work(replace(other, rollout=True, history_noise=0.5))


def test_weights_say_what_was_not_as_usual(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text(SHIPPED.read_text() + "\n")
    usual = train.Workshop(tmp_path, 3, SHIPPED, 1.0)
    assert usual.origin == "edge_streamer.export.demo_model.train, seed 3"
    other = train.Workshop(tmp_path, 3, table, 0.5, False, 0.1)
    assert re.fullmatch(r".*, seed 3, commands [0-9a-f]{16}, scale 0.5, history noise 0.1, no rollout", other.origin)


def test_a_child_finds_the_work_folder_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, ran = train.Workshop(tmp_path, 3, SHIPPED, 0.5, False, 0.0), list[object]()
    train.check_work(shop)
    monkeypatch.setattr(train, "run_child", lambda found, name, _: ran.extend((found, name)))
    assert train.main(train._child_words(shop, "video")) == 0
    assert ran == [shop, "video"]


@pytest.mark.parametrize("what", ["stage", "words", "weights"])
def test_a_result_that_has_no_room_is_one_line(what: str, tmp_path: Path) -> None:
    write = {
        "stage": lambda path: keep(path, {"much": torch.zeros(100_000)}),
        "words": speech.Bank({"hello": [np.zeros(100_000, np.float32)]}).save,
        "weights": lambda path: save_weights(build(PRESETS["tiny"], 0), path),
    }[what]
    file = tmp_path / ("file" + {"stage": ".pt", "words": ".npz", "weights": ".safetensors"}[what])
    with pytest.raises(InputError, match="does not exist; make it first"):
        write(tmp_path / "nowhere" / file.name)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot write .*the file is larger than this system allows"):
            write(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "w.pt"], "ends in .safetensors"), (["--out", "w.safetensors", "--scale", "0"], "scale"),
        (["--out", "."], "ends in .safetensors"), (["--out", "/"], "ends in .safetensors"),
        (["--out", "nowhere/w.safetensors"], "nowhere does not exist"),
        (["--out", "w.safetensors", "--processes", "-1"], "--processes is -1; wanted 0"),
        (["--out", "w.safetensors", "--seed", "-1"], "--seed is -1; wanted 0 or more"),
        (["--out", "w.safetensors", "--history-noise", "-1"], "--history-noise is -1.0; wanted 0 or more"),
        (["--out", "w.safetensors", "--commands", "none.json"], "none.json cannot be read"),
        (["--out", "w.safetensors", "--commands", "/dev/null"], "is not a table of commands"),
        (["--out", "w.safetensors", "--work", "/dev/null/work"], "/dev/null/work cannot be made"),
    ],
)  # fmt: skip
def test_wrong_words_are_refused(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", *words])
    monkeypatch.setattr(train, "train", lambda *_: pytest.fail("it began"))
    assert train.entry() == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_torch_it_is_one_line() -> None:
    script = (
        "import runpy, sys; sys.modules['torch'] = None;"
        "runpy.run_module('edge_streamer.export.demo_model.train', run_name='__main__')"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert "needs torch" in ran.stderr
    assert "pip install 'edge-streamer[export]'" in ran.stderr
