"""``python -m edge_streamer.export.demo_model.assets``: the recordings that ship with the package.

Receives the table of commands; writes ``runtime/embedded/scenes/held-out.npz``: every command and the evaluation's
unknown words in held-out voices, and the agent's phrases in every identity's voice. Needs ``espeak-ng``; the evaluation
itself does not.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edge_streamer.export.demo_model.speech import (
    ACCENTS,
    HELD_OUT_ACCENT,
    HELD_OUT_VARIANTS,
    agent_phrases,
    need_espeak,
    random_voice,
    say,
)
from edge_streamer.export.demo_model.words import held_out
from edge_streamer.runtime.errors import InputError
from edge_streamer.runtime.evaluation.world.assets import HELD_OUT, to_mu_law
from edge_streamer.runtime.evaluation.world.avatar import IDENTITIES
from edge_streamer.runtime.evaluation.world.table import SHIPPED, Table, read_table
from edge_streamer.runtime.files import replacing, size_text

SEED = 1_000_003
"""Never a training's seed."""
PER_COMMAND, PER_OTHER = 24, 4


def write_assets(path: Path, table: Table, per_command: int = PER_COMMAND, per_other: int = PER_OTHER) -> None:
    """Record everything and write the file, whole or not at all."""
    need_espeak()
    rng = np.random.default_rng(SEED)
    wanted = [word for word in table.words for _ in range(per_command)]
    wanted += [word for word in held_out(table) for _ in range(per_other)]
    jobs = [(word, random_voice(rng, HELD_OUT_VARIANTS, (*ACCENTS, HELD_OUT_ACCENT))) for word in wanted]
    with ThreadPoolExecutor(2) as pool:
        sounds = [to_mu_law(sound) for sound in pool.map(lambda job: say(*job), jobs)]
    spoken = [sound for identity in range(IDENTITIES) for sound in agent_phrases(table.phrases, identity)]
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            words=np.array(wanted), voices=np.array([voice.name for _, voice in jobs]),
            flat=np.concatenate(sounds), ends=np.cumsum([len(s) for s in sounds]),
            phrases=np.array(table.phrases), phrase_ends=np.cumsum([len(s) for s in spoken]),
            phrase_flat=np.round(np.concatenate(spoken) * 32767).astype(np.int16),
        )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="assets", description="Record the words and phrases that ship.")
    parser.add_argument("--out", type=Path, default=HELD_OUT, help="the .npz file to write (default: the package's)")
    parser.add_argument("--commands", type=Path, default=SHIPPED, help="a table of commands and answers (JSON)")
    args = parser.parse_args(arguments)
    try:
        write_assets(args.out, read_table(args.commands))
    except InputError as error:
        print(f"assets: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{args.out}: {size_text(args.out.stat().st_size)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
