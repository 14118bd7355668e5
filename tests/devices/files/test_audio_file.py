"""Sound files as microphone and speaker: exact units, clicks where they belong, one clear line for what is unusable."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tracemalloc
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soxr

from edge_streamer.devices.files.audio_file import AudioFile, Silence, WavSpeaker, wav_header
from edge_streamer.runtime.errors import InputError, MediaError
from tests.media_files import MEDIA, SAMPLE_FORMATS, click, decoded_sound, mux_sound, write_film, write_sound, write_wav

RATE, UNIT = MEDIA.hears.sample_rate, MEDIA.hears.unit_samples

SPEECH = Path("/usr/share/sounds/alsa/Front_Center.wav")

ROUNDING = {"u8": 1 / 127, "s16": 1 / 32767, "s24": 1e-6, "s32": 1e-6, "f32": 1e-6, "f64": 1e-6}
"""One step of the format: what writing and reading a sample may change."""


def read_all(path: Path) -> np.ndarray:
    """Every unit of ``path``, [units, unit_samples]."""
    microphone = AudioFile(path, MEDIA)
    units = []
    out = np.full(UNIT, np.nan, np.float32)
    while microphone.read(out):
        units.append(out.copy())
    assert microphone.units == len(units), "the count after the end is the truth"
    assert not microphone.read(out), "the end stays the end"
    microphone.close()
    return np.array(units)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("form", SAMPLE_FORMATS)
def test_a_click_lands_where_it_was_and_the_units_are_exact(
    tmp_path: Path, rate: int, channels: int, form: str
) -> None:
    length, at = 12347, 6011
    path = write_wav(tmp_path / "click.wav", click(length, at, channels), rate, form)
    units = read_all(path)
    assert len(units) == math.ceil(Fraction(length, rate) / Fraction(4, 25))
    heard = units.ravel()
    assert abs(int(np.abs(heard).argmax()) - at * RATE / rate) <= 0.5
    if rate == RATE:
        np.testing.assert_allclose(heard[at], 0.9, atol=2 * ROUNDING[form])
        assert np.abs(np.delete(heard, at)).max() <= ROUNDING[form]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
def test_one_sample_decides_about_a_unit(tmp_path: Path, rate: int) -> None:
    unit = Fraction(rate) * Fraction(4, 25)
    for units in (1, 25):
        last = math.floor(unit * units)  # the most samples that fit
        for length in (last, last + 1):
            path = write_wav(tmp_path / "noise.wav", np.full(length, 0.1), rate)
            wanted = units if length <= unit * units else units + 1
            assert AudioFile(path, MEDIA).units == wanted, "by the header"
            assert len(read_all(path)) == wanted, "by counting"


def test_a_single_sample_is_a_unit(tmp_path: Path) -> None:
    units = read_all(write_wav(tmp_path / "one.wav", np.array([0.5]), RATE))
    assert units.shape == (1, UNIT)
    assert units[0, 0] == pytest.approx(0.5, abs=1e-4)
    assert not units[0, 1:].any(), "the rest of the last unit is silence"


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_streaming_equals_resampling_the_whole_file_at_once(tmp_path: Path, rate: int) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 31234)
    path = write_wav(tmp_path / "noise.wav", noise, rate, "f32")
    whole = soxr.resample(noise.astype(np.float32), rate, RATE, quality="HQ")
    heard = read_all(path).ravel()
    np.testing.assert_allclose(heard[: len(whole)], whole, atol=1e-6)
    assert not heard[len(whole) :].any()


def test_channels_are_averaged(tmp_path: Path) -> None:
    samples = np.tile([0.6, 0.2], (UNIT, 1))
    heard = read_all(write_wav(tmp_path / "stereo.wav", samples, RATE, "f32"))
    np.testing.assert_allclose(heard, 0.4, atol=1e-6)


def test_values_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    heard = read_all(write_wav(tmp_path / "loud.wav", np.full(UNIT, 3.0), RATE, "f32"))
    assert (heard == 1.0).all()


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF - 36])
def test_a_header_written_by_a_pipe_is_not_believed(tmp_path: Path, size: int) -> None:
    path = write_wav(tmp_path / "pipe.wav", click(3 * UNIT + 1, 5000), RATE, data_size=size)
    heard = read_all(path)
    assert len(heard) == 4
    assert int(np.abs(heard).argmax()) == 5000


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("a.flac", "flac", 44100), ("a.mp3", "libmp3lame", 44100), ("a.m4a", "aac", 48000), ("a.ogg", "libopus", 48000),
     ("a.webm", "libopus", 48000), ("a.mkv", "pcm_s16le", 22050), ("a.aiff", "pcm_s16be", 44100)],
)  # fmt: skip
def test_other_containers_and_codecs(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    length, at = rate * 2, rate + 777
    samples = np.zeros((1, length), np.float32)
    samples[0, at : at + 24] = 0.8  # wide enough to survive a lossy codec
    heard = read_all(write_sound(tmp_path / name, samples, rate, codec)).ravel()
    lossy = codec in ("libmp3lame", "aac", "libopus")
    # A lossy codec smears the click and pads the end by less than two of its frames (mp3: 1152 samples).
    centre = int(np.abs(heard).argmax()) - 12 * RATE / rate
    assert abs(centre - at * RATE / rate) <= (16 if lossy else 12)
    assert 0 <= len(heard) - 13 * UNIT <= (UNIT if lossy else 0)


def test_the_sound_of_a_film_that_starts_late_starts_late(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 80, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 80, 3), np.uint8), format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        mux_sound(container, audio, click(8000, 0).T.astype(np.float32), RATE, "mono", first=8000)
    heard = read_all(path)
    assert int(np.abs(heard).argmax()) == 8000, "the click stands half a second after the film's first picture"
    assert len(heard) == math.ceil(16000 / UNIT)


def test_recorded_speech(tmp_path: Path) -> None:
    if not SPEECH.exists():
        why = f"{SPEECH} is missing; install the Debian package alsa-utils"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with wave.open(str(SPEECH)) as file:
        assert file.getframerate() == 48000
        length = file.getnframes()
        samples = np.frombuffer(file.readframes(length), "<i2").reshape(length, -1).mean(axis=1) / 32768
    heard = read_all(SPEECH)
    assert len(heard) == math.ceil(Fraction(length, 48000) / Fraction(4, 25))
    loudness = np.sqrt(np.mean(np.square(samples)) * length / 3 / heard.size)
    assert np.sqrt(np.mean(np.square(heard))) == pytest.approx(loudness, rel=0.02), "nothing of the speech is lost"


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = tmp_path / "hours.wav"
    hours = 4 * 3600 * RATE * 2
    write_wav(path, np.zeros(0), RATE, data_size=hours)
    os.truncate(path, 44 + hours)  # a sparse file: it takes no room on the disk
    microphone = AudioFile(path, MEDIA)
    assert microphone.units == 4 * 3600 * 25 // 4
    out = np.empty(UNIT, np.float32)
    microphone.read(out)
    tracemalloc.start()
    try:
        for _ in range(2000):
            microphone.read(out)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    microphone.close()
    # Measured: held 14 kB, peak 40 kB, of 20 MB that passed through.
    assert held < 50_000
    assert peak < 500_000


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """What is wrong -> (file, words of the message)."""
    good = write_wav(folder / "good.wav", np.full(16000, 0.5), RATE)
    flac = write_sound(
        folder / "good.flac", np.random.default_rng(0).uniform(-1, 1, (1, 48000)).astype("f4"), 48000, "flac"
    )
    mp4 = write_sound(
        folder / "good.m4a", np.random.default_rng(0).uniform(-1, 1, (1, 48000)).astype("f4"), 48000, "aac"
    )
    film = write_film(folder / "silent.mp4", [np.zeros((48, 80, 3), np.uint8)] * 5)
    cases = {
        "missing": (folder / "nowhere.wav", "does not exist"),
        "folder": (folder, "is a folder"),
        "no samples": (write_wav(folder / "none.wav", np.zeros(0), RATE), "0 samples"),
        "truncated wav": (_part(good, 0.5), "is truncated: it promises 32000 bytes of sound"),
        "cut in the header": (_part(good, 0.0009), "is truncated"),
        "truncated flac": (_part(flac, 0.5), "is truncated: it promises 1.00 s"),
        "truncated mp4": (_part(mp4, 0.5), "is truncated"),
        "no sound": (film, "holds no sound"),
        "not a number": (write_wav(folder / "nan.wav", np.full(9000, np.nan), RATE, "f32"), "not numbers"),
    }
    for name, content, words in (
        ("empty.wav", b"", "is empty"),
        ("text.wav", b"this is not sound\n" * 50, "not a sound or film file"),
        ("noise.wav", np.random.default_rng(3).bytes(5000), "not a sound or film file"),
        ("notes.txt", b"1.0\thello\n" * 50, "not a sound or film file"),
    ):
        (folder / name).write_bytes(content)
        cases[name] = (folder / name, words)
    return cases


def _part(path: Path, share: float) -> Path:
    data = path.read_bytes()
    cut = path.with_name(f"cut-{share}-{path.name}")
    cut.write_bytes(data[: max(int(len(data) * share), 20)])
    return cut


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path) -> None:
    for what, (path, words) in broken_files(tmp_path).items():
        with pytest.raises(MediaError) as caught:
            read_all(path)
        message = str(caught.value)
        assert words in message, f"{what}: {message}"
        assert str(path) in message, what
        assert "\n" not in message, what
        assert caught.value.exit_status == 2, what


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    path = write_wav(tmp_path / "secret.wav", np.zeros(10), RATE)
    path.chmod(0)
    with pytest.raises(MediaError, match="cannot be read"):
        AudioFile(path, MEDIA)


def test_silence_lasts_as_long_as_asked() -> None:
    microphone = Silence(MEDIA, 2)
    out = np.ones(UNIT, np.float32)
    assert microphone.units == 2
    assert [microphone.read(out) for _ in range(3)] == [True, True, False]
    assert not out.any()


def test_the_speaker_writes_every_sample(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    voice = np.random.default_rng(0).uniform(-1, 1, (7, UNIT)).astype(np.float32)
    speaker = WavSpeaker(path, MEDIA)
    for unit in voice:
        speaker.write(unit)
    speaker.finish()
    assert not path.exists(), "the file appears only when it is closed"
    speaker.close()
    heard, rate = decoded_sound(path)
    assert rate == RATE
    assert heard.shape == (1, 7 * UNIT)
    np.testing.assert_array_equal(heard[0], np.rint(voice.ravel() * 32768).clip(-32768, 32767))
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getnframes()) == (1, 2, 7 * UNIT)
    assert list(tmp_path.iterdir()) == [path]


def test_the_speaker_counts_what_it_clips(tmp_path: Path) -> None:
    speaker = WavSpeaker(tmp_path / "voice.wav", MEDIA)
    speaker.write(np.array([0.5, 1.5, -1.5, 1.0, -1.0], np.float32))
    assert speaker.clipped == 2
    speaker.close()
    heard, _ = decoded_sound(tmp_path / "voice.wav")
    assert heard[0].tolist() == [16384, 32767, -32768, 32767, -32768]


def test_a_speaker_that_gives_up_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(b"older")
    speaker = WavSpeaker(path, MEDIA)
    speaker.write(np.zeros(UNIT, np.float32))
    speaker.discard()
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_speaker_that_was_closed_stays(tmp_path: Path) -> None:
    speaker = WavSpeaker(tmp_path / "voice.wav", MEDIA)
    speaker.write(np.zeros(UNIT, np.float32))
    speaker.close()
    speaker.discard()
    assert (tmp_path / "voice.wav").exists()


def test_a_day_of_speech_is_closed_as_rf64(tmp_path: Path) -> None:
    samples = np.arange(500, dtype="<i2")
    path = tmp_path / "long.wav"
    path.write_bytes(wav_header(RATE, samples.nbytes, largest=1000) + samples.tobytes())
    assert path.read_bytes()[:4] == b"RF64"
    heard, _ = decoded_sound(path)
    np.testing.assert_array_equal(heard[0], samples)
    assert len(wav_header(RATE, 0)) == len(wav_header(RATE, 2**33)) == 80
    assert read_all(path).shape == (1, UNIT)


FILL = """
import resource, signal, sys
import numpy as np
from pathlib import Path
from edge_streamer.devices.files.audio_file import WavSpeaker
from edge_streamer.devices.files.video_file import FilmDisplay
from edge_streamer.runtime.errors import InputError
from tests.media_files import MEDIA
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))
kind, path = sys.argv[1], Path(sys.argv[2])
noise = np.random.default_rng(0)
out = WavSpeaker(path, MEDIA) if kind == "voice" else FilmDisplay(path, MEDIA)
try:
    for _ in range(200):
        samples = noise.uniform(-1, 1, MEDIA.hears.unit_samples).astype(np.float32)
        if kind == "voice":
            out.write(samples)
        else:
            out.write(noise.integers(0, 255, (4, 48, 80, 3), dtype=np.uint8), samples)
    out.close()
except InputError as error:
    print(error)
    out.discard()
    sys.exit(error.exit_status)
"""


@pytest.mark.parametrize(("kind", "name"), [("voice", "voice.wav"), ("film", "film.mp4")])
def test_a_disk_that_fills_is_one_line_and_leaves_nothing(tmp_path: Path, kind: str, name: str) -> None:
    command = [sys.executable, "-W", "error", "-c", FILL, kind, str(tmp_path / name)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert ran.returncode == 2, ran.stderr
    assert ran.stdout.startswith(f"cannot write {tmp_path / name}: the file is larger than this system allows")
    assert ran.stdout.count("\n") == 1
    assert ran.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        WavSpeaker(tmp_path / "no" / "voice.wav", MEDIA)
