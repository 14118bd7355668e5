"""A record and named arrays in one ``.npz`` file, without pickle.

Receives a msgspec record and arrays; hands on the file, whole or absent, and both again from it. Serves snapshots and
golden units.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from edge_streamer.runtime.engine import Array
from edge_streamer.runtime.files import replacing

RECORD = "meta"
"""The name under which the record's JSON lies among the arrays."""

Record = TypeVar("Record", bound=msgspec.Struct)


def save_arrays(path: Path, record: msgspec.Struct, arrays: Mapping[str, Array]) -> None:
    """Write the file, whole or not at all. InputError where the place or the disk does not allow it."""
    text = np.frombuffer(msgspec.json.encode(record), np.uint8)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{RECORD: text}, **arrays)


def load_arrays(path: Path, kind: type[Record]) -> tuple[Record, dict[str, Array]]:
    """The record and the arrays. Raises ValueError with the reason where the file is damaged or something else."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return msgspec.json.decode(arrays.pop(RECORD).tobytes(), type=kind), arrays
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        msgspec.MsgspecError,
    ) as error:
        raise ValueError(f"{type(error).__name__} while reading its arrays") from None
