"""``edge-streamer prefix``: text, a picture or a film become a snapshot that ``run --prefix`` starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_streamer.devices.files.video_file import FilmDisplay
from edge_streamer.runtime.commands import cli
from edge_streamer.runtime.session.session import open_session
from edge_streamer.runtime.session.snapshot import load_snapshot
from edge_streamer.runtime.unit import Unit

MEDIA = Path(__file__).parents[3] / "runtime" / "embedded" / "media"


def prefix(bundle: Path, out: Path, *words: str) -> int:
    return cli.main(["prefix", str(bundle), *words, "--out", str(out)])


@pytest.mark.parametrize(
    ("words", "places"),
    [
        (["--text", "a cat"], 5),
        (["--image", str(MEDIA / "camera.mp4")], 8),
        (["--clip", "CLIP", "--seconds", "0.32"], 16),
        (["--clip", "CLIP"], 24),  # as many units as fit
        (["--image", str(MEDIA / "camera.mp4"), "--text", "a cat"], 13),
    ],
)
def test_a_prefix_is_saved_and_taken_up(
    tiny_bundle: Path, tmp_path: Path, words: list[str], places: int, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "persona.npz"
    assert prefix(tiny_bundle, out, *(str(clip) if word == "CLIP" else word for word in words)) == 0
    assert f"prefix of {places} tokens" in capsys.readouterr().out
    plain, warm = open_session(tiny_bundle), open_session(tiny_bundle)
    warm.restore(load_snapshot(out))
    assert warm.place.store.rings["prefix"].units == places
    assert not np.array_equal(plain.step(Unit()).samples, warm.step(Unit()).samples)


@pytest.fixture(scope="session")
def clip(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film with sound, a second long, made by our own film device."""
    path, session = tmp_path_factory.mktemp("clip") / "clip.mp4", open_session(tiny_bundle)
    film = FilmDisplay(path, session.media)
    for _ in range(7):
        response = session.step(Unit())
        film.write(response.frames, response.samples)
    film.finish()
    film.close()
    return path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "prefix of nothing"),
        (["--text", "x" * 100], "places left"),
        (["--image", "missing.png"], "missing.png"),
        (["--clip", str(MEDIA / "speech.wav")], "speech.wav"),
    ],
)
def test_what_cannot_be_a_prefix_is_one_line_and_no_file(
    tiny_bundle: Path, tmp_path: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prefix(tiny_bundle, tmp_path / "persona.npz", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_of_another_bundle_is_refused(
    tiny_bundle: Path, demo_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prefix(tiny_bundle, tmp_path / "persona.npz", "--text", "a cat") == 0
    words = ["run", str(demo_bundle), "--mic", "none", "--camera", "none", "--seconds", "0.16", "--display", "none"]
    words += ["--speaker", str(tmp_path / "v.wav"), "--prefix", str(tmp_path / "persona.npz")]
    capsys.readouterr()
    assert cli.main(words) == 2
    assert "take it again with this bundle" in capsys.readouterr().err
    assert not (tmp_path / "v.wav").exists()


def test_a_prefix_never_overwrites_what_it_was_made_from(
    tiny_bundle: Path, tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tiny_bundle.rglob("*"))
    for name in ("persona.npz", "manifest.json"):
        assert prefix(tiny_bundle, tiny_bundle / name, "--text", "a cat") == 2
        assert "must not change" in capsys.readouterr().err
    assert sorted(tiny_bundle.rglob("*")) == before
    film = clip.read_bytes()
    assert prefix(tiny_bundle, clip, "--clip", str(clip)) == 2
    assert prefix(tiny_bundle, tmp_path / "persona", "--text", "a cat") == 2
    assert clip.read_bytes() == film
