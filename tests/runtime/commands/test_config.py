"""Options from a TOML file: the command line wins, every fault names the file and the key."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.commands.config import with_config
from edge_streamer.runtime.commands.options import add_arguments
from edge_streamer.runtime.errors import InputError


def parse(path: Path, text: str, *words: str) -> argparse.Namespace:
    path.write_text(text)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(with_config(parser, [f"--config={path}", *words]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kiosk.toml"


def test_every_kind_of_option(file: Path) -> None:
    text = (
        'mic = "USB Audio"\nseconds = 30\nno-aec = true\npush-to-talk = false\nbuffer = 80.5\nsteps = 2\n'
        + 'log = "/x/log"\n'
    )
    args = parse(file, text)
    assert (args.mic, args.seconds, args.echo, args.push_to_talk) == ("USB Audio", 30, "off", None)
    assert (args.buffer, args.steps, args.log) == (80.5, 2, Path("/x/log"))


def test_the_command_line_wins(file: Path) -> None:
    args = parse(file, 'mic = "one"\nbundle = "first"\n', "--mic", "two", "second")
    assert (args.mic, args.bundle) == ("two", Path("second"))
    args = parse(file, 'mic = "one"\nbundle = "first"\n', "--steps", "3")
    assert (args.mic, args.bundle, args.steps) == ("one", file.parent / "first", 3)


def test_paths_are_relative_to_the_file(file: Path) -> None:
    (file.parent / "clip").touch()
    args = parse(
        file,
        'json = "out.json"\nprefix = "face.png"\nlog = "log"\ncamera = "clip"\nmic = "none"\nside-by-side = "none"\n',
    )
    assert args.json == file.parent / "out.json"
    assert args.prefix == file.parent / "face.png"
    assert args.log == file.parent / "log"
    assert args.camera == str(file.parent / "clip")
    assert (args.mic, args.side_by_side) == ("none", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('micc = "x"\n', "there is no option 'micc'; did you mean mic?"),
        ("xyzzy = 1\n", "there is no option 'xyzzy'; there are: "),
        ("no-aec = 1\n", "no-aec is 1; wanted true or false"),
        ("mic = true\n", "mic is True; wanted a text or a number"),
        ("mic = [1]\n", "wanted a text or a number"),
        ("[mic]\nname = 1\n", "wanted a text or a number"),
        ("buffer = 9999\n", "buffer: '9999'; wanted 5 to 500 milliseconds"),
        ('steps = "many"\n', "steps: "),
        ('aec = "loud"\n', "aec is 'loud'; wanted one of full, half, system, off"),
        ("mic = \n", r"is no TOML: .*line 1"),
    ],
)
def test_faults_name_the_file_and_the_key(file: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as refused:
        parse(file, text)
    assert "kiosk.toml" in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--config", str(tmp_path / "none.toml")]) == 2
    assert "none.toml: No such file or directory; name a TOML file" in capsys.readouterr().err


def test_the_command_line_program_reads_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('mic = "nowhere.wav"\n')
    assert cli.main(["run", "--config", str(file)]) == 2
    assert "nowhere.wav does not exist" in capsys.readouterr().err


def test_a_scheme_says_that_a_name_is_a_file_beside_the_config(file: Path) -> None:
    args = parse(file, 'mic = "device:USB Audio"\nspeaker = "file:voice.wav"\ncamera = "file:/x/clip"\n')
    assert (args.mic, args.speaker) == ("device:USB Audio", f"file:{file.parent / 'voice.wav'}")
    assert args.camera == "file:/x/clip"


def test_what_is_required_may_come_from_the_file(file: Path) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--config")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--media", type=Path, nargs="+", default=[])
    file.write_text('bundle = "b"\nout = "o"\nmedia = ["one", "two"]\n')
    words = [f"--config={file}"]
    args = parser.parse_args(with_config(parser, words))
    folder = file.parent
    assert (args.bundle, args.out, args.media) == (folder / "b", folder / "o", [folder / "one", folder / "two"])
    args = parser.parse_args(with_config(parser, [*words, "--media", "three", "--out", "p", "--", "c"]))
    assert (args.bundle, args.out, args.media) == (Path("c"), Path("p"), [Path("three")])


def test_a_wrong_word_beside_a_file_is_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text('mic = "one"\n')
    assert cli.main(["run", "--config", str(file), "--speakr", "x"]) == 2
    assert "--speakr (did you mean --speaker?)" in capsys.readouterr().err
