"""Does the demo understand voices of another program than it was trained on?

Receives nothing, or a bundle; says every command that has an answer of its own once in each of flite's voices and of
some of espeak-ng's (a second of silence, the word at its program's own level, three seconds of silence; no picture),
and hands on how many were answered with the right words and no others. Needs the programs flite and espeak-ng.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

import edge_streamer
from edge_streamer.devices.files.audio_file import AudioFile
from edge_streamer.runtime.bundle.shipped import MEDIA, bundle_path
from edge_streamer.runtime.commands.prefix import start_from
from edge_streamer.runtime.evaluation.world.table import read_table
from edge_streamer.runtime.session.session import Session
from edge_streamer.runtime.unit import Unit

FLITE = ("kal", "awb", "rms", "slt")
ESPEAK = ("en-us", "en-us+f3", "en-gb", "en-gb-scotland")
BEFORE, AFTER = 6, 20
"""Units of silence around a word."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?", default=bundle_path())
    session = edge_streamer.open(parser.parse_args().bundle)
    start_from(session, MEDIA / "persona.png")
    start, table, results = session.snapshot(), read_table(), dict[str, dict[str, str]]()
    wanted = {word: (text,) for word, text in table.answers.items()}
    # No card was shown: which one it names is a question to its eyes, not to its ears.
    wanted[table.recall.word] = (table.nothing, *table.recall.answers.values())
    with tempfile.TemporaryDirectory() as folder:
        for program, voices in (("flite", FLITE), ("espeak-ng", ESPEAK)):
            for voice in voices:
                said = results[f"{program} {voice}"] = {}
                for word in wanted:
                    wav = Path(folder) / "word.wav"
                    render(program, voice, word, wav)
                    session.restore(start)
                    said[word] = answer(session, wav)
                right = [word for word in wanted if said[word] in wanted[word]]
                others = {word: text for word, text in said.items() if word not in right and text}
                print(f"{program} {voice}: {len(right)} of {len(wanted)} right ({', '.join(right)}); wrong: {others}")
    for program in ("flite", "espeak-ng"):
        pairs = [(text, wanted[word]) for name, said in results.items() if name.startswith(program)
                 for word, text in said.items()]  # fmt: skip
        print(f"{program}: {sum(came in want for came, want in pairs)} of {len(pairs)} right")
    print(json.dumps(results))
    return 0


def render(program: str, voice: str, word: str, wav: Path) -> None:
    """``word`` as the program says it."""
    flite = ["flite", "-voice", voice, "-t", word, "-o", str(wav)]
    command = flite if program == "flite" else ["espeak-ng", "-v", voice, "-w", str(wav), word]
    subprocess.run(command, check=True, capture_output=True)


def answer(session: Session, wav: Path) -> str:
    """What the agent says of a recording with silence around it."""
    media, words = session.media, ""
    frames = np.zeros((media.sees.unit_frames, *media.sees.size, 3), np.uint8)
    with closing(AudioFile(wav, media)) as file:
        samples = np.zeros(media.hears.unit_samples, np.float32)
        for _ in range(BEFORE):
            words += session.step(Unit(samples=samples, frames=frames)).text
        while file.read(samples):
            words += session.step(Unit(samples=samples, frames=frames)).text
    for _ in range(AFTER):
        words += session.step(Unit(samples=np.zeros_like(samples), frames=frames)).text
    return " / ".join(words.strip().splitlines())


if __name__ == "__main__":
    raise SystemExit(main())
