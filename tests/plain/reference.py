"""python -m tests.plain.reference BUNDLE OUT.npz: what a session took and gave, for other drivers of a bundle

Receives a ``wan_streamer`` bundle, a seed and a number of units; writes OUT.npz, which a driver in another language
reads its inputs from and is compared with (``tests.plain.compare``). No pickle. U units; F, H, W, S and the like are
the bundle's own sizes::

    name           dtype    shape                what
    -------------  -------  -------------------  ------------------------------------------------------------------
    seed           uint64   []                   of all noise
    steps          int32    []                   solver steps per unit
    temperature    float32  []                   0: greedy
    top_k          int32    []                   0: all candidates
    top_p          float32  []
    settled        bool     []                   whether the idle time after every unit was used
    in.prefix      int32    [tokens]             what the pinned prefix was filled with, before unit 0; may be empty
    in.samples     float32  [U, samples]         the microphone
    in.frames      uint8    [U, F, H, W, 3]      the camera, of the user's size
    in.text        int32    [U, user.text]       the tokens at the user's text places, padded
    tokens         int32    [U, slots]           what the slots chose; the state slot first, the rest are the words
    scores         float32  [U, slots, K]        of the K likeliest tokens of every slot, falling
    latents.video  float32  [U, tokens, values]  of the agent's answer, clean
    latents.audio  float32  [U, tokens, values]
    samples        float32  [U, samples]         the loudspeaker
    frames         uint8    [U, F, H', W', 3]    the screen, of the agent's size
    words          uint8    [bytes]              what the agent said in all units together, UTF-8

The inputs are made from the seed: noise for sound, a coarse noisy picture, a word typed in unit 0 that takes several
units to be heard. A driver hands back the same names, as many of those after ``in.text`` as it has.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edge_streamer.runtime.bundle.arrays import Array
from edge_streamer.runtime.compare.golden import made_unit
from edge_streamer.runtime.errors import EdgeStreamerError
from edge_streamer.runtime.programs.wan_streamer.program import wan_streamer
from edge_streamer.runtime.session.session import Session, open_session
from edge_streamer.runtime.unit import Knobs


def record(session: Session, knobs: Knobs, units: int, settle: bool = False, prefix: str = "") -> dict[str, Array]:
    """The file's arrays. ``session`` is freshly opened with ``knobs``."""
    program = wan_streamer(session.program)
    if prefix:
        session.prefill(prefix)
    arrays = {
        "seed": np.uint64(knobs.seed),
        "steps": np.int32(knobs.steps or program.constants.default_steps),
        "temperature": np.float32(knobs.temperature),
        "top_k": np.int32(knobs.top_k),
        "top_p": np.float32(knobs.top_p),
        "settled": np.bool_(settle),
        "in.prefix": np.array(program.encode_text(prefix), np.int32),
    }
    rows: dict[str, list[Array]] = {}
    words, waiting = "", ()
    for index in range(units):
        unit = made_unit(session.media, knobs.seed, index)
        text, waiting = program.text_in.take(waiting, unit.text)
        response = session.step(unit)
        one = {"in.samples": unit.samples, "in.frames": unit.frames, "in.text": np.array(text, np.int32)}
        one |= {
            "tokens": np.array(response.tokens, np.int32),
            "scores": np.stack([session.engine.read(sampled["scores"]) for sampled in program.wiring.sampled]),
            **{name: session.engine.read(latents) for name, latents in program.wiring.past.items()},
            "samples": response.samples,
            "frames": response.frames,
        }
        for name, array in one.items():
            assert array is not None
            rows.setdefault(name, []).append(array.copy())
        words += response.text
        if settle:
            session.settle()
    arrays |= {name: np.stack(parts) for name, parts in rows.items()}
    return {name: np.asarray(array) for name, array in arrays.items()} | {
        "words": np.frombuffer(words.encode(), np.uint8)
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="write what a session takes and gives over a few units")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--units", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--settle", action="store_true", help="use the idle time after every unit")
    parser.add_argument("--prefix", default="", help="text to fill the pinned prefix with")
    args = parser.parse_args()
    if args.units < 1:
        parser.error(f"--units is {args.units}; wanted at least 1")
    try:
        knobs = Knobs(args.steps, args.temperature, args.top_k, args.top_p, args.seed)
        arrays = record(open_session(args.bundle, knobs=knobs), knobs, args.units, args.settle, args.prefix)
    except (EdgeStreamerError, ValueError) as error:
        parser.error(str(error))
    with open(args.out, "wb") as file:
        np.savez_compressed(file, **arrays)
    for name, array in arrays.items():
        print(f"{name:14} {array.dtype!s:8} {list(array.shape)}")


if __name__ == "__main__":
    main()
