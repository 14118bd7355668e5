"""A command ends by a second signal, and where its engine does not return; nothing half-written is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_streamer.runtime.bundle.manifest import parse
from edge_streamer.runtime.bundle.reader import write_bundle
from edge_streamer.runtime.bundle.shipped import bundle_path
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.signals import Signals
from edge_streamer.runtime.ending import ENDING, LIMIT, Guard, Stopped, deaf

SOON = """
import sys
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime import ending
ending.SLOW_SECONDS = 0.5
sys.exit(cli.main())
"""
"""A command that tells soon of a graph that takes long, so that the test knows when to send its signals."""
PATIENCE = 60.0
LIVE = ["--mic", "none", "--speaker", "none", "--camera", "pattern", "--display", "film.mp4", "--seconds", "3"]
COMMANDS = {
    "check": ["check"],
    "a recorded run": ["run", "--mic", "none", "--seconds", "3", "--speaker", "voice.wav", "--display", "film.mp4"],
    "a live run": ["run", *LIVE],
    "eval": ["eval", "--out", "report", "--minutes", "0.1"],
}


def endless(bundle: Path, name: str, loud: bool = False) -> Path:
    """Change the graph ``name`` so that it never returns; ``loud``: only where the unit holds a sample beyond 0.5."""
    path = bundle / f"graphs/{name}.onnx"
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    out = next(o.name for o in graph.output if o.type.tensor_type.elem_type == TensorProto.FLOAT)
    for node in graph.node:
        node.output[:] = [f"{out}.once" if n == out else n for n in node.output]
        node.input[:] = [f"{out}.once" if n == out else n for n in node.input]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["x"], ["y"])], "body",
        [value("turn", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("on", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    for key, number in {"trips": np.array(2**62), "yes": np.array(True), "half": np.array(0.5, np.float32)}.items():
        graph.initializer.append(numpy_helper.from_array(number, f"endless.{key}"))
    if loud:
        graph.node.append(helper.make_node("ReduceMax", ["samples"], ["endless.most"], keepdims=0))
        graph.node.append(helper.make_node("Less", ["endless.half", "endless.most"], ["endless.loud"]))
    first = "endless.loud" if loud else "endless.yes"
    graph.node.append(helper.make_node("Loop", ["endless.trips", first, f"{out}.once"], [out], body=body))
    onnx.save(model, path)
    manifest = parse((bundle / "manifest.json").read_bytes())
    (bundle / "manifest.json").unlink()
    write_bundle(bundle, msgspec.structs.replace(manifest, files=()))
    return bundle


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose first unit has no end."""
    return endless(Path(shutil.copytree(bundle_path(), tmp_path_factory.mktemp("made") / "hanging")), "decode")


@contextmanager
def begun(command: list[str], bundle: Path, folder: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    name, *words = command
    with subprocess.Popen(
        [sys.executable, "-c", SOON, name, str(bundle), *words], cwd=folder, stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **more},
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], said: str) -> str:
    """Read what it says until ``said`` is in a line: that line."""
    assert process.stderr is not None
    for line in process.stderr:
        if said in line:
            return line.rstrip()
    raise AssertionError(f"it never said {said!r}")


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_signal_ends_a_graph_that_has_no_end(
    hanging: Path, tmp_path: Path, command: str, signals: tuple[signal.Signals, signal.Signals]
) -> None:
    with begun(COMMANDS[command], hanging, tmp_path) as process:
        told = until(process, "edge-streamer: graph 'decode' has not returned for")
        assert told.endswith(f"s; it is given up after 300 s ({LIMIT}); Ctrl-C twice ends at once")
        process.send_signal(signals[0])
        assert "still running; a second signal (Ctrl-C) ends at once" in until(process, "still running")
        process.send_signal(signals[1])
        assert "stopped; what was not finished is not kept" in until(process, "stopped")
        assert process.wait(PATIENCE) == 128 + signals[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["check", "a live run"])
def test_a_graph_that_has_no_end_is_given_up(hanging: Path, tmp_path: Path, command: str) -> None:
    """In a live run this is the warm-up, which begins before anything else."""
    with begun(COMMANDS[command], hanging, tmp_path, **{LIMIT: "5"}) as process:
        until(process, "graph 'decode' has not returned for 5 s: the engine hangs")
        assert process.wait(PATIENCE) == 1
    assert not list(tmp_path.iterdir())


def test_what_was_answered_before_is_kept(tmp_path: Path) -> None:
    bundle = endless(Path(shutil.copytree(bundle_path(), tmp_path / "bundle")), "encode", loud=True)
    (tmp_path / "out").mkdir()
    samples = np.zeros(16000 * 2, np.int16)
    samples[2560 * 5 : 2560 * 6] = 30000
    with wave.open(str(tmp_path / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 16000, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())
    words = ["run", "--mic", str(tmp_path / "talk.wav"), "--speaker", "voice.wav", "--json", "report.json"]
    with begun(words, bundle, tmp_path / "out", **{LIMIT: "5"}) as process:
        until(process, "graph 'encode' has not returned for 5 s")
        assert process.wait(PATIENCE) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.json", "voice.wav"]
    report = json.loads((tmp_path / "out/report.json").read_bytes())
    with wave.open(str(tmp_path / "out/voice.wav")) as file:
        assert file.getnframes() == report["units"] * 2560 == 5 * 2560
    assert "graph 'encode' has not returned" in report["stopped"]


def test_a_limit_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for said in ("soon", "-1", "nan"):
        monkeypatch.setenv(LIMIT, said)
        assert cli.main(["demo", "--bundle"]) == 2
        assert f"{LIMIT} is '{said}'; wanted a number of seconds, or 0 to wait for ever" in capsys.readouterr().err
    monkeypatch.setenv(LIMIT, "0")
    assert cli.main(["demo", "--bundle"]) == 0


@pytest.mark.parametrize("second", ENDING)
def test_a_second_signal_raises_where_python_is_awake(second: signal.Signals) -> None:
    with Signals() as signals:
        signal.raise_signal(signal.SIGTERM)
        assert signals.caught == signal.SIGTERM
        with pytest.raises(Stopped) as stopped:
            signal.raise_signal(second)
    assert stopped.value.number == second


def test_a_call_that_lets_no_thread_run_ends_with_one_signal() -> None:
    before = {number: signal.getsignal(number) for number in ENDING}
    with deaf():  # no command: a program of somebody else's, whose signals stay as they are
        assert {number: signal.getsignal(number) for number in ENDING} == before
    with Guard():
        with deaf():
            assert {signal.getsignal(number) for number in ENDING} == {signal.SIG_DFL}
        assert signal.getsignal(signal.SIGINT) == before[signal.SIGINT]
    assert {number: signal.getsignal(number) for number in ENDING} == before
