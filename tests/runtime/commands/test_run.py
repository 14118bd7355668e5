"""``edge-streamer run`` on a session without a model: exact files, all or none, one line per fault."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_streamer.runtime.commands import cli, prefix
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.unit import Knobs
from tests.fakes import FakeSession, level, use
from tests.media_files import MEDIA, decoded_pictures, decoded_sound, grey, write_film, write_wav

UNIT = MEDIA.hears.unit_samples

Open = Callable[..., FakeSession]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> FakeSession:
    """The session that the command opens."""
    return use(FakeSession(), monkeypatch)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """A folder with speech.wav (10 units and one sample, 48 kHz), camera.mkv (1 s at 30/s) and text.txt."""
    folder = tmp_path / "in"
    folder.mkdir()
    noise = np.random.default_rng(0).uniform(-0.8, 0.8, 48000 * 16 // 10 + 3)
    write_wav(folder / "speech.wav", noise, 48000)
    write_film(folder / "camera.mkv", [grey(20 + 3 * i, 60, 80) for i in range(30)], 30)
    (folder / "text.txt").write_text("0\thello\n0.5\tit is\n0.60\tme\n9\ttoo late\n")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def words(media: Path, out: Path, *more: str) -> list[str]:
    """A command line with everything."""
    return [
        "run", "bundle", "--mic", f"{media}/speech.wav", "--camera", f"{media}/camera.mkv", "--text",
        f"{media}/text.txt", "--speaker", f"{out}/voice.wav", "--display", f"{out}/film.mp4", "--transcript",
        f"{out}/words.txt", "--json", f"{out}/report.json", *more,
    ]  # fmt: skip


EVERYTHING = ["film-side-by-side.mp4", "film.mp4", "report.json", "voice.wav", "words.txt"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_writes_everything_exactly(
    session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words(media, out)) == 0
    assert names(out) == EVERYTHING
    units = 11  # ten units and one sample
    assert session.steps == units
    heard = np.concatenate([seen.samples for seen in session.seen])
    voice, rate = decoded_sound(out / "voice.wav")
    assert (voice.shape, rate) == ((1, units * UNIT), 16000)
    np.testing.assert_array_equal(voice[0], np.rint(0.5 * heard * 32768))
    film = decoded_pictures(out / "film.mp4")
    assert [round(float(frame.mean())) for frame in film] == pytest.approx(
        [level(k) for k in range(units) for _ in range(4)], abs=2
    )
    assert len(decoded_pictures(out / "film-side-by-side.mp4")) == units * 4
    assert decoded_sound(out / "film-side-by-side.mp4")[0].shape[0] == 2
    assert [seen.text for seen in session.seen] == ["hello", "", "", "it is me"] + [""] * 7
    assert (out / "words.txt").read_text() == "0.00\tword0 word3 word6 word9\n", "one answer: there are no line ends"
    shown = capsys.readouterr()
    assert f"{units} of 160 ms" in shown.out
    assert "1 texts begin after the last unit" in shown.out
    for name in EVERYTHING:
        assert f"{out}/{name}\n" in shown.out


def test_the_report_for_machines(session: FakeSession, media: Path, out: Path) -> None:
    more = ("--steps", "3", "--seed", "7", "--temperature", "0.5", "--top-k", "9", "--top-p", "0.8")
    assert cli.main(words(media, out, *more)) == 0
    report = json.loads((out / "report.json").read_text())
    assert session.knobs == Knobs(steps=3, temperature=0.5, top_k=9, top_p=0.8, seed=7)
    assert report["knobs"] == {"steps": 3, "temperature": 0.5, "top_k": 9, "top_p": 0.8, "seed": 7}
    assert report["bundle"] == {"name": "fake", "hash": "f" * 64, "path": "fake"}
    assert (report["engine"], report["pace"], report["units"]) == ("fake 1.0", "fast", 11)
    assert report["inputs"]["--mic"] == f"{media}/speech.wav"
    assert report["outputs"]["--side-by-side"] == f"{out}/film-side-by-side.mp4"
    for key in ("versions", "machine", "unit_time_ms", "deadline_misses", "host_overhead", "peak_resident_mb"):
        assert key in report


def test_what_is_not_wanted_is_not_written(session: FakeSession, media: Path, out: Path) -> None:
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--camera", "none", "--speaker", f"{out}/voice.wav"]
    assert cli.main([*command, "--display", "none"]) == 0
    assert names(out) == ["voice.wav"]
    assert all((seen.frames == 128).all() for seen in session.seen), "a camera that is off is grey"


def test_the_side_by_side_film_can_be_refused_or_named(session: FakeSession, media: Path, out: Path) -> None:
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--seconds", "0.2"]
    assert cli.main([*command, "--display", f"{out}/a.mp4", "--side-by-side", "none"]) == 0
    assert cli.main([*command, "--side-by-side", f"{out}/b.mp4"]) == 0
    assert names(out) == ["a.mp4", "b.mp4"]


CAPTIONS = "1\n00:00:00,000 --> 00:00:00,320\nhello\n"


HALVES = (slice(0, 640), slice(640, None))


def test_captions_are_drawn_on_the_user_s_half(media: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (media / "captions.srt").write_text(CAPTIONS)
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--seconds", "0.64"]
    use(FakeSession(), monkeypatch)
    assert cli.main([*command, "--side-by-side", f"{out}/plain.mp4"]) == 0
    session = use(FakeSession(), monkeypatch)
    more = ["--captions", f"{media}/captions.srt", "--json", f"{out}/report.json"]
    assert cli.main([*command, "--side-by-side", f"{out}/captions.mp4", *more]) == 0
    pairs = zip(decoded_pictures(out / "plain.mp4"), decoded_pictures(out / "captions.mp4"), strict=True)
    # Letters differ by 200 levels, what the encoder makes of unequal pictures by a few.
    drawn = [[bool((abs(a[:, half].astype(int) - b[:, half]) > 100).any()) for half in HALVES] for a, b in pairs]
    assert drawn == [[True, False]] * 8 + [[False, False]] * 8
    assert json.loads((out / "report.json").read_text())["inputs"]["--captions"] == f"{media}/captions.srt"
    assert all(seen.text == "" for seen in session.seen), "the model does not read them"


def test_captions_need_the_film_that_shows_them(
    session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (media / "captions.srt").write_text(CAPTIONS)
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--captions", f"{media}/captions.srt"]
    for more in ([], ["--speaker", f"{out}/a.wav"], ["--display", f"{out}/a.mp4", "--pace", "real"]):
        assert cli.main([*command, *more]) == 2
        assert "--captions are drawn on the side-by-side film" in capsys.readouterr().err
    assert cli.main([*command, "--seconds", "0.2", "--display", f"{out}/a.mp4"]) == 0
    assert names(out) == ["a-side-by-side.mp4", "a.mp4"]


@pytest.mark.parametrize(("seconds", "units"), [("0.16", 1), ("0.161", 2), ("0.8", 5), ("4/5", 5), ("99", 11)])
def test_seconds_end_the_run_earlier(session: FakeSession, media: Path, out: Path, seconds: str, units: int) -> None:
    assert cli.main(words(media, out, "--seconds", seconds)) == 0
    assert session.steps == units


def test_no_microphone_needs_seconds(session: FakeSession, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "bundle", "--mic", "none", "--speaker", f"{out}/voice.wav"]
    assert cli.main(command) == 2
    assert capsys.readouterr().err == "edge-streamer: --mic none has no end; give --seconds too\n"
    assert cli.main([*command, "--seconds", "0.5"]) == 0
    assert session.steps == 4
    assert not any(seen.samples.any() for seen in session.seen)


def test_real_pace_takes_as_long_as_the_sound(session: FakeSession, media: Path, out: Path) -> None:
    # No film: drawing one on a busy machine may take the idle time that this test counts.
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--json", f"{out}/report.json", "--pace", "real"]
    assert cli.main([*command, "--seconds", "0.5"]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["wall_seconds"] >= 4 * 0.16
    assert session.settled == [1, 2, 3, 4]


def test_what_was_there_is_replaced_only_by_a_whole_run(
    media: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / "voice.wav").write_text("older")

    def fail(step: int) -> None:
        if step == 4:
            raise MediaError("speech.wav is damaged")

    use(FakeSession(during=fail), monkeypatch)
    assert cli.main(words(media, out)) == 2
    assert names(out) == ["voice.wav"]
    assert (out / "voice.wav").read_text() == "older"
    assert capsys.readouterr().err.splitlines()[-1] == "edge-streamer: speech.wav is damaged"
    use(FakeSession(), monkeypatch)
    assert cli.main(words(media, out)) == 0
    assert (out / "voice.wav").read_bytes()[:4] == b"RIFF"


def test_too_many_failures_keep_what_was_recorded(
    media: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(FakeSession(failing=range(2, 99)), monkeypatch)
    assert cli.main(words(media, out)) == 1
    assert names(out) == EVERYTHING
    assert decoded_sound(out / "voice.wav")[0].shape == (1, 7 * UNIT)
    assert json.loads((out / "report.json").read_text())["stopped"].startswith("5 units failed in a row")
    assert "5 units failed in a row" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_keeps_what_was_recorded(
    media: Path, out: Path, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    before = signal.getsignal(number)
    use(FakeSession(during=lambda step: os.kill(os.getpid(), number) if step == 2 else None), monkeypatch)
    assert cli.main(words(media, out)) == status
    assert names(out) == EVERYTHING
    assert decoded_sound(out / "voice.wav")[0].shape == (1, 3 * UNIT), "the unit in progress was finished"
    assert len(decoded_pictures(out / "film.mp4")) == 12
    assert signal.getsignal(number) == before


def test_a_second_interrupt_keeps_nothing(media: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(step: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    use(FakeSession(during=interrupt), monkeypatch)
    assert cli.main(words(media, out)) == 130
    assert names(out) == []


def test_what_is_wrong_is_said_in_one_line_before_anything_is_written(
    session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (media / "none.wav").write_bytes((media / "speech.wav").read_bytes()[:40] + bytes(4))
    (media / "bad.txt").write_text("1\thello\nlater\tthere\n")
    (out / "link.wav").symlink_to(media / "speech.wav")
    speech, film = f"{media}/speech.wav", f"{out}/f.mp4"
    good = ["run", "bundle", "--mic", speech]
    cases = [
        (["run", "bundle", "--mic", f"{media}/nowhere.wav"], "does not exist"),
        (["run", "bundle", "--mic", f"{media}/none.wav"], "0 samples"),
        (["run", "bundle", "--mic", f"{media}/text.txt"], "is not a sound or film file"),
        (["run", "bundle", "--mic", f"{media}"], "is a folder"),
        ([*good, "--camera", f"{media}/nowhere.mp4", "--display", film], "does not exist"),
        ([*good, "--camera", speech, "--display", film], "holds no picture"),
        ([*good, "--text", f"{media}/bad.txt", "--display", film], "line 2"),
        ([*good, "--text", f"{media}/nowhere.txt"], "does not exist"),
        ([*good, "--captions", f"{media}/bad.txt", "--display", film], "line 1: '1\\thello'; wanted the number"),
        ([*good, "--captions", f"{media}/nowhere.srt", "--display", film], "wanted a SubRip file"),
        ([*good, "--captions", f"{media}/text.txt"], "name --side-by-side"),
        ([*good, "--prefix", f"{media}/nowhere.npz", "--display", film], "nowhere.npz"),
        ([*good, "--prefix", speech, "--display", film], "speech.wav"),
        ([*good, "--speaker", speech], "--speaker and --mic are the same file"),
        ([*good, "--speaker", f"{out}/link.wav"], "--speaker and --mic are the same file"),
        (
            [*good, "--display", film, "--side-by-side", f"{out}/../out/f.mp4"],
            "--display and --side-by-side are the same",
        ),
        ([*good, "--transcript", f"{out}/x", "--json", f"{out}/x"], "--transcript and --json are the same file"),
        ([*good, "--speaker", f"{out}/no/voice.wav"], "does not exist; make it first"),
        ([*good, "--speaker", f"{out}/voice.mp3"], "ends in .wav"),
        ([*good, "--display", f"{out}/film.avi"], "ends in .mp4"),
        ([*good, "--transcript", f"{out}"], "is a folder; name a file"),
        ([*good, "--json", "/dev/null"], "--json /dev/null is not a regular file"),
        ([*good, "--json", f"{out}/{'x' * 300}"], "File name too long"),
        ([*good, "--camera", f"{media}/nowhere.mp4"], "wanted a film or picture file"),
        (["run", "bundle", "--mic", ".", "--speaker", "voice.wav"], "--mic . is a folder"),
        ([*good, "--text", str(media), "--display", film], "is a folder"),
        ([*good, "--steps", "0"], "steps is 0; wanted 1 to 64"),
        ([*good, "--temperature", "-1"], "temperature"),
        ([*good, "--top-p", "0"], "top_p"),
    ]
    for command, message in cases:
        assert cli.main(command) == 2, command
        shown = capsys.readouterr()
        assert message in shown.err, command
        assert shown.err.count("\n") == 1, command
        assert shown.out == "", command
        assert names(out) == ["link.wav"], command
    assert session.steps == 0


@pytest.mark.parametrize(
    ("option", "word", "message"),
    [("--seconds", "soon", "not a number"), ("--seconds", "0", "more than 0"), ("--seconds", "1/0", "not a number"),
     ("--seconds", "1e400", "not a number"), ("--seconds", "1e99999999", "not a number"), ("--seconds", "nan", "not a"),
     ("--seconds", "1e9", "at most 31622400"), ("--seconds", "-1", "more than 0"),
     ("--wings", "2", "see edge-streamer run --help"),
     ("--pace", "slow", "invalid choice"), ("--speaker", "", "the name is empty")],
)  # fmt: skip
def test_words_that_cannot_be_meant(
    session: FakeSession, media: Path, capsys: pytest.CaptureFixture[str], option: str, word: str, message: str
) -> None:
    assert cli.main(["run", "bundle", "--mic", f"{media}/speech.wav", option, word]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_pipe_is_no_place_for_the_report(session: FakeSession, media: Path, out: Path) -> None:
    os.mkfifo(out / "pipe")
    assert cli.main(["run", "bundle", "--mic", f"{media}/speech.wav", "--json", f"{out}/pipe"]) == 2
    assert session.steps == 0


def test_a_short_run_in_which_every_unit_failed_is_status_1(
    media: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(FakeSession(failing=range(3)), monkeypatch)
    assert cli.main(words(media, out, "--seconds", "0.48")) == 1
    assert names(out) == EVERYTHING
    assert "unit time" not in capsys.readouterr().out
    use(FakeSession(failing=range(2)), monkeypatch)
    assert cli.main(words(media, out, "--seconds", "0.48")) == 0


def test_real_pace_draws_no_side_by_side_film_unless_asked(session: FakeSession, media: Path, out: Path) -> None:
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--seconds", "0.16", "--pace", "real"]
    assert cli.main([*command, "--display", f"{out}/a.mp4"]) == 0
    assert names(out) == ["a.mp4"]
    assert cli.main([*command, "--side-by-side", f"{out}/b.mp4"]) == 0
    assert names(out) == ["a.mp4", "b.mp4"]


def test_a_run_that_keeps_nothing_says_so(
    session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "bundle", "--mic", f"{media}/speech.wav", "--seconds", "0.16"]
    assert cli.main(command) == 0
    assert capsys.readouterr().err.count("nothing is kept") == 1
    assert cli.main([*command, "--json", f"{out}/report.json"]) == 0
    assert "nothing is kept" not in capsys.readouterr().err


def test_the_report_tells_the_steps_that_were_used(session: FakeSession, media: Path, out: Path) -> None:
    assert cli.main(words(media, out, "--seconds", "0.16")) == 0
    assert json.loads((out / "report.json").read_text())["knobs"]["steps"] == 4, "the bundle's default"


def test_outputs_inside_the_bundle_are_refused(
    session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", str(out), "--mic", f"{media}/speech.wav", "--speaker", f"{out}/voice.wav"]) == 2
    assert "lies inside BUNDLE" in capsys.readouterr().err
    assert names(out) == []


def test_the_prefix_is_restored(session: FakeSession, media: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "load_snapshot", lambda path: f"snapshot of {path.name}")
    (media / "persona.npz").touch()
    assert cli.main(words(media, out, "--prefix", f"{media}/persona.npz")) == 0
    assert session.restored == ["snapshot of persona.npz"]
    assert not session.pinned


def test_a_picture_is_pinned(session: FakeSession, media: Path, out: Path) -> None:
    height, width = session.media.shows.size
    Image.new("RGB", (2 * width, 2 * height), (250, 20, 20)).save(media / "persona.png")
    assert cli.main(words(media, out, "--prefix", f"{media}/persona.png")) == 0
    (unit,) = session.pinned
    assert unit.frames.shape == (session.media.sees.unit_frames, height, width, 3)
    assert unit.frames[..., 0].min() > 200
    assert unit.frames[..., 1:].max() < 60
    assert not session.restored


def test_a_failing_open_leaves_no_temporary_files(
    session: FakeSession, media: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_streamer.runtime.commands import recording

    def refuse(*unused: object) -> None:
        raise MediaError("no transcript today")

    monkeypatch.setattr(recording, "Transcript", refuse)
    assert cli.main(words(media, out)) == 2
    assert names(out) == []


def test_what_is_damaged_in_the_middle_ends_no_run_and_is_told(
    session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = np.full(48000 * 16 // 10, 0.5)
    samples[40000:40010] = np.nan
    write_wav(media / "speech.wav", samples, 48000, "f32")
    film = bytearray((media / "camera.mkv").read_bytes())
    film[len(film) // 2 : len(film) // 2 + 4000] = os.urandom(4000)
    (media / "camera.mkv").write_bytes(film)
    assert cli.main(words(media, out)) == 0
    assert sorted(path.name for path in out.iterdir()) == EVERYTHING
    report = json.loads((out / "report.json").read_text())
    assert report["units"] == 10
    assert report["sound"]["not_numbers"] == 10
    assert "10 values that are no numbers became silence" in " ".join(capsys.readouterr().out.split())


def test_one_channel_of_many(session: FakeSession, media: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wav(media / "speech.wav", np.tile([0.5, -0.5], (2 * UNIT, 1)), MEDIA.hears.sample_rate)
    assert cli.main(words(media, out)) == 0
    assert "--channel 1 picks that one alone" in " ".join(capsys.readouterr().out.split())
    assert cli.main(words(media, out, "--channel", "2")) == 0
    assert "picks that one" not in capsys.readouterr().out
    assert json.loads((out / "report.json").read_text())["sound"]["channel"] == 2
    assert cli.main(words(media, out, "--channel", "3")) == 2
    assert "has 2 channels; --channel 3 is not there" in capsys.readouterr().err
