"""``python -m edge_streamer.export.demo_model.demo_media [DIR]``: what the demo hears and sees.

Receives nothing but the program ``espeak-ng``; hands on ``speech.flac`` (16 kHz), ``camera.mp4`` (384x256, 25 frames
a second), ``captions.srt`` (what is said and shown when, for people) and ``persona.png`` (who the agent is): a short
conversation by a voice that training has never heard, before a background that it has never seen. Everything is drawn
and said here, seeded: the same tools make the same files.

    hello | weather | story, interrupted by stop | a word that is no command | a red card | colour | again | goodbye
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_streamer.export.demo_model.speech import HELD_OUT_VARIANTS, Voice, agent_phrases, say
from edge_streamer.runtime.evaluation.world.avatar import draw_avatar, resting
from edge_streamer.runtime.evaluation.world.backgrounds import HELD_OUT_BACKGROUNDS
from edge_streamer.runtime.evaluation.world.camera import View
from edge_streamer.runtime.evaluation.world.scene import Scene, World
from edge_streamer.runtime.evaluation.world.script import FRAME, RATE, UNIT, Said, Script, Shown
from edge_streamer.runtime.evaluation.world.sound import Room, Sound
from edge_streamer.runtime.evaluation.world.table import Table, read_table

MEDIA = Path(__file__).parents[2] / "runtime" / "embedded" / "media"
UNITS = 175
"""28 s."""
VOICE = Voice(f"en-us+{HELD_OUT_VARIANTS[9]}", 160, 50)
CARD = (13.0, 15.0)
"""Seconds from which to which the red card is shown."""
CAPTION_SECONDS = 1.5
"""A word is read for so long after it was said, or until the next caption."""
ENLARGED = 4
SEED = 12
PERSONA = 2
"""The identity of the demo's agent."""


def spoken(table: Table) -> list[tuple[float, str, bool]]:
    """(second at which it ends, word, whether it is a command)."""
    first, second, _, third, *_, last = table.answers
    return [
        (1.7, first, True), (5.2, second, True), (8.7, third, True), (10.2, table.stop, True), (12.2, "teapot", False),
        (18.6, table.recall.word, True), (21.4, table.again, True), (24.6, last, True),
    ]  # fmt: skip


def conversation(table: Table) -> Script:
    """The whole of it."""
    said = tuple(Said(word, round(end * RATE), "command" if known else "other") for end, word, known in spoken(table))
    return Script(UNITS, said, shown=(Shown(1, round(CARD[0] * 25), round(CARD[1] * 25)),))


def demo_scene() -> Scene:
    """The conversation in a quiet room."""
    table = read_table()
    view = View(HELD_OUT_BACKGROUNDS[7], 1, 2, 3, 1.0, (1.0, 1.0, 1.0), 1.0, 1.05)
    world = World(table, [agent_phrases(table.phrases, 0)])
    return Scene(world, conversation(table), 0, view, Room(), SEED)


def write_flac(path: Path, samples: Sound) -> None:
    """16 bits, mono."""
    block = 4096
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE)
        stream.layout, stream.format = "mono", "s16"
        whole = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        for first in range(0, len(whole), block):
            frame = av.AudioFrame.from_ndarray(whole[None, first : first + block], format="s16", layout="mono")
            frame.rate, frame.pts = RATE, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_film(path: Path, frames: NDArray[np.uint8]) -> None:
    """H.264, enlarged so that people can look at it."""
    height, width = frames.shape[1] * ENLARGED, frames.shape[2] * ENLARGED
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE // FRAME, options={"crf": "27", "preset": "veryslow"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def captions(table: Table) -> list[tuple[float, float, str]]:
    """(second from which, second to which, text), in order: the words from their first sound on, and the card."""
    entries = [(*CARD, "[shows a red card]")]
    for end, word, known in spoken(table):
        start = end - len(say(word, VOICE)) / RATE
        entries.append((start, end + CAPTION_SECONDS, word if known else f"{word} [a word it does not know]"))
    entries.sort()
    following = [start for start, *_ in entries[1:]] + [UNITS * UNIT / RATE]
    return [(start, min(end, later), text) for (start, end, text), later in zip(entries, following, strict=True)]


def write_captions(path: Path, entries: list[tuple[float, float, str]]) -> None:
    """SubRip."""
    blocks = [
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{text}\n"
        for number, (start, end, text) in enumerate(entries, start=1)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")


def write_persona(path: Path) -> None:
    """The agent at rest, as it is to look throughout."""
    Image.fromarray(draw_avatar(resting(1, PERSONA))[0]).save(path, optimize=True)


def _clock(seconds: float) -> str:
    """``00:00:13,000``"""
    minutes, milliseconds = divmod(round(seconds * 1000), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02},{milliseconds % 1000:03}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo's speech, camera film and captions.")
    parser.add_argument("folder", nargs="?", type=Path, default=MEDIA)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    scene = demo_scene()
    heard = scene.microphone(lambda word, _: say(word, VOICE), agent=np.zeros(UNITS * 2560, np.float32))
    write_flac(folder / "speech.flac", heard)
    write_film(folder / "camera.mp4", scene.camera())
    write_captions(folder / "captions.srt", captions(scene.world.table))
    write_persona(folder / "persona.png")


if __name__ == "__main__":
    main()
