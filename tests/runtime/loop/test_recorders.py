"""A disk that fills while a conversation is recorded: what can be whole is kept, nothing else takes a name."""

from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

RECORD = """
import json, resource, signal, sys
from pathlib import Path
import numpy as np
from edge_streamer.runtime.loop.request import Outputs
from edge_streamer.runtime.loop.recorders import Recorders
from edge_streamer.runtime.commands.recording import recording
from edge_streamer.runtime.unit import Response, Unit
from tests.media_files import MEDIA
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
folder, noise, told = Path(sys.argv[1]), np.random.default_rng(0), []
plan = Outputs(voice=folder / "voice.wav", film=folder / "film.mp4", transcript=folder / "words.txt",
               json=folder / "report.json")
with recording(plan, MEDIA) as recorded:
    tell = lambda what, why: told.append(what)
    recorders = Recorders(recorded.voice, recorded.film, recorded.watchers, tell, recorded.give_up)
    for k in range(60):
        samples = noise.uniform(-1, 1, MEDIA.hears.unit_samples).astype(np.float32)
        frames = noise.integers(0, 255, (MEDIA.sees.unit_frames, *MEDIA.shows.size, 3), dtype=np.uint8)
        unit = Unit(samples, np.zeros((MEDIA.sees.unit_frames, *MEDIA.sees.size, 3), np.uint8))
        recorders.write(unit, Response(k, samples, frames, "word ", (), 0.0, 0.0))
    recorded.keep({"stopped": recorders.stopped})
print(json.dumps({"told": told, "files": sorted(recorded.files)}))
"""


def test_what_the_disk_could_not_take_does_not_take_the_rest_along(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"an older film")
    command = [sys.executable, "-W", "error", "-c", RECORD, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], timeout=120)
    assert ran.returncode == 0, ran.stderr
    came = json.loads(ran.stdout)
    assert sorted(came["told"]) == ["film ended", "film given up", "voice ended"]
    assert came["files"] == ["report", "transcript", "voice"]
    assert (tmp_path / "film.mp4").read_bytes() == b"an older film"
    with wave.open(str(tmp_path / "voice.wav")) as voice:  # whole units, as many as the disk took
        assert voice.getnframes() == 29 * 2560
        assert len(voice.readframes(10**6)) == 2 * 29 * 2560
    assert "none of it is kept" in json.loads((tmp_path / "report.json").read_text())["stopped"]["film"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "report.json", "voice.wav", "words.txt"]
