"""What the words of `run` mean: which are devices, which are files, and what does not go together."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from edge_streamer.runtime.commands.options import add_arguments, is_file, plan_of
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.loop.request import DEFAULT, IF_THERE, LivePlan, Plan


def plan(*words: str) -> Plan | LivePlan:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return plan_of(parser.parse_args(["bundle", *words]))


def live(*words: str) -> LivePlan:
    made = plan(*words)
    assert isinstance(made, LivePlan)
    return made


@pytest.mark.parametrize(
    "word", ["talk.wav", "a/talk.mp3".replace("a/", "./"), "../x", "~/x", "/home/x", "CLIP.MP4", "face.png"]
)
def test_paths_and_media_names_are_files_whether_they_exist_or_not(word: str) -> None:
    assert is_file(word)


@pytest.mark.parametrize(
    "word",
    ["default", "USB Audio", "USB Audio 2.0", "hw:APE,0", "HD-Audio Generic: ALC897/Digital (hw:0,3)", "/dev/video0",
     "csi:0", "film:talk.mp4", "gst:videotestsrc ! x.mp4", "picamera2:1", "pattern", "fullscreen"],
)  # fmt: skip
def test_names_of_devices_are_none(word: str) -> None:
    assert not is_file(word)


def test_a_file_that_exists_is_one_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("talk").touch()
    assert is_file("talk")


def test_nothing_named_is_live_on_what_there_is() -> None:
    made = live()
    assert (made.mic, made.speaker, made.camera, made.display) == (DEFAULT, DEFAULT, IF_THERE, IF_THERE)
    assert made.echo == "full"
    assert made.outputs() == {}


def test_one_device_makes_it_live_and_files_record() -> None:
    made = live("--mic", "USB Audio", "--speaker", "out.wav", "--display", "face.mp4", "--camera", "clip.mp4")
    assert (made.mic, made.speaker, made.camera, made.display) == ("USB Audio", None, "film:clip.mp4", None)
    assert made.outputs() == {"--speaker": Path("out.wav"), "--display": Path("face.mp4")}
    made = live("--mic", "talk.wav", "--speaker", "default", "--camera", "none", "--display", "none")
    assert (made.mic, made.camera, made.display) == (Path("talk.wav"), None, None)
    assert made.inputs()["--mic"] == Path("talk.wav")


def test_files_and_nothing_else_are_a_recorded_run() -> None:
    made = plan("--mic", "talk.wav", "--speaker", "out.wav")
    assert isinstance(made, Plan)
    assert (made.mic, made.voice, made.camera, made.pace) == (Path("talk.wav"), Path("out.wav"), None, "fast")
    assert isinstance(plan("--mic", "none", "--seconds", "5", "--speaker", "none"), Plan)
    assert isinstance(plan("--mic", "none", "--seconds", "5"), LivePlan)
    for more in (["--pace", "real"], ["--text", "typed.txt"], ["--captions", "said.srt"]):
        assert isinstance(plan("--mic", "none", "--seconds", "5", *more), Plan)


def test_live_options() -> None:
    made = live(
        "--no-aec", "--buffer", "80", "--push-to-talk", "--record", "talk", "--log", "log.jsonl", "--seconds", "2"
    )
    assert (made.echo, made.target_seconds, made.push_to_talk, made.record) == ("off", 0.08, True, Path("talk"))
    assert (made.log, made.seconds) == (Path("log.jsonl"), 2)
    assert live("--aec", "half").echo == "half"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--text", "typed.txt"], "--text does nothing in a live run"),
        (["--pace", "fast"], "--pace does nothing in a live run"),
        (["--mic", "talk.wav", "--record", "x"], "--record does nothing in a run on recorded media"),
        (["--mic", "talk.wav", "--no-aec"], "--aec does nothing in a run on recorded media"),
        (["--mic", "talk.wav", "--push-to-talk"], "--push-to-talk does nothing"),
    ],
)
def test_options_that_do_nothing_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        plan(*words)


@pytest.mark.parametrize("word", ["4", "501", "x", "nan"])
def test_a_buffer_has_bounds(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan("--buffer", word)
    assert "wanted 5 to 500 milliseconds" in capsys.readouterr().err


def test_one_channel_of_a_sound_file() -> None:
    for more in (["--speaker", "out.wav"], []):
        assert plan("--mic", "talk.wav", "--channel", "2", *more).channel == 2
    for words in (["--mic", "USB Audio"], ["--mic", "none", "--seconds", "5", "--speaker", "a.wav"], []):
        with pytest.raises(InputError, match="--channel picks one channel of a sound file; name the file with --mic"):
            plan(*words, "--channel", "1")


@pytest.mark.parametrize("word", ["0", "-1", "x", "1.5", "99999"])
def test_a_channel_is_a_number_from_1(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan("--mic", "talk.wav", "--channel", word)
    assert "wanted the number of a channel, from 1" in capsys.readouterr().err


def test_a_scheme_says_what_a_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("USB Audio").touch()
    made = plan("--mic", "file:talk", "--camera", "file:clip", "--speaker", "file:voice", "--display", "file:face")
    assert isinstance(made, Plan)
    assert (made.mic, made.camera, made.voice, made.film) == (Path("talk"), Path("clip"), Path("voice"), Path("face"))
    words = ["--mic", "device:USB Audio", "--camera", "device:cam.mp4", "--speaker", "device:a.wav"]
    one = live(*words, "--display", "device:window")
    assert (one.mic, one.camera, one.speaker, one.display) == ("USB Audio", "cam.mp4", "a.wav", "window")
    assert live("--mic", "default", "--camera", "file:clip", "--speaker", "file:v").camera == "film:clip"
    assert live("--mic", "file:none", "--speaker", "default").mic == Path("none")
    assert plan("--mic", "file:talk", "--channel", "2").channel == 2


@pytest.mark.parametrize("word", ["file:", "device:"])
def test_a_scheme_without_a_name_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plan("--mic", word)
    assert f"'{word}' names nothing; wanted {word}NAME, or none" in capsys.readouterr().err
