"""All state of a session as one value, in memory and as a file.

Receives a store and a program; hands on a :class:`Snapshot`: arrays by path, cursors, the program's own history,
stamped with the bundle's hash and precision. Files are ``.npz`` without pickle, written to a temporary name and
renamed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from edge_streamer.runtime.arrays import load_arrays, save_arrays
from edge_streamer.runtime.engine import Array
from edge_streamer.runtime.errors import MediaError
from edge_streamer.runtime.programs.base import Program
from edge_streamer.runtime.state import Ring, StateStore


class Stamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a snapshot belongs to."""

    format: int = 1
    bundle: str
    """SHA-256 of the manifest: names graphs, weights and precision at once."""
    name: str
    """The bundle's name, for people."""
    host: dict[str, object]
    """The program's history outside tensors."""
    rings: dict[str, int]
    """Units committed (places, for a pinned ring) of each ring."""


@dataclass(frozen=True)
class Snapshot:
    """A whole state. ``arrays`` hold copies: carries whole, rings up to the last place written, hidden ones 0."""

    stamp: Stamp
    arrays: dict[str, Array]

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        save_arrays(path, self.stamp, self.arrays)


def load_snapshot(path: Path) -> Snapshot:
    """A snapshot from a file. MediaError where it is missing, damaged or something else."""
    if not os.path.isfile(path):
        raise MediaError(f"{path}: no such snapshot file; write one with 'edge-streamer prefix'")
    try:
        stamp, arrays = load_arrays(path, Stamp)
    except ValueError as error:
        raise MediaError(f"{path}: not a snapshot that edge-streamer wrote, or damaged ({error})") from None
    if stamp.format != 1:
        raise MediaError(f"{path}: snapshot format {stamp.format}; this edge-streamer reads format 1")
    return Snapshot(stamp, arrays)


def take(store: StateStore, program: Program, bundle: str, name: str) -> Snapshot:
    """The committed state, copied."""
    arrays = {f"held/{path}": array.copy() for path, array in program.held().items()}
    for carries in store.carries.values():
        arrays |= {f"carry/{path}": array.copy() for path, array in carries.committed().items()}
    for ring in store.rings.values():
        used = _used(ring)
        arrays |= {f"ring/{path}": _visible(ring, path, used) for path in ring.buffers}
        arrays[f"valid/{ring.name}"] = ring.valid.copy()
    rings = {name: ring.units for name, ring in store.rings.items()}
    return Snapshot(Stamp(bundle=bundle, name=name, host=program.host(), rings=rings), arrays)


def put_back(snapshot: Snapshot, store: StateStore, program: Program, bundle: str, name: str) -> None:
    """Make ``snapshot`` the state. MediaError where it is another bundle's or does not fit; then nothing changed."""
    if snapshot.stamp.bundle != bundle:
        raise MediaError(
            f"the snapshot was taken with bundle {snapshot.stamp.name!r} ({snapshot.stamp.bundle[:12]}), this is "
            f"{name!r} ({bundle[:12]}); take it again with this bundle"
        )
    targets = _targets(snapshot, store, program)
    _check_fit(snapshot, targets)
    store.reset()
    for path, target in targets.items():
        np.copyto(target, snapshot.arrays[path])
    for ring_name, units in snapshot.stamp.rings.items():
        store.rings[ring_name].units = units
    program.set_host(snapshot.stamp.host)
    store.commit()


def _targets(snapshot: Snapshot, store: StateStore, program: Program) -> dict[str, Array]:
    """The buffer, or part of it, that each array of the snapshot goes to. ``reset`` puts carries' side 0 in front."""
    targets = {f"held/{path}": array for path, array in program.held().items()}
    for carries in store.carries.values():
        views = zip(carries.specs, carries.arenas[0].views, strict=True)
        targets |= {f"carry/{spec.path}": array for spec, array in views}
    for ring in store.rings.values():
        for path in ring.buffers:
            stored = snapshot.arrays.get(f"ring/{path}")
            targets[f"ring/{path}"] = ring.view(path)[: 0 if stored is None else len(stored)]
        targets[f"valid/{ring.name}"] = ring.valid
    return targets


def _check_fit(snapshot: Snapshot, targets: dict[str, Array]) -> None:
    left, missing = sorted(snapshot.arrays.keys() - targets.keys()), sorted(targets.keys() - snapshot.arrays.keys())
    if left or missing:
        raise MediaError(f"the snapshot does not fit: it lacks {missing}, and nothing here takes {left}")
    for path, target in targets.items():
        came = snapshot.arrays[path]
        if came.shape != target.shape or came.dtype != target.dtype:
            raise MediaError(
                f"the snapshot's {path} is {came.dtype} {came.shape}; wanted {target.dtype} {target.shape}"
            )


def _visible(ring: Ring, path: str, used: int) -> Array:
    """A copy of the first ``used`` places, hidden ones as zeros: what no unit can see is not part of the state."""
    places: Array = ring.view(path)[:used].copy()
    places[ring.valid[0, :used] != 0] = 0
    return places


def _used(ring: Ring) -> int:
    """Places that may differ from zero: the blocks begun so far (the next one may hold an early commit)."""
    capacity = ring.valid.shape[1]
    return ring.units if ring.pinned else min(capacity, (ring.units + 1) * ring.places)
