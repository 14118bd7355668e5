"""The command line: one line per error, the right exit status, nothing imported before it is used."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import edge_streamer
from edge_streamer.runtime import extras
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.errors import EngineError, InputError, StepError
from edge_streamer.runtime.files import new_folder

ALL = ", ".join(cli.COMMANDS)


def a_command(monkeypatch: pytest.MonkeyPatch, body: Callable[[argparse.Namespace], int]) -> None:
    """Make ``edge-streamer inspect`` run ``body``."""
    monkeypatch.setattr(cli, "_load", lambda _: SimpleNamespace(add_arguments=lambda parser: None, main=body))


def raising(error: BaseException) -> Callable[[argparse.Namespace], int]:
    def body(_: argparse.Namespace) -> int:
        raise error

    return body


def test_help_lists_every_command_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, entry in cli.COMMANDS.items():
        assert f"{name} {entry.help}" in text


def test_help_shows_the_commands_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-h"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    groups = {block.splitlines()[0]: re.findall(r"^  (\w+) ", block, re.MULTILINE) for block in blocks}
    assert groups["talk:"] == ["run", "demo", "devices", "replay", "prefix"]
    assert groups["bundles:"] == ["inspect", "plan", "profile", "check", "lint", "build", "pack", "eval"]
    assert groups["make:"] == ["export", "quantize"]


def test_a_group_needs_no_more_than_an_entry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "flash", cli.COMMANDS["pack"]._replace(group="boards", help="put it on a board"))
    assert cli.main(["--help"]) == 0
    assert re.search(r"^boards:\n  flash +put it on a board$", capsys.readouterr().out, re.MULTILINE)
    assert cli.main(["flash"]) == 2
    assert "see edge-streamer flash --help" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_no_command_shows_the_help_as_an_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert "usage: edge-streamer" in printed.err
    assert printed.out == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"edge-streamer {edge_streamer.__version__}\n"


def test_help_imports_no_library() -> None:
    script = (
        "import sys; from edge_streamer.runtime.commands import cli; cli.main(['--help']);"
        "heavy = {'numpy', 'onnxruntime', 'av', 'tokenizers', 'rich', 'msgspec', 'torch', 'onnx'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_keeps_the_protocol(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"usage: edge-streamer {name} " in capsys.readouterr().out
    if cli.COMMANDS[name].extra:
        pytest.importorskip("onnx")
    assert callable(import_module(cli.COMMANDS[name].module).main)


def test_a_wrong_word_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fly"]) == 2
    assert "invalid choice: 'fly'" in capsys.readouterr().err
    assert cli.main(["pack"]) == 2
    assert "BUNDLE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["quantise"], f"argument COMMAND: invalid choice: 'quantise' (choose from {ALL}; did you mean 'quantize'?); "
         "see edge-streamer --help"),
        (["--verison"], "unrecognized arguments: --verison (did you mean --version?); see edge-streamer --help"),
        (["--debugg", "quantise"], "unrecognized arguments: --debugg (did you mean --debug?); argument COMMAND: "
         f"invalid choice: 'quantise' (choose from {ALL}; did you mean 'quantize'?); see edge-streamer --help"),
        (["quantize", "b", "--scheem", "int8", "--out", "o"], "unrecognized arguments: --scheem (did you mean "
         "--scheme?); the following arguments are required: --scheme; see edge-streamer quantize --help"),
        (["quantize", "b", "--scheme", "int9", "--target", "cpu", "--out", "o"], "argument --scheme: invalid choice: "
         "'int9' (choose from int8, int4, fp16, bf16, fp8, nvfp4, auto; did you mean 'int8'?); "
         "see edge-streamer quantize --help"),
        (["eval", "--outt=o", "--minutes", "x", "--seed", "y", "--out", "o", "-stepz", "2"], "unrecognized arguments: "
         "--outt=o (did you mean --out?) -stepz (did you mean --steps?); argument --minutes: 'x' is no number; "
         "argument --seed: 'y' is no whole number; see edge-streamer eval --help"),
        (["run", "--pace", "reel", "--spaeker", "a.wav"], "unrecognized arguments: --spaeker (did you mean "
         "--speaker?); argument --pace: invalid choice: 'reel' (choose from real, fast; did you mean 'real'?); "
         "see edge-streamer run --help"),
        (["export", "wan-streamr", "--preset", "zzz", "--out", "o"], "argument model: invalid choice: 'wan-streamr' "
         "(choose from wan-streamer; did you mean 'wan-streamer'?); argument --preset: invalid choice: 'zzz' (choose "
         "from tiny, demo, qwen2.5-0.5b); see edge-streamer export --help"),
        (["demo", "--seconds", "--outt", "x"], "unrecognized arguments: --outt (did you mean --out?); "
         "argument --seconds: expected one argument; see edge-streamer demo --help"),
    ],
)  # fmt: skip
def test_wrong_words_are_told_at_once_with_the_nearest_right_ones(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err == f"edge-streamer: {line}\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("no such\n  file; name one"), 2),
        (EngineError("no such file; name one"), 1),
        (StepError("no such file; name one"), 1),
    ],
)
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    a_command(monkeypatch, raising(error))
    assert cli.main(["inspect"]) == status
    printed = capsys.readouterr()
    assert printed.err == "edge-streamer: no such file; name one\n"
    assert printed.out == ""


@pytest.mark.parametrize("words", [["--debug", "inspect"], ["inspect", "--debug"]])
def test_debug_shows_the_traceback_before_the_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    a_command(monkeypatch, raising(InputError("no such file")))
    assert cli.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "edge-streamer: no such file"


@pytest.mark.parametrize(
    ("words", "missing", "extra"),
    [
        (["export", "wan-streamer"], "torch.nn", "export"), (["export", "wan-streamer"], "onnx_ir", "export"),
        (["quantize", "bundle"], "onnx_ir", "quantize"), (["--debug", "quantize", "bundle"], "onnx", "quantize"),
        (["quantize", "bundle"], "ml_dtypes", "quantize"),
    ],
)  # fmt: skip
def test_a_missing_extra_is_named(
    words: list[str], missing: str, extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(cli, "_load", load)
    monkeypatch.setattr(extras, "installed", lambda module: True)
    assert cli.main(words) == 2
    package = missing.partition(".")[0].replace("_", "-")
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"edge-streamer: this command needs {package}, which is not installed; run: pip install "
        f"'edge-streamer[{extra}]' (in this project's folder: pip install '.[{extra}]')"
    )


def test_a_missing_file_of_ours_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    a_command(monkeypatch, raising(ModuleNotFoundError("no", name="edge_streamer.runtime.nothing")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["inspect"])


@pytest.mark.parametrize(
    ("command", "before", "threads"),
    [("eval", None, "1"), ("run", None, "1"), ("run", "2", "2"), ("quantize", None, None), ("quantize", "2", "2")],
)
def test_numpy_is_given_one_thread_before_it_is_imported(
    command: str, before: str | None, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []
    monkeypatch.delenv(cli.ONE_THREAD)
    if before:
        monkeypatch.setenv(cli.ONE_THREAD, before)

    def load(_: str) -> SimpleNamespace:
        seen.append(os.environ.get(cli.ONE_THREAD))
        return SimpleNamespace(add_arguments=lambda parser: None, main=lambda _: 0)

    monkeypatch.setattr(cli, "_load", load)
    assert cli.main([command]) == 0
    assert seen == [threads]


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    a_command(monkeypatch, raising(KeyboardInterrupt()))
    assert cli.main(["inspect"]) == 130
    assert capsys.readouterr().err == "edge-streamer: stopped; what was not finished is not kept\n"


def test_a_terminated_command_ends_as_with_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def body(_: argparse.Namespace) -> int:
        with new_folder(tmp_path / "half"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        return 0

    a_command(monkeypatch, body)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["inspect"]) == 143
    assert "not kept" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_goes_away_is_quiet(counter: Path) -> None:
    command = [sys.executable, "-m", "edge_streamer", "inspect", str(counter), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == cli.BROKEN_PIPE


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pack"], "the following arguments are required: BUNDLE, --out; see edge-streamer pack --help"),
        (
            ["inspect", ""],
            "argument BUNDLE: the name is empty; wanted a folder or an archive, or none for the demo's; "
            "see edge-streamer inspect --help",
        ),
        (
            ["eval", "--out", "o", "--minutes", "abc"],
            "argument --minutes: 'abc' is no number; see edge-streamer eval --help",
        ),
        (
            ["eval", "--out", "o", "--seed", "1.5"],
            "argument --seed: '1.5' is no whole number; see edge-streamer eval --help",
        ),
        (
            ["demo", "--commands", "--bundle"],
            "argument --bundle: not allowed with argument --commands; see edge-streamer demo --help",
        ),
        (["inspect", "b", "--fast"], "unrecognized arguments: --fast; see edge-streamer inspect --help"),
        (["demo", "more"], "unrecognized arguments: more; see edge-streamer demo --help"),
        (["demo", "--seconds"], "argument --seconds: expected one argument; see edge-streamer demo --help"),
        (["--fast"], "unrecognized arguments: --fast; see edge-streamer --help"),
    ],
)
def test_words_that_argparse_refuses_are_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    assert cli.main(words) == 2
    assert capsys.readouterr().err == f"edge-streamer: {line}\n"


def test_a_reader_that_goes_away_from_a_table_is_quiet_too(counter: Path) -> None:
    # rich turns a broken pipe into a plain exit with status 1
    command = [sys.executable, "-m", "edge_streamer", "inspect", str(counter)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == cli.BROKEN_PIPE


def test_a_bad_bundle_is_one_line_and_status_2(counter: Path) -> None:
    (counter / "graphs/first.onnx").unlink()
    command = [sys.executable, "-m", "edge_streamer", "inspect", str(counter)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr.startswith(f"edge-streamer: {counter}/graphs/first.onnx is missing")
    assert ran.stderr.count("\n") == 1


def test_pack_writes_the_archive_or_nothing(counter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pack", str(counter), "--out", str(tmp_path / "one.tar")]) == 0
    assert "one.tar: " in capsys.readouterr().out
    spaced = tmp_path / "it's a bundle.tar"
    assert cli.main(["pack", str(counter), "--out", str(spaced)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next: edge-streamer inspect ")
    assert shlex.split(last)[-1] == str(spaced)
    spaced.unlink()
    assert cli.main(["pack", str(counter), "--out", str(tmp_path / "missing" / "one.tar")]) == 2
    assert "does not exist; make it first" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"counter", "one.tar"}
